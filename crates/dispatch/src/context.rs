//! What a handler knows about the ask that it works for.
use std::{fmt, sync::Arc, time::Duration};

use sinew_core::{Headers, Subject};
use tokio::time::Instant;

use crate::{AgentId, load::Slot, over::Over};

/// What one handler is told: who asks for what, until when, and whether anybody still waits.
///
/// Cloning it shares it. While a clone is held, the call counts as running: against the agent's concurrency, and for a
/// registration that waits to be drained.
#[derive(Clone)]
pub struct Context(Arc<Call>);

struct Call {
    ask: Arc<AskInfo>,
    agent: AgentId,
    _slot: Slot,
}

/// What all the agents of one ask are told.
#[derive(Debug)]
pub(crate) struct AskInfo {
    pub(crate) topic: Subject,
    pub(crate) headers: Headers,
    pub(crate) sent: Instant,
    pub(crate) deadline: Instant,
    /// Told when the ask is over, whyever.
    pub(crate) over: Over,
}

impl Context {
    pub(crate) fn new(ask: Arc<AskInfo>, agent: AgentId, slot: Slot) -> Self {
        Self(Arc::new(Call { ask, agent, _slot: slot }))
    }

    /// What was asked about.
    #[must_use]
    pub fn topic(&self) -> &Subject {
        &self.0.ask.topic
    }

    /// The name that this agent answers under.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.0.agent
    }

    /// What the asker sent beside the payload.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.0.ask.headers
    }

    /// When the ask is over at the latest, on this machine's clock.
    #[must_use]
    pub fn deadline(&self) -> std::time::Instant {
        self.latest().into_std()
    }

    /// The same, on the clock that the crate goes by.
    pub(crate) fn latest(&self) -> Instant {
        self.0.ask.deadline
    }

    /// How much time is left; zero once there is none.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.latest().saturating_duration_since(Instant::now())
    }

    /// Whether nobody waits for the answer any more: the asker has enough or is gone, or time ran out.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.ask.over.is_told() || self.remaining().is_zero()
    }

    /// Waits until the asker has enough, or is gone, or the ask ended otherwise.
    ///
    /// From then on a handler has its agent's grace to tidy up; what still runs after it is dropped.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn cancelled(&self) {
        self.0.ask.over.told().await;
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("topic", self.topic())
            .field("agent", self.agent())
            .field("remaining", &self.remaining())
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
