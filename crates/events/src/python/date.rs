//! `datetime.date`.
use std::fmt;

use super::envelope::{self, Marker, Typed};
use crate::PayloadError;

/// A day of the years 1 to 9999: Python's `datetime.date`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The day, if there is such a one; months and days count from 1.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let is_day = (1..=9999).contains(&year) && (1..=days_in(year, month)).contains(&day);
        is_day.then_some(Self { year, month, day })
    }

    /// Parses `2026-01-02`, or the midnight of kombu until 5.2: `2026-01-02T00:00:00`.
    ///
    /// # Errors
    ///
    /// [`PayloadError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, PayloadError> {
        Self::from_text(text).ok_or_else(|| PayloadError::malformed("not a date"))
    }

    /// The year.
    #[must_use]
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, from 1.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }

    /// `YYYY-MM-DD`.
    pub(super) fn from_iso(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let mut part = |len| envelope::number(parts.next().filter(|part| part.len() == len)?);
        let (year, month, day) = (part(4)?, part(2)?, part(2)?);
        Self::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?)
    }

    /// Days since 1970-01-01.
    pub(super) fn days_since_epoch(self) -> i64 {
        // Years that begin in March have their leap day last.
        let (year, month, day) = (i64::from(self.year), i64::from(self.month), i64::from(self.day));
        let year = if month <= 2 { year - 1 } else { year };
        let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        365 * year + year / 4 - year / 100 + year / 400 + in_year - EPOCH
    }

    /// The day so many days after 1970-01-01, within the years 1 to 9999.
    pub(super) fn from_days_since_epoch(days: i64) -> Option<Self> {
        let days = days.checked_add(EPOCH).filter(|days| *days >= 0)?;
        let (era, of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let in_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * in_year + 2) / 153;
        let day = in_year - (153 * march_month + 2) / 5 + 1;
        let month = (march_month + 2) % 12 + 1;
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Self::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?)
    }
}

/// From 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
const DAYS_OF_400_YEARS: i64 = 146_097;

const fn days_in(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

impl Typed for Date {
    const WHAT: &'static str = "a date";

    fn from_text(text: &str) -> Option<Self> {
        Self::from_iso(text.strip_suffix("T00:00:00").unwrap_or(text))
    }

    fn from_marked(marker: &str, text: &str) -> Option<Self> {
        (marker == Marker::Date.as_str()).then(|| Self::from_text(text))?
    }
}

/// As Python's `isoformat`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

envelope::as_text!(Date, Marker::Date);
