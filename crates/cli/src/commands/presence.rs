//! `presence allow`: an administrator lets dead processes free their seats at once again, in one network.

use std::collections::BTreeSet;

use triquest_wire::status::{AllowPresenceRequest, Status};

use crate::{
    admin::{Admin, DataDir},
    failure::{Failure, exit},
    terminal::{Terminal, escape},
};

/// So many networks are named; of more, how many they are.
const NETWORKS_SHOWN: usize = 4;

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
        let off = || admin.get("/v1/status?limit=1").map(|status: Status| status.presence_off.into_iter().map(|off| off.network).collect());
        let before: BTreeSet<String> = off()?;
        match admin.accept("/v1/presence/allow", &asked)? {
            None => {
                // An address in a network that is off as a whole ends it for all of that network, and a network for all that are off in it.
                let after: BTreeSet<String> = off()?;
                let mut ended: Vec<&str> = before.difference(&after).map(String::as_str).collect();
                let more = ended.len().saturating_sub(NETWORKS_SHOWN);
                ended.truncate(NETWORKS_SHOWN);
                let networks = if ended.is_empty() { asked.network.clone() } else { ended.join(", ") };
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                terminal.verb("Allowed", format_args!("early freeing of seats for {}{more}", escape(&networks)));
            }
            Some(why) => terminal.verb("Unchanged", escape(&why)),
        }
        Ok(exit::OK)
    }
}
