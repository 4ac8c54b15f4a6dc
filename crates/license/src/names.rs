use std::fmt;
use std::str::FromStr;

use crate::limits::{NAME_BYTES_MAX, VENDOR_BYTES_MAX};

/// Text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A character that names do not have.
    #[error("{what} has the character {found:?}; letters, digits, `.`, `_` and `-` are allowed")]
    Character {
        /// Whose name.
        what: &'static str,
        /// The character.
        found: char,
    },
    /// Nothing.
    #[error("{what} is empty")]
    Empty {
        /// Whose name.
        what: &'static str,
    },
    /// It begins with something else than a letter or a digit.
    #[error("{what} begins with {found:?}; it must begin with a letter or a digit")]
    First {
        /// Whose name.
        what: &'static str,
        /// The character.
        found: char,
    },
    /// Too long.
    #[error("{what} has {found} bytes, at most {max} are allowed")]
    TooLong {
        /// Whose name.
        what: &'static str,
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
}

fn check(what: &'static str, max: usize, name: &str) -> Result<(), NameError> {
    let Some(first) = name.chars().next() else { return Err(NameError::Empty { what }) };
    if name.len() > max {
        return Err(NameError::TooLong { what, found: name.len(), max });
    }
    if let Some(found) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        return Err(NameError::Character { what, found });
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::First { what, found: first });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`NameError`], by reason.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check($what, $max, name)?;
                Ok(Self(name.into()))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// What is counted: 1 to 64 letters, digits, `.`, `_` and `-`, the first a letter or a digit. Case counts.
    FeatureName, "a feature's name", NAME_BYTES_MAX
}
name! {
    /// The vendor's own name for a license; unique per vendor. The same characters as a [`FeatureName`].
    LicenseId, "a license's id", NAME_BYTES_MAX
}
name! {
    /// A vendor's name, which its keys bear; best a domain. It identifies nobody: only key bytes do.
    VendorName, "a vendor's name", VENDOR_BYTES_MAX
}
