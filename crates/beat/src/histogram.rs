//! How often a time fell into which range, in constant size.
use std::time::Duration;

const BUCKETS: usize = 12;

/// The upper bounds of a histogram's buckets, rising, in nanoseconds.
pub(crate) type Bounds = [u64; BUCKETS];

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;

/// Between beats: from a tenth of a second to an hour.
pub(crate) const INTERVALS: Bounds = [
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    2500 * MILLI,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
    300 * SECOND,
    900 * SECOND,
    3600 * SECOND,
];

/// By which a watch is late: from a millisecond to a minute.
pub(crate) const LAGS: Bounds = [
    MILLI,
    2 * MILLI,
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    10 * SECOND,
    60 * SECOND,
];

/// Times counted by range, as Prometheus has it.
#[derive(Clone, Copy, Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    /// Those within each bound and above the one before; what is above all is in none.
    within: [u64; BUCKETS],
    count: u64,
    /// In nanoseconds.
    sum: u128,
}

impl Histogram {
    pub(crate) const fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, within: [0; BUCKETS], count: 0, sum: 0 }
    }

    pub(crate) fn note(&mut self, time: Duration) {
        // Looked at once for each beat, so in numbers.
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let index = self.bounds.partition_point(|bound| *bound < nanos);
        if let Some(within) = self.within.get_mut(index) {
            *within += 1;
        }
        self.count += 1;
        self.sum += u128::from(nanos);
    }

    /// The bounds, rising, each with how many times were at most that long.
    #[must_use = "iterators are lazy"]
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut below = 0;
        self.bounds.iter().zip(&self.within).map(move |(bound, within)| {
            below += within;
            (Duration::from_nanos(*bound), below)
        })
    }

    /// How many times there were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        let second = u128::from(SECOND);
        let nanos = u32::try_from(self.sum % second).unwrap_or_default();
        Duration::new(u64::try_from(self.sum / second).unwrap_or(u64::MAX), nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_under_each_bound_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&LAGS);
        for time in [0, 1, 3, 60_000, 60_001] {
            histogram.note(Duration::from_millis(time));
        }
        let counts: Vec<_> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!((histogram.count(), histogram.sum()), (5, Duration::from_millis(120_005)));
    }

    #[test]
    fn bounds_rise() {
        assert!(INTERVALS.is_sorted() && LAGS.is_sorted());
    }
}
