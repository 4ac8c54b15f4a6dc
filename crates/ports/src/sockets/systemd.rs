//! Which socket units systemd has, by its own word.

use std::{collections::HashMap, net::SocketAddr};

use super::{Protocol, SOCKET_UNITS_TIME_MAX, SocketUnit, sys::run};

/// Units that are taken from systemd's answer.
const UNITS_MAX: usize = 10_000;

/// What listens by order of systemd.
pub(super) type SocketUnits = HashMap<(Protocol, SocketAddr), SocketUnit>;

/// Asks systemd. Ok and empty where it does not run.
///
/// # Errors
/// Why it gave no answer.
pub(super) fn socket_units() -> Result<SocketUnits, String> {
    // sd_booted(3): this folder exists exactly where systemd is the system's manager.
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        return Ok(SocketUnits::new());
    }
    let words = ["show", "--no-pager", "--property=Id,Listen,Triggers", "*.socket"];
    let answer = run("systemctl", &words.map(Into::into), SOCKET_UNITS_TIME_MAX).map_err(|why| format!("systemctl: {why}"))?;
    Ok(parse(&String::from_utf8_lossy(&answer)))
}

/// Blocks of `NAME=value`, an empty line between them; `Listen` once for each address, with its type in parentheses.
fn parse(text: &str) -> SocketUnits {
    let mut units = SocketUnits::new();
    let mut name = None;
    let mut activates = None;
    let mut listens = Vec::new();
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            let listens = std::mem::take(&mut listens);
            let (name, activates) = (name.take(), activates.take());
            let Some(name) = name else { continue };
            for key in listens {
                units.entry(key).or_insert_with(|| SocketUnit { name: String::clone(&name), activates: activates.clone() });
            }
            if units.len() >= UNITS_MAX {
                break;
            }
        } else if let Some(id) = line.strip_prefix("Id=") {
            name = Some(id.to_owned());
        } else if let Some(started) = line.strip_prefix("Triggers=") {
            activates = started.split(' ').next().filter(|unit| !unit.is_empty()).map(str::to_owned);
        } else if let Some(key) = line.strip_prefix("Listen=").and_then(listen) {
            listens.push(key);
        }
    }
    units
}

/// `[::]:22 (Stream)`. Others than TCP and UDP are none of ours.
fn listen(text: &str) -> Option<(Protocol, SocketAddr)> {
    let (address, kind) = text.rsplit_once(" (")?;
    let protocol = match kind {
        "Stream)" => Protocol::Tcp,
        "Datagram)" => Protocol::Udp,
        _ => return None,
    };
    Some((protocol, address.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_units_are_known_by_what_they_listen_on() {
        let units = parse(
            "Id=ssh.socket\nListen=0.0.0.0:22 (Stream)\nListen=[::]:22 (Stream)\nTriggers=ssh.service\n\n\
             Id=dbus.socket\nListen=/run/dbus/system_bus_socket (Stream)\nTriggers=dbus.service\n\n\
             Triggers=x.service\nListen=[::]:69 (Datagram)\nId=tftp.socket\n",
        );
        assert_eq!(units.len(), 3);
        let at = |protocol, address: &str| address.parse().ok().and_then(|address| units.get(&(protocol, address)));
        let ssh = SocketUnit { name: "ssh.socket".into(), activates: Some("ssh.service".into()) };
        assert_eq!(at(Protocol::Tcp, "0.0.0.0:22"), Some(&ssh));
        assert_eq!(at(Protocol::Tcp, "[::]:22"), Some(&ssh));
        assert_eq!(at(Protocol::Udp, "[::]:69").map(|unit| unit.name.as_str()), Some("tftp.socket"));
        assert_eq!(at(Protocol::Tcp, "[::]:69"), None);
    }

    #[test]
    fn nonsense_from_systemctl_is_no_unit() {
        for text in ["", "\n\n\n", "Listen=[::]:22 (Stream)\n", "Id=x.socket\nListen=(Stream)\nListen= (\nListen=[::]:99999 (Stream)\n"] {
            assert!(parse(text).is_empty(), "{text}");
        }
    }
}
