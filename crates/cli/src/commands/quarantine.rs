//! `quarantine end`: an administrator lets a restored or rolled back server grant again.

use triquest_wire::status::AcceptRequest;

use crate::{
    admin::{Admin, DataDir},
    failure::{Failure, exit},
    terminal::{Terminal, escape},
};

/// What can be done about the quarantine of a restored server.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Grant seats again now, although seats that were granted in lost history may still be in use
    End(EndCommand),
}

/// `quarantine end --reason WHY`.
#[derive(Debug, clap::Args)]
pub(crate) struct EndCommand {
    /// Why, for the record
    #[arg(long, value_parser = crate::admin::reason)]
    reason: String,
    #[command(flatten)]
    data: DataDir,
}

impl QuarantineCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let Self::End(command) = self;
        let admin = Admin::connect(&command.data)?;
        match admin.accept("/v1/quarantine/end", &AcceptRequest { reason: command.reason })? {
            None => terminal.verb("Ended", format_args!("the quarantine: seats are granted again")),
            Some(why) => terminal.verb("Unchanged", escape(&why)),
        }
        Ok(exit::OK)
    }
}
