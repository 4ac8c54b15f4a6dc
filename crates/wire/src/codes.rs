//! Codes that a newer program may add to: what it calls something new, and what to do about it without knowing the name.

use std::fmt;

use crate::{Retry, limits::CODE_BYTES_MAX};

/// A code that this version does not know: its text, and what the member beside it says about asking again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownCode {
    text: [u8; CODE_BYTES_MAX],
    length: u8,
    retry: Retry,
}

impl UnknownCode {
    /// Takes a text, cut where it is too long or begins to hold what no code does. Until it is told otherwise, later may help.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let good = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
        let mut kept = [0; CODE_BYTES_MAX];
        let mut length = 0;
        for (to, byte) in kept.iter_mut().zip(text.bytes().take_while(good)) {
            *to = byte;
            length += 1;
        }
        Self { text: kept, length, retry: Retry::Later }
    }

    /// The same with what stands beside it.
    #[must_use]
    pub const fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Its text: `a-z`, `0-9`, `_`, `-` and `.` only, so that it may be printed as it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }

    /// Whether to ask again, and how.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        self.retry
    }
}

impl fmt::Debug for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnknownCode({}, {:?})", self.as_str(), self.retry)
    }
}

/// Declares an open list of codes: name, text in JSON, what a client does about it. The comment of each is its meaning in `docs/reference/codes.md`.
macro_rules! open_codes {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident, $text:literal, $retry:ident;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant,)*
            /// One of a newer program.
            Unknown(crate::codes::UnknownCode),
        }

        impl $name {
            /// All that this version knows, in the order of their texts.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it stands in JSON.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown(code) => code.as_str(),
                }
            }

            /// What it means, in one or two sentences.
            #[must_use]
            pub const fn meaning(&self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($variant_doc),*).trim_ascii(),)*
                    Self::Unknown(_) => "One that this version does not know.",
                }
            }

            /// Whether to ask again, and how.
            #[must_use]
            pub const fn retry(&self) -> crate::Retry {
                match self {
                    $(Self::$variant => crate::Retry::$retry,)*
                    Self::Unknown(code) => code.retry(),
                }
            }

            /// The same, and if it is not known, with the `retry` that stands beside it.
            #[must_use]
            pub const fn beside(self, retry: crate::Retry) -> Self {
                match self {
                    Self::Unknown(code) => Self::Unknown(code.with_retry(retry)),
                    known => known,
                }
            }

            /// From its text.
            #[must_use]
            pub fn of(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Unknown(crate::codes::UnknownCode::new(other)),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Ok(Self::of(&text))
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            /// A string, not a closed list: who reads it must take a code that is not among those that are known today.
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let known: Vec<&str> = Self::ALL.iter().map(Self::as_str).collect();
                let extensions = utoipa::openapi::extensions::ExtensionsBuilder::new().add("x-extensible-enum", known.clone()).build();
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some(format!(
                        "An open list of codes: act by the members beside a code that you do not know. Known today: {}.",
                        known.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ")
                    )))
                    .extensions(Some(extensions))
                    .into()
            }
        }
        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use open_codes;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lease::{DenialCode, EndReason};

    #[test]
    fn a_code_that_is_not_known_keeps_its_text_and_says_what_stands_beside_it() {
        let code: DenialCode = serde_json::from_str("\"budget_spent\"").unwrap();
        assert_eq!((code.as_str(), code.retry()), ("budget_spent", Retry::Later));
        assert_eq!(code.beside(Retry::Never).retry(), Retry::Never);
        assert_eq!(serde_json::to_string(&code).unwrap(), "\"budget_spent\"");
        assert_eq!(DenialCode::LeaseEnded.beside(Retry::Never).retry(), Retry::NewRequest, "a known code is what it is");
        for (text, kept) in [("a\u{1b}[2J", "a"), (&"x".repeat(100), &"x".repeat(CODE_BYTES_MAX)), ("", "")] {
            assert_eq!(EndReason::of(text).as_str(), kept);
        }
    }

    #[test]
    fn codes_stand_in_the_order_of_their_texts_and_are_read_back() {
        fn check<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(all: &[T], text: impl Fn(&T) -> &str) {
            assert!(all.windows(2).all(|pair| text(&pair[0]) < text(&pair[1])));
            for code in all {
                let json = serde_json::to_string(code).unwrap();
                assert_eq!(json, format!("\"{}\"", text(code)));
                assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *code);
            }
        }
        check(DenialCode::ALL, DenialCode::as_str);
        check(EndReason::ALL, EndReason::as_str);
        check(crate::ErrorCode::ALL, crate::ErrorCode::as_str);
    }
}
