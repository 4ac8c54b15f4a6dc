use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::limits::VERSION_PARTS_MAX;

/// A version of an application: one to four numbers with dots, compared number by number, so that 1.10 is
/// newer than 1.2. A missing part counts as zero: 12 and 12.0 are the same version.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    parts: [u32; VERSION_PARTS_MAX],
    written: u8,
}

/// Text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no version: one to four numbers with dots, like \"12.4\"")]
pub struct VersionError {
    /// What was found, shortened.
    pub found: String,
}

impl Version {
    /// A version of these numbers.
    ///
    /// # Errors
    /// [`VersionError`] for none and for more than four.
    pub fn new(numbers: &[u32]) -> Result<Self, VersionError> {
        let mut parts = [0; VERSION_PARTS_MAX];
        if numbers.is_empty() || numbers.len() > VERSION_PARTS_MAX {
            return Err(VersionError { found: format!("{numbers:?}").chars().take(60).collect() });
        }
        parts[..numbers.len()].copy_from_slice(numbers);
        Ok(Self { parts, written: numbers.len() as u8 })
    }

    /// The four numbers that are compared.
    #[must_use]
    pub const fn parts(&self) -> [u32; VERSION_PARTS_MAX] {
        self.parts
    }

    /// The numbers as they were written, one to four.
    #[must_use]
    pub fn numbers(&self) -> &[u32] {
        &self.parts[..usize::from(self.written)]
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Version {}

impl std::hash::Hash for Version {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts.hash(state);
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts[..usize::from(self.written)].iter().enumerate() {
            write!(f, "{}{part}", if i == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError { found: text.chars().take(40).collect() };
        let mut parts = [0; VERSION_PARTS_MAX];
        let mut written = 0u8;
        for number in text.split('.') {
            let part = parts.get_mut(usize::from(written)).ok_or_else(error)?;
            let plain =
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && (number.len() == 1 || !number.starts_with('0'));
            *part = number.parse().ok().filter(|_| plain).ok_or_else(error)?;
            written += 1;
        }
        Ok(Self { parts, written })
    }
}
