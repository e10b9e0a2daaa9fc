//! Progress: what the work says of itself, so that a heart beats for the work and not for a timer.
use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Told by a work loop that it turns, to the [`Heart::run`](crate::Heart::run) that watches it.
///
/// Clones share one count. A tick is one atomic addition: it never waits, and costs some nanoseconds.
///
/// ```
/// use sinew_beat::Progress;
///
/// let progress = Progress::new();
/// let work = progress.clone();
/// for _job in 0..3 {
///     // do it, then say so
///     work.tick();
/// }
/// assert_eq!(progress.ticks(), 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// No tick yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that the work got on: call it from the loop that does the work, where a turn of it is done, and never from
    /// a timer. A loop that waits for work says so too: it ticks when a wait of bounded length is over.
    pub fn tick(&self) {
        // Nothing but the count is told by it.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many ticks there were.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a check says of the work.
///
/// It can be awaited, which ends at once: so a check may be a plain closure as well as an async one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Health {
    /// It is well: `beat`.
    Up,
    /// It works, but not well: `degraded`.
    Degraded,
}

impl IntoFuture for Health {
    type Output = Self;
    type IntoFuture = Ready<Self>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self)
    }
}
