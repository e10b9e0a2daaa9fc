//! How old a message is when it comes, where its broker says when it was stored.
use std::time::{Duration, SystemTime};

use sinew_core::{Message, Position};

use crate::{Clock, Timestamp};

/// How long the two clocks are compared for.
const WINDOW: Duration = Duration::from_secs(60);

/// Tells old messages from a clock that differs.
///
/// The broker's clock and ours differ by what nobody knows. But a message is never younger than none: the least
/// difference that was seen between when one was stored and when it came is that of the clocks, and the way here. What
/// exceeds it is age. So an age is never too long, however the clocks differ, unless the broker's is set back; and one
/// that was heard before anything newer was has none.
///
/// The least is that of the last one or two minutes in which anything came, as clocks drift.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    began: Timestamp,
    /// In nanoseconds; what came since `began`, and in the window before that.
    least: Option<i128>,
    before: Option<i128>,
}

impl Ages {
    /// How old `message` is at `now`, by `clock`: nothing, where its broker does not say.
    pub(crate) fn of(&mut self, message: &Message, now: Timestamp, clock: &Clock) -> Duration {
        match message.position().and_then(Position::stored_at) {
            Some(stored_at) => self.age(difference(clock.wall(now), stored_at), now),
            None => Duration::ZERO,
        }
    }

    fn age(&mut self, difference: i128, now: Timestamp) -> Duration {
        if now.since(self.began) >= WINDOW {
            self.began = now;
            self.before = self.least.take().or(self.before);
        }
        let least = self.least.map_or(difference, |least| least.min(difference));
        self.least = Some(least);
        let least = self.before.map_or(least, |before| before.min(least));
        let nanos = u64::try_from(difference.saturating_sub(least)).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos)
    }
}

/// `later` - `earlier`, in nanoseconds, either way round.
fn difference(later: SystemTime, earlier: SystemTime) -> i128 {
    let nanos = |it: Duration| i128::try_from(it.as_nanos()).unwrap_or(i128::MAX);
    match later.duration_since(earlier) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i128 = 1_000_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn clocks_that_differ_make_nothing_old() {
        for skew in [-3600 * SECOND, 0, 3600 * SECOND] {
            let mut ages = Ages::default();
            assert!((0..1000).all(|second| ages.age(skew, at(second)).is_zero()));
        }
    }

    #[test]
    fn what_was_kept_while_the_link_was_down_is_as_old_as_it_was_kept() {
        let mut ages = Ages::default();
        assert_eq!(ages.age(7 * SECOND, at(0)), Duration::ZERO);
        // An hour later, of an hour ago, of ten minutes ago, and of now.
        for age in [3600, 600, 0] {
            let wanted = Duration::from_secs(age);
            assert_eq!(ages.age((7 + i128::from(age)) * SECOND, at(3600)), wanted);
        }
    }

    #[test]
    fn a_clock_that_drifts_makes_nothing_old_for_long() {
        let mut ages = Ages::default();
        // A millisecond a second, for an hour: twenty times what a bad one does.
        let oldest =
            (0..3600).map(|second| ages.age(i128::from(second) * SECOND / 1000, at(second))).max();
        assert!(oldest.is_some_and(|age| age <= Duration::from_millis(120)), "{oldest:?}");
    }

    proptest! {
        #[test]
        fn an_age_is_never_too_long(
            skew in -10_000..10_000_i128,
            came in proptest::collection::vec((0..100_u64, 0..5000_u64), 1..100),
        ) {
            let (mut ages, mut now) = (Ages::default(), 0);
            for (wait, age) in came {
                now += wait;
                let told = ages.age((skew + i128::from(age)) * SECOND, at(now));
                prop_assert!(told <= Duration::from_secs(age));
            }
        }
    }
}
