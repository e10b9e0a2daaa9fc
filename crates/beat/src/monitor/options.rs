//! What a monitor is told before it starts.
use std::time::Duration;

use crate::Timestamp;

/// How patient a monitor is, and how much it holds.
///
/// | state | from when on, by default |
/// |---|---|
/// | `Late` | promise + 1 s |
/// | `Down` | 3 x promise + 1 s |
/// | `Down` if declared and never seen | 60 s |
///
/// The promise is the warmup or the period that the process sent last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MonitorOptions {
    pub(super) grace: Duration,
    pub(super) missed: u32,
    pub(super) learning: Duration,
    pub(super) max_processes: usize,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(1),
            missed: 3,
            learning: Duration::from_secs(60),
            max_processes: 100_000,
        }
    }
}

impl MonitorOptions {
    /// What is added to every promise, for the way here. Below 1 s it is shorter than what a heart may suppress: one
    /// that keeps its promise may then be called late. Default: 1 s.
    #[must_use]
    pub const fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How many promises in a row a process breaks until it is down; 0 counts as 1, with which it is late and down
    /// at once. Default: 3.
    #[must_use]
    pub const fn with_missed(mut self, missed: u32) -> Self {
        self.missed = if missed == 0 { 1 } else { missed };
        self
    }

    /// How long a declared process may stay unseen until it is down. Allow for the longest period among them, as
    /// theirs is not known before they are heard. Default: 60 s.
    #[must_use]
    pub const fn with_learning(mut self, learning: Duration) -> Self {
        self.learning = learning;
        self
    }

    /// How many processes it knows at most; the beats of further ones are refused and counted, so that a flood of
    /// names cannot fill the memory. Default: 100,000, some 20 MB.
    #[must_use]
    pub const fn with_max_processes(mut self, max_processes: usize) -> Self {
        self.max_processes = max_processes;
        self
    }

    pub(super) fn late_at(&self, basis: Timestamp, promise: Duration) -> Timestamp {
        basis.after(promise).after(self.grace)
    }

    pub(super) fn down_at(&self, basis: Timestamp, promise: Duration) -> Timestamp {
        basis.after(promise.saturating_mul(self.missed)).after(self.grace)
    }
}
