//! The guard of an agent that is registered.
use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use sinew_core::{Error, ErrorKind, Result, Subject};
use tokio::{
    runtime::Handle,
    time::{Timeout, timeout},
};

use super::{Entry, Registry};
use crate::AgentId;

/// An agent under a topic. Dropping it deregisters the agent from asks that are sent later; those that were sent are
/// answered.
#[must_use = "dropping it deregisters the agent"]
pub struct Registered {
    registry: Weak<Registry>,
    topic: Subject,
    entry: Arc<Entry>,
    /// Whose timers a drain goes by; none where the dispatcher has no runtime of its own.
    runtime: Option<Handle>,
}

impl Registered {
    pub(crate) fn new(
        registry: &Arc<Registry>,
        topic: Subject,
        entry: Arc<Entry>,
        runtime: Option<Handle>,
    ) -> Self {
        Self { registry: Arc::downgrade(registry), topic, entry, runtime }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Subject {
        &self.topic
    }

    /// The agent's name.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        self.entry.agent.id()
    }

    /// Deregisters the agent, and waits until it has answered what it was asked under this topic.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when something still runs after `within`; it runs on.
    ///
    /// # Cancel safety
    ///
    /// The agent is deregistered by the first poll.
    pub async fn drained(self, within: Duration) -> Result<()> {
        self.deregister();
        self.timeout(within, self.entry.load.idle()).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, "drain agent")
                .with_subject(self.agent().as_str())
                .with_detail(format!(
                    "{} calls still run after {within:?}",
                    self.entry.load.running()
                ))
        })
    }

    /// Bounds `future`, from outside of any runtime, too.
    pub(crate) fn timeout<F: Future>(&self, within: Duration, future: F) -> Timeout<F> {
        let _inside = self.runtime.as_ref().map(Handle::enter);
        timeout(within, future)
    }

    fn deregister(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.remove(&self.topic, &self.entry);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.deregister();
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("topic", &self.topic)
            .field("agent", self.agent())
            .field("running", &self.entry.load.running())
            .finish()
    }
}
