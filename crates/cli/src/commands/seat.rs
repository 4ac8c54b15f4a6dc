//! `seat`: whether a seat that `checkout` took still holds.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use crate::{
    commands::checkout::{CONFIRM_MS_MAX, LeaseFile},
    failure::{Failure, exit},
    sys,
    terminal::{Terminal, duration, escape},
};

/// The keeper writes what it has heard within this, if it is not busy with a call.
const ANSWER_MS_MAX: u64 = CONFIRM_MS_MAX + 500;
/// The lease file is looked at so often meanwhile.
const LOOK_MS: u64 = 20;
/// Two clocks that count whole milliseconds may differ by so much.
const ROUNDING_MS: i64 = 3;

/// `seat FILE`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For scripts, between two steps of long work:

  triquest-lm seat \"$lease\" || exit

The process that keeps the seat asks the server now, for two seconds at most. If no server answers, what it heard last counts, and \
how long ago that was is said: a seat is not lost because its server is away for a moment. A seat that will not be renewed (it was \
reclaimed, or its license ends) holds for the time that is said.

Exit codes: 0 it holds, without any loss since it was taken; 76 it was lost, or its keeper is gone; 1 there is no such lease file.")]
pub(crate) struct SeatCommand {
    /// The lease file, as `triquest-lm checkout` printed it
    #[arg(value_name = "LEASE-FILE")]
    file: PathBuf,
    /// As JSON: {"held": true, "answered": whether the server said so now, "heard_ms": how long ago it did, "ending_ms": in how long it ends for good or null, "ending": "why", "lost": "why, the last time"}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct State {
    held: bool,
    answered: bool,
    heard_ms: u64,
    ending_ms: Option<u64>,
    ending: Option<String>,
    lost: Option<String>,
}

impl SeatCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let (file, answered) = ask(&self.file)?;
        let kept = file.is_kept();
        let lost = match &file.lost {
            None if file.given_back => Some("it was given back, and no server has confirmed that".to_owned()),
            None if !kept => Some("the process that kept it has ended or was stopped, and nobody renews it".to_owned()),
            lost => lost.clone(),
        };
        // A time that is yet to come is no older than now: the clock was set back, or the file was written by hand.
        let now = jiff::Timestamp::now().as_millisecond();
        let ago = now.saturating_sub(file.heard_ms);
        let state = State {
            held: file.held && kept,
            answered,
            heard_ms: u64::try_from(ago).unwrap_or(0),
            ending_ms: file.ending.as_ref().map(|ending| u64::try_from(ending.until_ms.saturating_sub(now)).unwrap_or(0)),
            ending: file.ending.as_ref().map(|ending| ending.why.clone()),
            lost,
        };
        if self.json {
            terminal.json(&state)?;
        }
        let names = escape(&file.features.join(", ")).into_owned();
        match &state.lost {
            None => {
                if !self.json {
                    let ago = if answered {
                        String::new()
                    } else {
                        format!(", as it was {} ago; no server answers now", duration(state.heard_ms))
                    };
                    let lease = &file.lease.to_string()[..8];
                    match (state.ending_ms, &state.ending) {
                        (Some(left_ms), Some(why)) => {
                            let left = duration(left_ms);
                            terminal.verb("Ending", format_args!("{names}, lease {lease}, in {left}: {}{ago}", escape(why)));
                        }
                        _ => terminal.verb("Held", format_args!("{names}, lease {lease}{ago}")),
                    }
                }
                Ok(exit::OK)
            }
            Some(_) if self.json => Ok(exit::LOST),
            Some(why) => {
                let now = if state.held { "it is held again" } else { "it is not held now" };
                Err(Failure::new(format_args!("the seat of {names} was lost: {}; {now}", escape(why)))
                    .hint("`triquest-lm release` gives back what is held, and `checkout` takes a seat anew")
                    .with_code(exit::LOST))
            }
        }
    }
}

/// Lets the keeper ask the server, and reads what it has written then, and whether that is the server's answer of now. What it knew before counts if nothing
/// new comes in time.
fn ask(path: &Path) -> Result<(LeaseFile, bool), Failure> {
    let began = jiff::Timestamp::now().as_millisecond();
    let file = LeaseFile::read(path)?;
    let Some(pid) = Pid::from_raw(file.keeper) else { return Ok((file, false)) };
    let Ok(keeper) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok((file, false)) };
    // Looked at after the handle was opened: what it names now cannot change any more. Whoever has no handler, whatever the file says, would end by it.
    if !file.held || !file.is_kept() || !sys::catches(pid, Signal::USR1) || pidfd_send_signal(&keeper, Signal::USR1).is_err() {
        return Ok((file, false));
    }
    for _ in 0..ANSWER_MS_MAX / LOOK_MS {
        if sys::ends_by(&keeper, LOOK_MS) {
            break;
        }
        let now = LeaseFile::read(path)?;
        // Whatever the time before it was: that may be yet to come.
        if now.heard_ms != file.heard_ms && now.heard_ms >= began - ROUNDING_MS {
            return Ok((now, true));
        }
        if now.lost != file.lost || !now.held {
            return Ok((now, true));
        }
        if now.unheard_ms.is_some() && now.unheard_ms != file.unheard_ms {
            return Ok((now, false));
        }
    }
    Ok((LeaseFile::read(path)?, false))
}
