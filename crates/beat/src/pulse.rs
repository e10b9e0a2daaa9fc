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
    /// One of its kind was sent less than a second ago, so it was not.
    Suppressed,
}

/// How far apart two sent `beat`s, and two sent `degraded`s, are at least: fixed, as in beatit.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// When a `beat` and a `degraded` were last sent: each has a clock of its own, `start` and `stop` have none.
#[derive(Debug, Default)]
pub(crate) struct Suppression {
    beat: Option<Instant>,
    degraded: Option<Instant>,
}

/// Leave to send, to hand back if it was not used.
#[derive(Debug)]
pub(crate) struct Leave {
    verb: Clocked,
    given: Instant,
    before: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Clocked {
    Beat,
    Degraded,
    Never,
}

impl Suppression {
    /// Gives leave to send `beat` at `now`, or none; taken as sent until it is handed back.
    pub(crate) fn admit(&mut self, beat: Beat, now: Instant) -> Option<Leave> {
        let verb = match beat {
            Beat::Beat { .. } => Clocked::Beat,
            Beat::Degraded { .. } => Clocked::Degraded,
            Beat::Start { .. } | Beat::Stop => Clocked::Never,
        };
        let mut before = None;
        if let Some(last) = self.last(verb) {
            before = *last;
            if before.is_some_and(|sent| now.saturating_duration_since(sent) < MIN_INTERVAL) {
                return None;
            }
            *last = Some(now);
        }
        Some(Leave { verb, given: now, before })
    }

    /// Takes back leave that led to nothing, so that the next call may try at once.
    pub(crate) fn revoke(&mut self, leave: &Leave) {
        if let Some(last) = self.last(leave.verb)
            && *last == Some(leave.given)
        {
            *last = leave.before;
        }
    }

    fn last(&mut self, verb: Clocked) -> Option<&mut Option<Instant>> {
        match verb {
            Clocked::Beat => Some(&mut self.beat),
            Clocked::Degraded => Some(&mut self.degraded),
            Clocked::Never => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Beat = Beat::Beat { period: Duration::from_secs(5) };
    const DEGRADED: Beat = Beat::Degraded { period: Duration::from_secs(5) };

    #[test]
    fn one_of_a_kind_is_sent_per_second() {
        let start = Instant::now();
        let mut suppression = Suppression::default();
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
        let mut suppression = Suppression::default();
        assert!(suppression.admit(BEAT, now).is_some());
        assert!(suppression.admit(DEGRADED, now).is_some());
        // As in beatit: the recovery is swallowed, and told by the next beat.
        assert!(suppression.admit(BEAT, now).is_none());
    }

    #[test]
    fn start_and_stop_are_never_suppressed_and_reset_nothing() {
        let now = Instant::now();
        let mut suppression = Suppression::default();
        assert!(suppression.admit(BEAT, now).is_some());
        for beat in [Beat::Stop, Beat::Stop, Beat::Start { warmup: Duration::ZERO }] {
            assert!(suppression.admit(beat, now).is_some());
        }
        assert!(suppression.admit(BEAT, now).is_none());
    }

    #[test]
    fn leave_handed_back_can_be_had_again_at_once() {
        let now = Instant::now();
        let mut suppression = Suppression::default();
        let leave = suppression.admit(BEAT, now).unwrap();
        suppression.revoke(&leave);
        assert!(suppression.admit(BEAT, now).is_some());
    }

    #[test]
    fn a_late_hand_back_does_not_take_back_a_newer_beat() {
        let now = Instant::now();
        let mut suppression = Suppression::default();
        let slow = suppression.admit(BEAT, now).unwrap();
        let newer = now + MIN_INTERVAL;
        assert!(suppression.admit(BEAT, newer).is_some());
        suppression.revoke(&slow);
        assert!(suppression.admit(BEAT, newer).is_none());
    }
}
