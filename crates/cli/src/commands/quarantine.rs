//! `quarantine end`: an administrator lets a restored or rolled back server grant again.

use triquest_wire::{NamedLineage, status::EndQuarantineRequest};

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

/// `quarantine end --reason WHY [--lineage LINEAGE]`.
#[derive(Debug, clap::Args)]
pub(crate) struct EndCommand {
    /// The history whose quarantine was looked at, as `status` and `doctor` name it: if another has begun since, nothing ends. Without it the quarantine
    /// that runs when the command is given ends
    #[arg(long)]
    lineage: Option<NamedLineage>,
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
        let lineage = admin.status(None)?.position.lineage;
        let shown = lineage.short();
        if let Some(looked_at) = command.lineage
            && !looked_at.names(&lineage)
        {
            return Err(Failure::new(format_args!("the history {looked_at} has been followed by {shown}, so nothing was ended"))
                .hint("look at `triquest-lm status` again"));
        }
        match admin.accept("/v1/quarantine/end", &EndQuarantineRequest { reason: command.reason, lineage: Some(lineage) })? {
            None => terminal.verb("Ended", format_args!("the quarantine of the history {shown}: seats are granted again")),
            Some(why) => terminal.verb("Unchanged", escape(&why)),
        }
        Ok(exit::OK)
    }
}
