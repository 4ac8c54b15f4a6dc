//! `presence allow`: an administrator lets dead processes free their seats at once again, in one network.

use triquest_wire::status::AllowPresenceRequest;

use crate::{
    admin::{Admin, DataDir},
    failure::{Failure, exit},
    terminal::{Terminal, escape},
};

/// What can be done about the early freeing of seats.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PresenceCommand {
    /// Let presence free seats early again in a network, before its day is over
    Allow(AllowCommand),
}

/// `presence allow NETWORK --reason WHY`.
#[derive(Debug, clap::Args)]
pub(crate) struct AllowCommand {
    /// The network, as `status` shows it, or an address in it; `*` for all
    network: String,
    /// Why, for the record
    #[arg(long, value_parser = crate::admin::reason)]
    reason: String,
    #[command(flatten)]
    data: DataDir,
}

impl PresenceCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let Self::Allow(command) = self;
        let admin = Admin::connect(&command.data)?;
        let asked = AllowPresenceRequest { network: command.network, reason: command.reason };
        match admin.accept("/v1/presence/allow", &asked)? {
            None => terminal.verb("Allowed", format_args!("early freeing of seats for {}", escape(&asked.network))),
            Some(why) => terminal.verb("Unchanged", escape(&why)),
        }
        Ok(exit::OK)
    }
}
