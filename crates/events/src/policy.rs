//! What becomes of an event once its handler has run: a machine without clock, socket or task.
use std::time::Duration;

use sinew_core::Attempt;

/// What a service does with what goes wrong. The names on the wire are the same in both.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Profile {
    /// Failed events are tried again, then put into an error queue; so is what cannot be decoded. What is emitted has an id
    /// and a time.
    #[default]
    Safe,
    /// Exactly what nameko does: a failed event is acknowledged and gone, or requeued at once where its handler says
    /// `requeue_on_error`; what cannot be decoded is gone, too, unless a policy of the broker gives its queue a dead-letter
    /// route: nameko loses it all the same.
    Nameko,
}

/// How often a failed event is tried again, in [`Profile::Safe`], before it goes to the error queue; and in either profile,
/// how often it may be delivered at all.
///
/// First at once in this process, then by the broker after each of a few fixed delays: few, as RabbitMQ has a queue for each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetryPolicy {
    immediate: u32,
    delays: Vec<Duration>,
    jitter: bool,
    max_deliveries: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let delays = [1, 5, 30, 300].map(Duration::from_secs).to_vec();
        Self { immediate: 2, delays, jitter: true, max_deliveries: None }
    }
}

impl RetryPolicy {
    /// How many delays there are at most.
    pub const MAX_DELAYS: usize = 32;

    /// Tries nothing again.
    #[must_use]
    pub const fn none() -> Self {
        Self { immediate: 0, delays: Vec::new(), jitter: false, max_deliveries: None }
    }

    /// How often the handler is run again at once, each time the event is delivered. Default: 2.
    #[must_use]
    pub const fn with_immediate(mut self, immediate: u32) -> Self {
        self.immediate = immediate;
        self
    }

    /// After which delays it is delivered again, one after the other; of more than 32 the first 32, and less than 1 ms counts
    /// as that. Default: 1 s, 5 s, 30 s, 5 min.
    #[must_use]
    pub fn with_delays(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        // What RabbitMQ has again at once it does not count, so that without a delay there would be no end.
        let counted = |delay: Duration| delay.max(Duration::from_millis(1));
        self.delays = delays.into_iter().take(Self::MAX_DELAYS).map(counted).collect();
        self
    }

    /// Whether a delay is lengthened by nothing, a quarter or a half of it, at random, so that what failed together does
    /// not come back together. Default: yes.
    #[must_use]
    pub const fn with_jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// How often an event may be delivered, retries included, whatever it comes back for: a process that it kills, a drain, a
    /// lost link; 0 counts as 1. One that comes once more is not run: it goes to the error queue in [`Profile::Safe`], and is
    /// given up in [`Profile::Nameko`]. Default: as often as it comes.
    ///
    /// It is as good as the broker's count. JetStream, the memory backend and RabbitMQ's quorum queues count each delivery; the
    /// last drop an event after 20 by themselves, from RabbitMQ 4 on, so a limit below that keeps it. RabbitMQ's classic
    /// queues only say that an event came before, which counts as twice: there a limit of 1 keeps what came back without a
    /// verdict, and a higher one lets an event that kills its process do so for ever.
    #[must_use]
    pub const fn with_max_deliveries(mut self, deliveries: u32) -> Self {
        self.max_deliveries = Some(if deliveries == 0 { 1 } else { deliveries });
        self
    }

    /// How many deliveries there may be, where this one is beyond them.
    pub(crate) fn exceeded(&self, attempt: Attempt) -> Option<u32> {
        self.max_deliveries.filter(|max| attempt.at_least() > *max)
    }

    /// The longest delay that it may ask for.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.delays.iter().map(|delay| self.lengthened(*delay, STRETCHES - 1)).max()
    }

    /// The delay before delivery `number + 1`, if there is to be one.
    fn delay(&self, number: u32, draw: u32) -> Option<Duration> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.delays.get(index).map(|delay| self.lengthened(*delay, draw % STRETCHES))
    }

    fn lengthened(&self, delay: Duration, stretch: u32) -> Duration {
        match self.jitter {
            true => delay.saturating_add(delay / 4 * stretch),
            false => delay,
        }
    }
}

/// How many lengths each delay may have.
const STRETCHES: u32 = 3;

/// How long an event waits that could not be put into the error queue; and at most, one that was not run.
pub(crate) const LATER: Duration = Duration::from_secs(30);

/// How one run of a handler, or the attempt to make one, has ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Outcome {
    Handled,
    /// It was handled before.
    Duplicate,
    /// Somebody else handles it right now.
    InHand,
    /// Nobody could say whether it was handled before.
    Unknown,
    Failed {
        /// Trying again would not help.
        permanent: bool,
    },
    Undecodable,
    /// It has come too often to be run once more.
    Exceeded,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Disposition {
    /// It is done.
    Ack,
    /// It has failed, and is given up: acknowledged, and gone.
    Drop,
    Requeue,
    RequeueAfter(Duration),
    ErrorQueue,
    RunAgain,
}

/// What decides it, for one handler.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) profile: Profile,
    pub(crate) retry: RetryPolicy,
    pub(crate) requeue_on_error: bool,
    /// Whether the broker takes verdicts: what only passes by cannot be handed back.
    pub(crate) is_settled: bool,
    /// Whether what is given up is put into an error queue.
    pub(crate) has_error_queue: bool,
}

impl Policy {
    /// What becomes of delivery `attempt` of an event, of which the `run`th run (from 1) has ended in `outcome`. `draw` is
    /// any number, for jitter.
    pub(crate) fn decide(
        &self,
        outcome: Outcome,
        attempt: Attempt,
        run: u32,
        draw: u32,
    ) -> Disposition {
        match (outcome, self.profile) {
            (Outcome::Handled | Outcome::Duplicate, _) => Disposition::Ack,
            (Outcome::InHand | Outcome::Unknown, _) => {
                self.back(Disposition::RequeueAfter(not_run(attempt.at_least())))
            }
            (Outcome::Exceeded, Profile::Nameko) => Disposition::Drop,
            (Outcome::Exceeded, Profile::Safe) => self.given_up(),
            (Outcome::Failed { .. }, Profile::Nameko) if self.requeue_on_error => {
                self.back(Disposition::Requeue)
            }
            (Outcome::Failed { .. } | Outcome::Undecodable, Profile::Nameko) => Disposition::Drop,
            (Outcome::Failed { permanent: true } | Outcome::Undecodable, Profile::Safe) => {
                self.given_up()
            }
            (Outcome::Failed { permanent: false }, Profile::Safe) => {
                if run <= self.retry.immediate {
                    return Disposition::RunAgain;
                }
                match self.retry.delay(attempt.at_least(), draw) {
                    Some(delay) if self.is_settled => Disposition::RequeueAfter(delay),
                    _ => self.given_up(),
                }
            }
        }
    }

    /// What becomes of one that the error queue did not take.
    pub(crate) fn not_dead_lettered(&self) -> Disposition {
        self.back(Disposition::RequeueAfter(self.retry.longest().unwrap_or(LATER)))
    }

    fn given_up(&self) -> Disposition {
        match self.has_error_queue {
            true => Disposition::ErrorQueue,
            false => Disposition::Drop,
        }
    }

    fn back(&self, verdict: Disposition) -> Disposition {
        match self.is_settled {
            true => verdict,
            false => Disposition::Drop,
        }
    }
}

/// How long an event waits that was not run on delivery `number`: twice as long each time, from a second on, as each wait
/// costs it one of the deliveries that its failures are counted by.
fn not_run(number: u32) -> Duration {
    let doubled = 1_u64.checked_shl(number.saturating_sub(1)).map(Duration::from_secs);
    doubled.filter(|wait| (..LATER).contains(wait)).unwrap_or(LATER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: Outcome = Outcome::Failed { permanent: false };
    const OUTCOMES: [Outcome; 8] = [
        Outcome::Handled,
        Outcome::Duplicate,
        Outcome::InHand,
        Outcome::Unknown,
        FAILED,
        Outcome::Failed { permanent: true },
        Outcome::Undecodable,
        Outcome::Exceeded,
    ];

    fn policy(profile: Profile, retry: RetryPolicy) -> Policy {
        let (requeue_on_error, is_settled, has_error_queue) = (false, true, true);
        Policy { profile, retry, requeue_on_error, is_settled, has_error_queue }
    }

    /// Every disposition of an event that fails whenever it is run, until it is not seen again.
    fn life(policy: &Policy, draw: u32) -> Vec<Disposition> {
        let mut seen = Vec::new();
        for number in 1..=100 {
            for run in 1..=100 {
                let next = policy.decide(FAILED, Attempt::Number(number), run, draw);
                seen.push(next);
                match next {
                    Disposition::RunAgain => {}
                    Disposition::Requeue | Disposition::RequeueAfter(_) => break,
                    _ => return seen,
                }
            }
        }
        panic!("it never ends")
    }

    #[test]
    fn what_fails_is_run_again_then_delivered_again_then_kept() {
        let retry = RetryPolicy::default().with_immediate(1).with_jitter(false);
        let seen = life(&policy(Profile::Safe, retry), 0);
        let again = |seconds| Disposition::RequeueAfter(Duration::from_secs(seconds));
        let run = Disposition::RunAgain;
        let expected = [
            run,
            again(1),
            run,
            again(5),
            run,
            again(30),
            run,
            again(300),
            run,
            Disposition::ErrorQueue,
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn nameko_acknowledges_what_fails_or_requeues_it_at_once() {
        let mut policy = policy(Profile::Nameko, RetryPolicy::default());
        let decide = |policy: &Policy, outcome| policy.decide(outcome, Attempt::Unknown, 1, 0);
        assert_eq!(decide(&policy, FAILED), Disposition::Drop);
        policy.requeue_on_error = true;
        assert_eq!(decide(&policy, FAILED), Disposition::Requeue);
        assert_eq!(decide(&policy, Outcome::Failed { permanent: true }), Disposition::Requeue);
        assert_eq!(decide(&policy, Outcome::Undecodable), Disposition::Drop);
    }

    #[test]
    fn what_comes_more_often_than_it_may_is_known_by_the_brokers_count() {
        let retry = RetryPolicy::default().with_max_deliveries(2);
        for (attempt, exceeded) in [
            (Attempt::Unknown, None),
            (Attempt::Redelivered, None),
            (Attempt::Number(2), None),
            (Attempt::Number(3), Some(2)),
        ] {
            assert_eq!(retry.exceeded(attempt), exceeded, "{attempt:?}");
        }
        assert_eq!(retry.clone().with_max_deliveries(1).exceeded(Attempt::Redelivered), Some(1));
        let once = retry.clone().with_max_deliveries(0);
        assert_eq!(once.exceeded(Attempt::Number(1)), None, "each is run once");
        assert_eq!(once.exceeded(Attempt::Number(2)), Some(1));
        assert_eq!(RetryPolicy::default().exceeded(Attempt::Number(u32::MAX)), None);
        let decide = |policy: &Policy| policy.decide(Outcome::Exceeded, Attempt::Number(3), 0, 0);
        assert_eq!(decide(&policy(Profile::Safe, retry.clone())), Disposition::ErrorQueue);
        assert_eq!(decide(&policy(Profile::Nameko, retry)), Disposition::Drop);
    }

    #[test]
    fn what_came_again_without_a_number_is_taken_for_the_second() {
        let policy =
            policy(Profile::Safe, RetryPolicy::default().with_immediate(0).with_jitter(false));
        let after = |attempt| policy.decide(FAILED, attempt, 1, 0);
        assert_eq!(after(Attempt::Unknown), Disposition::RequeueAfter(Duration::from_secs(1)));
        assert_eq!(after(Attempt::Redelivered), Disposition::RequeueAfter(Duration::from_secs(5)));
    }

    #[test]
    fn what_was_not_run_goes_back_for_longer_each_time_in_either_profile() {
        for profile in [Profile::Safe, Profile::Nameko] {
            let policy = Policy { has_error_queue: false, ..policy(profile, RetryPolicy::none()) };
            for outcome in [Outcome::InHand, Outcome::Unknown] {
                for (number, seconds) in
                    [(1, 1), (2, 2), (5, 16), (6, 30), (64, 30), (65, 30), (u32::MAX, 30)]
                {
                    let next = policy.decide(outcome, Attempt::Number(number), 0, 0);
                    assert_eq!(next, Disposition::RequeueAfter(Duration::from_secs(seconds)));
                }
            }
        }
    }

    proptest! {
        /// However it is set up, whatever fails for ever is given up in the end, after no more runs than were asked for.
        #[test]
        fn what_fails_for_ever_ends(
            immediate in 0_u32..5,
            delays in prop::collection::vec(0_u64..100_000, 0..40),
            jitter: bool,
            has_error_queue: bool,
            is_settled: bool,
            draw: u32,
        ) {
            let delays = delays.into_iter().map(Duration::from_millis);
            let retry = RetryPolicy::none().with_immediate(immediate).with_delays(delays).with_jitter(jitter);
            let mut policy = policy(Profile::Safe, retry);
            (policy.has_error_queue, policy.is_settled) = (has_error_queue, is_settled);
            let seen = life(&policy, draw);
            let deliveries = if is_settled { policy.retry.delays.len() + 1 } else { 1 };
            prop_assert_eq!(seen.len(), deliveries * (immediate as usize + 1));
            let end = if has_error_queue { Disposition::ErrorQueue } else { Disposition::Drop };
            prop_assert_eq!(seen.last(), Some(&end));
            let longest = policy.retry.longest().unwrap_or_default();
            for disposition in seen {
                if let Disposition::RequeueAfter(delay) = disposition {
                    prop_assert!(delay <= longest && !delay.is_zero());
                }
            }
        }

        /// Nothing that is to be kept is lost in the safe profile; nothing that only passes by is handed back.
        #[test]
        fn what_is_to_be_kept_is_kept(
            number in 0_u32..100,
            run in 1_u32..10,
            outcome in prop::sample::select(&OUTCOMES[..]),
            is_settled: bool,
            draw: u32,
        ) {
            let mut policy = policy(Profile::Safe, RetryPolicy::default());
            policy.is_settled = is_settled;
            let disposition = policy.decide(outcome, Attempt::Number(number), run, draw);
            if is_settled {
                prop_assert_ne!(disposition, Disposition::Drop);
                prop_assert_ne!(disposition, Disposition::Requeue);
            } else {
                let goes_back =
                    matches!(disposition, Disposition::Requeue | Disposition::RequeueAfter(_));
                prop_assert!(!goes_back);
            }
            let is_done = matches!(outcome, Outcome::Handled | Outcome::Duplicate);
            prop_assert_eq!(disposition == Disposition::Ack, is_done);
        }
    }
}
