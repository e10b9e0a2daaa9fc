//! Events that were given up: put into an error queue with what went wrong, and brought back from there.
use std::{sync::Arc, time::SystemTime};

use sinew_core::{
    Address, AnyBackend, AnyConsumer, AnyPublisher, Backend as _, Capabilities, Consume as _,
    Consumption, Headers, Message, Property, PublishExt as _, Queue, QueueAddressing, Result,
    Start, Subject, Value, encode_name,
};

use crate::{HandlerName, Source, error::cut, id::Id};

/// What is said of an event in an error queue, in headers.
pub(crate) mod header {
    /// Why it was given up: `failed`, `permanent`, `panicked`, `undecodable`, `redelivered`.
    pub(crate) const KIND: &str = "sinew-error-kind";
    /// What the handler said.
    pub(crate) const MESSAGE: &str = "sinew-error-message";
    /// Which handler.
    pub(crate) const HANDLER: &str = "sinew-error-handler";
    /// Its queue, where the event is redriven to.
    pub(crate) const QUEUE: &str = "sinew-error-queue";
    /// Who emitted it.
    pub(crate) const SOURCE: &str = "sinew-error-source";
    /// As what.
    pub(crate) const TYPE: &str = "sinew-error-type";
    /// Its own id.
    pub(crate) const ID: &str = "sinew-error-id";
    /// Which delivery it was, at least.
    pub(crate) const DELIVERIES: &str = "sinew-error-deliveries";
    /// How often the handler was run for that delivery.
    pub(crate) const RUNS: &str = "sinew-error-runs";
    /// When it was given up first.
    pub(crate) const FIRST: &str = "sinew-error-first";
    /// When it was given up last.
    pub(crate) const LAST: &str = "sinew-error-last";
    /// How many headers of the event there was no room for.
    pub(crate) const HEADERS_DROPPED: &str = "sinew-error-headers-dropped";
    /// All of those.
    pub(crate) const ALL: &str = "sinew-error-";

    /// Whose queue a redriven event is for; others that share its subject pass over it.
    pub(crate) const REDRIVE: &str = "sinew-redrive";
    /// What it was emitted as.
    pub(crate) const REDRIVE_TYPE: &str = "sinew-redrive-type";
    /// Its own id.
    pub(crate) const REDRIVE_ID: &str = "sinew-redrive-id";
    /// When it was given up first.
    pub(crate) const REDRIVE_FIRST: &str = "sinew-redrive-first";
}

/// The longest text of an error that is said, in bytes.
const MAX_TEXT: usize = 2048;
/// How many headers there is to be room for.
const OURS: usize = 16;

/// Why a handler's event was given up, in one word.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Cause {
    Failed,
    Permanent,
    Panicked,
    Undecodable,
    Redelivered,
}

impl Cause {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Permanent => "permanent",
            Self::Panicked => "panicked",
            Self::Undecodable => "undecodable",
            Self::Redelivered => "redelivered",
        }
    }
}

/// What went wrong with an event.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) text: Arc<str>,
    /// Part of the game, says its handler.
    pub(crate) is_expected: bool,
}

impl Failure {
    /// One line of what was said: every carriage of headers takes it.
    pub(crate) fn new(cause: Cause, said: String) -> Self {
        let said = said.replace(char::is_control, " ");
        let text = cut(said.trim(), MAX_TEXT).trim_end();
        Self {
            cause,
            text: if text.is_empty() { "(nothing said)" } else { text }.into(),
            is_expected: false,
        }
    }
}

/// Where the events are that a handler gave up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// A queue beside the handler's.
    Queue(Queue),
    /// A subject, in the stream that the backend has.
    Subject(Subject),
}

impl Place {
    /// For the queue of a handler: `{queue}.errors` where queues are published to by name, else `sinew.errors.{queue}`,
    /// encoded into one token.
    pub(crate) fn of(queue: &Queue, capabilities: &Capabilities) -> Result<Self> {
        Ok(match capabilities.queue_addressing {
            QueueAddressing::None => {
                let token = encode_name(queue.as_str());
                Self::Subject(Subject::from_tokens(["sinew", "errors", &token])?)
            }
            _ => Self::Queue(reader(queue)?),
        })
    }

    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Queue(queue) => Address::Queue(queue.clone()),
            Self::Subject(subject) => Address::Subject(None, subject.clone()),
        }
    }

    /// What reads it, as the queue that [`reader`] names.
    pub(crate) fn consumption(&self, reader: &Queue) -> Consumption {
        match self {
            Self::Queue(queue) => Consumption::unbound(queue.clone()),
            Self::Subject(subject) => {
                Consumption::new(reader.clone(), subject.clone()).with_start(Start::Earliest)
            }
        }
    }
}

/// The queue by which the events are read that the handler of `queue` gave up.
///
/// # Errors
///
/// [`ErrorKind::InvalidName`](sinew_core::ErrorKind::InvalidName) where its name is too long.
pub(crate) fn reader(queue: &Queue) -> Result<Queue> {
    Queue::parse(&format!("{queue}{ERRORS}"))
}

/// What an error queue is called beyond its handler's queue.
pub(crate) const ERRORS: &str = ".errors";

/// Puts the events of one handler into its error queue.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetters {
    publisher: AnyPublisher,
    consumer: AnyConsumer,
    capabilities: Capabilities,
    place: Place,
    reader: Queue,
    handler: HandlerName,
    queue: Queue,
    source: Source,
    pattern: String,
}

impl DeadLetters {
    pub(crate) fn new(
        backend: &AnyBackend,
        handler: &HandlerName,
        queue: &Queue,
        source: &Source,
        pattern: &str,
    ) -> Result<Self> {
        let capabilities = backend.capabilities();
        Ok(Self {
            publisher: backend.publisher()?,
            consumer: backend.consumer()?,
            place: Place::of(queue, &capabilities)?,
            reader: reader(queue)?,
            capabilities,
            handler: handler.clone(),
            queue: queue.clone(),
            source: source.clone(),
            pattern: pattern.to_owned(),
        })
    }

    /// Ends when the broker has it. The queue is made only now, so that a service that gives up nothing leaves nothing.
    pub(crate) async fn put(
        &self,
        message: &Message,
        failure: &Failure,
        deliveries: u32,
        runs: u32,
    ) -> Result<()> {
        let copy = self.copy(message, failure, deliveries, runs)?;
        self.consumer.declare(self.place.consumption(&self.reader)).await?;
        self.publisher.send(copy).await.map(drop)
    }

    fn copy(
        &self,
        message: &Message,
        failure: &Failure,
        deliveries: u32,
        runs: u32,
    ) -> Result<Message> {
        let now = SystemTime::now();
        let first = match message.headers.value(header::REDRIVE_FIRST) {
            Some(first @ (Value::Time(_) | Value::Text(_))) => first.clone(),
            _ => now.into(),
        };
        let mut copy = message.clone();
        copy.address = self.place.address();
        copy.reply_to = None;
        clear(&mut copy.headers);
        let dropped = shorten(&mut copy.headers);
        let id = message.properties().and_then(|it| it.id.clone());
        let said: [(&str, Option<Value>); 12] = [
            (header::KIND, Some(failure.cause.as_str().into())),
            (header::MESSAGE, Some((&*failure.text).into())),
            (header::HANDLER, Some(self.handler.as_str().into())),
            (header::QUEUE, Some(self.queue.as_str().into())),
            (header::SOURCE, Some(self.source.as_str().into())),
            (header::TYPE, emitted_as(&message.address, &self.pattern).map(Into::into)),
            (header::ID, id.map(Into::into)),
            (header::DELIVERIES, Some(deliveries.into())),
            (header::RUNS, Some(runs.into())),
            (header::FIRST, Some(first)),
            (header::LAST, Some(now.into())),
            (header::HEADERS_DROPPED, (dropped > 0).then(|| dropped.into())),
        ];
        for (name, value) in said {
            if let Some(value) = value {
                copy.headers.insert(name, value)?;
            }
        }
        let carries = |property| self.capabilities.properties.has(property);
        let properties = copy.properties_mut();
        // A second copy under the event's own id would be dropped where the broker de-duplicates: redriven, it may fail again.
        properties.id = carries(Property::Id).then(|| Id::fresh().to_string());
        // It is kept until somebody looks at it, whoever sent it.
        (properties.ttl, properties.user_id, properties.expected_position) = (None, None, None);
        properties.must_route = carries(Property::MustRoute);
        properties.durable = carries(Property::Durable).then_some(true);
        Ok(copy)
    }
}

/// Drops the last headers where there would be no room for ours, and says how many.
fn shorten(headers: &mut Headers) -> u32 {
    let mut dropped = 0;
    while headers.len() + OURS > Headers::MAX_LEN
        && let Some(last) = headers.iter().last().map(|(name, _)| name.to_owned())
    {
        headers.remove(&last);
        dropped += 1;
    }
    dropped
}

/// What an event was emitted as.
pub(crate) fn event_type(address: &Address) -> Option<&str> {
    match address {
        Address::Subject(_, subject) => Some(subject.as_str()),
        Address::Foreign(_, name) => std::str::from_utf8(name).ok(),
        _ => None,
    }
}

/// The same, of an event that a handler of `pattern` has: one that came straight to its queue is of the only type there.
pub(crate) fn emitted_as<'a>(address: &'a Address, pattern: &'a str) -> Option<&'a str> {
    let is_one = || !pattern.split('.').any(|word| matches!(word, "*" | "#"));
    match address {
        Address::Queue(_) => Some(pattern).filter(|_| is_one()),
        _ => event_type(address),
    }
}

/// Takes out what is said of an event that was given up, or brought back, and what a broker would act on.
pub(crate) fn clear(headers: &mut Headers) {
    let is_ours = |name: &str| name.starts_with(header::ALL) || name.starts_with(header::REDRIVE);
    let ours: Vec<_> = headers
        .iter()
        .map(|(name, _)| name)
        .filter(|name| is_ours(name) || is_obeyed(name))
        .map(str::to_owned)
        .collect();
    for name in ours {
        headers.remove(&name);
    }
}

/// Whether RabbitMQ routes by a header, or counts in it: a copy would go elsewhere, too, and what is redriven would not begin
/// with its first delivery.
fn is_obeyed(header: &str) -> bool {
    matches!(header, "CC" | "BCC" | "x-death" | "x-delivery-count")
        || ["x-first-death-", "x-last-death-"].iter().any(|it| header.starts_with(it))
}

/// Whether an event is for the handler of this queue, as all are that were not redriven to another one; where queues have
/// addresses, whatever comes to a queue is, who ever moved it there. What was redriven has its address and its id again.
pub(crate) fn is_for(
    message: &mut Message,
    queue: &Queue,
    source: &Source,
    has_address: bool,
) -> bool {
    let Some(to) = message.headers.text(header::REDRIVE) else { return true };
    if !has_address && to != queue.as_str() {
        return false;
    }
    let as_emitted = message.headers.text(header::REDRIVE_TYPE).map(|it| source.address(it));
    if let Some(Ok(address)) = as_emitted {
        message.address = address;
    }
    if let Some(id) = message.headers.text(header::REDRIVE_ID).map(str::to_owned) {
        message.properties_mut().id = Some(id);
    }
    true
}
