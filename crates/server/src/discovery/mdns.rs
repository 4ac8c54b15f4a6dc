//! The server's own announcement by mDNS (RFC 6762) and DNS-SD (RFC 6763), for people on the same network who look for a server.

use std::{net::IpAddr, time::Duration};

use mdns_sd::{IfKind, IfPredicate, ServiceDaemon, ServiceInfo};

use super::{Announced, links::AllowedInterfaces};

/// The word to the network that a server goes away is waited for at most so long.
const GOODBYE_MS_MAX: u64 = 500;

/// An announcement that stands until it is withdrawn.
pub(super) struct Mdns {
    daemon: ServiceDaemon,
    names: Vec<String>,
}

impl Mdns {
    /// Announces on the interfaces that count: at these addresses, or at all that they have if there are none.
    ///
    /// # Errors
    /// The library's, in words.
    pub(super) fn announce(announced: &Announced, addresses: &[IpAddr], udp: bool, allowed: &AllowedInterfaces) -> Result<Self, String> {
        let failed = |cause: mdns_sd::Error| cause.to_string();
        let daemon = ServiceDaemon::new().map_err(failed)?;
        let allowed = allowed.clone();
        let counts = IfPredicate::new(move |interface| !interface.is_loopback() && allowed.allows(&interface.name));
        // Both orders go out before the first announcement, so that nothing is ever sent elsewhere.
        daemon.disable_interface(IfKind::All).map_err(failed)?;
        daemon.enable_interface(IfKind::Predicate(counts.clone())).map_err(failed)?;
        let mut mdns = Self { daemon, names: Vec::new() };
        let kinds = [Announced::TCP, Announced::UDP];
        for kind in &kinds[..if udp { 2 } else { 1 }] {
            let host = format!("{}.local.", announced.name);
            let txt = announced.txt();
            let info =
                ServiceInfo::new(&format!("{kind}.local."), &announced.name, &host, addresses, announced.port, &txt[..]).map_err(failed)?;
            let mut info = if addresses.is_empty() { info.enable_addr_auto() } else { info };
            info.set_interfaces(vec![IfKind::Predicate(counts.clone())]);
            mdns.names.push(info.get_fullname().to_owned());
            mdns.daemon.register(info).map_err(failed)?;
        }
        Ok(mdns)
    }

    /// Tells the network that the server goes away. Waits, but not for long.
    pub(super) fn withdraw(self) {
        let patience = Duration::from_millis(GOODBYE_MS_MAX);
        let answers: Vec<_> = self.names.iter().filter_map(|name| self.daemon.unregister(name).ok()).collect();
        for answer in answers {
            let _ = answer.recv_timeout(patience);
        }
        if let Ok(answer) = self.daemon.shutdown() {
            let _ = answer.recv_timeout(patience);
        }
    }
}
