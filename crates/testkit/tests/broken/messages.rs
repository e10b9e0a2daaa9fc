//! Flaws of what is published.
use std::time::UNIX_EPOCH;

use sinew_core::{Address, Capabilities, HeaderCarriage, Headers, Message, Result, Subject, Value};

use crate::flaw::Flaw;

/// What a flaw makes of a message before it goes out.
pub(crate) fn spoil(
    mut message: Message,
    flaw: Option<Flaw>,
    able: &Capabilities,
) -> Result<Message> {
    let most = able.max_payload.unwrap_or(usize::MAX);
    match flaw {
        Some(Flaw::SwallowsHeaders) => {
            let last = message.headers.iter().last().map(|(name, _)| name.to_owned());
            last.and_then(|name| message.headers.remove(&name));
        }
        Some(Flaw::AddsAHeader) => drop(message.headers.insert("added", "1")?),
        Some(Flaw::TrimsHeaders) => {
            message.headers = mapped(&message.headers, |value| match value {
                Value::Text(text) => Some(Value::from(text.trim())),
                other => Some(other.clone()),
            })?;
        }
        Some(Flaw::DropsWhatTextCannotCarry) => message.headers = mapped(&message.headers, text)?,
        Some(Flaw::KeepsOneOfAList) => {
            message.headers = mapped(&message.headers, |value| match value {
                Value::List(list) => list.first().cloned(),
                other => Some(other.clone()),
            })?;
        }
        Some(Flaw::TakesHeadersForProperties) => {
            let id = message.headers.text("id").map(str::to_owned);
            if let Some(id) = id {
                message.headers.remove("id");
                message = message.with_id(id.as_str());
            }
        }
        Some(Flaw::TrimsPayloads) => {
            message.payload = message.payload.slice_ref(message.payload.trim_ascii_end());
        }
        Some(Flaw::CutsLargePayloads) => message.payload.truncate(most),
        Some(Flaw::CutsTheLargestPayload) => message.payload.truncate(most - 1),
        Some(Flaw::DropsTheReplyAddress) => message.reply_to = None,
        Some(Flaw::MixesScopes) => {
            if let Address::Subject(scope, _) = &mut message.address {
                *scope = None;
            }
        }
        Some(Flaw::TakesAQueueForASubject) => {
            if let Address::Queue(queue) = &message.address {
                message.address = Address::from_wire(None, queue.to_string());
            }
        }
        Some(Flaw::MixesCase) => {
            if let Address::Subject(_, subject) = &mut message.address {
                *subject = Subject::parse(&subject.as_str().to_lowercase())?;
            }
        }
        _ if message.properties().is_none() => {}
        Some(Flaw::SwallowsAProperty) => message.properties_mut().correlation_id = None,
        Some(Flaw::TrimsProperties) => {
            let properties = message.properties_mut();
            properties.id = properties.id.take().map(|id| id.trim().into());
        }
        Some(Flaw::IgnoresTheExpectedPosition | Flaw::AcceptsWhatItLacks) => {
            message.properties_mut().expected_position = None;
        }
        Some(Flaw::IgnoresTheTimeToLive) => message.properties_mut().ttl = None,
        Some(Flaw::IgnoresMustRoute) => message.properties_mut().must_route = false,
        _ => {}
    }
    Ok(message)
}

/// What becomes of headers where they travel as text.
pub(crate) fn as_text(headers: &Headers, able: &Capabilities) -> Result<Option<Headers>> {
    match able.headers {
        HeaderCarriage::Text => mapped(headers, text).map(Some),
        _ => Ok(None),
    }
}

fn mapped(headers: &Headers, map: impl Fn(&Value) -> Option<Value>) -> Result<Headers> {
    let mut mapped = Headers::default();
    for (name, value) in headers.iter() {
        if let Some(value) = map(value) {
            mapped.insert(name, value)?;
        }
    }
    Ok(mapped)
}

fn text(value: &Value) -> Option<Value> {
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    match value {
        Value::Text(_) => Some(value.clone()),
        Value::List(list) if !list.is_empty() && list.iter().all(is_text) => Some(value.clone()),
        Value::Bool(bool) => Some(Value::from(bool.to_string().as_str())),
        Value::Integer(number) => Some(Value::from(number.to_string().as_str())),
        Value::Float(number) => Some(Value::from(number.to_string().as_str())),
        Value::Time(time) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(Value::from(since.as_secs().to_string().as_str()))
        }
        _ => None,
    }
}
