//! Server addresses as administrators write them: `1588@host`, `host:port`, `[v6]:port`, a list with commas.

use std::{
    fmt, io,
    net::{Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use triquest_wire::limits::PORT;

use crate::limits::SERVERS_MAX;

/// One server: a host name or an address, and a port (1588 if none is written).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// Servers in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerList(Vec<ServerAddress>);

/// Text that is no server address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no server address: {problem}; write 1588@host, host:port or [v6]:port, several with commas")]
pub struct AddressError {
    /// What was found, shortened.
    pub found: String,
    /// What is wrong.
    pub problem: &'static str,
}

impl ServerAddress {
    /// The host's name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses behind the name, IPv6 and IPv4 in turn, by the system's resolver, which is given at most so long.
    ///
    /// # Errors
    /// The name is not known, or was not resolved in time.
    pub fn resolve(&self, within: Duration) -> io::Result<Vec<SocketAddr>> {
        crate::dial::resolve(self, within)
    }

    /// `host:port` as it stands in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.port, self.host)
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |problem| AddressError { found: text.chars().take(80).collect(), problem };
        let port_of = |digits: &str| match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(wrong("the port is no number from 1 to 65535")),
        };
        let (host, port) = if let Some((port, host)) = text.split_once('@') {
            (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port_of(port)?)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, port_of(port)?),
                None if rest.is_empty() => (host, PORT),
                None => return Err(wrong("after the bracket only :port may follow")),
            }
        } else if text.matches(':').count() > 1 {
            (text, PORT)
        } else if let Some((host, port)) = text.split_once(':') {
            (host, port_of(port)?)
        } else {
            (text, PORT)
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        if host.contains(':') {
            // A zone (%eth0) stays as written for the resolver.
            let address = host.split('%').next().unwrap_or(host);
            if address.parse::<Ipv6Addr>().is_err() {
                return Err(wrong("this is no IPv6 address"));
            }
        }
        if host.len() > 255 || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte)) {
            return Err(wrong("the host has a character that no host name has"));
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl ServerList {
    /// Each server once, in this order.
    ///
    /// # Errors
    /// None, or more than 16.
    pub fn new(servers: impl IntoIterator<Item = ServerAddress>) -> Result<Self, AddressError> {
        let mut list: Vec<ServerAddress> = Vec::new();
        for server in servers {
            if !list.contains(&server) {
                list.push(server);
            }
        }
        let wrong = |problem| AddressError { found: list.iter().map(|server| format!("{server} ")).take(4).collect(), problem };
        match list.len() {
            0 => Err(wrong("there is none")),
            n if n > SERVERS_MAX => Err(wrong("more than 16 servers")),
            _ => Ok(Self(list)),
        }
    }

    /// The servers.
    #[must_use]
    pub fn as_slice(&self) -> &[ServerAddress] {
        &self.0
    }
}

impl fmt::Display for ServerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, server)| write!(f, "{}{server}", if i == 0 { "" } else { "," }))
    }
}

impl FromStr for ServerList {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts = text.split([',', ';', ' ', '\t', '\n']).filter(|part| !part.is_empty());
        let servers = parts.map(str::parse).collect::<Result<Vec<ServerAddress>, _>>()?;
        Self::new(servers).map_err(|error| AddressError { found: text.chars().take(80).collect(), ..error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_that_administrators_write_a_server_is_read() {
        for (text, host, port) in [
            ("1588@tqlic01", "tqlic01", 1588),
            ("27000@10.1.4.20", "10.1.4.20", 27000),
            ("1588@[fd00:4::20]", "fd00:4::20", 1588),
            ("TQLIC01.initech.example:1599", "tqlic01.initech.example", 1599),
            ("tqlic01", "tqlic01", 1588),
            ("[fd00:4::20]:1600", "fd00:4::20", 1600),
            ("[fd00:4::20]", "fd00:4::20", 1588),
            ("fd00:4::20", "fd00:4::20", 1588),
            ("[fe80::1%eth0]:1588", "fe80::1%eth0", 1588),
        ] {
            let server: ServerAddress = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((server.host(), server.port()), (host, port), "{text}");
        }
        let list: ServerList = "1588@a, 1588@b,c:1,1588@a".parse().unwrap();
        assert_eq!(list.to_string(), "1588@a,1588@b,1@c");
    }

    #[test]
    fn what_is_no_server_is_refused_with_the_reason() {
        for (text, problem) in [
            ("", "none"),
            ("1588@", "missing"),
            ("@host", "port"),
            ("host:0", "port"),
            ("host:65536", "port"),
            ("host:+1", "port"),
            ("1588@ho st@", "port"),
            ("https://host", "port"),
            ("ho/st", "character"),
            ("[fd00::1", "closed"),
            ("[fd00::1]1588", "bracket"),
            ("[host]:1588x", "port"),
            ("a:b:c", "IPv6"),
        ] {
            let error = text.parse::<ServerList>().expect_err(text);
            assert!(error.problem.contains(problem), "{text}: {error}");
        }
    }
}
