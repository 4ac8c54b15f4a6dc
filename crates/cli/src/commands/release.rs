//! `release`: gives back what `checkout` took.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use triquest_client::Client;

use crate::{
    commands::{
        checkout::{LeaseFile, began},
        run::{RELEASE_MS_MAX, comes_free, with_places},
    },
    failure::{Failure, code_of, exit},
    keyfile::shown,
    terminal::{Terminal, escape},
};

/// The keeper is given so long to give its seat back.
const KEEPER_S_MAX: i64 = 10;

/// `release FILE...`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 given back; 76 the seat had been lost meanwhile (what is held again is given back); 75 no server answered: the seat comes \
free by itself at the end of its time to live, and the lease file stays, so that this can be repeated; 77 the server refuses it for good; 1 there is no such \
lease file.")]
pub(crate) struct ReleaseCommand {
    /// Lease files, as `triquest-lm checkout` printed them
    #[arg(required = true, value_name = "LEASE-FILE")]
    files: Vec<PathBuf>,
}

impl ReleaseCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let mut first = None;
        for path in &self.files {
            let released = LeaseFile::read(path).and_then(|file| {
                let end = release(&file, path)?;
                // The keeper has removed it, unless it was killed.
                drop(fs::remove_file(path));
                let names = escape(&file.features.join(", ")).into_owned();
                let lease = &file.lease.to_string()[..8];
                match (end.lost, end.had_ended) {
                    (None, None) => {
                        terminal.verb("Released", format_args!("{names}, lease {lease}"));
                        Ok(())
                    }
                    // Given back when its keeper ended, though no server heard it then: what it was for ran no longer.
                    (None, Some(_)) if file.given_back => {
                        terminal.verb("Released", format_args!("{names}, lease {lease}: it had come free by itself"));
                        Ok(())
                    }
                    (lost, had_ended) => {
                        let end = match had_ended {
                            None if file.held => "it was held again at the end, and is given back",
                            None => "the server still had it, and it is given back",
                            Some(_) => "there was nothing to give back",
                        };
                        let why = lost.or(had_ended).unwrap_or_default();
                        Err(Failure::new(format_args!("the seat of {names} had been lost: {}; {end}", escape(&why)))
                            .hint("what ran meanwhile ran without a seat for some time; `checkout --on-lost` can stop or end it")
                            .with_code(exit::LOST))
                    }
                }
            });
            if let Err(failure) = released {
                if self.files.len() > 1 {
                    terminal.failure(&failure);
                }
                first.get_or_insert(failure);
            }
        }
        match first {
            None => Ok(exit::OK),
            Some(failure) if self.files.len() > 1 => Ok(failure.code()),
            Some(failure) => Err(failure),
        }
    }
}

/// What became of a seat at its end.
struct End {
    /// Why its keeper had lost it the last time, if it ever had.
    lost: Option<String>,
    /// Why the server had ended it before, so that nothing was given back.
    had_ended: Option<String>,
}

/// Gives the seat back: by its keeper, if that runs, and by its secret in any case.
fn release(file: &LeaseFile, path: &Path) -> Result<End, Failure> {
    let kept = file.is_kept();
    let keeper = tell_keeper(file);
    if let Some(keeper) = keeper.as_ref().filter(|_| kept) {
        ends(keeper);
    }
    // Also if the keeper did it: a repeat gets the same answer, and this one is heard.
    let failed = |error: triquest_client::Error| {
        let code = code_of(&error);
        // Its keeper knows better since when it was renewed, and has written it down at its end.
        let (heard_ms, ttl_ms) = LeaseFile::read(path).map_or((file.heard_ms, file.ttl_ms), |file| (file.heard_ms, file.ttl_ms));
        let (why, free) = (escape(error.explanation()), comes_free(heard_ms, ttl_ms));
        let failure = with_places(Failure::new(format_args!("the seat was not given back: {why}; so {free}")), &error).with_code(code);
        match code {
            exit::LATER => failure.hint(format_args!("when the server answers again: triquest-lm release {}", shown(path))),
            _ => failure.hint(escape(error.hint().unwrap_or_default())),
        }
    };
    let server = file.server_key.parse().map_err(|_| Failure::usage("the lease file names no server key"))?;
    let client = Client::builder().servers(&file.servers).verifier_keys(&file.verifier_keys).accept_any_server().build().map_err(failed)?;
    // The keeper has tried it for its time.
    let within = Duration::from_millis(if kept { 0 } else { RELEASE_MS_MAX });
    let released = client.release(file.secret, &server, within);
    if let Some(keeper) = keeper.as_ref().filter(|_| !kept) {
        // It stood still, and goes on only to end: what it asked for before is given back, and nothing new is asked for.
        let _ = pidfd_send_signal(keeper, Signal::CONT);
        ends(keeper);
    }
    let had_ended = released.map_err(failed)?.map(|reason| {
        let reason = triquest_client::ended(reason);
        if kept { reason.to_owned() } else { format!("the process that kept it had ended or was stopped, and {reason}") }
    });
    Ok(End { lost: file.lost.clone(), had_ended })
}

/// Tells the process that keeps the seat to end, if it is still that process. One that was stopped hears it when it goes on.
fn tell_keeper(file: &LeaseFile) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(file.keeper)?, PidfdFlags::empty()).ok()?;
    // Looked at after the handle was opened: what it names now cannot change any more.
    if began(file.keeper) != Some(file.keeper_began) || pidfd_send_signal(&process, Signal::TERM).is_err() {
        return None;
    }
    Some(process)
}

/// Waits for the keeper's end, for as long as it is given.
fn ends(process: &OwnedFd) {
    let within = Timespec { tv_sec: KEEPER_S_MAX, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&within));
}
