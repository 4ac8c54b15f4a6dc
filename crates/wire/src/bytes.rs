//! Byte strings as they stand in JSON: base64url without padding (RFC 4648, section 5), strict.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Any number of bytes; a signed statement's exact bytes travel so.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64url text without padding")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob, E> {
                URL_SAFE_NO_PAD.decode(text).map(Blob).map_err(|_| E::custom("not base64url without padding"))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Declares a fixed-size byte string.
macro_rules! fixed {
    ($(#[$doc:meta])* $name:ident, $size:literal, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut text = [0u8; $length];
                let written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).expect("the buffer has exactly the encoded length");
                serializer.serialize_str(std::str::from_utf8(&text[..written]).expect("base64 is ASCII"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} characters of base64url", $length)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        if text.len() != $length {
                            return Err(E::custom(concat!("needs ", stringify!($length), " characters of base64url")));
                        }
                        let mut bytes = [0u8; $size];
                        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
                            Ok($size) => Ok($name(bytes)),
                            _ => Err(E::custom("not base64url without padding")),
                        }
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
                    .pattern(Some(concat!("^[A-Za-z0-9_-]{", stringify!($length), "}$")))
                    .into()
            }
        }
        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

fixed!(
    /// 16 bytes: a nonce of a renewal.
    Bytes16, 16, 22
);
fixed!(
    /// 32 bytes: a key, a hash, a nonce of trust or checkout.
    Bytes32, 32, 43
);
fixed!(
    /// 64 bytes: an Ed25519 signature.
    Bytes64, 64, 86
);

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Blob {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String).pattern(Some("^[A-Za-z0-9_-]*$")).into()
    }
}
#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Blob {}
