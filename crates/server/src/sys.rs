//! What depends on the operating system: who is at the other end of a Unix socket, who holds a port, which firewall this machine has,
//! how many files may be open. Linux first.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use triquest_ports::sockets::{self, Ask, Protocol};

/// This machine's name.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase()
}

/// The user that this process acts as.
#[must_use]
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Lifts the number of files that may be open to what the system allows, and says how many that is.
#[must_use]
pub fn raise_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
    let reached = if setrlimit(Resource::Nofile, wanted).is_ok() { now.maximum } else { now.current };
    reached.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// A peer that is silent because its machine or the way to it is gone is noticed after about two minutes; that ends a connection with an
/// error, never in order, so it frees no seat.
pub fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, std::time::Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(socket, std::time::Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(socket, 4)?;
    Ok(())
}

/// Bounds what the kernel keeps of answers that the peer does not take: so many bytes (it counts as much again for itself), and for so long, also after the
/// connection was closed here. Left to itself, it grows the buffer to megabytes, and keeps it for as long as the peer says that it takes nothing.
pub fn bound_untaken(socket: &impl AsFd, bytes: usize, within_ms: u32) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_send_buffer_size(socket, bytes)?;
    sockopt::set_tcp_user_timeout(socket, within_ms)?;
    Ok(())
}

/// A listening TCP socket. `SO_REUSEADDR`, so that a restart need not wait for old connections; never `SO_REUSEPORT`, so that two servers
/// cannot share a port unnoticed. `dual` takes IPv4 on an IPv6 socket too.
///
/// # Errors
/// The system's.
pub fn listen(address: SocketAddr, dual: bool) -> io::Result<std::net::TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !dual)?;
    }
    bind(&socket, &address)?;
    listen(&socket, 4096)?;
    Ok(socket.into())
}

/// A UDP socket. Never shared with another one (no `SO_REUSEADDR`), so that nobody can take questions away unnoticed. `dual` takes IPv4 on an
/// IPv6 socket too.
///
/// # Errors
/// The system's.
pub fn bind_udp(address: SocketAddr, dual: bool) -> io::Result<std::net::UdpSocket> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket: OwnedFd = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(ipproto::UDP))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !dual)?;
    }
    bind(&socket, &address)?;
    Ok(socket.into())
}

/// A table of the system. A line in it that is no text hides no other.
fn table(path: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The number of a group, asked of the system's name service (which may be a directory on the network), else of /etc/group.
#[must_use]
pub fn group_id(name: &str) -> Option<u32> {
    let line_of =
        |text: &str| text.lines().find(|line| line.split(':').next() == Some(name)).and_then(|line| line.split(':').nth(2)?.parse().ok());
    let asked = std::process::Command::new("getent").arg("group").arg("--").arg(name).stderr(std::process::Stdio::null()).output();
    asked.ok().and_then(|answer| line_of(&String::from_utf8_lossy(&answer.stdout))).or_else(|| line_of(&table("/etc/group")))
}

/// The name of a user, as /etc/passwd or the name service has it; the number if nobody knows.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let name_of = |text: &str| {
        text.lines()
            .find(|line| line.split(':').nth(2) == Some(&uid.to_string()))
            .and_then(|line| line.split(':').next().map(str::to_owned))
    };
    name_of(&table("/etc/passwd")).unwrap_or_else(|| {
        let asked =
            std::process::Command::new("getent").arg("passwd").arg("--").arg(uid.to_string()).stderr(std::process::Stdio::null()).output();
        asked.ok().and_then(|answer| name_of(&String::from_utf8_lossy(&answer.stdout))).unwrap_or_else(|| format!("uid {uid}"))
    })
}

/// The supplementary groups that a Unix socket's peer had when it connected. The kernel kept them with the socket, so a number of a process
/// that was used again cannot mislead.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
#[must_use]
pub fn peer_groups(socket: &impl AsFd) -> Vec<u32> {
    /// Linux's own cap on the groups of a process.
    const GROUPS_MAX: usize = 65_536;
    const SO_PEERGROUPS: libc::c_int = 59;
    let mut groups = vec![0u32; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(groups.len() * 4).unwrap_or(0);
        // SAFETY: the pointer and `bytes` describe memory that `groups` owns; the kernel writes at most that much and says how much.
        let answer = unsafe {
            libc::getsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, SO_PEERGROUPS, groups.as_mut_ptr().cast(), &raw mut bytes)
        };
        let count = bytes as usize / 4;
        if answer == 0 {
            groups.truncate(count);
            return groups;
        }
        let too_small = io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE);
        if !too_small || count <= groups.len() || count > GROUPS_MAX {
            return Vec::new();
        }
        groups.resize(count, 0);
    }
}

/// Other systems: none known.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn peer_groups(_: &impl AsFd) -> Vec<u32> {
    Vec::new()
}

/// Who has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortHolder {
    /// The process, if we may see it.
    pub pid: Option<u32>,
    /// Its command line, control characters made visible.
    pub command: String,
    /// The name of its user.
    pub user: String,
}

impl std::fmt::Display for PortHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "`{}` (pid {pid}, user {})", self.command, self.user),
            None => write!(f, "a process of user {} that only root may see", self.user),
        }
    }
}

/// Looks up who listens on this TCP port.
#[must_use]
pub fn port_holder(port: u16) -> Option<PortHolder> {
    holder(port, Protocol::Tcp)
}

/// Looks up who has this UDP port.
#[must_use]
pub fn udp_port_holder(port: u16) -> Option<PortHolder> {
    holder(port, Protocol::Udp)
}

/// A socket of another network namespace takes no port away from this one.
fn holder(port: u16, protocol: Protocol) -> Option<PortHolder> {
    let ask = Ask { other_namespaces: false, packages: false, socket_units: false };
    let listening = sockets::listening(Some(port), ask).ok()?;
    let socket = listening.sockets.iter().find(|socket| socket.protocol == protocol)?;
    let user = socket.user.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    Some(match socket.processes().first() {
        Some(process) => PortHolder { pid: Some(process.pid), command: command_line(&process.command, &process.name), user },
        None => PortHolder { pid: None, command: String::new(), user },
    })
}

/// Program's name and its first words, bounded, control characters made visible.
fn command_line(words: &[String], name: &str) -> String {
    let mut words = words.iter().map(String::as_str);
    let program = words.next().map_or(name, |program| program.rsplit('/').next().unwrap_or_default());
    let text = std::iter::once(program).chain(words.take(3)).collect::<Vec<_>>().join(" ");
    visible(&text).chars().take(80).collect()
}

/// The text with control characters, escapes and invisible direction marks as escapes that can be seen.
#[must_use]
pub fn visible(text: &str) -> String {
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().flat_map(|c| if hidden(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// The line that opens a port in this system's firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// firewalld runs.
    Firewalld,
    /// nftables has an input chain.
    Nftables,
    /// No firewall was found on this machine.
    NoneFound,
    /// ufw is active.
    Ufw,
}

impl Firewall {
    /// Looks at what this machine has. Reads files only, asks no service.
    #[must_use]
    pub fn detect() -> Self {
        let ufw_on = std::fs::read_to_string("/etc/ufw/ufw.conf").is_ok_and(|text| text.lines().any(|line| line.trim() == "ENABLED=yes"));
        if ufw_on {
            return Self::Ufw;
        }
        let firewalld = ["/run/firewalld", "/var/run/firewalld.pid"].iter().any(|path| Path::new(path).exists());
        if firewalld {
            return Self::Firewalld;
        }
        let rules = std::fs::read_to_string("/etc/nftables.conf").unwrap_or_default();
        if rules.contains("hook input") && in_path("nft").is_some() {
            return Self::Nftables;
        }
        Self::NoneFound
    }

    /// The exact command that opens a TCP port, and UDP of the same number if that is used; none if there is nothing to open.
    #[must_use]
    pub fn command(&self, port: u16, udp: bool) -> Option<String> {
        match (self, udp) {
            (Self::Firewalld, false) => Some(format!("sudo firewall-cmd --permanent --add-port={port}/tcp && sudo firewall-cmd --reload")),
            (Self::Firewalld, true) => {
                Some(format!("sudo firewall-cmd --permanent --add-port={port}/tcp --add-port={port}/udp && sudo firewall-cmd --reload"))
            }
            (Self::Nftables, false) => Some(format!("sudo nft insert rule inet filter input tcp dport {port} accept")),
            (Self::Nftables, true) => {
                Some(format!("sudo nft 'insert rule inet filter input meta l4proto {{ tcp, udp }} th dport {port} accept'"))
            }
            (Self::NoneFound, _) => None,
            (Self::Ufw, false) => Some(format!("sudo ufw allow {port}/tcp comment triquest-lm")),
            // Without a protocol it is both (ufw(8)).
            (Self::Ufw, true) => Some(format!("sudo ufw allow {port} comment triquest-lm")),
        }
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = crate::config::environment("PATH")?;
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_peer_does_not_take_is_bounded_in_the_kernel() {
        use std::io::Write;

        use crate::limits::{UNTAKEN_BYTES_MAX, UNTAKEN_MS_MAX};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&peer, 4_096).unwrap();
        let (mut ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        bound_untaken(&ours, UNTAKEN_BYTES_MAX, UNTAKEN_MS_MAX).unwrap();
        let mut taken = 0;
        let full = loop {
            match ours.write(&[0; 64 * 1024]) {
                Ok(bytes) => taken += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
        assert!(taken < 512 * 1024, "{taken}");
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&ours).unwrap(), UNTAKEN_MS_MAX);
    }

    #[test]
    fn the_process_that_holds_a_port_is_found() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let holder = port_holder(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(holder.pid, Some(std::process::id()));
        assert_eq!(holder.user, user_name(user_id()));
        assert!(!holder.command.is_empty());
    }

    #[test]
    fn the_process_that_holds_a_udp_port_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = bind_udp(address.parse().unwrap(), false).unwrap();
            let holder = udp_port_holder(socket.local_addr().unwrap().port()).unwrap();
            assert_eq!(holder.pid, Some(std::process::id()));
            assert_eq!(bind_udp(socket.local_addr().unwrap(), false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn a_hostile_command_line_prints_harmlessly() {
        let shown = command_line(&["/tmp/evil\u{1b}]0;x\u{7}", "a\nb", "\u{202e}c"].map(str::to_owned), "evil");
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert!(!shown.contains('\u{202e}'), "{shown}");
    }

    #[test]
    fn two_servers_cannot_share_a_port() {
        let first = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert_eq!(listen(first.local_addr().unwrap(), false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn every_firewall_has_its_own_line() {
        assert_eq!(Firewall::Ufw.command(1588, false).unwrap(), "sudo ufw allow 1588/tcp comment triquest-lm");
        assert_eq!(Firewall::Ufw.command(1588, true).unwrap(), "sudo ufw allow 1588 comment triquest-lm");
        assert!(Firewall::Firewalld.command(7, true).unwrap().contains("--add-port=7/tcp --add-port=7/udp"));
        assert!(
            Firewall::Nftables
                .command(7, true)
                .unwrap()
                .contains("'insert rule inet filter input meta l4proto { tcp, udp } th dport 7 accept'")
        );
        for firewall in [Firewall::Firewalld, Firewall::Nftables, Firewall::Ufw] {
            assert!(!firewall.command(7, false).unwrap().contains("udp"));
        }
        assert_eq!(Firewall::NoneFound.command(1, true), None);
    }

    #[test]
    fn root_has_a_group_with_a_number() {
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("no-such-group-here"), None);
    }
}
