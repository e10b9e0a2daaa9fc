//! How long the events of a handler hold their thread, hence whether the next one may hold that of the intake.
use std::{
    future::poll_fn,
    mem::take,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// What a task costs, or several: an event that holds its thread for less need not have one.
const QUICK: Duration = Duration::from_micros(20);

/// For how long events have held their thread: what was beyond [`QUICK`] each, less what those after them stayed below it, in
/// ns. Which one holds the intake is not known before it does; after that, as many quick ones have to make up for it.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// Times the first turn of `run`, as no other is ever in the intake.
    pub(super) async fn timed<T>(&self, run: impl Future<Output = T>) -> T {
        let (mut run, mut is_first) = (pin!(run), true);
        poll_fn(|cx| {
            let began = take(&mut is_first).then(Instant::now);
            let polled = run.as_mut().poll(cx);
            if let Some(began) = began {
                self.held(began.elapsed());
            }
            polled
        })
        .await
    }

    fn held(&self, held: Duration) {
        let nanos = |it: Duration| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX);
        let next = |beyond: u64| beyond.saturating_add(nanos(held)).saturating_sub(nanos(QUICK));
        // Where it stays what it was, nothing is written.
        let changed = |beyond| Some(next(beyond)).filter(|it| *it != beyond);
        let _ = self.0.fetch_update(Relaxed, Relaxed, changed);
    }

    /// Whether the next one may be one that holds its thread for a moment only.
    pub(super) fn is_quick(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_holds_its_thread_is_made_up_for_by_as_many_quick_ones() {
        let pace = Pace::default();
        pace.held(QUICK / 2);
        assert!(pace.is_quick(), "until it is known that it is not");
        pace.held(11 * QUICK);
        for _ in 0..19 {
            pace.held(QUICK / 2);
            assert!(!pace.is_quick());
        }
        pace.held(QUICK / 2);
        assert!(pace.is_quick());
        pace.held(Duration::MAX);
        pace.held(Duration::ZERO);
        assert!(!pace.is_quick(), "it does not overflow");
    }
}
