//! Whom an ask expects to answer from other processes.
use std::{fmt, sync::Arc};

use sinew_core::Subject;

use crate::AgentId;

/// Whom an ask expects to answer, beside the agents of this process, which it knows.
///
/// Who expects some waits for nobody else: once they have answered, or are gone, the ask is over, save for
/// [`Until::Deadline`](crate::Until::Deadline). Where that comes to nobody at all, nobody is asked.
#[derive(Clone)]
#[non_exhaustive]
pub enum Expect {
    /// Nobody knows who is there.
    Nobody,
    /// These.
    Agents(Vec<AgentId>),
    /// Whoever is there when the ask is sent, for as long as they are.
    Present(Arc<dyn Presence>),
}

/// Knows who is there.
pub trait Presence: Send + Sync {
    /// The agents that are there under `topic` now. Called once for each ask.
    fn present(&self, topic: &Subject) -> Vec<AgentId>;

    /// Whether this one is there now. Called a few times a second while an ask is under way, for each that it expects.
    fn is_present(&self, topic: &Subject, agent: &AgentId) -> bool;
}

impl fmt::Debug for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("Nobody"),
            Self::Agents(agents) => f.debug_tuple("Agents").field(agents).finish(),
            Self::Present(_) => f.write_str("Present(..)"),
        }
    }
}
