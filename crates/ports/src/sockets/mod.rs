//! Which sockets of this machine listen, and who owns them: the kernel's word, now.
//!
//! A socket whose owner is hidden from this user is listed as held with its owner hidden. It is never dropped and never looks free: `lsof` and
//! `fuser` fail in exactly that as an ordinary user. Whatever could not be looked at is a [`Gap`] of the answer, not a silence.
//!
//! Linux is read from `/proc` and `sock_diag(7)`. Elsewhere the crate `listeners` answers, with less, and untested.
//!
//! Strings come from processes, packages and units that may be hostile. They are bounded, but they are not escaped: that is the printer's job.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, Serializer};

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod package;
mod sys;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(target_os = "linux")]
mod table;

/// Bytes of one kernel table that are read; a million sockets fit.
pub const TABLE_BYTES_MAX: u64 = 160 << 20;
/// Network namespaces that are looked into.
pub const NAMESPACES_MAX: usize = 4_096;
/// Processes that are listed of one shared socket.
pub const HOLDERS_MAX: usize = 64;
/// Words that are kept of a command line.
pub const COMMAND_WORDS_MAX: usize = 64;
/// Bytes that are read of a command line.
pub const COMMAND_BYTES_MAX: u64 = 4_096;
/// Executables whose package is asked for in one answer.
pub const PACKAGES_MAX: usize = 256;
/// How long package managers may take in all.
pub const PACKAGES_TIME_MAX: Duration = Duration::from_secs(3);
/// How long `systemctl` may take to list socket units.
pub const SOCKET_UNITS_TIME_MAX: Duration = Duration::from_millis(700);
/// How long the name service may take for all users that are not in `/etc/passwd`.
pub const USER_NAMES_TIME_MAX: Duration = Duration::from_millis(500);

/// Every listening socket, of one port or of all, sorted by port, protocol and address. A bound UDP socket without a peer listens.
///
/// Processes that end and sockets that close meanwhile are no errors.
///
/// # Errors
/// No table of sockets could be read at all: then nothing is known, and nothing may be called free.
pub fn listening(port: Option<u16>, ask: Ask) -> Result<Listening, Error> {
    let mut found = sys::listening(port, ask)?;
    found.sockets.sort_by_key(Socket::order);
    Ok(found)
}

/// What to ask for beyond what is quick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Look into the other network namespaces that can be seen.
    pub other_namespaces: bool,
    /// Ask the package manager who owns each executable; takes up to [`PACKAGES_TIME_MAX`].
    pub packages: bool,
    /// Ask systemd, where it runs, which socket unit a socket belongs to; takes up to [`SOCKET_UNITS_TIME_MAX`].
    pub socket_units: bool,
}

impl Default for Ask {
    /// Everything but packages.
    fn default() -> Self {
        Self { other_namespaces: true, packages: false, socket_units: true }
    }
}

impl Ask {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { packages: true, ..Self::default() }
    }
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tables of sockets cannot be read.
    #[error("cannot read {path}: {cause}")]
    Table {
        /// Which table.
        path: String,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The crate that answers on this system failed.
    #[error("cannot list the sockets of this machine: {0}")]
    Unsupported(String),
}

/// What listens, and what could not be looked at.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Listening {
    /// The sockets, by port, protocol and address.
    pub sockets: Vec<Socket>,
    /// Who has the port that was asked for without listening on it: it is not free either. Empty if all ports were asked for.
    pub held: Vec<Held>,
    /// What was not seen. Empty means: this is all.
    pub gaps: Vec<Gap>,
}

/// Most sockets that have a port without listening of which an answer tells.
pub const HELD_MAX: usize = 64;

/// A socket of this network namespace that has a port without listening: bound only, or the own end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Held {
    /// Over which protocol.
    pub protocol: Protocol,
    /// Its own address.
    pub address: IpAddr,
    /// The other end of a connection.
    pub peer: Option<SocketAddr>,
    /// Whose it is.
    pub uid: u32,
}

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "gap", rename_all = "snake_case")]
pub enum Gap {
    /// A named network namespace in which no process runs: its sockets, if any, are not in this answer.
    NamespaceWithoutProcess {
        /// As `ip netns` names it.
        name: String,
    },
    /// Only the first network namespaces were looked into.
    Namespaces {
        /// So many.
        looked_into: usize,
    },
    /// The package manager was not asked about some executables, or gave no answer in time.
    Packages {
        /// Why.
        why: String,
    },
    /// Processes whose files this user may not see. Their sockets are listed, with the owner hidden.
    Processes {
        /// So many.
        hidden: usize,
        /// And others that are not even listed, because of how /proc is mounted (proc(5), `hidepid`).
        unlisted: bool,
    },
    /// systemd did not say which socket units there are.
    SocketUnits {
        /// Why.
        why: String,
    },
    /// A table of sockets could not be read, or not to its end, or has a line that is none.
    Table {
        /// Its path.
        path: String,
        /// Why.
        why: String,
    },
}

/// One listening socket.
#[derive(Clone, Debug, Serialize)]
pub struct Socket {
    /// TCP, UDP or UDP-Lite.
    pub protocol: Protocol,
    /// The address it is bound to.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: u16,
    /// The one interface it is bound to, if it is.
    pub interface: Option<String>,
    /// Number of the socket in the kernel. 0 if not known.
    pub inode: u64,
    /// Who made it. Not known outside Linux.
    pub user: Option<User>,
    /// Where it is.
    pub namespace: Namespace,
    /// Whether it takes IPv4 too.
    pub takes_ipv4: TakesIpv4,
    /// From where it can be reached, as far as its address tells.
    pub reach: Reach,
    /// Connections that wait to be accepted. TCP only.
    pub queue: Option<AcceptQueue>,
    /// Who has it open.
    pub owner: Owner,
    /// The systemd socket unit that made it.
    pub socket_unit: Option<SocketUnit>,
}

impl Socket {
    /// Address and port.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// The processes that have it open, as far as this user may see them.
    #[must_use]
    pub fn processes(&self) -> &[Arc<Process>] {
        match &self.owner {
            Owner::Processes { processes, .. } => processes,
            Owner::Hidden { .. } | Owner::NoProcess => &[],
        }
    }

    /// The systemd unit behind it, as far as it is known: of the first process that has one, or of a hidden owner's group.
    #[must_use]
    pub fn unit(&self) -> Option<&Unit> {
        match &self.owner {
            Owner::Hidden { unit, .. } => unit.as_ref(),
            Owner::NoProcess => None,
            Owner::Processes { processes, .. } => processes.iter().find_map(|process| process.unit.as_ref()),
        }
    }

    fn order(&self) -> (u16, Protocol, bool, IpAddr, u64) {
        (self.port, self.protocol, self.namespace != Namespace::This, self.address, self.inode)
    }
}

impl fmt::Display for Socket {
    /// `tcp [::1]:1588`, with the interface after a `%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.interface, self.address) {
            (None, _) => write!(f, "{} {}", self.protocol, self.endpoint()),
            (Some(interface), IpAddr::V4(address)) => write!(f, "{} {address}%{interface}:{}", self.protocol, self.port),
            (Some(interface), IpAddr::V6(address)) => write!(f, "{} [{address}%{interface}]:{}", self.protocol, self.port),
        }
    }
}

/// What it speaks below the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite (RFC 3828), which has ports of its own.
    UdpLite,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::UdpLite => "udplite",
        })
    }
}

/// A user of this system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// The name, if the machine has one for it.
    pub name: Option<String>,
}

impl fmt::Display for User {
    /// The name, else `uid 1000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Namespace {
    /// Another one than that of this process. Its addresses and ports are its own.
    Other {
        /// Its number, as in `net:[4026532177]`, if this user may see it.
        id: Option<u64>,
        /// Its name in `ip netns`.
        name: Option<String>,
        /// The container that it belongs to.
        container: Option<Container>,
        /// A process in it.
        pid: u32,
    },
    /// That of this process.
    This,
}

/// Whether an IPv6 socket takes IPv4 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TakesIpv4 {
    /// An IPv6 socket for IPv6 only.
    No,
    /// An IPv6 wildcard of which the kernel did not say.
    Unknown,
    /// An IPv4 socket, or an IPv6 one whose address stands for IPv4 too.
    Yes,
}

/// From where a socket can be reached, as its address and interface say. A firewall may stop what they let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Other machines can send to its address.
    FromOutside,
    /// Only programs of this machine can, or of its namespace.
    OnlyThisMachine,
    /// It is in a namespace whose ways to the outside were not looked at.
    Unknown,
}

impl Reach {
    fn of(address: IpAddr, interface: Option<&str>, namespace: &Namespace) -> Self {
        if address.to_canonical().is_loopback() || interface == Some("lo") {
            Self::OnlyThisMachine
        } else if *namespace == Namespace::This {
            Self::FromOutside
        } else {
            Self::Unknown
        }
    }
}

/// Connections that the kernel has finished and nobody has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AcceptQueue {
    /// So many wait.
    pub waiting: u32,
    /// So many may, if the kernel said it.
    pub longest: Option<u32>,
}

/// Who has a socket open.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Owner {
    /// Somebody has it, and this user may not see who.
    Hidden {
        /// Who made the socket. It need not be who has it now.
        user: Option<User>,
        /// Why the owner is not seen.
        why: Hiding,
        /// The unit in whose control group the socket was made, which the kernel tells everybody.
        unit: Option<Unit>,
    },
    /// Every process was looked at and none has it. It is the kernel's own, as of NFS or WireGuard, or its process ended just now.
    NoProcess,
    /// These have it.
    Processes {
        /// At most [`HOLDERS_MAX`], by number.
        #[serde(serialize_with = "each")]
        processes: Vec<Arc<Process>>,
        /// So many more have it and are not listed.
        more: usize,
        /// Some processes could not be looked at: they may have it too.
        maybe_others: bool,
    },
}

/// Why an owner is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hiding {
    /// This user may not see the files of every process.
    NotPermitted,
    /// This process is in a container that does not see every process of the machine.
    OtherPidNamespace,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its short name, which it may choose itself. Empty if it ended meanwhile.
    pub name: String,
    /// Whose rights it has.
    pub user: Option<User>,
    /// The file it was started from.
    pub executable: Option<Executable>,
    /// Its command line, which it may change itself. At most [`COMMAND_WORDS_MAX`] words.
    pub command: Vec<String>,
    /// The command line has more than that.
    pub command_cut: bool,
    /// When it started, in seconds since 1970, to about a second.
    pub since: Option<u64>,
    /// The systemd unit that it is in.
    pub unit: Option<Unit>,
    /// The container that it is in.
    pub container: Option<Container>,
}

/// The file of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Executable {
    /// Its path, as the process sees it.
    pub path: String,
    /// The file that runs is gone from its path: removed, or replaced by an update.
    pub deleted: bool,
    /// Of a deleted one: whether another file is at its path now. None if that cannot be seen, or it was not deleted.
    pub replaced: Option<bool>,
    /// The package that has it. None if nobody asked.
    pub package: Option<Package>,
}

/// The package that a file belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Package {
    /// The package manager knows of no package that has it.
    NoPackage {
        /// `dpkg`, `rpm`, `pacman` or `apk`.
        manager: &'static str,
    },
    /// This one.
    Owned {
        /// `dpkg`, `rpm`, `pacman` or `apk`.
        manager: &'static str,
        /// Its name.
        name: String,
    },
    /// Nobody could say.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// `ssh.service`, `session-3.scope`.
    pub name: String,
    /// Whose service manager runs it.
    pub manager: Manager,
    /// The slice that it is in.
    pub slice: Option<String>,
}

/// Whose service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Manager {
    /// The machine's.
    System,
    /// A user's own.
    User {
        /// The user's number.
        uid: u32,
    },
}

/// A systemd socket unit: systemd listens itself and starts a service when somebody comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SocketUnit {
    /// `ssh.socket`.
    pub name: String,
    /// What it starts.
    pub activates: Option<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Who runs it.
    pub runtime: Runtime,
    /// Its id, or its name where the runtime goes by names.
    pub id: String,
    /// It is part of a Kubernetes pod.
    pub kubernetes: bool,
}

/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// containerd, without Docker.
    Containerd,
    /// CRI-O.
    CriO,
    /// Docker.
    Docker,
    /// LXC, LXD, Incus.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// Podman.
    Podman,
    /// The control group looks like a container's and does not say whose.
    Unknown,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Lxc => "lxc",
            Self::Nspawn => "systemd-nspawn",
            Self::Podman => "podman",
            Self::Unknown => "container",
        })
    }
}

impl Listening {
    /// The ports that something listens on.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.sockets.iter().map(|socket| socket.port).collect()
    }
}

fn each<S: Serializer>(processes: &[Arc<Process>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(processes.iter().map(|process| &**process))
}
