//! What programs read: one JSON object per line. Keys are a contract: added to, never renamed.
use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use sinew_core::{Address, Attempt, Delivery, Headers, Message, Position, Receipt, Value};

use crate::time::rfc3339;

/// A point in time: RFC 3339, microseconds, UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) SystemTime);

impl Time {
    pub(crate) fn now() -> Self {
        Self(SystemTime::now())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

/// A payload as text where it is text.
#[derive(Debug, Serialize)]
pub(crate) enum Payload<'a> {
    #[serde(rename = "payload")]
    Text(&'a str),
    #[serde(rename = "payload_base64")]
    Base64(String),
}

impl<'a> From<&'a Bytes> for Payload<'a> {
    fn from(payload: &'a Bytes) -> Self {
        match std::str::from_utf8(payload) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Base64(STANDARD.encode(payload)),
        }
    }
}

/// A place in a log.
#[derive(Debug, Serialize)]
pub(crate) struct Place<'a> {
    log: &'a str,
    offset: u64,
}

impl<'a> From<&'a Position> for Place<'a> {
    fn from(position: &'a Position) -> Self {
        Self { log: &position.log, offset: position.offset }
    }
}

/// What `pub` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Published<'a> {
    subject: &'a str,
    receipt: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place<'a>>,
}

impl<'a> Published<'a> {
    pub(crate) fn new(subject: &'a str, receipt: &'a Receipt) -> Self {
        let (receipt, position) = self::receipt(receipt);
        Self { subject, receipt, position }
    }
}

/// How far something got, and where it is kept, where it is.
pub(crate) fn receipt(receipt: &Receipt) -> (&'static str, Option<Place<'_>>) {
    match receipt {
        Receipt::Persisted(position) => ("persisted", Some(position.into())),
        Receipt::Accepted => ("accepted", None),
        _ => ("buffered", None),
    }
}

/// What `sub`, `consume` and `request` print.
#[derive(Debug, Serialize)]
pub(crate) struct Received<'a> {
    time: Time,
    subject: String,
    /// The name's own bytes, where they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_base64: Option<String>,
    #[serde(flatten)]
    payload: Payload<'a>,
    headers: BTreeMap<&'a str, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redelivered: Option<bool>,
    /// Seconds since the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed: Option<f64>,
}

impl<'a> Received<'a> {
    pub(crate) fn message(message: &'a Message) -> Self {
        let (subject, subject_base64) = name(&message.address);
        Self {
            time: Time::now(),
            subject,
            subject_base64,
            payload: (&message.payload).into(),
            headers: headers(&message.headers),
            reply: message.reply_to.is_some().then_some(true),
            position: message.position().map(Place::from),
            attempt: None,
            redelivered: None,
            elapsed: None,
        }
    }

    pub(crate) fn delivery(delivery: &'a Delivery) -> Self {
        let (attempt, redelivered) = attempt(delivery.attempt);
        Self { attempt, redelivered, ..Self::message(&delivery.message) }
    }

    pub(crate) fn with_elapsed(self, elapsed: std::time::Duration) -> Self {
        Self { elapsed: Some(elapsed.as_secs_f64()), ..self }
    }
}

/// Which delivery it is, and whether it is another one, as far as the backend tells.
pub(crate) fn attempt(attempt: Attempt) -> (Option<u32>, Option<bool>) {
    match attempt {
        Attempt::Number(number) => (Some(number), Some(number > 1)),
        Attempt::Redelivered => (None, Some(true)),
        _ => (None, None),
    }
}

/// The name of an address as text, and its bytes where they are none.
fn name(address: &Address) -> (String, Option<String>) {
    match address {
        Address::Foreign(_, bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (address.to_string(), Some(STANDARD.encode(bytes))),
        },
        Address::Subject(_, subject) => (subject.as_str().to_owned(), None),
        Address::Queue(queue) => (queue.as_str().to_owned(), None),
        Address::Reply(reply) => (String::from_utf8_lossy(reply.native()).into_owned(), None),
        _ => (address.to_string(), None),
    }
}

pub(crate) fn headers(headers: &Headers) -> BTreeMap<&str, serde_json::Value> {
    headers.iter().map(|(name, it)| (name, value(it))).collect()
}

/// A header's value, as far as JSON has its type.
pub(crate) fn value(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(it) => (*it).into(),
        Value::Integer(it) => (*it).into(),
        Value::Float(it) => (*it).into(),
        Value::Text(it) => it.as_str().into(),
        Value::Bytes(it) => serde_json::json!({ "base64": STANDARD.encode(it) }),
        Value::Time(it) => rfc3339(*it).into(),
        Value::List(it) => it.iter().map(self::value).collect(),
        Value::Map(it) => {
            it.iter().map(|(name, value)| (name.clone(), self::value(value))).collect()
        }
        _ => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::{Position, Subject};

    use super::*;

    fn text(object: &impl Serialize) -> String {
        serde_json::to_string(object).unwrap()
    }

    #[test]
    fn a_receipt_has_its_keys() {
        assert_eq!(
            text(&Published::new("a.b", &Receipt::Buffered)),
            r#"{"subject":"a.b","receipt":"buffered"}"#
        );
        let persisted = Receipt::Persisted(Position::new("ORDERS", 42));
        assert_eq!(
            text(&Published::new("a.b", &persisted)),
            r#"{"subject":"a.b","receipt":"persisted","position":{"log":"ORDERS","offset":42}}"#
        );
    }

    #[test]
    fn a_message_has_its_keys() {
        let message = Message::new(Subject::parse("a.b").unwrap(), "hi \u{1F600}\n")
            .with_header("n", 3)
            .and_then(|it| it.with_header("list", Value::from_iter(["x", "y"])))
            .unwrap();
        let received =
            Received { time: Time(SystemTime::UNIX_EPOCH), ..Received::message(&message) };
        assert_eq!(
            text(&received),
            concat!(
                r#"{"time":"1970-01-01T00:00:00.000000Z","subject":"a.b","payload":"hi 😀\n","#,
                r#""headers":{"list":["x","y"],"n":3}}"#
            )
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let name = Bytes::from_static(b"\xff\0");
        let message = Message::to(Address::Foreign(None, name), &b"\0\xff"[..]);
        let received: serde_json::Value =
            serde_json::from_str(&text(&Received::message(&message))).unwrap();
        assert_eq!(received["payload_base64"], "AP8=");
        assert_eq!(received["subject_base64"], "/wA=");
        assert_eq!(received.get("payload"), None);
    }
}
