//! Flushing: when all that was handed over is with the server, and what is known of it when a flush fails.
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use sinew_core::{Error, ErrorKind, Result, Sent};

use crate::{
    connect::{IN_FLIGHT, Inner},
    error::Cause,
};

/// What no flush has answered for.
#[derive(Debug, Default)]
pub(crate) struct Unflushed {
    /// The generation of the first publish that no flush has covered; 0 when there is none.
    first: AtomicU64,
    /// What each flush that is under way covers: one that begins meanwhile answers for it, too.
    covered: Mutex<Vec<u64>>,
}

impl Unflushed {
    /// Notes a publish, unless an earlier one waits for its flush.
    fn note(&self, generation: impl FnOnce() -> u64) {
        if self.first.load(Ordering::Relaxed) == 0 {
            // Another publish may have been quicker; its generation is the earlier one.
            let _ =
                self.first.compare_exchange(0, generation(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Takes over what there is to flush. Dropped before it is [settled](Covered::settle), it puts it back.
    fn cover(&self) -> Covered<'_> {
        let mut covered = self.lock();
        let first = Some(self.first.swap(0, Ordering::AcqRel)).filter(|first| *first != 0);
        let since = covered.iter().copied().chain(first).min();
        covered.extend(since);
        Covered { unflushed: self, since, told: false }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.covered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one flush answers for.
#[derive(Debug)]
struct Covered<'a> {
    unflushed: &'a Unflushed,
    since: Option<u64>,
    told: bool,
}

impl Covered<'_> {
    /// The flush's caller is told what became of it. Says whether all of it was on the connection of `generation`.
    fn settle(mut self, generation: u64) -> bool {
        self.told = true;
        self.since.is_none_or(|since| since == generation)
    }
}

impl Drop for Covered<'_> {
    fn drop(&mut self) {
        let Some(since) = self.since else { return };
        let mut covered = self.unflushed.lock();
        if let Some(index) = covered.iter().position(|covered| *covered == since) {
            covered.swap_remove(index);
        }
        if !self.told {
            // What was published meanwhile counts from its own generation, which is no earlier one.
            let _ =
                self.unflushed.first.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |first| {
                    Some(if first == 0 { since } else { first.min(since) })
                });
        }
    }
}

impl Inner {
    /// Notes that something left that no answer will come for.
    pub(crate) fn note_unflushed(&self) {
        self.unflushed.note(|| self.generation());
    }

    /// Ends when the server has all that was handed over before.
    ///
    /// Where it fails, or is dropped, the next one answers for the same publishes.
    pub(crate) async fn flush_all(&self) -> Result<()> {
        let failed = |cause: Cause| Error::from(cause.during("nats flush"));
        // All permits are free when nothing is in flight.
        drop(self.in_flight.acquire_many(IN_FLIGHT).await.map_err(|_| failed(Cause::closed()))?);
        let covered = self.unflushed.cover();
        let answered = self.confirmed().await;
        if let Some(err) = self.mux.take_unread() {
            return Err(err);
        }
        answered.map_err(failed)?;
        if covered.settle(self.generation()) {
            return Ok(());
        }
        Err(failed(Cause::Plain {
            kind: ErrorKind::Disconnected,
            detail: "the link broke after a publish; what was on its way may be lost",
            sent: Sent::Maybe,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dropped_flush_covered_is_for_the_next_one() {
        let unflushed = Unflushed::default();
        unflushed.note(|| 1);
        drop(unflushed.cover());
        assert!(!unflushed.cover().settle(2), "it was on another connection");
        assert!(unflushed.cover().settle(2), "it is told once");
    }

    #[test]
    fn the_older_of_two_generations_is_put_back() {
        let unflushed = Unflushed::default();
        unflushed.note(|| 1);
        let failing = unflushed.cover();
        unflushed.note(|| 2);
        drop(failing);
        assert!(!unflushed.cover().settle(2));

        unflushed.note(|| 2);
        drop(unflushed.cover());
        assert!(unflushed.cover().settle(2));
    }

    #[test]
    fn a_flush_beside_another_answers_for_the_same() {
        let unflushed = Unflushed::default();
        unflushed.note(|| 1);
        let (slow, quick) = (unflushed.cover(), unflushed.cover());
        assert!(!quick.settle(2), "the other does not know yet that the link broke");
        assert!(!slow.settle(2));
        assert!(unflushed.cover().settle(2));
    }

    #[test]
    fn what_was_published_during_a_flush_is_for_the_next_one() {
        let unflushed = Unflushed::default();
        unflushed.note(|| 1);
        let covered = unflushed.cover();
        unflushed.note(|| 1);
        assert!(covered.settle(1));
        assert!(!unflushed.cover().settle(2));
    }
}
