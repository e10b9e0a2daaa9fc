//! Messages: what is published and what arrives.
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use crate::{
    Error, FromPayload, Headers, IntoPayload, Position, Properties, Queue, Result, Scope, Subject,
    ToSubject, Value, subject::flaw,
};

/// One message, the same type on its way out and on its way in. Cloning it shares every part and copies none.
///
/// At most 144 bytes, asserted when compiling: a larger one, moved by value through a channel, costs more than
/// what it carries.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Where it goes, or where it was published.
    pub address: Address,
    /// What it says: any bytes, none included.
    pub payload: Bytes,
    /// Typed headers.
    pub headers: Headers,
    /// Where answers go.
    pub reply_to: Option<ReplyTo>,
    /// Allocated when first set.
    properties: Option<Arc<Properties>>,
    /// Allocated by backends that have positions.
    position: Option<Arc<Position>>,
}

const _: () = assert!(size_of::<Message>() <= 144, "a larger message costs more than it carries");

/// Where a message goes, or where it was published.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Address {
    /// A subject, in a scope or in none.
    Subject(Option<Scope>, Subject),
    /// Whoever asked.
    Reply(ReplyTo),
    /// A name that is no subject: an empty routing key, a binary ZeroMQ topic. Delivered, never dropped; it can be
    /// published where the backend's [`Names`](crate::Names) are any text or any bytes. In a scope or in none, as a
    /// subject is.
    Foreign(Option<Scope>, Bytes),
    /// One queue, whatever it is bound to, and nobody else, where the backend has
    /// [`QueueAddressing`](crate::QueueAddressing). Where there is no such queue the message goes nowhere, which a
    /// [`must_route`](Properties::must_route) message tells.
    Queue(Queue),
}

/// Where an answer goes. Opaque outside of the adapter that made it: a NATS inbox, an AMQP reply queue.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ReplyTo(Bytes);

impl ReplyTo {
    /// Wraps an adapter's own form of it.
    #[must_use]
    pub fn new(native: impl Into<Bytes>) -> Self {
        Self(native.into())
    }

    /// The adapter's own form of it.
    #[must_use]
    pub fn native(&self) -> &Bytes {
        &self.0
    }

    /// For adapters: what stands between an address and its note.
    pub const NOTE: &str = ".~";

    /// What whoever asked had the address end on, see [`Request::request_noted`](crate::Request::request_noted). Anybody may
    /// write one: it is to be believed as far as a payload is.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        let at = self.0.windows(2).rposition(|it| matches!(it, b".~"))?;
        std::str::from_utf8(self.0.get(at + Self::NOTE.len()..)?).ok()
    }

    /// For adapters: whether `note` can stand in an address.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`](crate::ErrorKind::InvalidName) where it could be no subject, or holds `.~`.
    pub fn check_note(note: &str) -> Result<()> {
        let flaw = match note.contains(Self::NOTE) {
            true => Some("it holds `.~`, which stands before it"),
            false => flaw(note),
        };
        let refuse = |flaw| {
            let err = Error::new(crate::ErrorKind::InvalidName, "write note");
            Err(err.with_subject(note).with_detail(flaw))
        };
        flaw.map_or(Ok(()), refuse)
    }
}

impl Address {
    /// Makes sense of a name off the wire: a subject where it parses as one, else foreign.
    ///
    /// The bytes of a foreign name are kept as they are.
    #[must_use]
    pub fn from_wire(scope: Option<Scope>, name: impl Into<Bytes>) -> Self {
        let name = name.into();
        match Subject::from_wire(&name) {
            Some(subject) => Self::Subject(scope, subject),
            None => Self::Foreign(scope, name),
        }
    }

    /// The scope that its name lives in, if any.
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Subject(scope, _) | Self::Foreign(scope, _) => scope.as_ref(),
            Self::Reply(_) | Self::Queue(_) => None,
        }
    }

    /// The subject, if it is one.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Subject(_, subject) => Some(subject),
            Self::Reply(_) | Self::Foreign(..) | Self::Queue(_) => None,
        }
    }
}

/// Names, not payloads: for logs and errors. Bytes that are no text are escaped.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scope) = self.scope() {
            write!(f, "{scope}/")?;
        }
        match self {
            Self::Subject(_, subject) => f.write_str(subject),
            Self::Reply(_) => f.write_str("(reply)"),
            Self::Foreign(_, name) => write!(f, "{}", name.escape_ascii()),
            Self::Queue(queue) => write!(f, "(queue {queue})"),
        }
    }
}

impl Message {
    /// A message to `subject`.
    #[must_use]
    pub fn new(subject: Subject, payload: impl Into<Bytes>) -> Self {
        Self::to(Address::Subject(None, subject), payload)
    }

    /// A message to any address.
    #[must_use]
    pub fn to(address: Address, payload: impl Into<Bytes>) -> Self {
        Self {
            address,
            payload: payload.into(),
            headers: Headers::default(),
            reply_to: None,
            properties: None,
            position: None,
        }
    }

    /// Encodes `payload`, and sets the content type that goes with it, if it has one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`](crate::ErrorKind::InvalidSubject) or
    /// [`ErrorKind::InvalidPayload`](crate::ErrorKind::InvalidPayload).
    pub fn encode<P: IntoPayload>(subject: impl ToSubject, payload: P) -> Result<Self> {
        let message = Self::new(subject.to_subject()?, payload.into_payload()?);
        Ok(match P::CONTENT_TYPE {
            Some(content_type) => message.with_content_type(content_type),
            None => message,
        })
    }

    /// Decodes the payload.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidPayload`](crate::ErrorKind::InvalidPayload).
    pub fn decode<P: FromPayload>(&self) -> Result<P> {
        P::from_payload(&self.payload)
    }

    /// The answer to this message, addressed to whoever asked; `None` when nobody asked.
    #[must_use]
    pub fn reply(&self, payload: impl Into<Bytes>) -> Option<Self> {
        Some(Self::to(Address::Reply(self.reply_to.clone()?), payload))
    }

    /// The subject, if its address is one.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.address.subject()
    }

    /// What it says about itself.
    #[must_use]
    pub fn properties(&self) -> Option<&Properties> {
        self.properties.as_deref()
    }

    /// The same, to change.
    pub fn properties_mut(&mut self) -> &mut Properties {
        Arc::make_mut(self.properties.get_or_insert_default())
    }

    /// Where it is stored, on what arrives from a backend that has positions: where a reader resumes, with
    /// [`Start::After`](crate::Start::After).
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        self.position.as_deref()
    }

    /// For adapters: says where the message is stored. It says nothing to a publish.
    #[must_use]
    pub fn with_position(mut self, position: impl Into<Arc<Position>>) -> Self {
        self.position = Some(position.into());
        self
    }

    /// Puts the message's name into `scope`; no effect on a reply, or on a message to a queue.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        match &mut self.address {
            Address::Subject(slot, _) | Address::Foreign(slot, _) => *slot = Some(scope),
            Address::Reply(_) | Address::Queue(_) => {}
        }
        self
    }

    /// Sets a header.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`](crate::ErrorKind::InvalidHeader), as [`Headers::insert`] has it.
    pub fn with_header(mut self, name: &str, value: impl Into<Value>) -> Result<Self> {
        self.headers.insert(name, value)?;
        Ok(self)
    }

    /// Says where answers go.
    #[must_use]
    pub fn with_reply_to(mut self, reply_to: ReplyTo) -> Self {
        self.reply_to = Some(reply_to);
        self
    }
}

/// Shows the payload's length and the headers' types: what they say may be a secret.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("address", &self.address)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("headers", &self.headers)
            .field("reply_to", &self.reply_to)
            .field("properties", &self.properties)
            .field("position", &self.position)
            .finish()
    }
}

macro_rules! property_setters {
    ($($(#[$doc:meta])* $setter:ident($field:ident: $ty:ty) = $value:expr),+ $(,)?) => {
        impl Message {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $setter(mut self, $field: $ty) -> Self {
                    self.properties_mut().$field = $value;
                    self
                }
            )+
        }
    };
}
property_setters! {
    /// Names the message.
    with_id(id: impl Into<String>) = Some(id.into()),
    /// Names what it answers or belongs to.
    with_correlation_id(correlation_id: impl Into<String>) = Some(correlation_id.into()),
    /// Says what the payload is.
    with_content_type(content_type: impl Into<String>) = Some(content_type.into()),
    /// Says how the payload is compressed.
    with_content_encoding(content_encoding: impl Into<String>) = Some(content_encoding.into()),
    /// Says what kind of message it is.
    with_message_type(message_type: impl Into<String>) = Some(message_type.into()),
    /// Says which application made it.
    with_app_id(app_id: impl Into<String>) = Some(app_id.into()),
    /// Says who published it.
    with_user_id(user_id: impl Into<String>) = Some(user_id.into()),
    /// Groups it with others for order and partition.
    with_key(key: impl Into<Bytes>) = Some(key.into()),
    /// Bounds how long it is worth delivering.
    with_ttl(ttl: Duration) = Some(ttl),
    /// 0 (last) to 9 (first).
    with_priority(priority: u8) = Some(priority),
    /// Says when it was made.
    with_timestamp(timestamp: SystemTime) = Some(timestamp),
    /// Fails the publish when no queue takes it.
    with_must_route(must_route: bool) = must_route,
    /// Fails the publish unless the log ends at this position.
    with_expected_position(expected_position: Position) = Some(expected_position),
    /// Says whether it outlives the broker.
    with_durable(durable: bool) = Some(durable),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_goes_to_whoever_asked() {
        let subject = Subject::parse("a").unwrap();
        let request = Message::new(subject.clone(), "q").with_reply_to(ReplyTo::new("inbox.1"));
        let reply = request.reply("a").unwrap();
        assert_eq!(reply.address, Address::Reply(ReplyTo::new("inbox.1")));
        assert_eq!(Message::new(subject, "q").reply("a"), None);
    }

    #[test]
    fn a_note_is_what_stands_last_in_an_address() {
        for (address, note) in [
            ("inbox.1.~7/250/f", Some("7/250/f")),
            ("in.~box.1.~a.b", Some("a.b")),
            ("inbox.1.~", Some("")),
            ("~inbox.1~", None),
            ("~", None),
            ("", None),
        ] {
            assert_eq!(ReplyTo::new(address).note(), note, "{address}");
        }
        assert_eq!(ReplyTo::new(&b"inbox.1.~\xff"[..]).note(), None);
        for note in ["7/250/f", "a.b", "~", &"n".repeat(255)] {
            ReplyTo::check_note(note).unwrap();
            assert_eq!(ReplyTo::new(format!("inbox.1.~{note}")).note(), Some(note));
        }
        for note in ["", "a..b", "a b", "a\r\nPUB b 0", "*", "a.>", "a.~b", &"n".repeat(256)] {
            let refused = ReplyTo::check_note(note).unwrap_err();
            assert_eq!(refused.kind(), crate::ErrorKind::InvalidName, "{note}");
        }
    }

    #[test]
    fn a_name_that_is_no_subject_arrives_as_foreign() {
        for name in [&b""[..], b"a..b", b"\xff\0", b"a b"] {
            let address = Address::from_wire(None, Bytes::copy_from_slice(name));
            assert_eq!(address, Address::Foreign(None, Bytes::copy_from_slice(name)));
        }
    }

    #[test]
    fn properties_are_those_that_were_set() {
        let message = Message::new(Subject::parse("a").unwrap(), "").with_id("7").with_priority(3);
        let set: Vec<_> = message.properties().unwrap().set().collect();
        assert_eq!(set, [crate::Property::Id, crate::Property::Priority]);
    }
}
