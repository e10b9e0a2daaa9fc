//! What a monitor tells: states, transitions, and what else happens to it.
use std::{fmt, time::Duration};

use crate::{InstancePair, Malformed, Process, Timestamp};

/// What a monitor thinks of a process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum State {
    /// Declared, and not heard of yet.
    Expected,
    /// It said `start`, and its warmup runs.
    Starting,
    /// It said `beat`, and its period runs.
    Up,
    /// It said `degraded`, and its period runs.
    Degraded,
    /// It broke its promise, and may yet be heard of.
    Late,
    /// It was silent for too long.
    Down,
    /// It said `stop`.
    Stopped,
    /// An operator has asked not to judge it.
    Paused,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::Expected,
        Self::Starting,
        Self::Up,
        Self::Degraded,
        Self::Late,
        Self::Down,
        Self::Stopped,
        Self::Paused,
    ];

    /// The state in lower case, as tables, JSON and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Late => "late",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }

    /// Whether it was heard of within its promise: starting, up or degraded.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Starting | Self::Up | Self::Degraded)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a process changed its state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// It was declared.
    Declared,
    /// It said `start`.
    Start,
    /// It said `beat`.
    Beat,
    /// It said `degraded`.
    Degraded,
    /// It said `stop`.
    Stop,
    /// What it promised did not come in time.
    Overdue,
    /// Nothing came for several times what it promised.
    Silent,
    /// Declared, and never heard of while the monitor learned.
    NeverSeen,
    /// An operator paused it.
    Paused,
    /// An operator ended its pause.
    Resumed,
}

impl Reason {
    /// The reason in lower case, as tables, JSON and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Start => "start",
            Self::Beat => "beat",
            Self::Degraded => "degraded",
            Self::Stop => "stop",
            Self::Overdue => "overdue",
            Self::Silent => "silent",
            Self::NeverSeen => "never seen",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a monitor hears nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum BlindCause {
    /// The backend says that the link is down.
    LinkDown,
    /// Nothing at all was heard for
    /// [`MonitorOptions::with_blind_after`](crate::MonitorOptions::with_blind_after): the link is dead, whatever the
    /// backend says.
    Silent,
}

impl BlindCause {
    /// The cause in lower case, as tables and JSON show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LinkDown => "link down",
            Self::Silent => "silent",
        }
    }
}

impl fmt::Display for BlindCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A process changed its state.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// Which process.
    pub process: Process,
    /// What it was; none when it was not known before.
    pub from: Option<State>,
    /// What it is. The same as `from` only where `skipped` states lie between.
    pub to: State,
    /// When `to` began: for `Late` and `Down` the deadline that passed, not when somebody looked.
    pub at: Timestamp,
    /// Why it is `to`.
    pub reason: Reason,
    /// How many transitions of it in between a slow reader was not told one by one.
    pub skipped: u64,
}

/// One thing that a monitor has to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MonitorEvent {
    /// A process changed its state.
    Transition(Transition),
    /// The monitor hears nothing, and judges nobody until it is sighted.
    Blind {
        /// Since when; where it is for silence, when anything was heard last.
        at: Timestamp,
        /// Why, at first.
        cause: BlindCause,
        /// How many changes before it a slow reader was not told.
        skipped: u64,
    },
    /// The link is up again, or something was heard: everyone has one fresh promise from `at` on.
    Sighted {
        /// Since when.
        at: Timestamp,
        /// How many changes before it a slow reader was not told.
        skipped: u64,
    },
    /// The monitor itself stood still, starved or stopped: every deadline is later by as much, and nobody was judged for
    /// what the monitor could not hear.
    Stalled {
        /// For how long, in all since this was told last.
        gap: Duration,
        /// When it went on.
        at: Timestamp,
    },
    /// A process began to go back and forth between states, or ended to.
    Flapping {
        /// Which process.
        process: Process,
        /// Whether it flaps now.
        on: bool,
        /// Since when.
        at: Timestamp,
    },
    /// Two instances beat under one name at once, or do no more; told where they say which instance they are, as a heart
    /// does with [`HeartOptions::with_instance`](crate::HeartOptions::with_instance).
    ///
    /// It begins when one is heard, another one, and the first one again, while nobody could call the other one down
    /// yet; a restart is heard in one direction. It ends when each but one has said `stop`, or was silent for as long as
    /// it takes to be called down, or when the process is down. A monitor that goes on from a snapshot does not tell it
    /// again.
    Conflict {
        /// Which process.
        process: Process,
        /// Two of them: who showed it, and another one.
        instances: InstancePair,
        /// Whether they are there now.
        on: bool,
        /// Since when, as far as was heard.
        at: Timestamp,
    },
    /// A process was silent for so long that it is known no more:
    /// [`MonitorOptions::with_reap_after`](crate::MonitorOptions::with_reap_after).
    Forgotten {
        /// Which process.
        process: Process,
        /// What it was.
        was: State,
        /// Since when.
        at: Timestamp,
    },
    /// Messages were lost on their way in, beats perhaps: everyone has one fresh promise from `at` on.
    Gap {
        /// How many, as far as is known.
        lost: u64,
        /// When it was noticed last.
        at: Timestamp,
    },
    /// What came was no beat. It changed nothing.
    Malformed {
        /// What it was published under, escaped where it is no text.
        name: Box<str>,
        /// What was wrong with the last one.
        reason: Malformed,
        /// How many there were since this was told last.
        count: u64,
        /// When the last one came.
        at: Timestamp,
    },
    /// A process was not taken in: there are as many as
    /// [`MonitorOptions::with_max_processes`](crate::MonitorOptions::with_max_processes) allows.
    Refused {
        /// The last one refused.
        process: Process,
        /// How many beats were refused since this was told last.
        count: u64,
        /// When the last one came.
        at: Timestamp,
    },
}

impl MonitorEvent {
    /// The transition, if it is one.
    #[must_use]
    pub fn transition(&self) -> Option<&Transition> {
        match self {
            Self::Transition(transition) => Some(transition),
            _ => None,
        }
    }

    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Transition(Transition { at, .. })
            | Self::Blind { at, .. }
            | Self::Sighted { at, .. }
            | Self::Stalled { at, .. }
            | Self::Flapping { at, .. }
            | Self::Conflict { at, .. }
            | Self::Forgotten { at, .. }
            | Self::Gap { at, .. }
            | Self::Malformed { at, .. }
            | Self::Refused { at, .. } => *at,
        }
    }
}

/// What a monitor knows of one process.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ProcessStatus {
    /// Its name.
    pub process: Process,
    /// What it is.
    pub state: State,
    /// When that began.
    pub since: Timestamp,
    /// When it was last heard of, if ever.
    pub last_seen: Option<Timestamp>,
    /// When its state gets worse unless it is heard of; none once it is down, stopped or paused, and while the monitor
    /// is blind.
    pub deadline: Option<Timestamp>,
    /// What it promised last: its warmup or its period; none if it promised nothing.
    pub promise: Option<Duration>,
    /// Whether it goes back and forth.
    pub is_flapping: bool,
    /// Whether it was declared.
    pub is_declared: bool,
    /// Two instances that beat under its name at once, if any do.
    pub conflict: Option<InstancePair>,
}

/// What a monitor has counted since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct MonitorCounts {
    /// Beats of all four verbs that were taken.
    pub beats: u64,
    /// Messages that were no beats.
    pub malformed: u64,
    /// Beats of processes that were one too many.
    pub refused: u64,
    /// Messages lost on their way in.
    pub lost: u64,
    /// Transitions made.
    pub transitions: u64,
    /// Beats that were too old when they came to say anything of now; they are not among `beats`.
    pub stale: u64,
    /// Beats that were published and did not come, by the numbers of those that did; only of hearts that
    /// [say which instance they are](crate::HeartOptions::with_instance). What a link that is down keeps back counts,
    /// and so does what is reordered.
    pub missed: u64,
    /// How often two instances were there at once under one name.
    pub conflicts: u64,
}
