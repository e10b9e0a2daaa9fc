//! `datetime.datetime`.
use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{
    date::Date,
    envelope::{self, Marker, Typed},
    time::Time,
};
use crate::PayloadError;

/// A day and a time of it: Python's `datetime.datetime`. Without an offset from UTC it is no instant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DateTime {
    date: Date,
    time: Time,
}

impl DateTime {
    /// That time of that day.
    #[must_use]
    pub const fn new(date: Date, time: Time) -> Self {
        Self { date, time }
    }

    /// Parses a date, `T` or a space, and a time: `2026-01-02T03:04:05.000006+00:00`.
    ///
    /// # Errors
    ///
    /// [`PayloadError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, PayloadError> {
        Self::from_text(text).ok_or_else(|| PayloadError::malformed("not a datetime"))
    }

    /// The day.
    #[must_use]
    pub const fn date(self) -> Date {
        self.date
    }

    /// The time of the day, in its own zone.
    #[must_use]
    pub const fn time(self) -> Time {
        self.time
    }

    /// The instant; none where no zone is said.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let ahead = i64::from(self.time.utc_offset()?);
        let seconds = self.date.days_since_epoch() * 86_400 + self.time.seconds() - ahead;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let second = match seconds {
            0.. => SystemTime::UNIX_EPOCH.checked_add(whole),
            _ => SystemTime::UNIX_EPOCH.checked_sub(whole),
        };
        second?.checked_add(Duration::from_micros(self.time.microsecond().into()))
    }

    /// The instant in UTC, to the microsecond below; none beyond the years 1 to 9999.
    #[must_use]
    pub fn from_system_time(instant: SystemTime) -> Option<Self> {
        let micros = match instant.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).ok()?,
            Err(before) => -i64::try_from(before.duration().as_nanos().div_ceil(1000)).ok()?,
        };
        let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        let (days, seconds) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let time = Time::from_seconds(seconds.try_into().ok()?, micros.try_into().ok()?)?;
        Some(Self::new(Date::from_days_since_epoch(days)?, time.with_utc_offset(0)?))
    }
}

impl Typed for DateTime {
    const WHAT: &'static str = "a datetime";

    fn from_text(text: &str) -> Option<Self> {
        let (date, time) = text.split_once(['T', ' '])?;
        Some(Self::new(Date::from_iso(date)?, Time::from_text(time)?))
    }

    fn from_marked(marker: &str, text: &str) -> Option<Self> {
        (marker == Marker::DateTime.as_str()).then(|| Self::from_text(text))?
    }
}

/// As Python's `isoformat`.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", self.date, self.time)
    }
}

envelope::as_text!(DateTime, Marker::DateTime);
