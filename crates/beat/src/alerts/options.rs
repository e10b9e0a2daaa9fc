//! What alerts are told about, how often, and how many at once.
use std::time::Duration;

use super::{Condition, InhibitionRule};
use crate::State;

/// What is worth telling, and how.
///
/// By default a process that is down is told at once, and once more when it is not; so are a monitor that is blind and
/// a process that flaps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AlertOptions {
    /// A bit for each state that is told.
    states: u32,
    pub(super) renotify: Option<Duration>,
    pub(super) delay: Duration,
    pub(super) tokens: usize,
    pub(super) max_alerts: usize,
    pub(super) max_mutes: usize,
    pub(super) max_incidents: usize,
    pub(super) granularity: Duration,
    pub(super) monitor: Box<str>,
    pub(super) inhibitions: Vec<InhibitionRule>,
    pub(super) inhibition_grace: Duration,
}

impl Default for AlertOptions {
    fn default() -> Self {
        Self {
            states: bit(State::Down),
            renotify: None,
            delay: Duration::ZERO,
            tokens: 0,
            max_alerts: 100,
            max_mutes: 1000,
            max_incidents: 100_000,
            granularity: Duration::from_secs(60),
            monitor: "monitor".into(),
            inhibitions: Vec::new(),
            inhibition_grace: Duration::from_secs(30),
        }
    }
}

impl AlertOptions {
    /// Which states are told besides [`State::Down`], which always is: of [`State::Late`], [`State::Degraded`] and
    /// [`State::Stopped`]; others are no trouble, and ignored. Default: none.
    ///
    /// A process that is late although that is not told has not recovered either: what was told of it goes on.
    #[must_use]
    pub fn with_states(mut self, states: impl IntoIterator<Item = State>) -> Self {
        let may_be_told = |it: &State| matches!(it, State::Late | State::Degraded | State::Stopped);
        let states = states.into_iter().filter(may_be_told);
        self.states = states.fold(bit(State::Down), |states, state| states | bit(state));
        self
    }

    /// After how long an incident that goes on is told again, and again; at least 1 s. Default: never.
    #[must_use]
    pub fn with_renotify(mut self, interval: Duration) -> Self {
        self.renotify = Some(interval.max(Duration::from_secs(1)));
        self
    }

    /// How long what is to be told waits for more of its group, so that one notification tells all of it. What is over
    /// by then was never told. Default: zero, everything is told at once.
    #[must_use]
    pub const fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How many of its first tokens a name shares with the others of its group: with 1, `eu.billing` and `eu.web` are
    /// one group. Default: 0, all are one group.
    #[must_use]
    pub const fn with_grouping(mut self, tokens: usize) -> Self {
        self.tokens = tokens;
        self
    }

    /// How many alerts one notification holds at most, at least 1; more are several notifications. Default: 100.
    #[must_use]
    pub fn with_max_alerts(mut self, max_alerts: usize) -> Self {
        self.max_alerts = max_alerts.max(1);
        self
    }

    /// How many silences and maintenance windows there are at most; further ones are refused. Default: 1,000.
    #[must_use]
    pub const fn with_max_mutes(mut self, max_mutes: usize) -> Self {
        self.max_mutes = max_mutes;
        self
    }

    /// How many incidents are open at most; further ones are counted and not told. A process has up to three: its
    /// state, that it flaps, and that it is two at once. Default: 100,000.
    #[must_use]
    pub const fn with_max_incidents(mut self, max_incidents: usize) -> Self {
        self.max_incidents = max_incidents;
        self
    }

    /// To what the instant in an [`AlertKey`](super::AlertKey) is rounded down, in whole seconds, at least one. The
    /// same for all monitors of a fleet. Default: 60 s.
    #[must_use]
    pub const fn with_key_granularity(mut self, granularity: Duration) -> Self {
        self.granularity = granularity;
        self
    }

    /// The name of this monitor, in the keys of what it tells of itself, and for mutes to match. Monitors of one fleet
    /// have a name each. Control characters are left out. Default: `monitor`.
    #[must_use]
    pub fn with_monitor(mut self, name: &str) -> Self {
        self.monitor = name.chars().filter(|it| !it.is_control()).collect::<String>().into();
        self
    }

    /// Adds a rule: who holds back whom by being down. Rules are in order: the source of a rule is held back by
    /// earlier rules alone, and never by its own, so that no circle holds back everybody. Default: none.
    #[must_use]
    pub fn with_inhibition(mut self, rule: InhibitionRule) -> Self {
        self.inhibitions.push(rule);
        self
    }

    /// How long after its source is back an inhibition holds on, for its targets to come back too. Default: 30 s.
    #[must_use]
    pub const fn with_inhibition_grace(mut self, grace: Duration) -> Self {
        self.inhibition_grace = grace;
        self
    }

    /// What is told of a process in `state`, if anything is.
    pub(super) fn condition(&self, state: State) -> Option<Condition> {
        (self.states & bit(state) != 0).then_some(Condition::State(state))
    }
}

const fn bit(state: State) -> u32 {
    1 << (state as u32)
}
