//! From a server's name to a TCP connection: names are resolved within a deadline, addresses raced as RFC 8305 describes.

use std::{
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with},
};

use crate::{
    address::ServerAddress,
    limits::{ADDRESSES_MAX, NEXT_ADDRESS_MS},
};

/// Looks the name up on a thread of its own, since the system's resolver has no deadline.
pub(crate) fn resolve(server: &ServerAddress, within: Duration) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (server.host().to_owned(), server.port());
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().name("triquest-lm dns".into()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody listens any more if it took too long.
        let _ = sender.send(found);
    })?;
    let found =
        receiver.recv_timeout(within).map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the name was not resolved in time"))??;
    Ok(interleave(found))
}

/// IPv6 and IPv4 in turn, beginning with the resolver's first choice.
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = found.first().copied() else { return found };
    let (mut same, mut other): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    same.reverse();
    other.reverse();
    let mut ordered = Vec::new();
    while !(same.is_empty() && other.is_empty()) {
        ordered.extend(same.pop());
        ordered.extend(other.pop());
    }
    ordered.truncate(ADDRESSES_MAX);
    ordered
}

/// Connects to the first address that answers; each next one starts after a short while, or at once if the last has failed. All have started well before
/// the time is over.
#[expect(clippy::disallowed_methods, reason = "a connection's deadline, no right of a lease")]
pub(crate) fn connect(addresses: &[SocketAddr], within: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + within;
    let stagger = Duration::from_millis(NEXT_ADDRESS_MS).min(within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1));
    let mut waiting = addresses.iter();
    let mut racing: Vec<OwnedFd> = Vec::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = waiting.next() {
            match start(address) {
                Ok(socket) => racing.push(socket),
                Err(error) => {
                    failure = error;
                    continue;
                }
            }
        }
        if racing.is_empty() {
            return Err(failure);
        }
        let next = if waiting.len() == 0 { deadline } else { deadline.min(Instant::now() + stagger) };
        while !racing.is_empty() {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let ready = poll_writable(&racing, left)?;
            let Some(index) = ready else { continue };
            let socket = racing.swap_remove(index);
            match rustix::net::sockopt::socket_error(&socket)? {
                Ok(()) => {
                    let stream = TcpStream::from(socket);
                    stream.set_nonblocking(false)?;
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => {
                    failure = error.into();
                    break;
                }
            }
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

fn start(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(ipproto::TCP))?;
    match rustix::net::connect(&socket, address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn poll_writable(sockets: &[OwnedFd], within: Duration) -> io::Result<Option<usize>> {
    let mut polled: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
    let timeout = Timespec { tv_sec: i64::try_from(within.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(within.subsec_nanos()) };
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().position(|socket| !socket.revents().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_beginning_with_the_first_choice() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        assert_eq!(
            interleave(addresses(&["[fd00::1]:1", "[fd00::2]:1", "10.0.0.1:1"])),
            addresses(&["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1"])
        );
    }

    #[test]
    fn a_refused_address_gives_way_to_the_next_at_once() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = closed.local_addr().unwrap();
        drop(closed);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(&[refused, listener.local_addr().unwrap()], Duration::from_secs(5)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[test]
    fn nobody_there_is_told_as_refused() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = closed.local_addr().unwrap();
        drop(closed);
        assert_eq!(connect(&[refused], Duration::from_secs(5)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(&[], Duration::from_secs(5)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
