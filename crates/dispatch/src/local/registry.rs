//! Who is registered under which topic.
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use sinew_core::{Error, ErrorKind, Result, Subject};

use crate::{
    AgentId, AnyAgent,
    load::Load,
    stats::{Meter, Meters},
};

/// Agents by topic. Each topic's list is replaced, never changed: an ask keeps the one that it saw when it was sent.
#[derive(Debug, Default)]
pub(crate) struct Registry(RwLock<HashMap<Subject, Topic>>);

/// A topic that has agents.
#[derive(Debug)]
struct Topic {
    entries: Entries,
    meter: Arc<Meter>,
}

/// Those who are asked, in the order of their registration.
pub(crate) type Entries = Arc<[Arc<Entry>]>;

/// One agent under one topic.
pub(crate) struct Entry {
    pub(crate) agent: AnyAgent,
    /// What runs for this registration.
    pub(crate) load: Arc<Load>,
    /// Whether it is asked, and says that it is there, over a broker, too.
    pub(crate) is_served: bool,
}

impl Registry {
    /// Those who are registered under `topic` now, and the topic's counters if there are any.
    pub(crate) fn metered(&self, topic: &Subject) -> (Entries, Option<Arc<Meter>>) {
        let topics = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match topics.get(topic) {
            Some(it) => (Arc::clone(&it.entries), Some(Arc::clone(&it.meter))),
            None => Default::default(),
        }
    }

    /// Those who are registered under `topic` now.
    pub(crate) fn under(&self, topic: &Subject) -> Entries {
        self.metered(topic).0
    }

    pub(crate) fn add(
        &self,
        topic: &Subject,
        agent: AnyAgent,
        is_served: bool,
        meters: &Meters,
    ) -> Result<Arc<Entry>> {
        let mut topics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let entries = topics.get(topic).map(|it| Arc::clone(&it.entries)).unwrap_or_default();
        if entries.iter().any(|it| it.agent.id() == agent.id()) {
            return Err(Error::new(ErrorKind::Conflict, "register agent")
                .with_subject(agent.id().as_str())
                .with_detail(
                    "one of that name is registered under this topic; drop its registration first",
                ));
        }
        let entry = Arc::new(Entry { agent, load: Arc::default(), is_served });
        let entries = entries.iter().chain([&entry]).map(Arc::clone).collect();
        topics.insert(topic.clone(), Topic { entries, meter: meters.of(topic) });
        Ok(entry)
    }

    pub(crate) fn remove(&self, topic: &Subject, entry: &Arc<Entry>) {
        let mut topics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(Topic { entries, .. }) = topics.get_mut(topic) else { return };
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
