//! `datetime.time`.
use std::fmt;

use super::envelope::{self, Marker, Typed};
use crate::PayloadError;

/// A time of day, to the microsecond, with an offset from UTC or without: Python's `datetime.time`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time {
    hour: u8,
    minute: u8,
    second: u8,
    microsecond: u32,
    offset: Option<i32>,
}

const DAY: u32 = 86_400;

impl Time {
    /// The time, if there is such a one.
    #[must_use]
    pub fn new(hour: u8, minute: u8, second: u8, microsecond: u32) -> Option<Self> {
        let is_time = hour < 24 && minute < 60 && second < 60 && microsecond < 1_000_000;
        is_time.then_some(Self { hour, minute, second, microsecond, offset: None })
    }

    /// Says how many seconds its zone is ahead of UTC, less than a day; none where that is not a zone.
    #[must_use]
    pub fn with_utc_offset(mut self, seconds: i32) -> Option<Self> {
        self.offset = Some(seconds);
        (seconds.unsigned_abs() < DAY).then_some(self)
    }

    /// Parses `03:04:05`, `03:04:05.000006`, and both followed by `Z`, `+01:00` or `+01:00:30`.
    ///
    /// # Errors
    ///
    /// [`PayloadError::Malformed`], also for an offset in fractions of a second, which Python can have.
    pub fn parse(text: &str) -> Result<Self, PayloadError> {
        Self::from_text(text).ok_or_else(|| PayloadError::malformed("not a time"))
    }

    /// The hour.
    #[must_use]
    pub const fn hour(self) -> u8 {
        self.hour
    }

    /// The minute.
    #[must_use]
    pub const fn minute(self) -> u8 {
        self.minute
    }

    /// The second, never 60.
    #[must_use]
    pub const fn second(self) -> u8 {
        self.second
    }

    /// The microsecond of the second.
    #[must_use]
    pub const fn microsecond(self) -> u32 {
        self.microsecond
    }

    /// How many seconds its zone is ahead of UTC; none where no zone is said.
    #[must_use]
    pub const fn utc_offset(self) -> Option<i32> {
        self.offset
    }

    /// Seconds since its day began, in its own zone.
    pub(super) fn seconds(self) -> i64 {
        i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }

    /// The time so many seconds after its day began.
    pub(super) fn from_seconds(seconds: u32, microsecond: u32) -> Option<Self> {
        let part = |value: u32| u8::try_from(value).ok();
        Self::new(part(seconds / 3600)?, part(seconds / 60 % 60)?, part(seconds % 60)?, microsecond)
    }
}

/// Seconds since midnight in `HH:MM:SS`, or in `HH:MM` where `is_short` may be.
fn clock(text: &str, is_short: bool) -> Option<u32> {
    let mut parts = text.split(':').map(|part| envelope::number(part).filter(|_| part.len() == 2));
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = match parts.next() {
        Some(second) => second?,
        None if is_short => 0,
        None => return None,
    };
    let is_clock = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    is_clock.then_some(hour * 3600 + minute * 60 + second)
}

impl Typed for Time {
    const WHAT: &'static str = "a time";

    fn from_text(text: &str) -> Option<Self> {
        let at = text.find(['Z', '+', '-']).unwrap_or(text.len());
        let (clock_text, zone) = text.split_at_checked(at)?;
        let (whole, fraction) = match clock_text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (clock_text, None),
        };
        let microsecond = match fraction {
            Some(digits) if digits.len() <= 6 => {
                format!("{:0<6}", envelope::number(digits).map(|_| digits)?).parse().ok()?
            }
            Some(_) => return None,
            None => 0,
        };
        let time = Self::from_seconds(clock(whole, false)?, microsecond)?;
        let ahead = |text: &str| i32::try_from(clock(text, true)?).ok();
        match zone.split_at_checked(1) {
            None => Some(time),
            Some(("Z", "")) => time.with_utc_offset(0),
            Some(("+", offset)) => time.with_utc_offset(ahead(offset)?),
            Some(("-", offset)) => time.with_utc_offset(-ahead(offset)?),
            Some(_) => None,
        }
    }

    fn from_marked(marker: &str, text: &str) -> Option<Self> {
        (marker == Marker::Time.as_str()).then(|| Self::from_text(text))?
    }
}

/// As Python's `isoformat`: no fraction where it is zero, no offset where no zone is said.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)?;
        if self.microsecond != 0 {
            write!(f, ".{:06}", self.microsecond)?;
        }
        let Some(offset) = self.offset else { return Ok(()) };
        let (sign, ahead) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
        write!(f, "{sign}{:02}:{:02}", ahead / 3600, ahead / 60 % 60)?;
        if ahead % 60 != 0 {
            write!(f, ":{:02}", ahead % 60)?;
        }
        Ok(())
    }
}

envelope::as_text!(Time, Marker::Time);
