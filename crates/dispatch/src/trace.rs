//! What an ask says to `tracing`, under the target `sinew_dispatch`: a span per ask, and in it one per agent.
use std::{collections::hash_map::RandomState, hash::BuildHasher as _};

use sinew_core::{Error, Headers, Subject};
use tokio::time::Instant;
use tracing::{Span, field::Empty};

use crate::{AgentId, End};

const TARGET: &str = "sinew_dispatch";

/// The header by which a trace goes from one process to the next: <https://www.w3.org/TR/trace-context/>.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The span of an ask; how it ended is recorded in it. Where somebody looks at it, an ask that belongs to no trace begins
/// one, so that what is served elsewhere for it is found by that; else it would be a header more for nobody.
pub(crate) fn ask(topic: &Subject, fan_out: usize, headers: &mut Headers) -> Span {
    let span = tracing::debug_span!(
        target: TARGET,
        "ask",
        topic = topic.as_str(),
        fan_out,
        traceparent = Empty,
        ended = Empty,
        ok = Empty,
        failed = Empty,
        missing = Empty,
        cancelled = Empty,
    );
    if !span.is_disabled() {
        // Headers that are full carry no trace.
        if headers.value(TRACEPARENT).is_none() && headers.insert(TRACEPARENT, root()).is_err() {
            return span;
        }
        span.record(TRACEPARENT, headers.text(TRACEPARENT));
    }
    span
}

/// The name of a trace, and of an ask as its first span. No part of it may be zero.
fn root() -> String {
    let [high, low, span] = [0, 1, 2].map(|part| RandomState::new().hash_one(part) | 1);
    format!("00-{high:016x}{low:016x}-{span:016x}-01")
}

/// The span of one agent's work for an ask.
pub(crate) fn agent(ask: &Span, agent: &AgentId) -> Span {
    tracing::debug_span!(target: TARGET, parent: ask, "agent", agent = agent.as_str())
}

/// The span of what an agent elsewhere answered: taking it in. Its work has one there, of the same trace.
pub(crate) fn answer(ask: &Span, agent: &AgentId, sent: Instant) -> Span {
    tracing::debug_span!(
        target: TARGET,
        parent: ask,
        "agent",
        agent = agent.as_str(),
        elapsed_us = sent.elapsed().as_micros(),
    )
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

/// The way of the answers to an ask broke.
pub(crate) fn cut_off(topic: &Subject, error: &Error) {
    tracing::debug!(target: TARGET, %error, topic = topic.as_str(), "answers cannot come any more");
}

/// An agent elsewhere that was to be asked by name could not be.
pub(crate) fn not_asked(topic: &Subject, agent: &AgentId, error: &Error) {
    let (topic, agent) = (topic.as_str(), agent.as_str());
    tracing::debug!(target: TARGET, %error, topic, agent, "an agent could not be asked");
}

pub(crate) fn not_called_off(topic: &Subject, error: &Error) {
    tracing::debug!(target: TARGET, %error, topic = topic.as_str(), "an ask could not be called off");
}

/// What takes asks back is not heard any more.
pub(crate) fn deaf(error: &Error) {
    tracing::warn!(target: TARGET, %error, "an agent cannot be called off any more: it works until its time is over");
}

pub(crate) fn unsent(agent: &AgentId, error: &Error) {
    tracing::debug!(target: TARGET, %error, agent = agent.as_str(), "an answer could not be published");
}

#[cfg(feature = "beat")]
pub(crate) fn stop_not_sent(agent: &AgentId, error: &Error) {
    tracing::debug!(target: TARGET, %error, agent = agent.as_str(), "the stop of an agent was not sent");
}

#[cfg(feature = "compat")]
pub(crate) fn listener_panicked() {
    tracing::warn!(target: TARGET, "a result listener panicked; it goes on");
}

/// What an agent panicked with, which is told to nobody else.
pub(crate) fn panicked(agent: &AgentId, panic: &str) {
    tracing::error!(target: TARGET, agent = agent.as_str(), panic, "an agent panicked");
}
