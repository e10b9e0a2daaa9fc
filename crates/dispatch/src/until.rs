//! When an ask is over, whom it expects, and how it hedges.
use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{AgentError, AgentId};

/// When an ask is over; its deadline ends it in any case.
///
/// It is over as well once everybody has answered who can: the agents of this process where there is no broker. Where
/// there is one, those that [`Expect`](crate::Expect) names, save for [`Until::Deadline`], which takes what others say.
#[non_exhaustive]
pub enum Until {
    /// Everybody who is expected has answered, or is gone; others who work on it are left to its deadline, where
    /// [`Until::First`] calls them off. Where nobody knows who is there, the deadline decides.
    AllKnown,
    /// So many have answered well.
    First(usize),
    /// `n` of `of` have answered well, or so many failed that they cannot.
    Quorum {
        /// How many must answer well.
        n: usize,
        /// How many there are to vote.
        of: usize,
    },
    /// Nobody has answered for so long, counted from the last answer: before the first one only the deadline counts.
    Quiet(Duration),
    /// A condition of the caller's own, asked with each answer that counts.
    When(Predicate),
    /// Nothing else: everything that comes before the deadline.
    Deadline,
}

/// The caller's own condition.
pub type Predicate = Box<dyn FnMut(&SoFar<'_>) -> bool + Send>;

/// What a [`Predicate`] is told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SoFar<'a> {
    /// Who has just answered.
    pub agent: Option<&'a AgentId>,
    /// What it said.
    pub result: Result<&'a Bytes, &'a AgentError>,
    /// How many have answered well, this one included.
    pub ok: usize,
    /// How many have failed, this one included.
    pub failed: usize,
}

impl Until {
    /// Once `condition` says so. It is asked where replies arrive, so it should be quick; a panic in it ends the ask
    /// and goes on in whoever asked.
    #[must_use]
    pub fn when(condition: impl FnMut(&SoFar<'_>) -> bool + Send + 'static) -> Self {
        Self::When(Box::new(condition))
    }
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllKnown => f.write_str("AllKnown"),
            Self::First(n) => write!(f, "First({n})"),
            Self::Quorum { n, of } => write!(f, "Quorum({n} of {of})"),
            Self::Quiet(time) => write!(f, "Quiet({time:?})"),
            Self::When(_) => f.write_str("When(..)"),
            Self::Deadline => f.write_str("Deadline"),
        }
    }
}

/// Asks one agent, and after a while the next, until one has answered well: for [`Until::First`]`(1)` and handlers that
/// may run twice. [`Ask::hedge`](crate::Ask::hedge) says among whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hedge {
    pub(crate) after: Duration,
    pub(crate) max: usize,
}

impl Hedge {
    /// Asks the next agent when the ones asked have not answered for `after`: the time within which most answers come,
    /// such as the 95th percentile. One that fails, or is gone, is followed by the next at once.
    #[must_use]
    pub const fn after(after: Duration) -> Self {
        Self { after, max: 1 }
    }

    /// How many agents are asked beyond the first. Default: 1.
    #[must_use]
    pub const fn max(mut self, max: usize) -> Self {
        self.max = max;
        self
    }
}
