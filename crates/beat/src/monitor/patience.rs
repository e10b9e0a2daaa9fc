//! How patient a monitor is with whom.
use std::time::Duration;

use sinew_core::{Pattern, Subject};

use crate::{Timestamp, time::Span};

/// How patient a monitor is with a process.
///
/// | state | from when on, by default |
/// |---|---|
/// | `Late` | promise + 1 s |
/// | `Down` | 3 x promise + 1 s |
/// | `Down` if declared and never seen | 60 s |
/// | `Up` after `Down` | the first beat |
///
/// The promise is the warmup or the period that the process sent last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Patience {
    pub(super) grace: Duration,
    pub(super) missed: u32,
    pub(super) learning: Duration,
    pub(super) recoveries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(1),
            missed: 3,
            learning: Duration::from_secs(60),
            recoveries: 1,
        }
    }
}

impl Patience {
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

    /// How many `beat`s or `degraded`s in a row, each within the promise of the one before, end a `Down`; 0 counts as
    /// 1. A `start` or a `stop` ends it at once: it is news of a process, not of its health. Default: 1.
    #[must_use]
    pub const fn with_recoveries(mut self, recoveries: u32) -> Self {
        self.recoveries = if recoveries == 0 { 1 } else { recoveries };
        self
    }

    pub(super) fn late_at(&self, basis: Timestamp, promise: Span) -> Timestamp {
        basis.plus(promise).after(self.grace)
    }

    pub(super) fn down_at(&self, basis: Timestamp, promise: Span) -> Timestamp {
        basis.plus(promise.times(self.missed)).after(self.grace)
    }
}

/// Who is treated how: the first rule that matches, or what holds for everyone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Rules {
    /// What holds for everyone else is the last.
    all: Vec<(Pattern, Patience)>,
    pub(super) everyone: Patience,
}

impl Rules {
    pub(super) fn push(&mut self, processes: Pattern, patience: Patience) {
        self.all.push((processes, patience));
    }

    /// The number of the rule for a process, to be kept: a name is looked at once.
    pub(super) fn find(&self, name: &str) -> u16 {
        // A name that is no subject is matched by no pattern of subjects.
        let found = match Subject::parse(name) {
            Ok(name) if !self.all.is_empty() => {
                self.all.iter().position(|(processes, _)| processes.matches(&name))
            }
            _ => None,
        };
        found.and_then(|index| u16::try_from(index).ok()).unwrap_or(u16::MAX)
    }

    pub(super) fn get(&self, number: u16) -> &Patience {
        self.all.get(usize::from(number)).map_or(&self.everyone, |(_, patience)| patience)
    }
}
