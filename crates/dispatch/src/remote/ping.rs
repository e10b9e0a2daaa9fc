//! Who is there: agents say so when they are pinged, without doing anything.
use std::collections::BTreeMap;

use sinew_core::{ErrorKind, Event, Message, Request as _, Result, Subject};
use tokio::{
    task::coop::cooperative,
    time::{Instant, timeout_at},
};

use super::Remote;
use crate::{
    AgentId, AgentState, AgentStatus,
    wire::{ReplyHead, Subjects},
};

impl Remote {
    /// The agents that say before `until` that they are there, by name; the first `max` of them.
    pub(crate) async fn ping(
        &self,
        topic: &Subject,
        until: Instant,
        max: usize,
    ) -> Result<BTreeMap<AgentId, AgentStatus>> {
        let ping = Message::new(Subjects::of(topic)?.ping, "");
        let mut agents = BTreeMap::<AgentId, AgentStatus>::new();
        let listening = async {
            let mut replies = self.requester.request(ping).await?;
            while let Some(event) = cooperative(replies.next()).await {
                match event {
                    Ok(Event::Item(reply)) => {
                        let head = ReplyHead::read(&reply.headers, &reply.payload);
                        if let Some(agent) = head.agent {
                            let state = AgentState::read(&reply.headers);
                            let new = || AgentStatus::new(agent.clone(), state);
                            agents
                                .entry(agent.clone())
                                .and_modify(|it| it.met(state))
                                .or_insert_with(new);
                        }
                        if agents.len() >= max {
                            break;
                        }
                    }
                    Ok(_) => {}
                    Err(err) if err.kind() == ErrorKind::NoResponders => break,
                    Err(err) => return Err(err),
                }
            }
            Ok(())
        };
        let listening = {
            let _inside = self.runtime.enter();
            timeout_at(until, listening)
        };
        match listening.await {
            Ok(Err(err)) => Err(err),
            Ok(Ok(())) | Err(_) => Ok(agents),
        }
    }
}
