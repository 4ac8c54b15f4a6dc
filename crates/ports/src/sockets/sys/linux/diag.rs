//! `sock_diag(7)`: what the kernel knows of listening sockets beyond its tables of text. It is asked with no rights at all, and whatever it does not
//! answer stays unknown. Only this network namespace can be asked.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{SOCK_DIAG, SocketAddrNetlink},
    recv, sendto, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

use super::super::super::{HELD_MAX, Held, Protocol};

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h. All in the machine's byte order but for ports.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
const MESSAGE_BYTES: usize = 72;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_CGROUP_ID: u16 = 21;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const TCP_ESTABLISHED: u32 = 1;
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;
/// Bound, and neither listening nor connected; told by Linux 6.8 and later (include/net/tcp_states.h).
const TCP_BOUND_INACTIVE: u32 = 13;
/// States in which a TCP socket has its port and does not listen. In TIME-WAIT nobody has it any more.
const TCP_HELD: u32 = (1 << TCP_ESTABLISHED) | (1 << 2) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << TCP_BOUND_INACTIVE);
/// The kernel fills at most that much at once.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Answers of one dump that are read.
const ANSWERS_MAX: usize = 100_000;
/// The kernel answers at once or not at all.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// What is known of one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    /// The number of the interface it is bound to; 0 is none.
    pub(super) interface: u32,
    /// The most that may wait to be accepted. TCP only.
    pub(super) longest_queue: u32,
    /// Whether it is for IPv6 only. IPv6 only.
    pub(super) v6only: Option<bool>,
    /// The control group that it was made in, as the number of its folder.
    pub(super) control_group: Option<u64>,
}

/// By the socket's number in the kernel. Empty where the kernel does not answer.
pub(super) fn ask(port: Option<u16>) -> HashMap<u32, Extra> {
    let mut known = HashMap::new();
    for (protocol, state) in [(IPPROTO_TCP, TCP_LISTEN), (IPPROTO_UDP, TCP_CLOSE)] {
        for family in [AF_INET, AF_INET6] {
            // What one dump does not tell, another may.
            let _ = dump(&request(family, protocol, 1 << state, port), &mut |message| known.extend(socket(message)));
        }
    }
    known
}

/// Who has this port without listening on it.
pub(super) fn held(port: u16) -> Vec<Held> {
    let mut found = Vec::new();
    if port == 0 {
        return found;
    }
    for (number, protocol, states) in [(IPPROTO_TCP, Protocol::Tcp, TCP_HELD), (IPPROTO_UDP, Protocol::Udp, 1 << TCP_ESTABLISHED)] {
        for family in [AF_INET, AF_INET6] {
            let mut each = |message: &[u8]| {
                if let Some((own_port, held)) = holder(message, protocol)
                    && own_port == port
                    && found.len() < HELD_MAX
                {
                    found.push(held);
                }
            };
            let _ = dump(&request(family, number, states, Some(port)), &mut each);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The ends and the user of a `struct inet_diag_msg`.
fn holder(message: &[u8], protocol: Protocol) -> Option<(u16, Held)> {
    let [family, ..] = *message.first_chunk::<4>()?;
    let address = |place: usize| -> Option<IpAddr> {
        Some(if family == AF_INET6 {
            IpAddr::from(*message.get(place..)?.first_chunk::<16>()?)
        } else {
            IpAddr::from(*message.get(place..)?.first_chunk::<4>()?)
        })
    };
    let port = |place: usize| Some(u16::from_be_bytes(*message.get(place..)?.first_chunk()?));
    let peer = SocketAddr::new(address(24)?, port(6)?);
    let peer = (peer.port() != 0).then_some(peer);
    Some((port(4)?, Held { protocol, address: address(8)?, peer, uid: u32_at(message, 64)? }))
}

fn dump(request: &[u8], each: &mut dyn FnMut(&[u8])) -> rustix::io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(WAIT_MAX))?;
    sendto(&socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    for _ in 0..ANSWERS_MAX {
        let (_, length) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
        if length == 0 || take(answer.get(..length).unwrap_or_default(), each) {
            break;
        }
    }
    Ok(())
}

fn request(family: u8, protocol: u8, states: u32, port: Option<u16>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST_BYTES);
    bytes.extend(u32::try_from(REQUEST_BYTES).unwrap_or_default().to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, protocol, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(port.unwrap_or(0).to_be_bytes());
    bytes.resize(REQUEST_BYTES, 0);
    bytes
}

/// Takes what one datagram tells; true: the dump ends here.
fn take(mut bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> bool {
    while let Some(length) = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = bytes.get(HEADER_BYTES..length) else { return true };
        match u16_at(bytes, 4) {
            Some(SOCK_DIAG_BY_FAMILY) => each(message),
            Some(NLMSG_ERROR | NLMSG_DONE) | None => return true,
            Some(_) => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// `struct inet_diag_msg` and its attributes.
fn socket(message: &[u8]) -> Option<(u32, Extra)> {
    let is_tcp = u16_at(message, 0)?.to_ne_bytes()[1] == u8::try_from(TCP_LISTEN).ok()?;
    let inode = u32_at(message, 68)?;
    let mut extra = Extra {
        interface: u32_at(message, 40)?,
        longest_queue: if is_tcp { u32_at(message, 60)? } else { 0 },
        v6only: None,
        control_group: None,
    };
    let mut rest = message.get(MESSAGE_BYTES..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0).map(usize::from), u16_at(rest, 2)) {
        let Some(value) = rest.get(4..length) else { break };
        match kind {
            INET_DIAG_SKV6ONLY => extra.v6only = value.first().map(|only| *only != 0),
            INET_DIAG_CGROUP_ID => extra.control_group = value.first_chunk().map(|id| u64::from_ne_bytes(*id)),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some((inode, extra))
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    bytes.get(place..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    bytes.get(place..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_answer_panics_or_goes_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..300), length in 0u32..400, kind in 0u16..24) {
            let mut message = bytes;
            for (place, byte) in length.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()).enumerate() {
                if let Some(slot) = message.get_mut(place) {
                    *slot = byte;
                }
            }
            let _ = take(&message, &mut |message| {
                let _ = holder(message, Protocol::Tcp);
            });
            let _ = socket(&message);
        }
    }
}
