//! Flushing: when all that was handed over is with the server, and what is known of it when a flush fails.
use std::sync::atomic::{AtomicU64, Ordering};

use sinew_core::{Error, ErrorKind, Result, Sent};

use crate::{
    connect::{IN_FLIGHT, Inner},
    error::Cause,
};

/// The generation of the first publish that no flush has covered; 0 when there is none.
#[derive(Debug, Default)]
pub(crate) struct Unflushed(AtomicU64);

impl Unflushed {
    /// Notes a publish, unless an earlier one waits for its flush.
    fn note(&self, generation: impl FnOnce() -> u64) {
        if self.0.load(Ordering::Relaxed) == 0 {
            // Another publish may have been quicker; its generation is the earlier one.
            let _ = self.0.compare_exchange(0, generation(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Takes over what there is to flush. Dropped before it is [`settled`](Covered::settle), it puts it back.
    fn cover(&self) -> Covered<'_> {
        Covered { unflushed: self, since: self.0.swap(0, Ordering::AcqRel) }
    }

    fn put_back(&self, since: u64) {
        if since == 0 {
            return;
        }
        // What was published meanwhile counts from its own generation, which is no earlier one.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| {
            Some(if now == 0 { since } else { now.min(since) })
        });
    }
}

/// What one flush answers for.
#[derive(Debug)]
struct Covered<'a> {
    unflushed: &'a Unflushed,
    since: u64,
}

impl Covered<'_> {
    /// The flush's caller knows what became of it. Says whether all of it was on the connection of `generation`.
    fn settle(mut self, generation: u64) -> bool {
        matches!(std::mem::take(&mut self.since), since if since == 0 || since == generation)
    }
}

impl Drop for Covered<'_> {
    fn drop(&mut self) {
        self.unflushed.put_back(self.since);
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
    fn what_was_published_during_a_flush_is_for_the_next_one() {
        let unflushed = Unflushed::default();
        unflushed.note(|| 1);
        let covered = unflushed.cover();
        unflushed.note(|| 1);
        assert!(covered.settle(1));
        assert!(!unflushed.cover().settle(2));
    }
}
