//! What is known of an agent that says it is there.
use crate::{AgentId, AgentState};

/// An agent that says it is there: what [`Dispatcher::agents`](crate::Dispatcher::agents) finds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AgentStatus {
    /// Its name.
    pub agent: AgentId,
    /// Whether it would take an ask.
    pub state: AgentState,
    /// How many say so under this name. More than one is a mistake of whoever named them: all of them are asked, and of
    /// their answers the first counts.
    pub count: usize,
}

impl AgentStatus {
    pub(crate) fn new(agent: AgentId, state: AgentState) -> Self {
        Self { agent, state, count: 1 }
    }

    /// Another one of its name says so, too.
    pub(crate) fn met(&mut self, state: AgentState) {
        self.count += 1;
        if state == AgentState::Ready {
            self.state = state;
        }
    }
}
