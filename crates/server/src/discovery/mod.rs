//! How clients find this server: the identity datagram over UDP, and mDNS where it is switched on. `docs/reference/discovery.md` is the page.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};
use triquest_wire::limits::INTERFACES_READ_MS;

use self::{
    links::{AllowedInterfaces, Link},
    mdns::Mdns,
    responder::Responder,
    udp::Answering,
};
use crate::{config::Config, http::App};

pub mod avahi;
pub mod links;
mod mdns;
pub mod responder;
mod udp;

/// The sockets that UDP got at the start.
#[derive(Debug, Default)]
pub struct UdpSockets {
    /// Bound, each to the address and port of a TCP listener.
    pub bound: Vec<UdpSocket>,
    /// What could not be had, and who has it.
    pub faults: Vec<String>,
}

/// What of discovery works, for the administrator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Where questions over UDP are answered.
    pub udp: Vec<SocketAddr>,
    /// Why not at other addresses.
    pub faults: Vec<String>,
    /// What became of mDNS.
    pub mdns: MdnsState,
}

/// What became of mDNS. Kept alphabetical.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MdnsState {
    /// The server announces itself, under this name.
    Announced(String),
    /// Avahi runs here and has a file for this server.
    ByAvahi,
    /// It did not work, and this is why.
    Failed(String),
    /// Avahi runs here and has no file for this server yet.
    NeedsAvahiFile,
    /// The server listens to its own machine only.
    NothingToAnnounce,
    /// Not asked for.
    #[default]
    Off,
}

/// What DNS-SD says of a server. Vendors, features and load are nobody's business on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The name of the instance: the machine's, without its domain.
    pub name: String,
    /// The port of both services.
    pub port: u16,
    /// The server's key.
    pub server_key: String,
    /// The program's version.
    pub version: String,
}

impl Announced {
    /// The registered name of the service over TLS.
    pub const TCP: &str = "_triquest-lm._tcp";
    /// The registered name of the identity datagram.
    pub const UDP: &str = "_triquest-lm._udp";

    /// For this machine.
    #[must_use]
    pub fn here(port: u16, server_key: &str) -> Self {
        let machine = crate::sys::host_name();
        let name = machine.split('.').next().filter(|name| !name.is_empty()).unwrap_or("triquest-lm").to_owned();
        Self { name, port, server_key: server_key.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// The TXT record (RFC 6763, section 6).
    #[must_use]
    pub fn txt(&self) -> [(&'static str, String); 4] {
        [("txtvers", "1".to_owned()), ("key", self.server_key.clone()), ("path", "/".to_owned()), ("version", self.version.clone())]
    }
}

/// Discovery while it runs.
pub struct Discovery {
    found: Found,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    mdns: Option<Mdns>,
}

impl Discovery {
    /// Starts what the configuration asks for. What does not work is said and left out: TCP is the service.
    #[must_use]
    pub fn start(app: &Arc<App>, sockets: UdpSockets, tcp: &[SocketAddr], config: &Config) -> Self {
        let (stop, stopping) = watch::channel(false);
        let allowed = AllowedInterfaces::new(&config.discovery.interfaces);
        let mut this = Self { found: Found { faults: sockets.faults, ..Found::default() }, stop, tasks: Vec::new(), mdns: None };
        this.answer_udp(app, sockets.bound, &allowed, &stopping);
        if config.discovery.mdns {
            this.announce(app, tcp, &allowed);
        }
        for fault in &this.found.faults {
            tracing::warn!("{fault}; clients are served over TCP all the same, and are not found over UDP");
        }
        match &this.found.mdns {
            MdnsState::Failed(_) | MdnsState::NeedsAvahiFile | MdnsState::NothingToAnnounce => tracing::warn!("{}", this.found.mdns),
            MdnsState::Announced(_) | MdnsState::ByAvahi => tracing::info!("{}", this.found.mdns),
            MdnsState::Off => {}
        }
        this
    }

    /// What of it works.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Ends it, and tells the network so.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        if let Some(mdns) = self.mdns {
            let _ = tokio::task::spawn_blocking(|| mdns.withdraw()).await;
        }
    }

    fn answer_udp(&mut self, app: &Arc<App>, sockets: Vec<UdpSocket>, allowed: &AllowedInterfaces, stopping: &watch::Receiver<bool>) {
        if sockets.is_empty() {
            return;
        }
        let links = Link::read(allowed);
        let responder = Arc::new(Mutex::new(Responder::new(links.clone())));
        let mut for_everybody = Vec::new();
        for socket in sockets {
            let local = socket.local_addr();
            match local.and_then(|local| Ok((local, Answering::new(app, &responder, socket)?))) {
                Ok((local, answering)) => {
                    self.found.udp.push(local);
                    udp::join_groups(&answering.socket, &links);
                    for_everybody.push(Arc::clone(&answering.socket));
                    self.tasks.push(tokio::spawn(answering.run(stopping.clone())));
                }
                Err(cause) => self.found.faults.push(format!("cannot answer over UDP: {cause}")),
            }
        }
        let (allowed, mut stopping) = (allowed.clone(), stopping.clone());
        self.tasks.push(tokio::spawn(async move {
            // Networks come and go while a server runs: cables, wireless, addresses given out late.
            let mut known = links;
            loop {
                tokio::select! {
                    _ = stopping.changed() => return,
                    () = tokio::time::sleep(Duration::from_millis(INTERFACES_READ_MS)) => {}
                }
                let links = Link::read(&allowed);
                if links != known {
                    for_everybody.iter().for_each(|socket| udp::join_groups(socket, &links));
                    responder.lock().set_links(links.clone());
                    known = links;
                }
            }
        }));
    }

    fn announce(&mut self, app: &Arc<App>, tcp: &[SocketAddr], allowed: &AllowedInterfaces) {
        let Some(first) = tcp.iter().find(|address| !address.ip().is_loopback()) else {
            self.found.mdns = MdnsState::NothingToAnnounce;
            return;
        };
        // Two that speak mDNS on one machine disturb each other (RFC 6762, section 15), and Avahi does it for everybody.
        if avahi::runs() {
            self.found.mdns = if avahi::has_service_file() { MdnsState::ByAvahi } else { MdnsState::NeedsAvahiFile };
            return;
        }
        let everywhere = tcp.iter().any(|address| address.ip().is_unspecified());
        let same_port = tcp.iter().filter(|address| address.port() == first.port() && !address.ip().is_loopback());
        let addresses: Vec<IpAddr> = if everywhere { Vec::new() } else { same_port.map(SocketAddr::ip).collect() };
        let announced = Announced::here(first.port(), &app.server_key.to_string());
        let udp = self.found.udp.iter().any(|address| address.port() == first.port());
        self.found.mdns = match Mdns::announce(&announced, &addresses, udp, allowed) {
            Ok(mdns) => {
                self.mdns = Some(mdns);
                MdnsState::Announced(announced.name)
            }
            Err(cause) => MdnsState::Failed(cause),
        };
    }
}

impl fmt::Display for Found {
    /// What the administrator reads at the start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ports: Vec<u16> = self.udp.iter().map(SocketAddr::port).collect();
        ports.dedup();
        match (ports.as_slice(), self.faults.as_slice()) {
            ([], []) => f.write_str("UDP is off")?,
            ([], faults) => f.write_str(&faults.join("; "))?,
            (ports, faults) => {
                let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "UDP {ports}")?;
                faults.iter().try_for_each(|fault| write!(f, "; {fault}"))?;
            }
        }
        if self.mdns != MdnsState::Off {
            write!(f, "; {}", self.mdns)?;
        }
        Ok(())
    }
}

impl fmt::Display for MdnsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announced(name) => write!(f, "mDNS announces {name}"),
            Self::ByAvahi => write!(f, "mDNS by Avahi, from {}", avahi::SERVICE_FILE),
            Self::Failed(cause) => write!(f, "mDNS failed: {cause}"),
            Self::NeedsAvahiFile => {
                write!(f, "Avahi runs here and does mDNS; tell it: triquest-lm server avahi-service | sudo tee {}", avahi::SERVICE_FILE)
            }
            Self::NothingToAnnounce => f.write_str("mDNS announces nothing: the server listens to its own machine only"),
            Self::Off => f.write_str("mDNS is off"),
        }
    }
}
