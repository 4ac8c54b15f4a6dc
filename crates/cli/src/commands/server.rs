//! `server id`: what this machine's server is.

use triquest_license::SigningKey;
use triquest_server::identity::{Runtime, existing_server_key};
use triquest_wire::status::ServerId;

use crate::{
    admin::{Admin, DataDir},
    failure::{Failure, exit},
    terminal::Terminal,
};

/// What can be asked about the server of this machine.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServerCommand {
    /// Print the server's key, which licenses name
    Id(IdCommand),
}

/// `server id`.
#[derive(Debug, clap::Args)]
pub(crate) struct IdCommand {
    /// As JSON, with the instance and the history of the running server
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataDir,
}

impl ServerCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let Self::Id(command) = self;
        if command.json {
            let id: ServerId = Admin::connect(&command.data)?.get("/v1/server/id")?;
            terminal.json(&id)?;
            return Ok(exit::OK);
        }
        // A running server says it to its administrators; else the key file says it to its owner.
        match Admin::connect(&command.data) {
            Ok(admin) => terminal.data(admin.get::<ServerId>("/v1/server/id")?.server_key),
            Err(unreached) => {
                let key = read_server_key(&command.data)
                    .map_err(|unread| if Runtime::read(&command.data.path()).is_some() { unreached } else { unread })?;
                terminal.data(triquest_license::ServerKey::new(*key.public()));
            }
        }
        Ok(exit::OK)
    }
}

/// The private key in the data directory, for what the server signs outside of its run.
///
/// # Errors
/// No data directory, no key in it, or not permitted.
pub(crate) fn read_server_key(data: &DataDir) -> Result<SigningKey, Failure> {
    let path = data.path();
    if let Some(failure) = crate::admin::unusable(&path) {
        return Err(failure);
    }
    Ok(existing_server_key(&path)?)
}
