//! `server id` and `server avahi-service`: what this machine's server is, and how Avahi announces it.

use std::net::SocketAddr;

use triquest_license::SigningKey;
use triquest_server::{
    Overrides, Settings,
    discovery::{Announced, avahi},
    identity::{Runtime, server_key},
};
use triquest_wire::status::ServerId;

use crate::{
    admin::{Admin, DataDir},
    failure::{Failure, exit},
    terminal::Terminal,
};

/// What can be asked about the server of this machine.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServerCommand {
    /// Print the file with which Avahi announces this machine's server by mDNS
    ///
    /// Where Avahi runs, it does mDNS for everybody on the machine, and the server leaves it to Avahi:
    /// triquest-lm server avahi-service | sudo tee /etc/avahi/services/triquest-lm.service
    #[command(verbatim_doc_comment)]
    AvahiService(AvahiServiceCommand),
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

/// `server avahi-service`.
#[derive(Debug, clap::Args)]
pub(crate) struct AvahiServiceCommand {
    #[command(flatten)]
    data: DataDir,
}

impl ServerCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        match self {
            Self::AvahiService(command) => command.run(terminal),
            Self::Id(command) => command.run(terminal),
        }
    }
}

impl AvahiServiceCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let key = triquest_license::ServerKey::new(*read_server_key(&self.data)?.public());
        let (addresses, udp) = match Runtime::read(&self.data.path()) {
            Some(runtime) => {
                let udp = runtime.udp.iter().map(SocketAddr::port).collect();
                (runtime.addresses, udp)
            }
            None => self.configured()?,
        };
        let Some(address) = addresses.iter().find(|address| !address.ip().is_loopback()) else {
            return Err(Failure::new("the server of this machine listens to the machine itself only, so there is nothing to announce")
                .hint("let it listen on the network: `listen` in its configuration, or `triquest-lm serve --listen`"));
        };
        let announced = Announced::here(address.port(), &key.to_string());
        terminal.data(avahi::service_file(&announced, udp.contains(&address.port())).trim_end());
        Ok(exit::OK)
    }

    /// Where the server would listen, and the ports at which it would answer over UDP.
    fn configured(&self) -> Result<(Vec<SocketAddr>, Vec<u16>), Failure> {
        let overrides = Overrides { data: Some(self.data.path()), ..Overrides::default() };
        let settings = Settings::load(None, overrides, &|name| std::env::var_os(name))?;
        let mut addresses = settings.config.listen_addresses()?;
        if addresses.is_empty() {
            addresses.push(triquest_server::Config::DEFAULT_LISTEN);
        }
        let ports = addresses.iter().map(SocketAddr::port).filter(|_| settings.config.discovery.udp.0).collect();
        Ok((addresses, ports))
    }
}

impl IdCommand {
    fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        if self.json {
            let id: ServerId = Admin::connect(&self.data)?.get("/v1/server/id")?;
            terminal.json(&id)?;
            return Ok(exit::OK);
        }
        // A running server says it to its administrators; else, also where it hangs, the key file says it to its owner.
        match Admin::connect(&self.data).and_then(|admin| admin.get::<ServerId>("/v1/server/id")) {
            Ok(id) => terminal.data(id.server_key),
            Err(unreached) => {
                let key = read_server_key(&self.data)
                    .map_err(|unread| if Runtime::read(&self.data.path()).is_some() { unreached } else { unread })?;
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
    Ok(server_key(&path)?)
}
