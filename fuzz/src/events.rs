//! Events as they come: what of their context goes on, and what their payloads are read as.
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use sinew_core::{Headers, Message, Value};
use sinew_events::{
    AnySerializer, CallId, ContextData, HandlerName, HeaderPrefix, PayloadError, PayloadOptions,
    Source,
    python::{Bytes, Date, DateTime, Decimal, Time, Uuid},
};

use crate::typed;

/// What stands in values, and is shown nowhere.
const SECRET: &str = "s3cret-of-events";

/// Lines of headers, `NAME VALUE`, and after an empty one the payload; `content-type` and `content-encoding` are the
/// message's own. Whatever comes, what goes on cannot harm a Python service, and what is read is written again.
pub(crate) fn events(data: &[u8]) {
    let at = data.windows(2).position(|it| it == b"\n\n").unwrap_or(data.len());
    let (head, payload) = data.split_at_checked(at).unwrap_or((data, &[]));
    let payload = payload.get(2..).unwrap_or_default().to_vec();
    let head = String::from_utf8_lossy(head);
    let lines = || head.lines().filter_map(|line| line.split_once(' '));
    let (headers, _) = Headers::from_wire(lines().map(|(name, value)| (name, typed(value))));
    let told = |wanted| lines().find(|(name, _)| *name == wanted).map(|(_, value)| value);

    context(&headers);
    let Ok(address) = Source::parse("orders").and_then(|it| it.address("created")) else { return };
    let mut message = Message::to(address, payload);
    message.headers = headers;
    message.properties_mut().content_type = told("content-type").map(str::to_owned);
    message.properties_mut().content_encoding = told("content-encoding").map(str::to_owned);
    body(&message);
}

fn context(headers: &Headers) {
    let prefix = HeaderPrefix::default();
    let came = ContextData::received(headers, &prefix);
    let Ok(handler) = HandlerName::new("billing", "on_created") else { return };
    let own = CallId::fresh(&handler);
    let mut sent = Headers::default();
    // There is room for all that came, and one more where it was full.
    assert!(came.write(&mut sent, &prefix, &own, 10).is_ok() || headers.len() == Headers::MAX_LEN);
    for (name, value) in sent.iter() {
        let key = name.strip_prefix("nameko.").unwrap_or_default();
        assert!(!key.is_empty() && *value != Value::Null, "{name}");
        for told in ["x-", "content", "compression", "sinew-"] {
            assert!(!key.to_ascii_lowercase().starts_with(told), "{name}");
        }
    }
    let stack: Vec<_> = sent.texts("nameko.call_id_stack").collect();
    if let Some(value) = sent.value("nameko.call_id_stack") {
        assert!(matches!(value, Value::List(ids) if ids.len() == stack.len()), "{value:?}");
        assert!((1..=11).contains(&stack.len()) && stack.iter().all(|id| !id.is_empty()));
        assert_eq!(stack.last(), Some(&own.as_str()));
    }
    // Whoever has it next sends on the same, but for the stack.
    let next = ContextData::received(&sent, &prefix);
    let mut again = Headers::default();
    assert!(next.write(&mut again, &prefix, &own, 10).is_ok());
    sent.remove("nameko.call_id_stack");
    again.remove("nameko.call_id_stack");
    assert_eq!(sent, again);
    let is_a_name = headers.iter().any(|(name, _)| name.contains(SECRET));
    assert!(is_a_name || !format!("{came:?}").contains(SECRET));
}

fn body(message: &Message) {
    let options = PayloadOptions::default()
        .with_accept(AnySerializer::message_pack())
        .with_max_inflated(1 << 16);
    let value = options.decode::<Json>(message);
    if let Err(PayloadError::Malformed { reason }) = &value {
        assert!(!reason.contains(SECRET), "{reason}");
    }
    if let Ok(value) = &value {
        comes_back(value);
    }
    comes_back_as::<DateTime>(&options, message);
    comes_back_as::<Date>(&options, message);
    comes_back_as::<Time>(&options, message);
    comes_back_as::<Decimal>(&options, message);
    comes_back_as::<Uuid>(&options, message);
    let _ = options.decode::<Bytes>(message);
    let _ = options.decode::<String>(message);
}

/// In every form that it can be written in.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    for serializer in
        [AnySerializer::json(), AnySerializer::typed_json(), AnySerializer::message_pack()]
    {
        match serializer.encode(value) {
            Ok(body) => assert_eq!(serializer.decode::<T>(&body).as_ref(), Ok(value)),
            Err(err) => assert_eq!(err, PayloadError::Reserved),
        }
    }
}

fn comes_back_as<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    options: &PayloadOptions,
    message: &Message,
) {
    if let Ok(value) = options.decode::<T>(message) {
        comes_back(&value);
    }
}
