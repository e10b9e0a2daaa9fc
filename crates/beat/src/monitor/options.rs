//! What a monitor is told before it starts.
use std::time::Duration;

use sinew_core::Pattern;

use super::{
    flaps::Thresholds,
    patience::{Patience, Rules},
};

/// How patient a monitor is, and how much it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MonitorOptions {
    pub(super) rules: Rules,
    pub(super) flapping: Thresholds,
    pub(super) reap_after: Option<Duration>,
    pub(super) max_processes: usize,
    pub(crate) blind_after: Option<Duration>,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            flapping: Thresholds { begin: 50, end: 25 },
            reap_after: None,
            max_processes: 100_000,
            blind_after: None,
        }
    }
}

impl MonitorOptions {
    /// How patient it is with every process that no rule is for. Default: [`Patience::default`].
    #[must_use]
    pub const fn with_patience(mut self, patience: Patience) -> Self {
        self.rules.everyone = patience;
        self
    }

    /// How patient it is with the processes whose names match (`billing`, `eu.*`, `eu.>`). The first rule that matches
    /// holds; those after the 65,535th do not. Default: none.
    #[must_use]
    pub fn with_rule(mut self, processes: Pattern, patience: Patience) -> Self {
        self.rules.push(processes, patience);
        self
    }

    /// When a process begins to flap, and when it ends: by which share of the last 20 possible changes of what was
    /// found of it, in percent, newer ones counting for a bit more, as in Nagios. It is told as
    /// [`MonitorEvent::Flapping`](crate::MonitorEvent::Flapping); its states are told all the same. With 101 for
    /// `begin` nobody ever flaps. Default: 50 and 25.
    #[must_use]
    pub const fn with_flapping(mut self, begin: u8, end: u8) -> Self {
        self.flapping = Thresholds { begin, end };
        self
    }

    /// Forgets a process that was `Down` or `Stopped` and silent for so long, unless it was declared. Without it nobody
    /// is forgotten. Default: none.
    #[must_use]
    pub const fn with_reap_after(mut self, reap_after: Option<Duration>) -> Self {
        self.reap_after = reap_after;
        self
    }

    /// How many processes it knows at most beside those that are [declared](crate::Monitor::declare), which always have a
    /// place; the beats of further ones are refused and counted, so that a flood of names cannot fill the memory.
    /// Default: 100,000, some 20 MB.
    #[must_use]
    pub const fn with_max_processes(mut self, max_processes: usize) -> Self {
        self.max_processes = max_processes;
        self
    }

    /// Is blind once nothing at all was heard for so long, as of the last thing heard, until something is: for a link that
    /// is known to carry something more often than that, be it malformed, as a watch's
    /// [own heart](crate::WatchOptions::with_heart) sees to. Less than 1 s counts as that.
    ///
    /// With it nobody is judged by a link that may be dead: `Late`, `Down` and being forgotten take effect once
    /// something was heard at their deadline or later, and once more at least half a second after that, as a beat in
    /// time may be right behind the first thing that comes through. They are stamped with the deadline all the same, and
    /// who is heard of before was not late. While something is heard at least every `t`, they are told at most
    /// 2 x (`t` + 0.5 s) after it, and so not in the order of their stamps with those of other processes. It stays as it was
    /// at the start when a monitor is reconfigured. Default: none, a link is sound unless it is said to be down.
    #[must_use]
    pub const fn with_blind_after(mut self, blind_after: Option<Duration>) -> Self {
        self.blind_after = blind_after;
        self
    }
}
