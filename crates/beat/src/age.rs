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
/// exceeds it is age. So an age is never too long, however the clocks differ; and one that was heard before anything
/// newer was has none.
///
/// The least is that of the last one or two minutes in which anything new came, as clocks drift. What is newer than all
/// before it, by its place in the log, and was stored earlier, was stored by a clock that was set back, or by another
/// broker's: what was learned of the clocks is forgotten, and it has no age.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    /// The newest message that came of the log that came last.
    newest: Option<Position>,
    began: Timestamp,
    /// In nanoseconds; what came since `began`, and in the window before that.
    least: Option<i128>,
    before: Option<i128>,
}

impl Ages {
    /// How old `message` is at `now`, by `clock`: nothing, where its broker does not say.
    pub(crate) fn of(&mut self, message: &Message, now: Timestamp, clock: &Clock) -> Duration {
        let Some(position) = message.position() else { return Duration::ZERO };
        let Some(stored_at) = position.stored_at() else { return Duration::ZERO };
        let difference = difference(clock.wall(now), stored_at);
        let newest = self.newest.as_ref().filter(|it| it.log == position.log);
        // What comes once more may be of the clock before.
        if newest.is_none_or(|it| it.offset < position.offset) {
            if newest.and_then(Position::stored_at).is_some_and(|before| stored_at < before) {
                (self.least, self.before) = (None, None);
            }
            self.newest = Some(position.clone());
            self.compare(difference, now);
        }
        self.age(difference)
    }

    fn compare(&mut self, difference: i128, now: Timestamp) {
        if now.since(self.began) >= WINDOW {
            self.began = now;
            self.before = self.least.take().or(self.before);
        }
        let least = self.least.map_or(difference, |least| least.min(difference));
        self.least = Some(least);
    }

    fn age(&self, difference: i128) -> Duration {
        let least = self.least.into_iter().chain(self.before).min().unwrap_or(difference);
        let nanos = difference.saturating_sub(least).max(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
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
    use sinew_core::Subject;

    use super::*;
    use crate::{Monitor, MonitorEvent, MonitorOptions, State};

    const SECOND: i128 = 1_000_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_start(Duration::from_secs(seconds))
    }

    impl Ages {
        /// How old a new message is.
        fn heard(&mut self, difference: i128, now: Timestamp) -> Duration {
            self.compare(difference, now);
            self.age(difference)
        }
    }

    #[test]
    fn a_broker_whose_clock_is_set_back_makes_nobody_late() {
        let (mut ages, clock) = (Ages::default(), Clock::start());
        let (mut monitor, mut told) = (Monitor::new(MonitorOptions::default()), Vec::new());
        let mut hear = |offset: u64, back: u64, second: u64| {
            let stored_at = clock.wall(at(offset)) - Duration::from_secs(back);
            let position = Position::new("BEATS", offset).with_stored_at(stored_at);
            let subject = Subject::parse("heartbeat.a").unwrap();
            let message = Message::new(subject, "beat/5").with_position(position);
            let age = ages.of(&message, at(second), &clock);
            monitor.hear_aged(&message, age, at(second), &mut told);
            age
        };
        for second in 0..200 {
            let age = hear(second, if second < 60 { 0 } else { 20 }, second);
            assert!(age.is_zero(), "{second} {age:?}");
            if second == 70 {
                // Of before it was set back, once more.
                hear(59, 0, second);
            }
        }
        let states: Vec<_> =
            told.iter().filter_map(MonitorEvent::transition).map(|it| it.to).collect();
        assert_eq!(states, [State::Up]);
    }

    #[test]
    fn clocks_that_differ_make_nothing_old() {
        for skew in [-3600 * SECOND, 0, 3600 * SECOND] {
            let mut ages = Ages::default();
            assert!((0..1000).all(|second| ages.heard(skew, at(second)).is_zero()));
        }
    }

    #[test]
    fn what_was_kept_while_the_link_was_down_is_as_old_as_it_was_kept() {
        let mut ages = Ages::default();
        assert_eq!(ages.heard(7 * SECOND, at(0)), Duration::ZERO);
        // An hour later, of an hour ago, of ten minutes ago, and of now.
        for age in [3600, 600, 0] {
            let wanted = Duration::from_secs(age);
            assert_eq!(ages.heard((7 + i128::from(age)) * SECOND, at(3600)), wanted);
        }
    }

    #[test]
    fn a_clock_that_drifts_makes_nothing_old_for_long() {
        let mut ages = Ages::default();
        // A millisecond a second, for an hour: twenty times what a bad one does.
        let oldest = (0..3600)
            .map(|second| ages.heard(i128::from(second) * SECOND / 1000, at(second)))
            .max();
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
                let told = ages.heard((skew + i128::from(age)) * SECOND, at(now));
                prop_assert!(told <= Duration::from_secs(age));
            }
        }
    }
}
