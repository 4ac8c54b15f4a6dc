//! Shell completions and manual pages, made from the same definitions as `--help`. Copies are checked in under `contrib/`.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{
    commands::Cli,
    failure::{Failure, exit},
    terminal::Terminal,
};

/// `completions SHELL`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsCommand {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "triquest-lm", &mut script);
        terminal.raw(&script);
        Ok(exit::OK)
    }
}

/// `man DIR`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManCommand {
    /// The folder, made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        std::fs::create_dir_all(&self.folder)?;
        clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &self.folder)?;
        terminal.verb("Wrote", format_args!("the manual pages into {}", crate::terminal::escape(&self.folder.to_string_lossy())));
        Ok(exit::OK)
    }
}
