//! `clock accept`: an administrator vouches for the server's civil time.

use triquest_wire::status::AcceptRequest;

use crate::{
    admin::{Admin, DataDir},
    failure::{Failure, exit},
    terminal::{Terminal, escape},
};

/// What can be done about the clock.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClockCommand {
    /// Believe the server's wall clock as it stands now, after a jump that it held back
    Accept(AcceptCommand),
}

/// `clock accept --reason WHY`.
#[derive(Debug, clap::Args)]
pub(crate) struct AcceptCommand {
    /// Why, for the record
    #[arg(long, value_parser = crate::admin::reason)]
    reason: String,
    #[command(flatten)]
    data: DataDir,
}

impl ClockCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let Self::Accept(command) = self;
        let admin = Admin::connect(&command.data)?;
        if let Some(why) = admin.accept("/v1/clock/accept", &AcceptRequest { reason: command.reason })? {
            terminal.verb("Unchanged", escape(&why));
            return Ok(exit::OK);
        }
        let status = admin.status(None)?;
        terminal.verb("Accepted", format_args!("the server's clock: it is {}", escape(&status.time_at)));
        Ok(exit::OK)
    }
}
