//! Ids as they travel.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Bytes32, limits::LINEAGE_DIGITS_MIN};

/// Declares a 16-byte id that travels as 32 lowercase hex digits.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0u8; 32];
                for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
                    pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
                }
                f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = &'static str;

            /// Reads exactly 32 lowercase hex digits.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                const WRONG: &str = "needs 32 lowercase hex digits";
                let digits = text.as_bytes();
                if digits.len() != 32 {
                    return Err(WRONG);
                }
                let nibble = |digit: u8| match digit {
                    b'0'..=b'9' => Ok(digit - b'0'),
                    b'a'..=b'f' => Ok(digit - b'a' + 10),
                    _ => Err(WRONG),
                };
                let mut id = [0; 16];
                for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
                }
                Ok(Self(id))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("32 lowercase hex digits")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some("^[0-9a-f]{32}$"))
                    .into()
            }
        }
        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

hex_id!(
    /// A lease's public name: the first 16 bytes of SHA-256("triquest-lm/v1/lease-id\n" || secret). Knowing it lets nobody act.
    LeaseId
);
hex_id!(
    /// Names one history of a server: random, made at init and at restore.
    Lineage
);

impl Lineage {
    /// Its first hex digits, as messages name it.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(LINEAGE_DIGITS_MIN).collect()
    }
}

/// A history as people name it: its first hex digits, 8 to 32 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLineage(String);

impl NamedLineage {
    /// Whether it names this history.
    #[must_use]
    pub fn names(&self, lineage: &Lineage) -> bool {
        lineage.to_string().starts_with(&self.0)
    }
}

impl fmt::Display for NamedLineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NamedLineage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_one = (LINEAGE_DIGITS_MIN..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_one {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!("{LINEAGE_DIGITS_MIN} to 32 hex digits, as `triquest-lm status` shows them"))
        }
    }
}

/// A client's 256-bit secret for one lease. `Debug` and `Display` do not show it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Secret(pub Bytes32);

impl Secret {
    /// The lease id that belongs to this secret.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        const CONTEXT: &[u8] = b"triquest-lm/v1/lease-id\n";
        let mut message = [0u8; CONTEXT.len() + 32];
        message[..CONTEXT.len()].copy_from_slice(CONTEXT);
        message[CONTEXT.len()..].copy_from_slice(&self.0.0);
        let digest = triquest_license::sha256(&message);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        LeaseId(id)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A point of a server's history. Every answer and every event cursor carries one; as text `LINEAGE.EPOCH.INDEX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Which history.
    pub lineage: Lineage,
    /// Counts starts and takeovers.
    pub epoch: u64,
    /// The last durable entry that the answer depends on.
    pub index: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.lineage, self.epoch, self.index)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "needs LINEAGE.EPOCH.INDEX";
        let mut parts = text.split('.');
        let (Some(lineage), Some(epoch), Some(index), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(WRONG);
        };
        Ok(Self { lineage: lineage.parse()?, epoch: epoch.parse().map_err(|_| WRONG)?, index: index.parse().map_err(|_| WRONG)? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_history_is_named_by_its_first_digits_and_by_no_fewer_than_messages_show() {
        let lineage = Lineage([0xab; 16]);
        assert_eq!(lineage.short(), "abababab");
        for named in [lineage.short(), "ABABABABab".to_owned(), lineage.to_string()] {
            assert!(named.parse::<NamedLineage>().unwrap().names(&lineage), "{named}");
        }
        assert!(!"ababababac".parse::<NamedLineage>().unwrap().names(&lineage));
        for wrong in ["", "abababa", "abababag", &"ab".repeat(17)] {
            assert!(wrong.parse::<NamedLineage>().is_err(), "{wrong}");
        }
    }
}
