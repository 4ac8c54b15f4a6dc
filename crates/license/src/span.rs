use std::fmt;
use std::str::FromStr;

use crate::limits::SPAN_MS_MAX;

/// A length of time in milliseconds, written `14d`, `8h`, `15min` or `30s`. Months and years have no
/// fixed length and are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// Text that is no span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    /// Not a number followed by a unit.
    #[error("`{found}` is no span of time: a whole number and a unit, like \"14d\", \"8h\", \"15min\" or \"30s\"")]
    Form {
        /// What was found.
        found: String,
    },
    /// A month or a year.
    #[error("`{found}`: months and years have no fixed length, so a license cannot state them; use days")]
    NoFixedLength {
        /// What was found.
        found: String,
    },
    /// Longer than ten years.
    #[error("`{found}` is longer than the longest span, {}d", SPAN_MS_MAX / 86_400_000)]
    TooLong {
        /// What was found.
        found: String,
    },
}

const UNITS: [(&str, u64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];

impl Span {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// A span of whole milliseconds. What is no whole second is rounded down when it is written.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Span {
    /// In the largest unit that leaves no remainder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, ms) = UNITS.into_iter().find(|(_, ms)| self.0 != 0 && self.0.is_multiple_of(*ms)).unwrap_or(UNITS[3]);
        write!(f, "{}{unit}", self.0 / ms)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        // The message quotes no more of hostile input than is useful.
        let found = || text.chars().take(40).collect::<String>();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if digits > 0 && matches!(unit, "m" | "mo" | "month" | "months" | "M" | "y" | "a" | "year" | "years") {
            return Err(if unit == "m" { SpanError::Form { found: found() } } else { SpanError::NoFixedLength { found: found() } });
        }
        let (_, unit_ms) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(|| SpanError::Form { found: found() })?;
        if digits == 0 || (number.starts_with('0') && digits > 1) {
            return Err(SpanError::Form { found: found() });
        }
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit_ms))
            .filter(|ms| *ms <= SPAN_MS_MAX)
            .map(Self)
            .ok_or_else(|| SpanError::TooLong { found: found() })
    }
}
