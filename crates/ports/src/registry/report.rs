//! What the registry says of one port, as one answer.

use std::fmt;

use serde::Serialize;

use super::entry::{Assignment, Date, Entry, Protocol};
use super::license_managers::LicenseManager;
use super::range::Range;
use super::table::Registry;

/// Where IANA publishes the registry.
const ADDRESS: &str = "https://www.iana.org/assignments/service-names-port-numbers";

/// The source of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The registry, and the form that it was read from.
    pub origin: String,
    /// IANA's date of it.
    pub updated: Date,
    /// Where it is published.
    pub address: &'static str,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.origin, self.updated)
    }
}

/// What the registry says of one port. As JSON it is the body that commands and the server show.
#[derive(Clone, Debug, Serialize)]
pub struct PortReport<'a> {
    /// The port.
    pub port: u16,
    /// The range that it lies in, and what that means.
    pub range: Range,
    /// For each protocol what is said.
    pub protocols: Vec<ProtocolReport>,
    /// The rows that speak of the port.
    pub entries: Vec<Entry<'a>>,
    /// Where the rows come from.
    pub source: Source,
}

/// What is said of one port over one protocol.
#[derive(Clone, Debug, Serialize)]
pub struct ProtocolReport {
    /// The protocol.
    pub protocol: Protocol,
    /// What the registry says.
    pub assignment: Assignment,
    /// The license manager that is known for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_manager: Option<LicenseManager>,
}

impl Registry {
    /// What the registry says of `port` over `protocol`. Every port has an answer.
    pub fn assignment(&self, port: u16, protocol: Protocol) -> Assignment {
        let entries = self.on(port, protocol);
        // Rows that name the protocol count before those that name none, and a name counts before its absence.
        let named = entries.iter().any(|entry| entry.protocols.names(protocol));
        let said: Vec<Assignment> =
            entries.iter().filter(|entry| !named || entry.protocols.names(protocol)).map(Entry::assignment).collect();
        match said.iter().find(|said| **said == Assignment::Assigned).or(said.first()) {
            Some(said) => *said,
            None if Range::of(port) == Range::Dynamic => Assignment::Dynamic,
            None => Assignment::NotListed,
        }
    }

    /// All that the registry says of `port`.
    pub fn report(&self, port: u16) -> PortReport<'_> {
        let protocol = |protocol| ProtocolReport {
            protocol,
            assignment: self.assignment(port, protocol),
            license_manager: self.license_manager(port, protocol),
        };
        PortReport {
            port,
            range: Range::of(port),
            protocols: Protocol::ALL.map(protocol).into(),
            entries: self.on_port(port),
            source: self.source(),
        }
    }

    /// The source that an answer names.
    pub fn source(&self) -> Source {
        Source { origin: self.origin().to_owned(), updated: self.updated(), address: ADDRESS }
    }
}
