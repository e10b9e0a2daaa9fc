//! Presence by beats: an agent is a process that beats, `dispatch.TOPIC.AGENT`.
use sinew_beat::{Process, WatchTable};
use sinew_core::{Result, Subject};

use crate::{AgentId, Presence};

/// The first word of the processes that are agents.
const WORD: &str = "dispatch";

/// Knows the agents that beat, by a watch's table. It knows as much as that watch listens to:
/// [`with_processes`](sinew_beat::WatchOptions::with_processes)`("dispatch.>")` is all agents there are. An ask looks at
/// those of its topic alone, however many others that watch knows.
///
/// An agent is there from its start until it is down or stopped: one that is late may answer yet. A watch that has just
/// started knows nobody until they beat; until then [`Dispatcher::agents`](crate::Dispatcher::agents) finds them.
#[derive(Clone, Debug)]
pub struct BeatPresence(WatchTable);

impl BeatPresence {
    /// Looks into this table.
    #[must_use]
    pub fn new(table: WatchTable) -> Self {
        Self(table)
    }

    /// The process that an agent under `topic` beats as: `dispatch.inspect.wafer.visual-7`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`](sinew_core::ErrorKind::InvalidName) where topic and name together are too long.
    pub fn process(topic: &Subject, agent: &AgentId) -> Result<Process> {
        Process::parse(&format!("{}{agent}", prefix(topic)))
    }
}

impl Presence for BeatPresence {
    fn present(&self, topic: &Subject) -> Vec<AgentId> {
        let prefix = prefix(topic);
        let alive = self.0.processes_under(&prefix).into_iter().filter(|it| it.state.is_alive());
        alive.filter_map(|it| agent_of(&prefix, it.process.as_str())).collect()
    }

    fn is_present(&self, topic: &Subject, agent: &AgentId) -> bool {
        let status = self.0.process(&format!("{}{agent}", prefix(topic)));
        status.is_some_and(|it| it.state.is_alive())
    }
}

/// What stands before an agent's name in that of its process.
fn prefix(topic: &Subject) -> String {
    format!("{WORD}.{topic}.")
}

/// The agent that the process is, if it is one of those called so.
fn agent_of(prefix: &str, process: &str) -> Option<AgentId> {
    AgentId::parse(process.strip_prefix(prefix)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_found_under_its_own_topic_alone() {
        let topic = |text| Subject::parse(text).unwrap();
        let agent = AgentId::parse("x").unwrap();
        let process = BeatPresence::process(&topic("a.b"), &agent).unwrap();
        assert_eq!(process.as_str(), "dispatch.a.b.x");
        assert_eq!(agent_of(&prefix(&topic("a.b")), process.as_str()), Some(agent));
        for other in ["a", "a.b.x", "b", "a.bb"] {
            assert_eq!(agent_of(&prefix(&topic(other)), process.as_str()), None, "{other}");
        }
    }
}
