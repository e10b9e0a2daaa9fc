//! Whom an ask expects to answer from other processes.
use std::{fmt, sync::Arc};

use sinew_core::Subject;

use crate::AgentId;

/// Whom an ask expects to answer, beside the agents of this process, which it knows.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Expect {
    /// Nobody knows who is there.
    #[default]
    Nobody,
    /// These.
    Agents(Vec<AgentId>),
    /// Whoever is there when the ask is sent.
    Present(Arc<dyn Presence>),
}

/// Knows who is there.
pub trait Presence: Send + Sync {
    /// The agents that are there under `topic` now.
    fn present(&self, topic: &Subject) -> Vec<AgentId>;
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
