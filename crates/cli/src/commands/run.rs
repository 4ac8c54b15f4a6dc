//! `run`: any program, while a seat is held for it.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, RawFd},
        unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use clap::builder::{OsStringValueParser, TypedValueParser};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2},
    iterator::{
        SignalsInfo,
        exfiltrator::origin::{Origin, WithOrigin},
    },
    low_level::siginfo::Cause,
};
use triquest_client::{
    Cancel, Checkout, Client, Error, ErrorKind, HeldUp, InLine, Seat, Warning,
    lookup::{Place, Said},
};
use triquest_wire::lease::{DenialCode, PoolNumbers};

use crate::{
    commands::on_lost::{Loss, OnLost, Program},
    failure::{Failure, code_of, exit},
    keyfile::verifier_keys,
    sys::{Stat, ignored_signals},
    terminal::{Terminal, duration, escape, left, millis, moment},
};

/// The release at the end is waited for at most so long; presence and time free the seat anyway.
pub(crate) const RELEASE_MS_MAX: u64 = 5_000;
/// What takes longer than this is said.
const RELEASE_QUIET_MS: u64 = 1_000;
/// A program that stops later than this after Ctrl-Z does not stop because of it.
const STOP_AFTER_TERMINAL_MS_MAX: u64 = 5_000;
/// While `run` stands still with its program, the watcher looks this often.
const WATCH_EVERY_MS: u64 = 50;
/// Exit code of a program that cannot be executed, as the shell's.
const NOT_EXECUTABLE: u8 = 126;
/// Exit code of a program that was not found, as the shell's.
const NOT_FOUND: u8 = 127;
/// What is passed on to the program.
const PASSED_ON: [i32; 8] = [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2];

/// Which seats, from where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SeatArgs {
    /// Feature to check out, with seats and version of its own if given; several are granted all or none
    #[arg(long, short, required = true, value_name = "FEATURE[:SEATS][@VERSION]")]
    pub(crate) feature: Vec<Wanted>,
    /// Seats of each feature that names none
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number_of_seats)]
    pub(crate) seats: u32,
    /// The program's version, for each feature that names none
    #[arg(long = "version", id = "program_version", value_name = "V")]
    pub(crate) program_version: Option<String>,
    /// Wait for a seat for at most so long, such as 90s, 30m, 2h: in line, and for a server whose disk is full or that was restored
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) wait: Option<Duration>,
    /// License servers, such as 1588@HOST, several with commas [default: TRIQUEST_LM_SERVER, else client.toml of the user or the machine, else DNS SRV]
    #[arg(long, value_name = "SERVERS", value_parser = any_text())]
    pub(crate) server: Option<String>,
    /// The vendor's verifier key (or a file that holds it), several with commas
    #[arg(long, env = "TRIQUEST_LM_VERIFIER_KEY", hide_env_values = true, value_name = "KEY", value_parser = any_text())]
    pub(crate) verifier_key: Option<String>,
    /// Project that the use is booked to
    #[arg(long, env = "TRIQUEST_LM_PROJECT", hide_env_values = true, value_parser = any_text())]
    pub(crate) project: Option<String>,
    /// Accept a license with servers = "any", which anyone who has the file can serve
    #[arg(long)]
    pub(crate) accept_any_server: bool,
}

/// `run --feature F -- CMD`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: the program's own, or 128 + signal; 75 denied, no server or its disk full, later may help; 77 denied, later will not help; \
126 not executable, 127 not found.

If the seat is lost, the exit code is still the program's. With --on-lost terminate, the default, that is 143 (SIGTERM), or 137 \
(SIGKILL) if it did not end in 60 s, unless it ends with a code of its own; with suspend what it ends with once it goes on, or as with \
terminate if no seat can come back; with warn its own, as if nothing had happened.

Signals are passed on to the program, and the seat is given back when it ends, however it ends. SIGHUP too, as when the terminal closes: \
this command ends when the program does, which ignores it under nohup. A program that stands still for its seat (suspend) goes on for 5 s to hear it.

If this command itself is killed with SIGKILL (kill -9), or stopped with SIGSTOP until the seat's time is over, it cannot end the program: \
the server frees the seat, and the program runs on without one.")]
pub(crate) struct RunCommand {
    #[command(flatten)]
    seat: SeatArgs,
    /// What becomes of the program if its seat is lost, after every grace
    #[arg(long, value_enum, default_value_t = OnLost::Terminate, value_name = "WHAT")]
    on_lost: OnLost,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// `FEATURE[:SEATS][@VERSION]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) feature: String,
    seats: Option<u32>,
    version: Option<String>,
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, version) = match text.split_once('@') {
            Some((rest, version)) => (rest, Some(version)),
            None => (text, None),
        };
        let (feature, seats) = match rest.split_once(':') {
            Some((feature, seats)) => (feature, Some(seats)),
            None => (rest, None),
        };
        let seats = seats.map(|text| number_of_seats(text).map_err(|why| format!("{why}, as in FEATURE:2"))).transpose()?;
        if let Some(version) = version {
            version.parse::<triquest_license::Version>().map_err(|error| error.to_string())?;
        }
        triquest_license::FeatureName::new(feature).map_err(|error| error.to_string())?;
        Ok(Self { feature: feature.to_owned(), seats, version: version.map(str::to_owned) })
    }
}

/// A number of seats.
fn number_of_seats(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|seats| *seats > 0).ok_or_else(|| format!("`{text}` is no number of seats; write a whole number from 1"))
}

/// Words that are tidied or read later and may be any bytes: what is no text in a variable of the environment is no reason to refuse a seat.
pub(crate) fn any_text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|text| text.to_string_lossy().into_owned())
}

/// A span of time as people write it: 90s, 30m, 1h30m.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| format!("`{text}` is no span of time; write 90s, 30m, 2h or 1h30m"))?;
    Duration::try_from(span).map_err(|_| "a span of time cannot be negative".to_owned())
}

impl SeatArgs {
    /// A client of the servers and keys that are named.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let Some(key) = &self.verifier_key else {
            return Err(Failure::usage("no verifier key is named, so no server could be trusted")
                .hint("--verifier-key KEY or TRIQUEST_LM_VERIFIER_KEY=KEY; the vendor publishes it, `triquest-lm vendor show` prints it"));
        };
        let mut builder = Client::builder().verifier_keys(verifier_keys(key)?.to_string());
        if let Some(server) = &self.server {
            builder = builder.servers(server);
        }
        if let Some(project) = &self.project {
            builder = builder.project(project);
        }
        if self.accept_any_server {
            builder = builder.accept_any_server();
        }
        builder.build().map_err(|error| failed(&error, self))
    }

    /// The checkout of all features.
    pub(crate) fn checkout(&self, client: &Client) -> Checkout {
        let mut features = self.feature.iter();
        let first = features.next().expect("clap requires one feature");
        let fill = |checkout: Checkout, wanted: &Wanted| {
            let checkout = checkout.seats(wanted.seats.unwrap_or(self.seats));
            match wanted.version.as_ref().or(self.program_version.as_ref()) {
                Some(version) => checkout.version(version),
                None => checkout,
            }
        };
        let mut checkout = fill(client.checkout(&first.feature), first);
        for wanted in features {
            checkout = fill(checkout.and(&wanted.feature), wanted);
        }
        match self.wait {
            Some(wait) => checkout.wait(wait),
            None => checkout,
        }
    }

    /// The features, for sentences.
    pub(crate) fn names(&self) -> String {
        self.feature.iter().map(|wanted| format!("`{}`", wanted.feature)).collect::<Vec<_>>().join(", ")
    }
}

/// A line for who waits.
pub(crate) fn waiting_line(line: &InLine) -> String {
    let due = match line.first_due_in {
        Some(due) => format!(", the next seat may come in {}", duration(millis(due))),
        None => String::new(),
    };
    format!("place {}, {}{due}, gives up in {}", line.place, numbers(&line.pool), duration(millis(line.gives_up_in)))
}

/// A line for who waits for a server that grants nothing to anybody for a while.
pub(crate) fn held_up_line(held_up: &HeldUp) -> String {
    let hint = held_up.why.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
    // When a quarantine is over is known; how long a disk stays full is not.
    let over = held_up.why.denial().and_then(|denial| denial.first_due_ms);
    let until = over.map_or_else(String::new, |ms| format!(", until {}", clock_time(ms)));
    escape(&format!("{}{until}{hint}; gives up in {}", held_up.why.explanation(), duration(millis(held_up.gives_up_in)))).into_owned()
}

/// What this computer's clock says in so long.
fn clock_time(in_ms: u64) -> String {
    let now = jiff::Zoned::now();
    let span = jiff::SignedDuration::from_millis(i64::try_from(in_ms).unwrap_or(i64::MAX));
    now.checked_add(span).map_or_else(|_| "an unknown time".to_owned(), |at| moment(&at, &now))
}

/// When a seat comes free whose release nobody has confirmed: its last renewal was sent at `heard_ms` (Unix milliseconds).
pub(crate) fn comes_free(heard_ms: i64, ttl_ms: u64) -> String {
    let left_ms = heard_ms.saturating_add_unsigned(ttl_ms).saturating_sub(jiff::Timestamp::now().as_millisecond());
    let ttl = duration(ttl_ms);
    match u64::try_from(left_ms) {
        Ok(left_ms) if left_ms > 0 => {
            let at = clock_time(left_ms);
            format!("the seat comes free by itself: at {at} (in {}) if the server runs now, else {ttl} after its next start", left(left_ms))
        }
        _ => format!("the seat comes free by itself: now if the server has run all the time, else {ttl} after its next start"),
    }
}

fn numbers(pool: &PoolNumbers) -> String {
    let mut text = format!("{} of {} in use", pool.used, pool.total);
    if pool.lingering > 0 {
        text.push_str(&format!(", {} lingering", pool.lingering));
    }
    if pool.reserved_idle > 0 {
        text.push_str(&format!(", {} reserved", pool.reserved_idle));
    }
    if pool.queued > 0 {
        text.push_str(&format!(", {} waiting", pool.queued));
    }
    text
}

/// An error of the client in the manner of the terminal.
pub(crate) fn failed(error: &Error, asked: &SeatArgs) -> Failure {
    let code = code_of(error);
    let mut failure = match (error.kind(), error.denial()) {
        (ErrorKind::Denied, Some(denial)) => {
            let mut failure = Failure::denied(escape(&denial.message), error.may_help_later());
            if denial.pool != PoolNumbers::default() {
                failure = failure.row("seats", format_args!("{}, {} wanted", numbers(&denial.pool), denial.seats));
            }
            // The sentences of these denials say it, rounded up.
            let is_said = matches!(denial.code, DenialCode::NoSeatFree | DenialCode::Quarantine);
            if let Some(due) = denial.first_due_ms.filter(|_| !is_said) {
                failure = failure.row("soonest", format_args!("in {}", duration(due)));
            }
            failure
        }
        (ErrorKind::Denied, None) => Failure::denied(escape(error.explanation()), error.may_help_later()),
        (ErrorKind::NoServer, _) if error.code() == "no_server" => {
            Failure::new(format_args!("no license server answered for {}", asked.names())).with_code(code)
        }
        (ErrorKind::Invalid | ErrorKind::VerifierKey, _) => Failure::usage(escape(error.explanation())),
        (ErrorKind::NoServerNamed, _) => Failure::new(format_args!("no license server is named for {}", asked.names())).with_code(code),
        _ => Failure::new(escape(error.explanation())).with_code(code),
    };
    failure = with_places(failure, error);
    match (error.kind(), error.hint()) {
        // By our own clock, while the server said nothing more.
        (ErrorKind::Denied, None) if error.code() == DenialCode::WaitOver.as_str() => {
            failure.hint("wait longer with `--wait`; `triquest-lm status` on the server shows who holds the seats")
        }
        // Waiting in line helps where a seat may come back, not where a license has yet to begin; of a restored server the hint of its administrator is worth more.
        (ErrorKind::Denied, _)
            // Not where another server that does not answer now may have what this one never will.
            if error.denial().is_none_or(|denial| denial.code.may_help_later())
                && error.may_help_later()
                && asked.wait.is_none()
                && !error.denial().is_some_and(|denial| matches!(denial.code, DenialCode::NotYetValid | DenialCode::Quarantine)) =>
        {
            failure.hint("wait for a seat with `--wait 30m`")
        }
        (ErrorKind::NoServerNamed, _) => {
            failure.hint("name it: --server 1588@HOST, or TRIQUEST_LM_SERVER=1588@HOST; `triquest-lm find` looks for servers near")
        }
        (_, Some(hint)) => failure.hint(escape(hint)),
        (_, None) => failure,
    }
}

/// The same with a row for every place that was looked at, and for every server that was tried.
pub(crate) fn with_places(mut failure: Failure, error: &Error) -> Failure {
    let mut named = None;
    for looked in error.places() {
        match &looked.said {
            Said::Nothing(why) => failure = failure.row(escape(&looked.place.to_string()), escape(why)),
            // The last place, which decided. What was given on the command line needs no place.
            Said::Named(_) if looked.place != Place::Argument => named = Some(looked.place.to_string()),
            _ => {}
        }
    }
    for tried in error.tried_beyond_explanation() {
        let server = tried.server.to_string();
        failure = match &named {
            Some(place) => failure.row(escape(place), format_args!("{}: {}", escape(&server), escape(&tried.reason))),
            None => failure.row(escape(&server), escape(&tried.reason)),
        };
    }
    failure
}

/// What happens while the program runs.
enum Happened {
    Ended(ExitStatus),
    Lost(Loss),
    Regained,
    Signal(Origin),
    Stopped,
    Taken(Box<Result<Seat, Error>>),
    WaitFailed(io::Error),
    Warned(Warning),
}

impl RunCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let program = find(&self.command[0])?;
        let client = self.seat.client()?;
        let (sender, events) = mpsc::channel();
        // From here on a signal gives the seat back, or is the program's business.
        let signals = listen(&sender)?;
        let outcome = self.held(terminal, &client, &program, &sender, &events);
        signals.close();
        outcome
    }

    fn held(
        &self,
        terminal: &Terminal,
        client: &Client,
        program: &Path,
        sender: &Sender<Happened>,
        events: &Receiver<Happened>,
    ) -> Result<u8, Failure> {
        // Its number is part of who asks, so its process is there before the seat.
        let waiting = Waiting::start(program, &self.command).map_err(|cause| not_started(&self.command[0], &cause))?;
        let seat = match self.take(terminal, client, waiting.child.id(), sender, events) {
            Ok(Ok(seat)) => seat,
            Ok(Err(signal)) => {
                waiting.end();
                return Ok(128 + signal);
            }
            Err(failure) => {
                waiting.end();
                return Err(failure);
            }
        };
        let child = match waiting.begin() {
            Ok(child) => child,
            Err(cause) => {
                give_back(terminal, seat, &self.seat.names(), None);
                return Err(not_started(&self.command[0], &cause));
            }
        };
        let status = self.watch(terminal, &child, sender, events);
        give_back(terminal, seat, &self.seat.names(), None);
        let status = status?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).unwrap_or(exit::FAILURE),
            (None, Some(signal)) => 128 + u8::try_from(signal).unwrap_or(127),
            (None, None) => exit::FAILURE,
        })
    }

    /// Takes the seat on a thread of its own, so that a signal can end the wait. Inner error: the signal.
    fn take(
        &self,
        terminal: &Terminal,
        client: &Client,
        pid: u32,
        sender: &Sender<Happened>,
        events: &Receiver<Happened>,
    ) -> Result<Result<Seat, u8>, Failure> {
        let cancel = Cancel::new();
        let (lost, warned, regained, talk) = (sender.clone(), sender.clone(), sender.clone(), *terminal);
        let last_place = std::sync::atomic::AtomicU32::new(0);
        let checkout = self
            .seat
            .checkout(client)
            // The program is who uses the seat; it takes the place of `triquest-lm` in what administrators see.
            .process(format!("{pid}:{}", Path::new(&self.command[0]).file_name().unwrap_or_default().to_string_lossy()))
            .cancel(&cancel)
            .on_late(move |warning| drop(warned.send(Happened::Warned(warning))))
            .on_lost(move |error| drop(lost.send(Happened::Lost(error.into()))))
            .on_regained(move || drop(regained.send(Happened::Regained)))
            .on_held_up(move |held_up| talk.verb("Waiting", held_up_line(&held_up)))
            .on_waiting(move |line| {
                if last_place.swap(line.place, std::sync::atomic::Ordering::Relaxed) != line.place {
                    talk.verb("Waiting", waiting_line(&line));
                }
            });
        let taken = sender.clone();
        thread::Builder::new().name("checkout".into()).spawn(move || drop(taken.send(Happened::Taken(Box::new(checkout.take())))))?;
        let mut ended_by = None;
        loop {
            match events.recv().expect("this function holds a sender") {
                Happened::Taken(taken) => match (*taken, ended_by) {
                    (Ok(seat), None) => return Ok(Ok(seat)),
                    (Ok(seat), Some(signal)) => {
                        give_back(terminal, seat, &self.seat.names(), None);
                        return Ok(Err(signal));
                    }
                    (Err(_), Some(signal)) => return Ok(Err(signal)),
                    (Err(error), None) => return Err(failed(&error, &self.seat)),
                },
                Happened::Signal(origin) if matches!(origin.signal, SIGINT | SIGTERM | SIGHUP | SIGQUIT) => {
                    ended_by = Some(u8::try_from(origin.signal).expect("signals are small"));
                    cancel.cancel();
                }
                Happened::Signal(origin) if origin.signal == SIGTSTP => kill_self(Signal::STOP),
                _ => {}
            }
        }
    }

    /// Until the program has ended.
    fn watch(
        &self,
        terminal: &Terminal,
        child: &Child,
        sender: &Sender<Happened>,
        events: &Receiver<Happened>,
    ) -> Result<ExitStatus, Failure> {
        let pid = Pid::from_child(child);
        let reaper = sender.clone();
        thread::Builder::new().name("program".into()).spawn(move || wait_for(pid, &reaper))?;
        let mut program = Program::new(self.on_lost, Some(pid), "the program".to_owned(), self.seat.names());
        // When the terminal told both to stop (Ctrl-Z).
        let mut stop_wanted: Option<Instant> = None;
        loop {
            match program.receive(events) {
                Err(_) => program.is_due(terminal),
                Ok(Happened::Ended(status)) => return Ok(status),
                Ok(Happened::WaitFailed(cause)) => return Err(Failure::new(format_args!("cannot wait for the program: {cause}"))),
                // The shell, or whoever sent it, does not know that there is no seat.
                Ok(Happened::Signal(origin)) if program.is_suspended() && origin.signal == SIGCONT => program.stays_stopped(),
                Ok(Happened::Signal(origin)) => {
                    pass_on(pid, &origin);
                    if program.is_suspended() {
                        match origin.signal {
                            // From the kernel too, with SIGCONT behind it, as the shell of a group that has a stopped member is gone.
                            SIGHUP => program.hears_hangup(),
                            SIGINT | SIGQUIT | SIGTERM => program.let_end(),
                            _ => {}
                        }
                    }
                    if origin.signal == SIGTSTP && by_terminal(&origin) && !program.is_suspended() {
                        stop_wanted = Some(Instant::now());
                        stop_with(pid, &mut stop_wanted);
                    } else if origin.signal == SIGCONT {
                        stop_wanted = None;
                    }
                }
                // Stopped by somebody's SIGSTOP, it holds its seat, and this process renews it. Only after the terminal's Ctrl-Z, which a program may
                // answer late, this process stops too, so that the shell sees its job stopped.
                Ok(Happened::Stopped) if program.is_suspended() => {}
                Ok(Happened::Stopped) => stop_with(pid, &mut stop_wanted),
                Ok(Happened::Warned(warning)) => program.warned(terminal, &warning),
                Ok(Happened::Regained) => program.regained(terminal),
                Ok(Happened::Lost(loss)) => program.lost(terminal, &loss),
                Ok(Happened::Taken(_)) => {}
            }
        }
    }
}

/// The program's process before it is the program: it waits for the seat.
struct Waiting {
    child: Child,
    /// A byte lets it begin; its end ends it.
    go: PipeWriter,
    /// Why the program could not be executed: the system's number. Nothing if it runs.
    failed: PipeReader,
}

impl Waiting {
    fn start(program: &Path, command: &[OsString]) -> io::Result<Self> {
        let (heard, go) = io::pipe()?;
        let (failed, told) = io::pipe()?;
        for end in [heard.as_fd(), told.as_fd()] {
            fcntl_setfd(end, FdFlags::empty())?;
        }
        let child = Command::new(std::env::current_exe()?)
            .args(["run-program", &heard.as_raw_fd().to_string(), &told.as_raw_fd().to_string(), "--"])
            .arg(program)
            .args(command)
            .spawn()?;
        Ok(Self { child, go, failed })
    }

    /// There is no seat for it.
    fn end(self) {
        let Self { mut child, .. } = self;
        let _ = child.kill().and_then(|()| child.wait());
    }

    /// Lets it become the program.
    fn begin(self) -> io::Result<Child> {
        let Self { mut child, mut go, mut failed } = self;
        // One that was ended meanwhile hears nothing, and is waited for as any program is.
        let _ = go.write_all(&[1]);
        let mut cause = Vec::new();
        failed.read_to_end(&mut cause)?;
        match cause.try_into() {
            Ok(number) => {
                let _ = child.wait();
                Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
            }
            Err(_) => Ok(child),
        }
    }
}

/// `run-program GO FAILED -- PROGRAM NAME ARGUMENTS`: started by `run` while it asks for the seat.
#[derive(Debug, clap::Args)]
pub(crate) struct RunProgramCommand {
    /// A byte from it is the word to begin
    go: RawFd,
    /// Where to tell why the program cannot be executed
    failed: RawFd,
    /// Its path, its name, its arguments
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

impl RunProgramCommand {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        // SAFETY: `run` left these two open for this process and for nothing else in it; a number of nothing is refused below as such.
        #[allow(unsafe_code)]
        let (mut go, mut failed) = unsafe { (fs::File::from_raw_fd(self.go), fs::File::from_raw_fd(self.failed)) };
        for end in [&go, &failed] {
            fcntl_setfd(end, FdFlags::CLOEXEC).map_err(io::Error::from)?;
        }
        let [program, name, arguments @ ..] = self.command.as_slice() else { return Ok(exit::USAGE) };
        if go.read_exact(&mut [0]).is_ok() {
            use std::os::unix::process::CommandExt as _;
            let cause = Command::new(program).arg0(name).args(arguments).exec();
            failed.write_all(&cause.raw_os_error().unwrap_or(0).to_ne_bytes())?;
        }
        Ok(exit::FAILURE)
    }
}

/// Gives the seat back at the end. If no server confirms that in time, says when it comes free by itself, and what more there is to do. Whether the release was heard.
pub(crate) fn give_back(terminal: &Terminal, seat: Seat, names: &str, later: Option<&str>) -> bool {
    let ttl_ms = seat.grant().map_or(0, |grant| grant.ttl_ms);
    let heard_ms = heard_ms(&seat);
    let (done, over) = mpsc::channel::<()>();
    let (talk, what) = (*terminal, names.to_owned());
    let says = thread::Builder::new().name("says".into()).spawn(move || {
        if over.recv_timeout(Duration::from_millis(RELEASE_QUIET_MS)) == Err(mpsc::RecvTimeoutError::Timeout) {
            talk.verb("Releasing", format_args!("{what}: no server has confirmed it yet; tried for {} at most", duration(RELEASE_MS_MAX)));
        }
    });
    let released = seat.release(Duration::from_millis(RELEASE_MS_MAX));
    drop(done);
    if let Ok(says) = says {
        let _ = says.join();
    }
    let Err(error) = released else { return true };
    terminal.warning(format_args!(
        "the seat of {names} was not given back: {}; so {}",
        escape(error.explanation()),
        comes_free(heard_ms, ttl_ms)
    ));
    if let Some(later) = later {
        terminal.hint(later);
    }
    false
}

/// When the server was asked whose answer the seat goes by, Unix milliseconds.
pub(crate) fn heard_ms(seat: &Seat) -> i64 {
    jiff::Timestamp::now().as_millisecond().saturating_sub_unsigned(seat.heard_ago().map_or(0, millis))
}

/// The program's path, found as a shell would, before any seat is asked for.
fn find(program: &OsStr) -> Result<PathBuf, Failure> {
    let not_found = || {
        Failure::new(format_args!("{} was not found", escape(&program.to_string_lossy())))
            .hint("no seat was taken; check the program's name and PATH")
            .with_code(NOT_FOUND)
    };
    let path = Path::new(program);
    if program.as_bytes().contains(&b'/') {
        return match fs::metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(not_found()),
            _ => Ok(path.to_owned()),
        };
    }
    let paths = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut found = None;
    for folder in std::env::split_paths(&paths) {
        let candidate = folder.join(program);
        if candidate.is_file() {
            if rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK).is_ok() {
                return Ok(candidate);
            }
            found.get_or_insert(candidate);
        }
    }
    found.ok_or_else(not_found)
}

fn not_started(program: &OsStr, cause: &io::Error) -> Failure {
    let (code, hint) = match cause.kind() {
        io::ErrorKind::NotFound => (NOT_FOUND, "the program, or the interpreter that its first line names, does not exist"),
        io::ErrorKind::PermissionDenied => (NOT_EXECUTABLE, "it is not executable for this user: chmod +x"),
        _ => (NOT_EXECUTABLE, "the seat was given back"),
    };
    Failure::new(format_args!("cannot execute {}: {cause}", escape(&program.to_string_lossy()))).hint(hint).with_code(code)
}

/// Hears signals on a thread. What was ignored at the start (`nohup`) stays so.
fn listen(sender: &Sender<Happened>) -> Result<signal_hook::iterator::Handle, Failure> {
    let ignored = ignored_signals("self");
    let heard = PASSED_ON.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = SignalsInfo::<WithOrigin>::new(heard)?;
    let handle = signals.handle();
    let sender = sender.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for origin in &mut signals {
            if sender.send(Happened::Signal(origin)).is_err() {
                return;
            }
        }
    })?;
    Ok(handle)
}

/// A signal of the terminal (Ctrl-C) has reached the program already, since both are in one group; what somebody sent to us is passed on.
fn pass_on(pid: Pid, origin: &Origin) {
    if !by_terminal(origin)
        && let Some(signal) = Signal::from_named_raw(origin.signal)
    {
        // It fails only if the program has just ended.
        let _ = kill_process(pid, signal);
    }
}

fn by_terminal(origin: &Origin) -> bool {
    matches!(origin.cause, Cause::Kernel) && origin.signal != SIGCONT
}

/// Stops this process if the terminal wanted that and the program stands still at this moment; an older word that it stopped counts for nothing. While both
/// stand still the seat is not renewed; on waking it is asked for again. A watcher sees to it that this process never stands still for longer than the program.
fn stop_with(pid: Pid, wanted: &mut Option<Instant>) {
    if wanted.is_none_or(|since| since.elapsed() > Duration::from_millis(STOP_AFTER_TERMINAL_MS_MAX)) {
        *wanted = None;
        return;
    }
    if !is_stopped(pid) {
        return;
    }
    *wanted = None;
    // Without a watcher it is better not to stop than to stop for good beside a program that works.
    if let Ok(mut watcher) = watcher(pid) {
        kill_self(Signal::STOP);
        drop(thread::Builder::new().name("watcher".into()).spawn(move || watcher.wait()));
    }
}

fn kill_self(signal: Signal) {
    let _ = kill_process(rustix::process::getpid(), signal);
}

/// Whether a process stands still now.
fn is_stopped(pid: Pid) -> bool {
    Stat::of(pid.as_raw_nonzero()).is_some_and(|stat| stat.is_stopped())
}

/// A process beside us, in a group of its own so that the terminal does not stop it, that lets us go on as soon as the program does.
fn watcher(program: Pid) -> io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    Command::new(std::env::current_exe()?)
        .args(["run-watcher", &program.as_raw_nonzero().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// `run-watcher PROGRAM`: started by `run` before it stops itself together with its program.
#[derive(Debug, clap::Args)]
pub(crate) struct RunWatcherCommand {
    /// The program that `run` runs
    program: i32,
}

impl RunWatcherCommand {
    /// Until the two are not both stopped any more.
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel tells nobody but the parent that a process goes on, so this looks now and then"
    )]
    pub(crate) fn run(self) -> Result<u8, Failure> {
        crate::sys::end_with_parent();
        let (Some(run), Some(program)) = (rustix::process::getppid(), Pid::from_raw(self.program)) else { return Ok(exit::FAILURE) };
        let began = Instant::now();
        let mut both_stopped = false;
        while rustix::process::getppid() == Some(run) {
            let (run_stopped, program_stopped) = (is_stopped(run), is_stopped(program));
            both_stopped |= run_stopped && program_stopped;
            if run_stopped && !program_stopped {
                let _ = kill_process(run, Signal::CONT);
                break;
            }
            // Somebody let `run` go on, or it never stopped.
            if !run_stopped && (both_stopped || began.elapsed() > Duration::from_millis(STOP_AFTER_TERMINAL_MS_MAX)) {
                break;
            }
            thread::sleep(Duration::from_millis(WATCH_EVERY_MS));
        }
        Ok(exit::OK)
    }
}

/// Waits for the program's end, and tells when it is stopped.
fn wait_for(pid: Pid, sender: &Sender<Happened>) {
    loop {
        let event = match waitpid(Some(pid), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => Happened::Stopped,
            Ok(Some((_, status))) => Happened::Ended(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(cause) => Happened::WaitFailed(cause.into()),
        };
        let last = !matches!(event, Happened::Stopped);
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_feature_may_bring_its_seats_and_its_version() {
        let wanted = |text: &str| text.parse::<Wanted>();
        assert_eq!(wanted("cad").unwrap(), Wanted { feature: "cad".into(), seats: None, version: None });
        assert_eq!(wanted("cad:2@12.4").unwrap(), Wanted { feature: "cad".into(), seats: Some(2), version: Some("12.4".into()) });
        assert_eq!(wanted("cad@12").unwrap().version.as_deref(), Some("12"));
        for wrong in ["", "cad:0", "cad:x", "cad@", "cad@x", ":2", "c d"] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(span("30m").unwrap(), Duration::from_secs(1800));
        assert_eq!(span("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(span("90s").unwrap(), Duration::from_secs(90));
        for wrong in ["", "-5s", "soon", "5"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
