//! What an ask yields: replies, and how it ended.
use std::{fmt, time::Duration};

use crate::{AgentError, AgentId};

/// One agent's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Reply<T> {
    /// Who answered; `None` where a responder that knows nothing of this crate gave no name.
    pub agent: Option<AgentId>,
    /// From when the ask was sent until the answer was there.
    pub elapsed: Duration,
    /// What it says, or how the agent failed.
    pub result: Result<T, AgentError>,
}

/// All of an ask that is over: what [`Gathering::collect`](crate::Gathering::collect) yields.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Gathered<T> {
    /// The replies, in the order in which they arrived; failures are among them.
    pub replies: Vec<Reply<T>>,
    /// How it ended.
    pub end: End,
}

/// Why an ask ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Ended {
    /// Time ran out.
    Deadline,
    /// As many answered well as were wanted.
    First,
    /// A quorum answered well.
    Quorum,
    /// So many failed that the quorum cannot be reached any more.
    OutOfReach,
    /// Nobody answered for as long as was agreed.
    Quiet,
    /// Everybody who was expected has answered, or is known to be gone.
    AllKnown,
    /// The caller's condition was met.
    Condition,
    /// There is nobody to answer.
    NoAgents,
    /// As many replies came as an ask may take.
    Limit,
    /// Replies cannot arrive any more: the intake of replies broke, or the runtime of the dispatcher has ended.
    Disconnected,
    /// Whoever asked had enough.
    Stopped,
}

impl Ended {
    /// Every one, in the order of their definition.
    pub(crate) const ALL: [Self; 11] = [
        Self::Deadline,
        Self::First,
        Self::Quorum,
        Self::OutOfReach,
        Self::Quiet,
        Self::AllKnown,
        Self::Condition,
        Self::NoAgents,
        Self::Limit,
        Self::Disconnected,
        Self::Stopped,
    ];

    /// Its name in logs, metrics and the command's output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::First => "first",
            Self::Quorum => "quorum",
            Self::OutOfReach => "out_of_reach",
            Self::Quiet => "quiet",
            Self::AllKnown => "all_known",
            Self::Condition => "condition",
            Self::NoAgents => "no_agents",
            Self::Limit => "limit",
            Self::Disconnected => "disconnected",
            Self::Stopped => "stopped",
        }
    }

    /// Whether those elsewhere who may work on it yet are told that nobody waits any more. Where the deadline has passed
    /// they know.
    pub(crate) const fn is_told(self) -> bool {
        self.calls_off() || matches!(self, Self::Quiet | Self::AllKnown)
    }

    /// Whether those who have not answered by then were called off, rather than missed.
    pub(crate) const fn calls_off(self) -> bool {
        matches!(
            self,
            Self::First
                | Self::Quorum
                | Self::OutOfReach
                | Self::Condition
                | Self::Limit
                | Self::Stopped
        )
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an ask ended. Every agent that was expected is in exactly one of `ok`, `failed`, `missing`, `cancelled`; agents
/// that answered without being expected are in `ok` or `failed`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct End {
    /// Why it ended.
    pub ended: Ended,
    /// From when the ask was sent until it ended.
    pub elapsed: Duration,
    /// Agents that answered well.
    pub ok: usize,
    /// Agents that answered with an error, or with what could not be taken.
    pub failed: usize,
    /// Agents that were expected and did not answer, in the order of their names.
    pub missing: Vec<AgentId>,
    /// Agents that were called off before they answered, in the order of their names.
    pub cancelled: Vec<AgentId>,
    /// Answers that came after the end, so far. They are not delivered.
    pub late: u64,
    /// Second answers of an agent, or of another of its name. They are not delivered.
    pub duplicate: u64,
    /// Answers may have been lost on their way: the link was down for a while, or a buffer was too small.
    pub gap: bool,
}
