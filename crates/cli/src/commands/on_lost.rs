//! What becomes of a program whose seat is lost: one rule for `run` and `checkout`, and one wording.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use triquest_client::{Error, Warning};

use crate::{
    sys::{ignores, signal_family},
    terminal::{Terminal, duration, escape, millis},
};

/// A program that was told to end because its seat is lost is killed after so long.
const KILL_AFTER_MS: u64 = 60_000;
/// A program that stands still without a seat goes on for so long to hear a hangup, by which most end.
const HANGUP_MS_MAX: u64 = 5_000;

/// What becomes of the program when its seat is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnLost {
    /// Stop it until a seat is there again; if none can come back (an administrator reclaimed it, its license was removed), end it as `terminate` does
    Suspend,
    /// End it with what it has started: SIGTERM, and SIGKILL for what still runs after 60 s
    Terminate,
    /// Say it, and let it run on
    Warn,
}

/// A loss, as the client tells it: again, once it is known that no seat will come back.
#[derive(Debug)]
pub(crate) struct Loss {
    /// Why, in words of the server too.
    pub(crate) why: String,
    /// The client goes on asking for a seat.
    may_come_back: bool,
}

impl From<Error> for Loss {
    fn from(error: Error) -> Self {
        Self { why: error.explanation().to_owned(), may_come_back: error.may_come_back() }
    }
}

/// The program that a seat is for, and what was done to it.
pub(crate) struct Program {
    on_lost: OnLost,
    /// It, with all that it has started. None: nothing is done to anybody.
    process: Option<Pid>,
    /// In sentences.
    name: String,
    /// The features.
    features: String,
    is_lost: bool,
    is_suspended: bool,
    kill_at: Option<Instant>,
    /// It goes on for a moment without a seat, and stands still again then.
    stop_at: Option<Instant>,
}

impl Program {
    /// The program of a seat of these features. `name` stands in sentences: "the program".
    pub(crate) fn new(on_lost: OnLost, process: Option<Pid>, name: String, features: String) -> Self {
        Self { on_lost, process, name, features, is_lost: false, is_suspended: false, kill_at: None, stop_at: None }
    }

    /// The next event, or [`RecvTimeoutError::Timeout`] when [`Program::is_due`].
    pub(crate) fn receive<T>(&self, events: &Receiver<T>) -> Result<T, RecvTimeoutError> {
        match [self.kill_at, self.stop_at].into_iter().flatten().min() {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
        }
    }

    /// It stands still because its seat is lost.
    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// The seat is in danger.
    pub(crate) fn warned(&self, terminal: &Terminal, warning: &Warning) {
        terminal.warning(warning_text(&self.features, warning));
    }

    /// The seat is lost, or will not come back.
    pub(crate) fn lost(&mut self, terminal: &Terminal, loss: &Loss) {
        let Self { name, features, .. } = self;
        let why = escape(&loss.why).into_owned();
        let again = std::mem::replace(&mut self.is_lost, true);
        let what = match (again, loss.may_come_back) {
            (false, _) => format!("the seat of {features} is lost ({why})"),
            (true, _) => format!("no seat of {features} will come back ({why})"),
        };
        match (self.on_lost, self.process) {
            (OnLost::Warn, _) | (_, None) => terminal.warning(format_args!("{what}; {name} runs on")),
            (OnLost::Suspend, Some(process)) if loss.may_come_back => {
                terminal.warning(format_args!("{what}; {name} is stopped until there is one again"));
                self.is_suspended = true;
                self.stop_at = None;
                signal_family(process, Signal::STOP);
            }
            // It was told to end already.
            (OnLost::Terminate, Some(_)) if again => {}
            (OnLost::Suspend | OnLost::Terminate, Some(process)) => {
                terminal.warning(format_args!("{what}; {name} is told to end, and killed in {}", duration(KILL_AFTER_MS)));
                signal_family(process, Signal::TERM);
                self.let_end();
            }
        }
    }

    /// A seat is there again.
    pub(crate) fn regained(&mut self, terminal: &Terminal) {
        terminal.verb("Regained", format_args!("{}: the seat is held again", self.features));
        self.is_lost = false;
        // It may have been told to end; but what still runs (saving its work, say) runs with a seat.
        self.kill_at = None;
        self.go_on();
    }

    /// A time has come that was set for it: it did not end, or it has heard its hangup and goes on.
    pub(crate) fn is_due(&mut self, terminal: &Terminal) {
        let now = Instant::now();
        if self.stop_at.take_if(|at| *at <= now).is_some() {
            self.stays_stopped();
        }
        if self.kill_at.take_if(|at| *at <= now).is_some()
            && let Some(process) = self.process
        {
            terminal.warning(format_args!("{} did not end in time and is killed", self.name));
            signal_family(process, Signal::KILL);
        }
    }

    /// It is told of a hangup while it stands still: its terminal or its shell is gone. Most programs end by that, and can do so only if they go on; one that
    /// goes on stands still again, since it has no seat. One that ignores hangups has nothing to hear.
    pub(crate) fn hears_hangup(&mut self) {
        let Some(process) = self.process.filter(|_| self.is_suspended) else { return };
        if !ignores(process, Signal::HUP) {
            self.stop_at = Some(Instant::now() + Duration::from_millis(HANGUP_MS_MAX));
            signal_family(process, Signal::CONT);
        } else {
            self.stays_stopped();
        }
    }

    /// Somebody told it to end: one that was stopped can do so only if it goes on, and it does not go on for long without a seat.
    pub(crate) fn let_end(&mut self) {
        self.go_on();
        self.kill_at.get_or_insert_with(|| Instant::now() + Duration::from_millis(KILL_AFTER_MS));
    }

    /// Somebody else let it go on while it has no seat.
    pub(crate) fn stays_stopped(&self) {
        if let (true, None, Some(process)) = (self.is_suspended, self.stop_at, self.process) {
            signal_family(process, Signal::STOP);
        }
    }

    /// Lets it go on if it was stopped.
    pub(crate) fn go_on(&mut self) {
        self.stop_at = None;
        if let (true, Some(process)) = (std::mem::take(&mut self.is_suspended), self.process) {
            signal_family(process, Signal::CONT);
        }
    }
}

fn warning_text(features: &str, warning: &Warning) -> String {
    match warning {
        Warning::Late { ends_in } => {
            format!("no license server has answered for {features} for a while; the seat is held for {} more", duration(millis(*ends_in)))
        }
        Warning::Grace { ends_in } => {
            format!("no license server answers for {features}; the vendor permits running on for {}", duration(millis(*ends_in)))
        }
        Warning::Ending { reason, ends_in } => {
            format!("the seat of {features} ends in {}: {}", duration(millis(*ends_in)), triquest_client::ended(*reason))
        }
        Warning::Regaining { gives_up_in } => {
            format!("the seat of {features} has to be taken anew, for at most {}", duration(millis(*gives_up_in)))
        }
        _ => format!("the seat of {features} is in danger"),
    }
}
