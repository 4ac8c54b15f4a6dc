//! `triquest-lm`, the one binary: vendor's tools, server, client's tools.
//!
//! Talk goes to standard error, data to standard output, so that `triquest-lm license show FILE --json | jq` works.

mod admin;
mod commands;
mod failure;
mod keyfile;
mod sys;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::{
    commands::Cli,
    terminal::{ColorWhen, Terminal},
};

/// Each answer is written into memory of its own, on one thread, and freed on another: a checkout costs a fifth less with this one than with glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // `--color` steers clap's own help and errors too, so it is looked for before anything is parsed.
    let color = ColorWhen::from_arguments(std::env::args_os());
    let matches = Cli::command().color(color.for_clap()).get_matches();
    let terminal = Terminal::new(color);
    let outcome = match Cli::from_arg_matches(&matches) {
        Ok(cli) => commands::run(cli, &terminal),
        Err(error) => error.exit(),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}
