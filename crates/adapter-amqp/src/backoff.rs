//! How long to wait before the next attempt to connect.
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(30);

/// Doubles from 0.1 s to 30 s, with a half of each taken at random, so that the clients of a broker that comes back do
/// not come all at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    seed: RandomState,
    attempts: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST, seed: RandomState::new(), attempts: 0 }
    }

    /// The wait before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LAST);
        self.attempts += 1;
        let random = self.seed.hash_one(self.attempts) % 1024;
        let part = u32::try_from(random).unwrap_or_default();
        whole / 2 + whole / 2 * part / 1024
    }

    /// It went well: the next wait is the first again.
    pub(crate) const fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_half_a_minute_and_starts_anew_after_a_success() {
        let mut backoff = Backoff::new();
        let mut expected = FIRST;
        for _ in 0..20 {
            let wait = backoff.wait();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?} of {expected:?}");
            expected = (expected * 2).min(LAST);
        }
        assert_eq!(expected, LAST);
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }

    #[test]
    fn two_clients_do_not_wait_alike() {
        let waits = |mut backoff: Backoff| (0..8).map(|_| backoff.wait()).collect::<Vec<_>>();
        assert_ne!(waits(Backoff::new()), waits(Backoff::new()));
    }
}
