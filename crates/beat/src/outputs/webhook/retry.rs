//! When a notification that was not taken is sent again, and when it is given up. No clock, no socket.
use std::time::Duration;

use crate::Timestamp;

/// No receiver makes an alert wait for longer.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// What bounds the attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// How many there are.
    pub(super) attempts: u32,
    /// How long after the notification was handed in the last one may begin. The first one always does.
    pub(super) limit: Duration,
    /// The longest wait after the first failure; it doubles with each further one.
    pub(super) first: Duration,
    /// What it doubles up to.
    pub(super) longest: Duration,
}

/// The attempts to send one notification.
#[derive(Debug)]
pub(super) struct Retry {
    policy: Policy,
    since: Timestamp,
    failed: u32,
}

impl Retry {
    /// For a notification that was handed in at `since`.
    pub(super) const fn begin(policy: Policy, since: Timestamp) -> Self {
        Self { policy, since, failed: 0 }
    }

    /// How many attempts have failed.
    pub(super) const fn failed(&self) -> u32 {
        self.failed
    }

    /// An attempt failed in a way that may pass. When the next one is due; none when there is none.
    ///
    /// The wait is drawn from all of zero to the longest one by `random` ("full jitter"), so that many senders that
    /// failed together do not come back together. What the receiver asked for is waited before that.
    pub(super) fn fail(
        &mut self,
        asked: Option<Duration>,
        random: u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let doubled = 2u32.saturating_pow(self.failed);
        let longest = self.policy.first.saturating_mul(doubled).min(self.policy.longest);
        self.failed = self.failed.saturating_add(1);
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        let due = now.after(asked).after(share(longest, random));
        let is_in_time = due <= self.since.after(self.policy.limit);
        (self.failed < self.policy.attempts && is_in_time).then_some(due)
    }
}

/// Of `whole` the share that `random` is of all there are.
fn share(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let share = (u128::from(nanos) * u128::from(random)) >> u64::BITS;
    Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const POLICY: Policy = Policy {
        attempts: 40,
        limit: Duration::from_secs(900),
        first: SECOND,
        longest: Duration::from_secs(60),
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_start(Duration::from_secs(seconds))
    }

    /// The waits of a receiver that never answers, each as long as the jitter may make it.
    fn waits(policy: Policy) -> Vec<u64> {
        let mut now = at(1000);
        let mut retry = Retry::begin(policy, now);
        let mut waits = Vec::new();
        while let Some(due) = retry.fail(None, u64::MAX, now) {
            waits.push((due.since(now) + Duration::from_millis(1)).as_secs());
            now = due;
        }
        waits
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_limit() {
        let mut expected = vec![1, 2, 4, 8, 16, 32];
        expected.extend([60; 13]); // 63 s + 13 x 60 s, and one more would end after 900 s.
        assert_eq!(waits(POLICY), expected);
    }

    #[test]
    fn the_last_attempt_that_failed_is_followed_by_none() {
        assert_eq!(waits(Policy { attempts: 4, ..POLICY }), [1, 2, 4]);
        assert!(waits(Policy { attempts: 1, ..POLICY }).is_empty());
        assert!(waits(Policy { attempts: 0, ..POLICY }).is_empty());
    }

    #[test]
    fn what_waited_out_its_time_behind_others_is_tried_once() {
        let mut retry = Retry::begin(POLICY, at(0));
        assert_eq!(retry.fail(None, 0, at(901)), None);
        assert_eq!(retry.failed(), 1);
    }

    #[test]
    fn the_wait_is_drawn_from_all_of_zero_to_the_longest() {
        let drawn = |random| Retry::begin(POLICY, at(0)).fail(None, random, at(0)).unwrap();
        assert_eq!(drawn(0), at(0));
        assert_eq!(drawn(1 << 63), Timestamp::from_start(SECOND / 2));
        assert!(drawn(u64::MAX) < at(1) && drawn(u64::MAX).since(at(0)) > SECOND * 99 / 100);
    }

    #[test]
    fn what_the_receiver_asks_for_is_waited_within_a_bound() {
        let asked = |seconds| {
            let asked = Some(Duration::from_secs(seconds));
            Retry::begin(POLICY, at(0)).fail(asked, 0, at(7))
        };
        assert_eq!(asked(120), Some(at(127)));
        assert_eq!(asked(86_400), Some(at(7).after(LONGEST_ASKED)));
        let mut short = Retry::begin(Policy { limit: SECOND * 60, ..POLICY }, at(0));
        assert_eq!(short.fail(Some(SECOND * 120), 0, at(7)), None);
    }

    proptest! {
        #[test]
        fn however_attempts_fail_they_are_bounded_in_number_and_time(
            attempts in 0..60_u32,
            (limit, first, longest) in (0..2000_u64, 0..u64::MAX, 0..u64::MAX),
            waited in 0..2000_u64,
            failures in vec((option::of(0..100_000_u64), any::<u64>(), 0..20_000_u64), 100),
        ) {
            let policy = Policy {
                attempts,
                limit: Duration::from_secs(limit),
                first: Duration::from_nanos(first),
                longest: Duration::from_nanos(longest),
            };
            let mut retry = Retry::begin(policy, at(5));
            let mut starts = at(5 + waited);
            let mut made = 1;
            for (asked, random, took) in failures {
                let now = starts.after(Duration::from_millis(took));
                let asked = asked.map(Duration::from_secs);
                let Some(due) = retry.fail(asked, random, now) else { break };
                let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
                prop_assert!(due >= now.after(asked));
                prop_assert!(due <= now.after(asked).after(policy.longest));
                prop_assert!(due.since(at(5)) <= policy.limit);
                starts = due;
                made += 1;
            }
            prop_assert!(made <= attempts.max(1), "{made} of {attempts}");
            prop_assert_eq!(retry.failed(), made);
        }
    }
}
