//! Who is registered under which topic.
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use sinew_core::{Error, ErrorKind, Result, Subject};

use crate::{AgentId, AnyAgent, load::Load};

/// Agents by topic. Each topic's list is replaced, never changed: an ask keeps the one that it saw when it was sent.
#[derive(Debug, Default)]
pub(crate) struct Registry(RwLock<HashMap<Subject, Entries>>);

/// Those who are asked, in the order of their registration.
pub(crate) type Entries = Arc<[Arc<Entry>]>;

/// One agent under one topic.
pub(crate) struct Entry {
    pub(crate) agent: AnyAgent,
    /// What runs for this registration.
    pub(crate) load: Arc<Load>,
}

impl Registry {
    /// Those who are registered under `topic` now.
    pub(crate) fn under(&self, topic: &Subject) -> Entries {
        let topics = self.0.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(topic).map(Arc::clone).unwrap_or_default()
    }

    pub(crate) fn add(&self, topic: &Subject, agent: AnyAgent) -> Result<Arc<Entry>> {
        let mut topics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let entries = topics.entry(topic.clone()).or_default();
        if entries.iter().any(|it| it.agent.id() == agent.id()) {
            return Err(Error::new(ErrorKind::Conflict, "register agent")
                .with_subject(agent.id().as_str())
                .with_detail(
                    "one of that name is registered under this topic; drop its registration first",
                ));
        }
        let entry = Arc::new(Entry { agent, load: Arc::default() });
        *entries = entries.iter().chain([&entry]).map(Arc::clone).collect();
        Ok(entry)
    }

    pub(crate) fn remove(&self, topic: &Subject, entry: &Arc<Entry>) {
        let mut topics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(entries) = topics.get_mut(topic) else { return };
        *entries = entries.iter().filter(|it| !Arc::ptr_eq(it, entry)).map(Arc::clone).collect();
        if entries.is_empty() {
            topics.remove(topic);
        }
    }

    /// The agents under `topic`, in the order of their registration.
    pub(crate) fn names(&self, topic: &Subject) -> Vec<AgentId> {
        self.under(topic).iter().map(|it| it.agent.id().clone()).collect()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("agent", &self.agent).finish_non_exhaustive()
    }
}
