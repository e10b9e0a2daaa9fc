//! Which beats are sent: beatit's rule of one a second, without clock or socket.
use std::time::Duration;

use tokio::time::Instant;

use crate::Beat;

/// What became of a call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Pulse {
    /// It was published.
    Sent,
    /// One of its kind was sent less than the minimum interval ago, so it was not.
    Suppressed,
}

/// What becomes of a `beat` or a `degraded` that says something else than the last message did, and would be
/// suppressed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum OnChange {
    /// It is, as in beatit: after `beat`, `degraded`, the `beat` that would tell of the recovery waits for its turn.
    #[default]
    Suppress,
    /// It is sent: whoever listens learns of every change at once. A process that flaps is heard as often as it flaps.
    Send,
}

/// How far apart two sent `beat`s, and two sent `degraded`s, are at least: in beatit always, here by default.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// When a `beat` and a `degraded` were last sent: each has a clock of its own, `start` and `stop` have none.
#[derive(Debug)]
pub(crate) struct Suppression {
    min_interval: Duration,
    on_change: OnChange,
    beat: Option<Instant>,
    degraded: Option<Instant>,
    /// What was said last, if that is known, by the leave that was given for it.
    said: Option<(Verb, u64)>,
    given: u64,
}

/// Leave to send, to hand back if it was not used.
#[derive(Debug)]
pub(crate) struct Leave {
    verb: Verb,
    number: u64,
    given: Instant,
    before: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Start,
    Beat,
    Degraded,
    Stop,
}

impl Suppression {
    pub(crate) const fn new(min_interval: Duration, on_change: OnChange) -> Self {
        Self { min_interval, on_change, beat: None, degraded: None, said: None, given: 0 }
    }

    /// Gives leave to send `beat` at `now`, or none; taken as sent until it is handed back.
    pub(crate) fn admit(&mut self, beat: Beat, now: Instant) -> Option<Leave> {
        let verb = match beat {
            Beat::Start { .. } => Verb::Start,
            Beat::Beat { .. } => Verb::Beat,
            Beat::Degraded { .. } => Verb::Degraded,
            Beat::Stop => Verb::Stop,
        };
        let is_news =
            self.on_change == OnChange::Send && self.said.is_none_or(|(said, _)| said != verb);
        let min_interval = self.min_interval;
        let mut before = None;
        if let Some(last) = self.last(verb) {
            before = *last;
            let is_early =
                before.is_some_and(|sent| now.saturating_duration_since(sent) < min_interval);
            if is_early && !is_news {
                return None;
            }
            *last = Some(now);
        }
        self.given += 1;
        self.said = Some((verb, self.given));
        Some(Leave { verb, number: self.given, given: now, before })
    }

    /// Takes back leave that led to nothing, so that the next call may try at once.
    pub(crate) fn revoke(&mut self, leave: &Leave) {
        if let Some(last) = self.last(leave.verb)
            && *last == Some(leave.given)
        {
            *last = leave.before;
        }
        // It may have arrived all the same, so what others believe is not known, and anything is news to them.
        if self.said.is_some_and(|(_, number)| number == leave.number) {
            self.said = None;
        }
    }

    fn last(&mut self, verb: Verb) -> Option<&mut Option<Instant>> {
        match verb {
            Verb::Beat => Some(&mut self.beat),
            Verb::Degraded => Some(&mut self.degraded),
            Verb::Start | Verb::Stop => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEAT: Beat = Beat::Beat { period: Duration::from_secs(5) };
    const START: Beat = Beat::Start { warmup: Duration::from_secs(60) };
    const DEGRADED: Beat = Beat::Degraded { period: Duration::from_secs(5) };

    fn original() -> Suppression {
        Suppression::new(MIN_INTERVAL, OnChange::Suppress)
    }

    fn changes() -> Suppression {
        Suppression::new(MIN_INTERVAL, OnChange::Send)
    }

    #[test]
    fn one_of_a_kind_is_sent_per_second() {
        let start = Instant::now();
        let mut suppression = original();
        let mut sent =
            |beat, ms| suppression.admit(beat, start + Duration::from_millis(ms)).is_some();
        assert!(sent(BEAT, 0));
        assert!(!sent(BEAT, 999));
        assert!(sent(BEAT, 1000));
        assert!(!sent(BEAT, 1999));
        assert!(sent(BEAT, 2500));
    }

    #[test]
    fn beat_and_degraded_have_clocks_of_their_own() {
        let now = Instant::now();
        let mut suppression = original();
        assert!(suppression.admit(BEAT, now).is_some());
        assert!(suppression.admit(DEGRADED, now).is_some());
        // As in beatit: the recovery is swallowed, and told by the next beat.
        assert!(suppression.admit(BEAT, now).is_none());
    }

    #[test]
    fn start_and_stop_are_never_suppressed_and_reset_nothing() {
        let now = Instant::now();
        let mut suppression = original();
        assert!(suppression.admit(BEAT, now).is_some());
        for beat in [Beat::Stop, Beat::Stop, Beat::Start { warmup: Duration::ZERO }] {
            assert!(suppression.admit(beat, now).is_some());
        }
        assert!(suppression.admit(BEAT, now).is_none());
    }

    #[test]
    fn leave_handed_back_can_be_had_again_at_once() {
        let now = Instant::now();
        let mut suppression = original();
        let leave = suppression.admit(BEAT, now).unwrap();
        suppression.revoke(&leave);
        assert!(suppression.admit(BEAT, now).is_some());
    }

    #[test]
    fn a_late_hand_back_does_not_take_back_a_newer_beat() {
        let now = Instant::now();
        let mut suppression = original();
        let slow = suppression.admit(BEAT, now).unwrap();
        let newer = now + MIN_INTERVAL;
        assert!(suppression.admit(BEAT, newer).is_some());
        suppression.revoke(&slow);
        assert!(suppression.admit(BEAT, newer).is_none());
    }

    #[test]
    fn a_change_gets_through_and_a_repetition_does_not() {
        let now = Instant::now();
        let mut suppression = changes();
        for beat in [BEAT, DEGRADED, BEAT, DEGRADED, Beat::Stop, DEGRADED, START, BEAT] {
            assert!(suppression.admit(beat, now).is_some(), "{beat}");
            let again = suppression.admit(beat, now).is_some();
            assert_eq!(again, matches!(beat, Beat::Start { .. } | Beat::Stop), "{beat}");
        }
    }

    #[test]
    fn after_a_failure_nobody_knows_what_was_heard_so_anything_is_news() {
        let now = Instant::now();
        let mut suppression = changes();
        assert!(suppression.admit(BEAT, now).is_some());
        let failed = suppression.admit(DEGRADED, now).unwrap();
        suppression.revoke(&failed);
        assert!(suppression.admit(BEAT, now).is_some());
    }

    #[test]
    fn the_minimum_interval_can_be_another() {
        let start = Instant::now();
        let mut suppression = Suppression::new(Duration::from_millis(100), OnChange::Suppress);
        assert!(suppression.admit(BEAT, start).is_some());
        assert!(suppression.admit(BEAT, start + Duration::from_millis(99)).is_none());
        assert!(suppression.admit(BEAT, start + Duration::from_millis(100)).is_some());
    }

    /// beatit 2022.3.1 as it is: when each verb was last sent, and whether a second has passed since.
    fn beatit(calls: &[(Beat, Duration)]) -> Vec<bool> {
        let mut last = [None::<Duration>; 2];
        let sent = calls.iter().map(|(beat, at)| {
            let clock = match beat {
                Beat::Beat { .. } => &mut last[0],
                Beat::Degraded { .. } => &mut last[1],
                _ => return true,
            };
            let is_due = clock.is_none_or(|last| *at - last >= Duration::from_secs(1));
            if is_due {
                *clock = Some(*at);
            }
            is_due
        });
        sent.collect()
    }

    proptest! {
        #[test]
        fn by_default_exactly_what_beatit_suppresses_is_suppressed(
            calls in proptest::collection::vec((0..4_usize, 0..1500_u64), 0..60)
        ) {
            let start = Instant::now();
            let mut at = Duration::ZERO;
            let calls: Vec<_> = calls.into_iter().map(|(beat, wait)| {
                at += Duration::from_millis(wait);
                ([BEAT, DEGRADED, START, Beat::Stop][beat], at)
            }).collect();
            let mut suppression = original();
            let sent: Vec<_> =
                calls.iter().map(|&(beat, at)| suppression.admit(beat, start + at).is_some()).collect();
            prop_assert_eq!(sent, beatit(&calls));
        }

        #[test]
        fn where_changes_are_sent_only_a_repetition_is_suppressed(
            calls in proptest::collection::vec((0..4_usize, 0..1500_u64, any::<bool>()), 0..60)
        ) {
            let mut now = Instant::now();
            let mut suppression = changes();
            let mut heard = None;
            for (beat, wait, fails) in calls {
                now += Duration::from_millis(wait);
                let beat = [BEAT, DEGRADED, START, Beat::Stop][beat];
                match suppression.admit(beat, now) {
                    Some(leave) if fails => suppression.revoke(&leave),
                    Some(_) => heard = Some(beat),
                    None => prop_assert_eq!(heard, Some(beat)),
                }
            }
        }
    }
}
