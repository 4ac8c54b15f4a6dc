//! The three ranges of port numbers (RFC 6335, section 6).

use serde::Serialize;
use serde::ser::SerializeStruct as _;

/// The range that a port lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// 49152-65535.
    Dynamic,
    /// 0-1023.
    System,
    /// 1024-49151.
    User,
}

/// Where all of this is said.
const SOURCE: &str = "RFC 6335, section 6";

impl Range {
    /// The range of a port.
    pub fn of(port: u16) -> Self {
        match port {
            0..=1023 => Self::System,
            1024..=49151 => Self::User,
            49152.. => Self::Dynamic,
        }
    }

    /// The first and the last port.
    pub fn bounds(self) -> (u16, u16) {
        match self {
            Self::Dynamic => (49152, 65535),
            Self::System => (0, 1023),
            Self::User => (1024, 49151),
        }
    }

    /// Its name in RFC 6335.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "Dynamic Ports",
            Self::System => "System Ports",
            Self::User => "User Ports",
        }
    }

    /// Its other names, as older texts have them.
    pub fn other_names(self) -> &'static str {
        match self {
            Self::Dynamic => "Private or Ephemeral Ports",
            Self::System => "Well Known Ports",
            Self::User => "Registered Ports",
        }
    }

    /// What it means for whoever finds something there.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Dynamic => {
                "Never assigned to a service. Programs may use these ports for a while, most often as the source of a connection; a service that stays on one cannot be looked up by its number."
            }
            Self::System => {
                "For services of wide use, most of them standardized by the IETF. On many systems a program needs a privilege to listen here."
            }
            Self::User => {
                "Assigned by IANA to whoever asks for a service and passes a review. Any user of a machine may listen here, so a registered name does not say what runs."
            }
        }
    }

    /// How IANA assigns a port of it (RFC 6335, section 8.1.2; the terms are RFC 8126's).
    pub fn procedure(self) -> &'static str {
        match self {
            Self::Dynamic => "not assigned",
            Self::System => "IETF Review or IESG Approval",
            Self::User => "IETF Review, IESG Approval or Expert Review",
        }
    }

    /// Where this is said.
    pub fn source(self) -> &'static str {
        SOURCE
    }
}

impl Serialize for Range {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (first, last) = self.bounds();
        let mut range = serializer.serialize_struct("Range", 7)?;
        range.serialize_field("name", self.name())?;
        range.serialize_field("other_names", self.other_names())?;
        range.serialize_field("first", &first)?;
        range.serialize_field("last", &last)?;
        range.serialize_field("meaning", self.meaning())?;
        range.serialize_field("procedure", self.procedure())?;
        range.serialize_field("source", self.source())?;
        range.end()
    }
}
