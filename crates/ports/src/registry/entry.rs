//! One row of the registry, and the small values in it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What the registry says of one service on one port (or one range, or none): all records that differ in nothing but the protocol.
///
/// Words are the registry's own, with spaces collapsed and control characters left out. They come from outside: escape them before a terminal sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry<'a> {
    /// The service name; absent where a row says that a port is reserved or unassigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// The port or the ports; absent for a service name without a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    /// The transport protocols; empty where the registry does not say (27000-27009, ranges of unassigned ports).
    pub protocols: Protocols<'a>,
    /// What the service is; for a row without a name: `Reserved`, `Unassigned` ...
    pub description: &'a str,
    /// Who it is assigned to: IANA's *assignee*, or where there is none (older records) its contact. IANA's identifiers, as words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registrants: Vec<&'a str>,
    /// Whom IANA asks about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<&'a str>,
    /// When it was registered; IANA did not record it before about 2000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<Date>,
    /// When the record was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Date>,
    /// Documents: `RFC 9110`, a draft, an address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<&'a str>,
    /// DCCP's service code (RFC 4340, section 8.1.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_code: Option<u32>,
    /// IANA's note that somebody else uses the port too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthorized: Option<&'a str>,
    /// IANA's other notes: aliases, removals, TXT keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// The records of IANA's file that this row stands for.
    pub fn records(&self) -> usize {
        self.protocols.0.len()
    }

    /// Whether this row speaks of `port` over `protocol`. A row that names no protocol speaks of all.
    pub fn covers(&self, port: u16, protocol: Protocol) -> bool {
        self.ports.is_some_and(|ports| ports.contains(port)) && self.protocols.covers(protocol)
    }

    /// The name that this older one stands for, where the notes say that it is an alias.
    pub fn alias_of(&self) -> Option<&'a str> {
        quoted_after(self.notes?, "alias to \"")
    }

    /// The older name that this one replaced because the older was not well-formed (RFC 6335, section 10.1).
    pub fn replaces(&self) -> Option<&'a str> {
        quoted_after(self.description, "as a replacement for \"")
    }

    /// Whether the notes say that this record is historic, out of use or removed. Such records stay in the registry, so that old traffic can be explained.
    pub fn is_historic(&self) -> bool {
        const SAID: [&str; 6] =
            ["now historic", "no longer in use", "entry has been removed", "entry is being removed", "port has been removed", "(Removed "];
        self.notes.is_some_and(|notes| SAID.iter().any(|said| notes.contains(said)))
    }

    /// What this row says of its ports.
    pub(super) fn assignment(&self) -> Assignment {
        let description = self.description.to_ascii_lowercase();
        let starts = |words: &[&str]| words.iter().any(|word| description.starts_with(word));
        if self.name.is_some() || starts(&["any private"]) {
            Assignment::Assigned
        } else if starts(&["reserved"]) {
            Assignment::Reserved
        } else if starts(&["de-commissioned", "de-registered", "decomissioned", "decommissioned", "deprecated", "removed"]) {
            Assignment::Withdrawn
        } else {
            Assignment::Unassigned
        }
    }
}

fn quoted_after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(words)?;
    let (name, _) = after.split_once('"')?;
    Some(name)
}

/// What the registry says of a port over a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assignment {
    /// A service is registered. That does not say what runs there.
    Assigned,
    /// 49152-65535: never assigned, for anybody's use (RFC 6335, section 6).
    Dynamic,
    /// The registry has no row for it.
    NotListed,
    /// Kept back by IANA.
    Reserved,
    /// The registry has a row, and no service in it.
    Unassigned,
    /// The registry has a row that says that the service was taken out: *De-registered*, *Removed*, *Deprecated* ...
    Withdrawn,
}

impl Assignment {
    /// As words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Dynamic => "dynamic, never assigned",
            Self::NotListed => "not listed",
            Self::Reserved => "reserved",
            Self::Unassigned => "unassigned",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A transport protocol of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 4340.
    Dccp,
    /// RFC 9260.
    Sctp,
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Protocol {
    /// All of them, the common ones first.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Dccp];

    /// As the registry spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dccp => "dccp",
            Self::Sctp => "sctp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// Its letter in the table.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Dccp => 'd',
            Self::Sctp => 's',
            Self::Tcp => 't',
            Self::Udp => 'u',
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = ();

    /// Reads `tcp`, `TCP` ...
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// The protocols of a row: one letter for each record of IANA's file, `-` for a record that names none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Protocols<'a>(pub(super) &'a str);

/// The letters of the protocols, in the order in which they stand in a row.
pub(super) const LETTERS: &str = "tusd-";

impl Protocols<'_> {
    /// The protocols that the registry names, the common ones first.
    pub fn named(self) -> impl Iterator<Item = Protocol> {
        Protocol::ALL.into_iter().filter(move |protocol| self.0.contains(protocol.letter()))
    }

    /// Whether the row speaks of `protocol`: it names it, or names none at all.
    pub fn covers(self, protocol: Protocol) -> bool {
        self.0.contains([protocol.letter(), '-'])
    }

    /// Whether the row names `protocol`.
    pub fn names(self, protocol: Protocol) -> bool {
        self.0.contains(protocol.letter())
    }
}

impl fmt::Debug for Protocols<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.named()).finish()
    }
}

impl Serialize for Protocols<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.named())
    }
}

/// One port, or the ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port; the first again for a single one.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` lies in it.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for PortRange {
    type Err = ();

    /// Reads `1588` and `27000-27009`: digits alone, the first not after the last.
    fn from_str(text: &str) -> Result<Self, ()> {
        let port = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse::<u16>().map_err(|_| ()) } else { Err(()) }
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first <= last { Ok(Self { first, last }) } else { Err(()) }
    }
}

/// A date of the registry: a day, or for some older records a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: Option<u8>,
}

impl Date {
    /// The year, the month from 1, the day from 1 where there is one.
    pub fn parts(self) -> (u16, u8, Option<u8>) {
        (self.year, self.month, self.day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)?;
        if let Some(day) = self.day {
            write!(f, "-{day:02}")?;
        }
        Ok(())
    }
}

impl FromStr for Date {
    type Err = ();

    /// Reads `2012-11-14` and `2007-06`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |digits: &str, length: usize| {
            let plain = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse::<u16>().map_err(|_| ()) } else { Err(()) }
        };
        let mut parts = text.split('-');
        let year = number(parts.next().ok_or(())?, 4)?;
        let month = number(parts.next().ok_or(())?, 2)?;
        let day = parts.next().map(|digits| number(digits, 2)).transpose()?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u16::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return Err(()),
        };
        if parts.next().is_some() || day.is_some_and(|day| !(1..=days).contains(&day)) {
            return Err(());
        }
        // Both fit: at most 12 and 31.
        Ok(Self { year, month: month as u8, day: day.map(|day| day as u8) })
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
