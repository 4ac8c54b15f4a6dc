//! `seat`: whether a seat that `checkout` took still holds.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    commands::checkout::LeaseFile,
    failure::{Failure, exit},
    terminal::{Terminal, escape},
};

/// `seat FILE`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For scripts, between two steps of long work:

  triquest-lm seat \"$lease\" || exit

The answer is the keeper's, as old as its last renewal: a seat that was lost since is told at the next one.

Exit codes: 0 it holds, without any loss since it was taken; 76 it was lost, or its keeper is gone; 1 there is no such lease file.")]
pub(crate) struct SeatCommand {
    /// The lease file, as `triquest-lm checkout` printed it
    #[arg(value_name = "LEASE-FILE")]
    file: PathBuf,
    /// As JSON: {"held": true, "lost": "why, the last time"}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct State {
    held: bool,
    lost: Option<String>,
}

impl SeatCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let file = LeaseFile::read(&self.file)?;
        let kept = file.is_kept();
        let lost = match &file.lost {
            None if !kept => Some("the process that kept it has ended or was stopped, and nobody renews it".to_owned()),
            lost => lost.clone(),
        };
        let state = State { held: file.held && kept, lost };
        if self.json {
            terminal.json(&state)?;
        }
        let names = escape(&file.features.join(", ")).into_owned();
        match &state.lost {
            None => {
                if !self.json {
                    terminal.verb("Held", format_args!("{names}, lease {}", &file.lease.to_string()[..8]));
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
