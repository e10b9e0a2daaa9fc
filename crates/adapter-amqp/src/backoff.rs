//! How long to wait before the next attempt to connect.
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The shortest wait that is not shortened by chance.
pub(crate) const FIRST: Duration = Duration::from_millis(100);

/// Doubles from 0.1 s on, with a half of each taken at random, so that the clients of a broker that comes back do not
/// come all at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    longest: Duration,
    next: Duration,
    seed: RandomState,
    attempts: u64,
}

impl Backoff {
    /// Waits for `longest` at most.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, next: FIRST.min(longest), seed: RandomState::new(), attempts: 0 }
    }

    /// The wait before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        self.attempts += 1;
        let random = self.seed.hash_one(self.attempts) % 1024;
        let part = u32::try_from(random).unwrap_or_default();
        whole / 2 + whole / 2 * part / 1024
    }

    /// It went well: the next wait is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST.min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn it_doubles_up_to_the_longest_wait_and_starts_anew_after_a_success() {
        let mut backoff = Backoff::new(LONGEST);
        let mut expected = FIRST;
        for _ in 0..20 {
            let wait = backoff.wait();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?} of {expected:?}");
            expected = (expected * 2).min(LONGEST);
        }
        assert_eq!(expected, LONGEST);
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }

    #[test]
    fn no_wait_is_too_short_and_none_too_long_to_count() {
        assert_eq!(Backoff::new(Duration::ZERO).wait(), Duration::ZERO);
        assert!(Backoff::new(Duration::from_millis(1)).wait() <= Duration::from_millis(1));
    }

    #[test]
    fn two_clients_do_not_wait_alike() {
        let waits = |mut backoff: Backoff| (0..8).map(|_| backoff.wait()).collect::<Vec<_>>();
        assert_ne!(waits(Backoff::new(LONGEST)), waits(Backoff::new(LONGEST)));
    }
}
