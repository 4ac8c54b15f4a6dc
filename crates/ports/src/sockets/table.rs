//! The text of `/proc/net/{tcp,tcp6,udp,udp6,udplite,udplite6}`, as `proc_pid_net(5)` and the kernel's `get_tcp4_sock` write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Protocol;

/// TCP_LISTEN in the kernel's numbers.
const STATE_LISTEN: u8 = 0x0A;
/// TCP_CLOSE, which a UDP socket without a peer is in.
const STATE_UNCONNECTED: u8 = 0x07;

/// A listening socket in such a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) uid: u32,
    pub(super) inode: u64,
    /// Connections that wait to be accepted; of UDP, bytes that wait to be read.
    pub(super) waiting: u32,
}

/// The listening sockets of a table, of one port or of all, and how many lines could not be read.
pub(super) fn rows(text: &[u8], protocol: Protocol, port: Option<u16>) -> (Vec<Row>, usize) {
    let mut rows = Vec::new();
    let mut unreadable = 0;
    for line in text.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.trim_ascii().is_empty()) {
        match row(line, protocol) {
            Some(Some(row)) if port.is_none_or(|port| port == row.port) => rows.push(row),
            Some(_) => {}
            None => unreadable += 1,
        }
    }
    (rows, unreadable)
}

/// None: not a line of such a table. Some(None): a socket that does not listen.
fn row(line: &[u8], protocol: Protocol) -> Option<Option<Row>> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).map(|field| str::from_utf8(field).ok());
    let _number = fields.next()??;
    let (address, port) = endpoint(fields.next()??)?;
    let (peer, peer_port) = endpoint(fields.next()??)?;
    let state = hex8(fields.next()??)?;
    let (_, waiting) = fields.next()??.split_once(':')?;
    let waiting = hex32(waiting)?;
    let uid = fields.nth(2)??.parse().ok()?;
    let inode = fields.nth(1)??.parse().ok()?;
    let listens = match protocol {
        Protocol::Tcp => state == STATE_LISTEN,
        Protocol::Udp | Protocol::UdpLite => state == STATE_UNCONNECTED && peer.is_unspecified() && peer_port == 0 && port != 0,
    };
    Some(listens.then_some(Row { address, port, uid, inode, waiting }))
}

/// `0100007F:0634`. The address is written in words of the machine's own byte order, the port is not.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = (port.len() == 4 && is_hex(port)).then(|| u16::from_str_radix(port, 16).ok())??;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(hex32(address)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (word, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&hex32(address.get(word * 8..word * 8 + 8)?)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((address, port))
}

fn hex32(text: &str) -> Option<u32> {
    (text.len() == 8 && is_hex(text)).then(|| u32::from_str_radix(text, 16).ok())?
}

fn hex8(text: &str) -> Option<u8> {
    (text.len() == 2 && is_hex(text)).then(|| u8::from_str_radix(text, 16).ok())?
}

/// `from_str_radix` would take a sign.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 00000000:0016 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1216 1 000000004134f953 100 0 0 10 0\n\
        \x20  1: 0100007F:0634 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     7        0 111 1 0 20\n\
        \x20  2: 0100007F:0634 0100007F:9C42 06 00000000:00000000 03:00000F6D 00000000     0        0 0 3 0000000000000000\n";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100 0 0 10 0\n";
    const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
        \x20 33: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 99 2 0 0\n\
        \x20 34: 0100007F:8000 0100007F:0035 01 00000000:00000000 00:00000000 00000000   101        0 100 2 0 0\n";

    #[test]
    fn only_sockets_that_listen_are_taken_and_time_wait_is_not() {
        let (found, unreadable) = rows(TCP.as_bytes(), Protocol::Tcp, None);
        assert_eq!(found, [Row { address: Ipv4Addr::UNSPECIFIED.into(), port: 22, uid: 0, inode: 1216, waiting: 3 }]);
        assert_eq!(unreadable, 0);
        assert!(rows(TCP.as_bytes(), Protocol::Tcp, Some(1588)).0.is_empty());
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn ipv6_is_read_word_by_word() {
        let (found, _) = rows(TCP6.as_bytes(), Protocol::Tcp, Some(631));
        assert_eq!(found, [Row { address: Ipv6Addr::LOCALHOST.into(), port: 631, uid: 1000, inode: 4242, waiting: 0 }]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_bound_udp_socket_without_a_peer_listens_and_one_with_a_peer_does_not() {
        let (found, _) = rows(UDP.as_bytes(), Protocol::Udp, None);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].address, found[0].port), (IpAddr::from([127, 0, 0, 53]), 53));
    }

    #[test]
    fn a_line_that_is_cut_off_anywhere_is_counted_or_still_whole() {
        for end in 0..TCP.len() {
            let _ = rows(&TCP.as_bytes()[..end], Protocol::Tcp, None);
        }
        let cut = TCP.find("1216").unwrap();
        assert_eq!(rows(&TCP.as_bytes()[..cut], Protocol::Tcp, None), (Vec::new(), 1));
    }

    #[test]
    fn signs_and_strange_widths_are_no_numbers() {
        for line in [
            " 0: +1000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1",
            " 0: 00000000:+016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1",
            " 0: 00000000:0016 00000000:0000 10A 00000000:00000000 00:00000000 00000000 0 0 1 1",
            " 0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 -1 0 1 1",
            " 0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 99999999999999999999 1",
            "\u{e9}: \u{1b}[2J $(reboot)",
        ] {
            assert_eq!(rows(format!("head\n{line}\n").as_bytes(), Protocol::Tcp, None), (Vec::new(), 1), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = rows(&bytes, Protocol::Tcp, None);
            let _ = rows(&bytes, Protocol::Udp, Some(7));
        }

        #[test]
        fn no_line_made_of_the_right_parts_panics(parts in proptest::collection::vec("[0-9A-Fa-f:+\u{e9} ]{0,34}", 0..14)) {
            let text = format!("head\n{}\n", parts.join(" "));
            let _ = rows(text.as_bytes(), Protocol::Tcp, None);
        }
    }
}
