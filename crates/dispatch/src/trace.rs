//! What an ask says to `tracing`, under the target `sinew_dispatch`: a span per ask, and in it one per agent.
use sinew_core::Subject;
use tracing::{Span, field::Empty};

use crate::{AgentId, End};

const TARGET: &str = "sinew_dispatch";

/// The span of an ask; how it ended is recorded in it.
pub(crate) fn ask(topic: &Subject, fan_out: usize) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "ask",
        topic = topic.as_str(),
        fan_out,
        ended = Empty,
        ok = Empty,
        failed = Empty,
        missing = Empty,
        cancelled = Empty,
    )
}

/// The span of one agent's work for an ask.
pub(crate) fn agent(ask: &Span, agent: &AgentId) -> Span {
    tracing::debug_span!(target: TARGET, parent: ask, "agent", agent = agent.as_str())
}

/// The span of an agent's work for an ask that came over a broker; `trace` is what the asker said of its own.
pub(crate) fn served(topic: &Subject, agent: &AgentId, trace: Option<&str>) -> Span {
    let (topic, agent) = (topic.as_str(), agent.as_str());
    tracing::debug_span!(target: TARGET, "served", topic, agent, traceparent = trace)
}

/// One name has answered one ask twice, for the `count`th time.
pub(crate) fn answered_twice(topic: &Subject, agent: Option<&AgentId>, count: u64) {
    let (topic, agent) = (topic.as_str(), agent.map_or("", AgentId::as_str));
    tracing::warn!(
        target: TARGET,
        topic,
        agent,
        count,
        "a second answer under one name is not delivered; are two agents called so?"
    );
}

/// So many agents say that they are called so.
pub(crate) fn share_a_name(topic: &Subject, agent: &AgentId, count: usize) {
    let (topic, agent) = (topic.as_str(), agent.as_str());
    tracing::warn!(
        target: TARGET,
        topic,
        agent,
        count,
        "agents share a name; an ask takes the answer of one of them"
    );
}

pub(crate) fn ended(ask: &Span, end: &End) {
    ask.record("ended", end.ended.as_str());
    ask.record("ok", end.ok);
    ask.record("failed", end.failed);
    ask.record("missing", end.missing.len());
    ask.record("cancelled", end.cancelled.len());
    if !end.missing.is_empty() {
        let missing = &end.missing;
        tracing::debug!(target: TARGET, parent: ask, ?missing, "agents did not answer");
    }
}
