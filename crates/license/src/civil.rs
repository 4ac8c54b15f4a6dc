use std::fmt;
use std::str::FromStr;

/// Civil time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CivilMs(pub i64);

/// A day of the Gregorian calendar, years 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CivilDate {
    year: u16,
    month: u8,
    day: u8,
}

/// A second of a day with an offset from UTC, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CivilDateTime {
    date: CivilDate,
    second_of_day: u32,
    offset_minutes: i16,
}

/// A date or a date-time as a license states it. What instant it means depends on what it is for:
/// [`Written::begins`] and [`Written::ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// A whole day, everywhere on Earth.
    Date(CivilDate),
    /// An exact instant.
    Instant(CivilDateTime),
}

/// Text that is no date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DateError {
    /// Not like 2027-12-31 or 2027-12-31T18:00:00Z.
    #[error("`{found}` is no date: write 2027-12-31, or with a time and an offset 2027-12-31T18:00:00+01:00")]
    Form {
        /// What was found, shortened.
        found: String,
    },
    /// No such day or time, like 30 February.
    #[error("`{found}`: there is no such day or time")]
    NoSuchTime {
        /// What was found, shortened.
        found: String,
    },
    /// A time without an offset from UTC.
    #[error("`{found}` has no offset from UTC, so it means another instant everywhere; add `Z` or `+01:00`")]
    NoOffset {
        /// What was found, shortened.
        found: String,
    },
}

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

impl CivilDate {
    /// A day that exists.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let length = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            _ => return None,
        };
        ((1970..=9999).contains(&year) && (1..=length).contains(&day)).then_some(Self { year, month, day })
    }

    /// The year.
    #[must_use]
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }

    /// The day of UTC on which an instant falls; the first or last day that can be written, outside of those.
    #[must_use]
    pub fn of(instant: CivilMs) -> Self {
        Self::from_days(instant.0.div_euclid(DAY_MS))
    }

    /// The day `days` later.
    #[must_use]
    pub fn plus_days(self, days: u32) -> Self {
        Self::from_days(self.days() + i64::from(days))
    }

    /// Days since 1970-01-01. (Howard Hinnant's days_from_civil.)
    fn days(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year - era * 400;
        let month = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    fn from_days(days: i64) -> Self {
        let days = days.clamp(0, 2_932_896) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days - era * 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year: year as u16, month: month as u8, day: (day_of_year - (153 * shifted + 2) / 5 + 1) as u8 }
    }

    /// 00:00 UTC of this day.
    #[must_use]
    pub fn midnight_utc(self) -> CivilMs {
        CivilMs(self.days() * DAY_MS)
    }
}

impl CivilDateTime {
    /// The instant in UTC, to the second below.
    #[must_use]
    pub fn of(instant: CivilMs) -> Self {
        Self { date: CivilDate::of(instant), second_of_day: (instant.0.rem_euclid(DAY_MS) / 1000) as u32, offset_minutes: 0 }
    }

    /// The instant.
    #[must_use]
    pub fn instant(self) -> CivilMs {
        CivilMs(self.date.midnight_utc().0 + i64::from(self.second_of_day) * 1000 - i64::from(self.offset_minutes) * 60_000)
    }

    /// The date part, as written.
    #[must_use]
    pub const fn date(self) -> CivilDate {
        self.date
    }
}

impl Written {
    /// When a right that is said to start so begins: a date when the first place on Earth enters that day,
    /// 00:00 UTC+14.
    #[must_use]
    pub fn begins(self) -> CivilMs {
        match self {
            Self::Date(date) => CivilMs(date.midnight_utc().0 - 14 * HOUR_MS),
            Self::Instant(instant) => instant.instant(),
        }
    }

    /// When a right that is said to expire so has ended, exclusive: a date when the last place on Earth has left
    /// that day, 00:00 UTC-12 after it.
    #[must_use]
    pub fn ends(self) -> CivilMs {
        match self {
            Self::Date(date) => CivilMs(date.midnight_utc().0 + DAY_MS + 12 * HOUR_MS),
            Self::Instant(instant) => instant.instant(),
        }
    }

    /// What is written for a right that begins at this instant: a date if one does, else the instant.
    #[must_use]
    pub fn of_begin(instant: CivilMs) -> Self {
        let date = Self::Date(CivilDate::of(CivilMs(instant.0.saturating_add(14 * HOUR_MS))));
        if date.begins() == instant { date } else { Self::Instant(CivilDateTime::of(instant)) }
    }

    /// The same for a right that has ended at this instant.
    #[must_use]
    pub fn of_end(instant: CivilMs) -> Self {
        let date = Self::Date(CivilDate::of(CivilMs(instant.0.saturating_sub(DAY_MS + 12 * HOUR_MS))));
        if date.ends() == instant { date } else { Self::Instant(CivilDateTime::of(instant)) }
    }

    /// The date part, as written.
    #[must_use]
    pub const fn date(self) -> CivilDate {
        match self {
            Self::Date(date) => date,
            Self::Instant(instant) => instant.date(),
        }
    }
}

impl fmt::Display for CivilDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for CivilDateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.second_of_day;
        write!(f, "{}T{:02}:{:02}:{:02}", self.date, second / 3600, second / 60 % 60, second % 60)?;
        match self.offset_minutes {
            0 => f.write_str("Z"),
            minutes => {
                let sign = if minutes < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
            }
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(date) => date.fmt(f),
            Self::Instant(instant) => instant.fmt(f),
        }
    }
}

impl fmt::Display for CivilMs {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CivilDateTime::of(*self).fmt(f)
    }
}

impl FromStr for CivilDate {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        match text.parse()? {
            Written::Date(date) => Ok(date),
            Written::Instant(_) => Err(DateError::Form { found: shorten(text) }),
        }
    }
}

impl FromStr for Written {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let form = || DateError::Form { found: shorten(text) };
        let missing = || DateError::NoSuchTime { found: shorten(text) };
        let bytes = text.as_bytes();
        // Two or four digits at a place, between fixed separators.
        let number = |at: usize, length: usize| -> Option<u16> {
            let digits = bytes.get(at..at + length)?;
            digits.iter().try_fold(0u16, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u16::from(byte - b'0')))
        };
        let separator = |at: usize, expected: u8| bytes.get(at) == Some(&expected);
        if !(separator(4, b'-') && separator(7, b'-')) {
            return Err(form());
        }
        let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 2), number(8, 2)) else {
            return Err(form());
        };
        let date = CivilDate::new(year, month as u8, day as u8).ok_or_else(missing)?;
        if bytes.len() == 10 {
            return Ok(Self::Date(date));
        }
        if !(separator(10, b'T') && separator(13, b':') && separator(16, b':')) {
            return Err(form());
        }
        let (Some(hour), Some(minute), Some(second)) = (number(11, 2), number(14, 2), number(17, 2)) else {
            return Err(form());
        };
        if hour > 23 || minute > 59 || second > 59 {
            return Err(missing());
        }
        let second_of_day = u32::from(hour) * 3600 + u32::from(minute) * 60 + u32::from(second);
        let offset_minutes = match bytes.get(19..) {
            None | Some([]) => return Err(DateError::NoOffset { found: shorten(text) }),
            Some(b"Z") => 0,
            Some([sign @ (b'+' | b'-'), _, _, b':', _, _]) => {
                let (Some(hours), Some(minutes)) = (number(20, 2), number(23, 2)) else { return Err(form()) };
                if hours > 14 || minutes > 59 {
                    return Err(missing());
                }
                let minutes = (hours * 60 + minutes) as i16;
                // One spelling for one instant: +00:00 is Z, and -00:00 means "unknown" in RFC 3339.
                if minutes == 0 {
                    return Err(form());
                }
                if *sign == b'-' { -minutes } else { minutes }
            }
            Some(_) => return Err(form()),
        };
        Ok(Self::Instant(CivilDateTime { date, second_of_day, offset_minutes }))
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
