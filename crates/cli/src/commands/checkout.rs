//! `checkout`: takes a seat for a script and keeps it until `release`, or until the process it is for has ended.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FileType, fstat},
    process::{Pid, PidfdFlags, pidfd_open, setsid},
};
use serde::{Deserialize, Serialize};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};
use triquest_client::{Phase, Releaser, Seat, Warning};
use triquest_wire::{LeaseId, Secret};

use crate::{
    commands::{
        on_lost::{Loss, OnLost, Program},
        run::{SeatArgs, failed, give_back, heard_ms, held_up_line, waiting_line},
    },
    failure::{Failure, exit},
    sys::{self, Stat},
    terminal::{Terminal, escape, millis},
};

/// When the keeper is asked whether the seat still holds (SIGUSR1), it waits for the server's answer for at most so long.
pub(crate) const CONFIRM_MS_MAX: u64 = 1_000;
/// Largest lease file that is read.
const LEASE_FILE_BYTES_MAX: u64 = 64 * 1024;

/// `checkout --feature F`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Takes a seat, leaves a small process behind that keeps it, and prints the path of a lease file, with which `triquest-lm release` gives \
it back. The file can be read by its owner only: it holds the lease's secret.

  lease=$(triquest-lm checkout --feature cad --for $$) || exit
  ... work ...
  triquest-lm release \"$lease\"

With --for PID the seat is also given back when that process ends, however it ends (`--for $$`: with the script); without it, when the \
session (the login, the batch job's step) ends. A shell that ends with SIGHUP, as when its terminal closes, ends so too, and the seat is \
given back. If the seat is lost meanwhile, --on-lost says what becomes of that process with all that it has started: by default nothing \
(warn), because it is the script itself. What happens to the seat is said on standard error where that is a terminal or a file; a pipe is let go, so that \
`$(...)` ends. In any case `triquest-lm seat` asks whether the seat still holds, and `release` says that it was lost. With --hold \
nothing is left behind: the command itself keeps the seat until Ctrl-C. To hold a seat for one program, `triquest-lm run` is simpler.

Exit codes: 0 granted; 75 denied, no server or its disk full, later may help; 77 denied, later will not help. With --hold: 0 given back \
after Ctrl-C, 128 + signal after another one, 76 if the seat was lost meanwhile, whatever --on-lost did.")]
pub(crate) struct CheckoutCommand {
    #[command(flatten)]
    seat: SeatArgs,
    /// Where to write the lease file [default: a new one in $XDG_RUNTIME_DIR/triquest-lm]
    #[arg(long, value_name = "FILE")]
    lease_file: Option<PathBuf>,
    /// Give the seat back when this process has ended
    #[arg(long = "for", value_name = "PID", value_parser = process_number)]
    until: Option<i32>,
    /// What becomes of the process of --for if its seat is lost, after every grace
    #[arg(long, value_enum, default_value_t = OnLost::Warn, value_name = "WHAT")]
    on_lost: OnLost,
    /// Stay in the foreground and hold the seat until a signal
    #[arg(long)]
    hold: bool,
    /// The process that keeps the seat.
    #[arg(long, hide = true)]
    keeper: bool,
}

/// What a script passes to `release`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaseFile {
    /// Always `triquest-lm/v1/lease`.
    pub(crate) format: String,
    /// The lease's public name.
    pub(crate) lease: LeaseId,
    /// Whoever knows it can give the seat back.
    pub(crate) secret: Secret,
    /// Who granted it: `tqs1:` and 64 hex digits.
    pub(crate) server_key: String,
    /// As the servers were named.
    pub(crate) servers: String,
    /// The vendor's verifier keys.
    pub(crate) verifier_keys: String,
    /// The features.
    pub(crate) features: Vec<String>,
    /// The process that keeps it.
    pub(crate) keeper: i32,
    /// When that process began, in the kernel's ticks since boot, so that another one with its number is told apart.
    pub(crate) keeper_began: u64,
    /// Whether the keeper holds the seat now.
    pub(crate) held: bool,
    /// When the server was asked whose answer that is, Unix milliseconds; written anew when the keeper is asked (SIGUSR1), and at what is new.
    pub(crate) heard_ms: i64,
    /// When the keeper was asked the last time to no avail: no server answered it soon. Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unheard_ms: Option<i64>,
    /// The seat's time to live, milliseconds: if nobody renews or releases it, it is free so long after the server heard of it.
    pub(crate) ttl_ms: u64,
    /// It will not be renewed, and runs to its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ending: Option<Ending>,
    /// Its keeper gave it back when it ended, and no server confirmed that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) given_back: bool,
    /// Why it was lost the last time, if it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<String>,
}

/// A seat that runs to its deadline and no further.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ending {
    /// In words.
    pub(crate) why: String,
    /// Unix milliseconds.
    pub(crate) until_ms: i64,
}

impl Ending {
    fn of(seat: &Seat) -> Option<Self> {
        let why = triquest_client::ended(seat.ending()?).to_owned();
        Some(Self { why, until_ms: jiff::Timestamp::now().as_millisecond().saturating_add_unsigned(millis(seat.left())) })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(word: &bool) -> bool {
    !word
}

pub(crate) const LEASE_FILE_FORMAT: &str = "triquest-lm/v1/lease";

impl LeaseFile {
    /// Reads one that only its owner may read.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = escape(&path.to_string_lossy()).into_owned();
        let metadata = fs::symlink_metadata(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => Failure::new(format_args!("there is no lease file {shown}"))
                .hint("is the path right? if so, its seat was given back already, or its keeper has ended; `triquest-lm status` shows what is held"),
            _ => Failure::new(format_args!("cannot read {shown}: {cause}")),
        })?;
        if !metadata.is_file() || metadata.len() > LEASE_FILE_BYTES_MAX {
            return Err(Failure::usage(format_args!("{shown} is no lease file")));
        }
        if metadata.mode() & 0o077 != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(Failure::usage(format_args!("{shown} belongs to or can be read by others, so its secret may be known"))
                .hint("it must be yours with mode 0600"));
        }
        let text = fs::read(path)?;
        let file: Self =
            serde_json::from_slice(&text).map_err(|cause| Failure::usage(format_args!("{shown} is no lease file: {cause}")))?;
        if file.format != LEASE_FILE_FORMAT {
            return Err(Failure::usage(format_args!("{shown} is no lease file of this version")));
        }
        Ok(file)
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(|cause| match cause.kind() {
                io::ErrorKind::AlreadyExists => there_already(path),
                _ => Failure::new(format_args!("cannot write {}: {cause}", escape(&path.to_string_lossy()))),
            })?;
        file.write_all(&text)?;
        Ok(())
    }

    /// Writes it anew in place of itself, so that no reader ever sees half of it.
    fn replace(&self, path: &Path) -> Result<(), Failure> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", self.keeper));
        let beside = PathBuf::from(beside);
        drop(fs::remove_file(&beside));
        self.write(&beside)?;
        fs::rename(&beside, path).inspect_err(|_| drop(fs::remove_file(&beside)))?;
        Ok(())
    }

    /// Whether the process that keeps the seat is there and runs: one that was stopped renews nothing.
    pub(crate) fn is_kept(&self) -> bool {
        began(self.keeper) == Some(self.keeper_began) && !self.stands_still()
    }

    /// Whether the process that keeps the seat was stopped, if it is there.
    pub(crate) fn stands_still(&self) -> bool {
        Stat::of(self.keeper).is_some_and(|stat| stat.is_stopped())
    }
}

/// What the keeper hears.
enum Heard {
    /// The process that the seat is for has ended.
    Ended,
    Lost(Loss),
    Regained,
    Signal(i32),
    Warned(Warning),
}

fn there_already(path: &Path) -> Failure {
    Failure::usage(format_args!("{} exists already", escape(&path.to_string_lossy())))
        .hint("is a seat held with it? `triquest-lm release` gives it back and removes the file")
}

/// The leader of this session, if it lives and is seen from here (a container may hide it).
fn session() -> Option<i32> {
    let session = Stat::of("self")?.session().filter(|session| *session > 0)?;
    began(session).map(|_| session)
}

/// When a process began, if it is there.
pub(crate) fn began(pid: i32) -> Option<u64> {
    // One that has ended and that nobody has waited for is there no more.
    Stat::of(pid).filter(|stat| !stat.has_ended())?.began()
}

impl CheckoutCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        // Before a seat is taken for nothing.
        if let Some(path) = &self.lease_file
            && fs::symlink_metadata(path).is_ok()
        {
            return Err(there_already(path));
        }
        if self.on_lost != OnLost::Warn && self.until.is_none() {
            return Err(Failure::usage("--on-lost needs the process that it is about").hint("--for PID names it; `--for $$` is the script"));
        }
        if self.hold || self.keeper {
            return self.keep(terminal);
        }
        self.leave_a_keeper(terminal)
    }

    /// Starts a process that takes and keeps the seat, and waits until it has it. What it says on standard error is seen as ours.
    fn leave_a_keeper(&self, terminal: &Terminal) -> Result<u8, Failure> {
        let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
        arguments.push("--keeper".into());
        if self.until.is_none()
            && let Some(session) = session()
        {
            arguments.push("--for".into());
            arguments.push(session.to_string().into());
        }
        let mut child = Command::new(std::env::current_exe()?).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        // The keeper lets go of it when the seat is there. A path may be any bytes, line ends too.
        let mut path = Vec::new();
        child.stdout.take().expect("standard output was piped").read_to_end(&mut path)?;
        if let Some(path) = path.strip_suffix(b"\n") {
            terminal.path(Path::new(OsStr::from_bytes(path)))?;
            return Ok(exit::OK);
        }
        let status = child.wait()?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILURE))
    }

    fn keep(&self, terminal: &Terminal) -> Result<u8, Failure> {
        if self.keeper {
            // Until the seat is there, who asked for it must be there too.
            sys::end_with_parent();
        }
        let until = self.until.map(watched).transpose()?;
        let client = self.seat.client()?;
        let (sender, ends) = mpsc::channel();
        let cancel = triquest_client::Cancel::new();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
        // Whoever ends the keeper wants no seat any more: at once, also where the keeper is busy or was stopped for a while.
        let releaser: Arc<OnceLock<Releaser>> = Arc::default();
        let ends_at_once = |cancel: &triquest_client::Cancel| {
            let (cancel, releaser) = (cancel.clone(), releaser.clone());
            move || {
                cancel.cancel();
                releaser.get().inspect(|releaser| releaser.release());
            }
        };
        let (by_signal, end) = (sender.clone(), ends_at_once(&cancel));
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in &mut signals {
                if signal != SIGUSR1 {
                    end();
                }
                let _ = by_signal.send(Heard::Signal(signal));
            }
        })?;
        if let Some(process) = until {
            watch(process, sender.clone(), ends_at_once(&cancel))?;
        }
        let talk = *terminal;
        let names = self.seat.names();
        let (lost, warned, regained) = (sender.clone(), sender.clone(), sender);
        let mut checkout = self.seat.checkout(&client);
        if let Some(process) = self.until {
            // It uses the seat; the keeper would tell administrators nothing.
            checkout = checkout.process(format!("{process}:{}", sys::name_of(process)));
        }
        let seat = checkout
            .cancel(&cancel)
            .on_late(move |warning| drop(warned.send(Heard::Warned(warning))))
            .on_lost(move |error| drop(lost.send(Heard::Lost(error.into()))))
            .on_regained(move || drop(regained.send(Heard::Regained)))
            .on_held_up(move |held_up| talk.verb("Waiting", held_up_line(&held_up)))
            .on_waiting(move |line| talk.verb("Waiting", waiting_line(&line)))
            .take()
            .map_err(|error| failed(&error, &self.seat))?;
        let _ = releaser.set(seat.releaser());
        let path = self.lease_path(&seat)?;
        let mut file = LeaseFile {
            format: LEASE_FILE_FORMAT.to_owned(),
            lease: seat.lease(),
            secret: seat.secret(),
            server_key: seat.server_key().map(|key| key.to_string()).unwrap_or_default(),
            servers: client.servers().to_string(),
            verifier_keys: client.verifier_keys().to_string(),
            features: self.seat.feature.iter().map(|wanted| wanted.feature.clone()).collect(),
            keeper: rustix::process::getpid().as_raw_nonzero().get(),
            keeper_began: began(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or(0),
            held: true,
            heard_ms: heard_ms(&seat),
            unheard_ms: None,
            ttl_ms: seat.grant().map_or(0, |grant| grant.ttl_ms),
            ending: None,
            given_back: false,
            lost: None,
        };
        if let Err(failure) = file.write(&path) {
            give_back(terminal, seat, &names, None);
            return Err(failure);
        }
        terminal.verb("Granted", format_args!("{names}, lease {}", &file.lease.to_string()[..8]));
        let told = if self.keeper { leave(&path) } else { terminal.path(&path) };
        if let Err(failure) = told {
            drop(fs::remove_file(&path));
            give_back(terminal, seat, &names, None);
            return Err(failure);
        }
        let ended_by = self.until_given_back(terminal, &seat, &ends, &mut file, &path);
        // Who reads the file meanwhile, or finds it if nobody hears the release, sees what it is still good for.
        file.held = false;
        file.given_back = true;
        file.heard_ms = heard_ms(&seat);
        drop(file.replace(&path));
        let later = format!("when the server answers again: triquest-lm release {}", escape(&path.to_string_lossy()));
        if give_back(terminal, seat, &names, Some(&later)) {
            drop(fs::remove_file(&path));
        }
        Ok(match ended_by {
            Some(signal) if self.hold && signal != SIGINT => 128 + u8::try_from(signal).unwrap_or(127),
            _ if self.hold && file.lost.is_some() => exit::LOST,
            _ => exit::OK,
        })
    }

    /// Until a signal, or the end of the process that the seat is for. What becomes of the seat meanwhile is written into the lease file, and done to that
    /// process.
    fn until_given_back(
        &self,
        terminal: &Terminal,
        seat: &Seat,
        heard: &Receiver<Heard>,
        file: &mut LeaseFile,
        path: &Path,
    ) -> Option<i32> {
        let name = self.until.map_or_else(|| "what uses it".to_owned(), |process| format!("process {process}"));
        let mut program = Program::new(self.on_lost, self.until.and_then(Pid::from_raw), name, self.seat.names());
        loop {
            match program.receive(heard) {
                // `seat` wants to know. What is new of a loss comes as another event.
                Ok(Heard::Signal(SIGUSR1)) => {
                    if seat.confirm(Duration::from_millis(CONFIRM_MS_MAX)) && seat.is_promised() {
                        file.heard_ms = heard_ms(seat);
                        file.unheard_ms = None;
                        file.ending = Ending::of(seat);
                    } else if seat.phase() == Phase::Lost {
                        // Why comes as the next event, and is written then.
                        continue;
                    } else {
                        file.unheard_ms = Some(jiff::Timestamp::now().as_millisecond());
                    }
                    self.note(terminal, file, path);
                }
                Ok(Heard::Signal(signal)) => {
                    // Whoever gave the seat back did so for a program that goes on.
                    program.go_on();
                    return Some(signal);
                }
                Ok(Heard::Ended) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => program.is_due(terminal),
                Ok(Heard::Warned(warning)) => {
                    program.warned(terminal, &warning);
                    if let Some(ending) = Ending::of(seat) {
                        file.heard_ms = heard_ms(seat);
                        file.unheard_ms = None;
                        file.ending = Some(ending);
                        self.note(terminal, file, path);
                    }
                }
                Ok(Heard::Lost(loss)) => {
                    program.lost(terminal, &loss);
                    file.held = false;
                    file.ending = None;
                    file.heard_ms = jiff::Timestamp::now().as_millisecond();
                    file.lost = Some(loss.why);
                    self.note(terminal, file, path);
                }
                Ok(Heard::Regained) => {
                    // It may be another lease than before, which another secret gives back.
                    file.held = true;
                    file.heard_ms = heard_ms(seat);
                    file.unheard_ms = None;
                    file.ending = None;
                    file.ttl_ms = seat.grant().map_or(0, |grant| grant.ttl_ms);
                    file.lease = seat.lease();
                    file.secret = seat.secret();
                    file.server_key = seat.server_key().map(|key| key.to_string()).unwrap_or_default();
                    self.note(terminal, file, path);
                    program.regained(terminal);
                }
            }
        }
    }

    fn note(&self, terminal: &Terminal, file: &LeaseFile, path: &Path) {
        if let Err(failure) = file.replace(path) {
            terminal.failure(&failure);
        }
    }

    fn lease_path(&self, seat: &Seat) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.lease_file {
            return Ok(std::path::absolute(path)?);
        }
        let uid = rustix::process::geteuid().as_raw();
        // A batch job inherits the variable from a login on another machine, where its folder is: what is not there is as if it were not set.
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute() && folder.is_dir());
        let folder = match runtime {
            Some(folder) => folder.join("triquest-lm"),
            None => std::env::temp_dir().join(format!("triquest-lm-{uid}")),
        };
        let created = fs::DirBuilder::new().mode(0o700).create(&folder);
        if let Err(cause) = created
            && cause.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(Failure::new(format_args!("cannot make the folder {}: {cause}", escape(&folder.to_string_lossy())))
                .hint("name a place for the lease file: --lease-file FILE"));
        }
        let metadata = fs::symlink_metadata(&folder)?;
        if !metadata.is_dir() || metadata.uid() != uid || metadata.mode() & 0o077 != 0 {
            return Err(Failure::new(format_args!("the folder {} belongs to or is open to others", escape(&folder.to_string_lossy())))
                .hint("name a place for the lease file: --lease-file FILE"));
        }
        Ok(folder.join(format!("{}.lease", seat.lease())))
    }
}

fn process_number(text: &str) -> Result<i32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        format!("`{text}` is no number of a process; in a script `--for $$` names the script, and `$!` what it started last")
    })
}

/// A handle on a process that no later one with its number can take over.
fn watched(pid: i32) -> Result<OwnedFd, Failure> {
    let process = Pid::from_raw(pid).ok_or_else(|| Failure::usage(format_args!("there is no process {pid}")))?;
    pidfd_open(process, PidfdFlags::empty())
        .map_err(|cause| Failure::usage(format_args!("cannot watch process {pid} for its end: {}", io::Error::from(cause))))
}

fn watch(process: OwnedFd, sender: Sender<Heard>, end: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new().name("watch".into()).spawn(move || {
        while let Err(rustix::io::Errno::INTR) = poll(&mut [PollFd::new(&process.as_fd(), PollFlags::IN)], None) {}
        end();
        let _ = sender.send(Heard::Ended);
    })?;
    Ok(())
}

/// Tells the path and leaves: from now on Ctrl-C in the script, or its end, is no word to the keeper; that the process ends for which the seat is held is.
/// The script's pipes are let go, so that `$(...)` ends; a terminal or a file stays, for what happens to the seat.
fn leave(path: &Path) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(None).map_err(io::Error::from)?;
    // It fails only in a process that leads its group, which has left already.
    let _ = setsid();
    let mut line = path.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()?;
    let nothing = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).map_err(io::Error::from)?;
    rustix::stdio::dup2_stdout(&nothing).map_err(io::Error::from)?;
    let stays = fstat(io::stderr())
        .is_ok_and(|stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::CharacterDevice | FileType::RegularFile));
    if !stays {
        rustix::stdio::dup2_stderr(&nothing).map_err(io::Error::from)?;
    }
    Ok(())
}
