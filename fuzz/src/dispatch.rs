//! What agents and those who ask them say of themselves.
use std::time::Duration;

use bytes::Bytes;
use sinew_core::{Headers, ReplyTo};
use sinew_dispatch::{
    AgentError, AgentState, DispatcherOptions,
    heads::{AskHead, ReplyHead},
};

use crate::typed;

/// Lines of headers, `NAME VALUE`, and after an empty one the payload. Whatever is sent is read as what can be said: it
/// is written as headers that read the same, within their bounds.
pub(crate) fn dispatch(data: &[u8]) {
    let at = data.windows(2).position(|it| it == b"\n\n").unwrap_or(data.len());
    let (head, payload) = data.split_at_checked(at).unwrap_or((data, &[]));
    let head = String::from_utf8_lossy(head);
    let sent = head.lines().filter_map(|line| line.split_once(' '));
    let (headers, _) = Headers::from_wire(sent.map(|(name, value)| (name, typed(value))));

    let ask = AskHead::read(&headers);
    assert!(ask.remaining.is_none_or(|it| it <= DispatcherOptions::MAX_DEADLINE));
    assert!(ask.remaining.is_none_or(|it| it.subsec_nanos() % 1_000_000 == 0));
    assert!(ask.id.as_ref().is_none_or(|it| (1..=64).contains(&it.as_str().len())));
    let mut again = Headers::default();
    assert!(ask.write(&mut again).is_ok());
    assert_eq!(AskHead::read(&again), ask);
    // In a note it is the same, and any reply address may hold one.
    if let Some(note) = ask.note().filter(|note| ReplyTo::check_note(note).is_ok()) {
        let noted = ReplyTo::new(format!("inbox.1{}{note}", ReplyTo::NOTE));
        assert_eq!(AskHead::of(&Headers::default(), Some(&noted)), ask);
    }
    let noted = ReplyTo::new(Bytes::copy_from_slice(payload));
    let ask_there = AskHead::of(&headers, Some(&noted));
    assert!(ask_there.remaining.is_none_or(|it| it <= DispatcherOptions::MAX_DEADLINE));
    assert!(noted.note().is_some() || ask_there == ask);
    // What is read out of a frame makes the same frame, where it is not too long for one.
    let framed = Bytes::copy_from_slice(payload.strip_prefix(b"\n\n").unwrap_or_default());
    if let Some(id) = &ask.id
        && let Some((agent, answer)) = id.unframe(&framed)
    {
        assert!(id.frame(&agent, &answer).is_none_or(|it| it == framed));
    }
    // Who passes it on cannot gain time by it.
    if let Some(remaining) = ask.remaining {
        let mut later = ask;
        later.remaining = Some(remaining + Duration::from_nanos(999_999));
        let mut again = Headers::default();
        assert!(later.write(&mut again).is_ok());
        assert_eq!(AskHead::read(&again).remaining, Some(remaining));
    }

    let reply = ReplyHead::read(&headers, payload);
    if let Some(error) = &reply.error {
        assert!(error.code().len() <= AgentError::MAX_CODE);
        assert!(error.message().len() <= AgentError::MAX_MESSAGE);
    }
    let mut again = Headers::default();
    let text = reply.write(&mut again).ok().flatten();
    assert_eq!(text.is_some(), reply.error.is_some());
    assert_eq!(ReplyHead::read(&again, text.unwrap_or_default().as_bytes()), reply);

    let state = AgentState::read(&headers);
    let mut again = Headers::default();
    assert!(state.write(&mut again).is_ok());
    assert_eq!(AgentState::read(&again), state);
}
