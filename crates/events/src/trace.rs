//! What events say to `tracing`, under the target `sinew_events`: a span for each delivery of an event, in it one for each
//! run; and the trace that goes on with what a run emits.
use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use sinew_core::{Attempt, Message};
use tracing::{Span, field::Empty};

use crate::{Context, ContextData, HandlerName, HeaderPrefix};

pub(crate) const TARGET: &str = "sinew_events";

/// The span of one delivery, under no other; what became of it is recorded in it. It tells of the trace that the event came
/// with, whose header has `prefix`.
pub(crate) fn delivered(
    handler: &HandlerName,
    message: &Message,
    attempt: Attempt,
    prefix: &HeaderPrefix,
) -> Span {
    let attempt = match attempt {
        Attempt::Number(number) => Some(number),
        _ => None,
    };
    let id = message.properties().and_then(|it| it.id.as_deref());
    made(|| {
        tracing::debug_span!(
            target: TARGET,
            parent: None,
            "handle",
            handler = handler.as_str(),
            event = %message.address,
            id,
            attempt,
            traceparent = ContextData::received(&message.headers, prefix).traceparent(),
            outcome = Empty,
        )
    })
}

/// The span of one run of the handler; its trace is that which goes on with what it emits.
pub(crate) fn run(context: &Context) -> Span {
    made(|| {
        tracing::debug_span!(
            target: TARGET,
            "run",
            call = context.call_id().as_str(),
            run = context.run(),
            traceparent = context.traceparent(),
        )
    })
}

/// None where a subscriber panics: unwound through a delivery, it would have that delivered again, for ever.
fn made(span: impl FnOnce() -> Span) -> Span {
    catch_unwind(AssertUnwindSafe(span)).unwrap_or_else(|_| Span::none())
}

/// The child of a W3C trace context: the same trace, sampled or not as it was, under a span of its own. None for what is none.
pub(crate) fn child_of(parent: &str) -> Option<String> {
    let mut parts = parent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |text: &str| text.bytes().all(|it| it == b'0');
    let is_context = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(span, 16)
        && !is_zero(span)
        && is_hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    if !is_context {
        return None;
    }
    let mut child = format!("00-{trace}-");
    write!(child, "{:016x}", fastrand::u64(1..)).ok()?;
    write!(child, "-{flags}").ok()?;
    Some(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_child_keeps_the_trace_and_has_a_span_of_its_own() {
        let child = child_of(PARENT).unwrap();
        assert_eq!((&child[..36], &child[52..]), (&PARENT[..36], &PARENT[52..]));
        assert_ne!(child[36..52], PARENT[36..52]);
        assert!(child_of(&child).is_some());
    }

    #[test]
    fn what_is_no_trace_context_has_no_child() {
        let zero = PARENT.replace("00f067aa0ba902b7", "0000000000000000");
        for text in [
            "",
            "00",
            "a-b-c-d",
            &PARENT.to_uppercase(),
            &zero,
            &format!("{PARENT}-x"),
            "00-é-é-01",
        ] {
            assert_eq!(child_of(text), None, "{text}");
        }
    }
}
