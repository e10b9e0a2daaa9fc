//! How often a time fell into which range, in constant size.
use std::time::Duration;

const BUCKETS: usize = 12;

/// The upper bounds of a histogram's buckets, rising, in milliseconds.
pub(crate) type Bounds = [u64; BUCKETS];

/// Between beats: from a tenth of a second to an hour.
pub(crate) const INTERVALS: Bounds =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000];

/// By which a watch is late: from a millisecond to a minute.
pub(crate) const LAGS: Bounds = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 10_000, 60_000];

/// Times counted by range, as Prometheus has it.
#[derive(Clone, Copy, Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    /// Those within each bound and above the one before; what is above all is in none.
    within: [u64; BUCKETS],
    count: u64,
    sum: Duration,
}

impl Histogram {
    pub(crate) const fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, within: [0; BUCKETS], count: 0, sum: Duration::ZERO }
    }

    pub(crate) fn note(&mut self, time: Duration) {
        let index = self.bounds.partition_point(|bound| Duration::from_millis(*bound) < time);
        if let Some(within) = self.within.get_mut(index) {
            *within += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// The bounds, rising, each with how many times were at most that long.
    #[must_use = "iterators are lazy"]
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut below = 0;
        self.bounds.iter().zip(&self.within).map(move |(bound, within)| {
            below += within;
            (Duration::from_millis(*bound), below)
        })
    }

    /// How many times there were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
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
