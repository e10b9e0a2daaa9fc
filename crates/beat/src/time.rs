//! Time as the monitor counts it, and how it maps to the clock on the wall.
use std::{
    fmt,
    num::NonZeroU64,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// An instant, as the monotonic time since its monitor's start.
///
/// The monitor reads no clock: whoever drives it says what time it is, in these. So it runs in virtual time as in
/// real time, and what it keeps per process is 8 bytes per instant, there or not. Nanoseconds; it saturates after 584
/// years.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(
    /// Nanoseconds since the start, and one: what is not there needs no byte of its own.
    NonZeroU64,
);

const _: () = assert!(size_of::<Option<Timestamp>>() == 8, "it is there for every process");

impl Timestamp {
    /// The monitor's start.
    pub const START: Self = Self(NonZeroU64::MIN);

    /// The instant so long after the monitor's start.
    #[must_use]
    pub fn from_start(elapsed: Duration) -> Self {
        Self::START.after(elapsed)
    }

    /// How long after the monitor's start it is.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    /// The time from `earlier` to it; zero if it is the other way round.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// The instant so long after it.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(nanos(wait)))
    }

    /// The instant so long after it.
    pub(crate) const fn plus(self, wait: Span) -> Self {
        Self(self.0.saturating_add(wait.0))
    }

    /// The instant so long before it; the start, where that is earlier.
    pub(crate) fn before(self, wait: Duration) -> Self {
        let nanos = self.0.get().saturating_sub(nanos(wait));
        NonZeroU64::new(nanos).map_or(Self::START, Self)
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::START
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.since_start()).finish()
    }
}

/// A time in 8 bytes, where a [`Duration`] has 16: what is kept for every process, and reckoned with at every beat.
/// Nanoseconds; 584 years at most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Span(u64);

impl Span {
    pub(crate) fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(count.into()))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(nanos(duration))
    }
}

impl From<Span> for Duration {
    fn from(Span(nanos): Span) -> Self {
        Self::from_nanos(nanos)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Tells what time it is, and when on the wall a [`Timestamp`] was.
///
/// Both clocks are read once, together: a wall clock that is stepped later moves no stamp and no deadline.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Read at one moment, `lead` after the monitor's start.
    start: Instant,
    wall: SystemTime,
    lead: Duration,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), wall: SystemTime::now(), lead: Duration::ZERO }
    }

    /// As if it had started at `earliest`: so that what happened since has stamps. Not where that is yet to come.
    pub(crate) fn start_at(earliest: SystemTime) -> Self {
        let clock = Self::start();
        Self { lead: clock.wall.duration_since(earliest).unwrap_or_default(), ..clock }
    }

    /// The time of now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_start(self.lead.saturating_add(self.start.elapsed()))
    }

    /// When on the wall `at` was, or will be.
    #[must_use]
    pub fn wall(&self, at: Timestamp) -> SystemTime {
        let since = at.since_start();
        let wall = match since.checked_sub(self.lead) {
            Some(later) => self.wall.checked_add(later),
            None => self.wall.checked_sub(self.lead.saturating_sub(since)),
        };
        wall.unwrap_or(self.wall)
    }

    /// The stamp of a moment on the wall; the monitor's start for one before it.
    pub(crate) fn stamp(&self, wall: SystemTime) -> Timestamp {
        let since = match wall.duration_since(self.wall) {
            Ok(later) => self.lead.saturating_add(later),
            Err(earlier) => self.lead.saturating_sub(earlier.duration()),
        };
        Timestamp::from_start(since)
    }

    /// The runtime's instant for `at`, to sleep until.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        // Some 30 years where it overflows, as tokio itself has it.
        let far = Duration::from_secs(86_400 * 365 * 30);
        let later = at.since_start().saturating_sub(self.lead);
        self.start.checked_add(later).unwrap_or_else(|| self.start + far)
    }
}
