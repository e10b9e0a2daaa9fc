//! Looking after the events that a handler gave up.
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sinew_core::{
    Address, AnyBackend, AnyConsumer, AnyPublisher, Attempt, Backend as _, Capabilities,
    Consume as _, Delivery, Error, ErrorKind, Message, Property, PublishExt as _, Queue, Result,
    Value,
};
use tokio::time::timeout_at;

use crate::{
    Source,
    dead_letter::{self, Place, header},
    deadline::deadline,
    id::Id,
};

/// The error queue of one handler: what it gave up, and why.
///
/// ```
/// use std::time::Duration;
/// use sinew_core::{AnyBackend, Queue, Result};
/// use sinew_events::ErrorQueue;
///
/// async fn redrive_all(backend: &AnyBackend) -> Result<()> {
///     let errors = ErrorQueue::new(backend, Queue::parse("evt-orders-created--billing.on_created")?)?;
///     for event in errors.take(100, Duration::from_secs(5)).await? {
///         println!("{:?} {:?}", event.handler(), event.error());
///         event.redrive().await?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct ErrorQueue(Arc<Inner>);

struct Inner {
    publisher: AnyPublisher,
    consumer: AnyConsumer,
    capabilities: Capabilities,
    queue: Queue,
    place: Place,
    /// What it is consumed by.
    reader: Queue,
}

/// How long what is not counted may take to come.
const UNCOUNTED: Duration = Duration::from_secs(1);

impl ErrorQueue {
    /// That of the handler whose queue is called `queue`, as [`HandlerKind::queue`](crate::HandlerKind::queue) names it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a backend that does not publish or consume; [`ErrorKind::InvalidName`] or
    /// [`ErrorKind::InvalidSubject`] where the name is too long to have one.
    pub fn new(backend: &AnyBackend, queue: Queue) -> Result<Self> {
        let capabilities = backend.capabilities();
        Ok(Self(Arc::new(Inner {
            publisher: backend.publisher()?,
            consumer: backend.consumer()?,
            place: Place::of(&queue, &capabilities)?,
            reader: dead_letter::reader(&queue)?,
            capabilities,
            queue,
        })))
    }

    /// Where the events are: the name of the queue, or the subject in the stream.
    #[must_use]
    pub fn place(&self) -> &str {
        match &self.0.place {
            Place::Queue(queue) => queue.as_str(),
            Place::Subject(subject) => subject.as_str(),
        }
    }

    /// Takes up to `limit` events, oldest first, and waits for them `within` at most, once the queue is found. They are nobody
    /// else's until they are [redriven](DeadLetter::redrive), [discarded](DeadLetter::discard) or dropped, which leaves them
    /// where they are.
    ///
    /// **Looking counts.** What is dropped was delivered and goes back, which RabbitMQ's quorum queues count:
    /// beyond the queue's `delivery-limit` (RabbitMQ 4 has one of 20 where nobody says otherwise) the broker drops the event,
    /// or dead-letters it where it is told to. [`DeadLetter::attempt`] says how far it is; the crate's
    /// README has the policy that lifts the limit.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is no such queue, and none is made: its handler has given up nothing, or is
    /// called otherwise. Else as [`Consume::consume`](sinew_core::Consume::consume) and its intake have them.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the events where they are.
    pub async fn take(&self, limit: u16, within: Duration) -> Result<Vec<DeadLetter>> {
        let end = deadline(within);
        let wanted = self.0.place.consumption(&self.0.reader).with_prefetch(limit);
        let status =
            self.0.consumer.inspect(&self.0.reader).await.map_err(|err| self.explain(err))?;
        let waiting = status.messages.and_then(|it| usize::try_from(it).ok());
        let limit = usize::from(limit);
        let known = waiting.map_or(limit, |it| it.min(limit));
        let limit = match self.0.place {
            Place::Queue(_) => known,
            // JetStream does not count what was handed back.
            Place::Subject(_) => limit,
        };
        let mut taken = Vec::new();
        if limit == 0 {
            return Ok(taken);
        }
        let mut incoming = self.0.consumer.consume(wanted).await?;
        while taken.len() < limit {
            let by = if taken.len() < known { end } else { end.min(deadline(UNCOUNTED)) };
            match timeout_at(by, incoming.next_item()).await {
                Ok(Some(delivery)) => {
                    taken.push(DeadLetter { queue: self.clone(), delivery: delivery? });
                }
                Ok(None) | Err(_) => break,
            }
        }
        // What goes back while we still consume comes at once to us again, and is counted once more.
        incoming.stop();
        while let Ok(Some(_)) = timeout_at(end, incoming.next_item()).await {}
        Ok(taken)
    }

    fn explain(&self, err: Error) -> Error {
        if err.kind() != ErrorKind::NotFound {
            return err;
        }
        let queue = &self.0.queue;
        let mut why = format!(
            "it is made with the first event that the handler of queue `{queue}` gives up: none was, or that queue is \
             called otherwise"
        );
        if let Some(own) = queue.as_str().strip_suffix(dead_letter::ERRORS) {
            why += &format!("; it goes by the name of the handler's own queue: `{own}`?");
        }
        Error::new(ErrorKind::NotFound, "look into error queue")
            .with_subject(self.place())
            .with_detail(why)
            .with_source(err)
    }
}

impl fmt::Debug for ErrorQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ErrorQueue").field(&self.0.place).finish()
    }
}

/// An event that a handler gave up, taken out of its error queue. Dropped, it goes back there, unless the broker finds that
/// it was delivered too often: see [`ErrorQueue::take`].
#[must_use = "dropped, it goes back to the error queue"]
pub struct DeadLetter {
    queue: ErrorQueue,
    delivery: Delivery,
}

impl DeadLetter {
    /// The event as it lies in the queue, with its payload and all of its headers.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.delivery.message
    }

    /// Why it was given up: `failed`, `permanent`, `panicked`, `undecodable` or `redelivered`.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.text(header::KIND)
    }

    /// What the handler said.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.text(header::MESSAGE)
    }

    /// Which handler.
    #[must_use]
    pub fn handler(&self) -> Option<&str> {
        self.text(header::HANDLER)
    }

    /// Who emitted it.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.text(header::SOURCE)
    }

    /// As what.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.text(header::TYPE)
    }

    /// Its own id.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.text(header::ID)
    }

    /// Which delivery to the handler it was, at least.
    #[must_use]
    pub fn deliveries(&self) -> Option<i64> {
        self.message().headers.integer(header::DELIVERIES)
    }

    /// Which delivery out of the error queue this is, where the broker counts: each [look](ErrorQueue::take) is one. A quorum
    /// queue counts from the second one on, a classic queue does not.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        self.delivery.attempt
    }

    /// How often the handler was run for that delivery.
    #[must_use]
    pub fn runs(&self) -> Option<i64> {
        self.message().headers.integer(header::RUNS)
    }

    /// How many headers of the event are not here, as there was no room for them beside those that say what went wrong: of
    /// 1,024 headers the first 1,008 are kept. None dropped is `None`.
    #[must_use]
    pub fn headers_dropped(&self) -> Option<i64> {
        self.message().headers.integer(header::HEADERS_DROPPED)
    }

    /// When it was given up first, where headers have types.
    #[must_use]
    pub fn first(&self) -> Option<SystemTime> {
        self.time(header::FIRST)
    }

    /// When it was given up last, where headers have types.
    #[must_use]
    pub fn last(&self) -> Option<SystemTime> {
        self.time(header::LAST)
    }

    /// Sends it to its handler again, and to no other; then takes it out of the error queue.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unroutable`] where the handler's queue is gone; else what the broker says to the publish, after which it
    /// is still in the error queue, or to taking it out, after which it may be (and comes to the handler twice if it is
    /// redriven again).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may be in both places.
    pub async fn redrive(self) -> Result<()> {
        let message = self.as_emitted()?;
        self.queue.0.publisher.send(message).await?;
        self.delivery.ack().await
    }

    /// Takes it out of the error queue, for good.
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack`] has them.
    ///
    /// # Cancel safety
    ///
    /// As [`Delivery::ack`].
    pub async fn discard(self) -> Result<()> {
        self.delivery.ack().await
    }

    fn as_emitted(&self) -> Result<Message> {
        let inner = &*self.queue.0;
        let mut message = self.message().clone();
        message.address = match inner.place {
            Place::Queue(_) => Address::Queue(inner.queue.clone()),
            Place::Subject(_) => {
                let (Some(source), Some(event_type)) = (self.source(), self.event_type()) else {
                    return Err(Error::new(ErrorKind::NotFound, "redrive event")
                        .with_subject(inner.queue.as_str())
                        .with_detail("its headers do not say what it was emitted as"));
                };
                Source::parse(source)?.address(event_type)?
            }
        };
        let said = [
            (header::REDRIVE, Some(Value::from(inner.queue.as_str()))),
            (header::REDRIVE_TYPE, self.event_type().map(Into::into)),
            (header::REDRIVE_ID, self.id().map(Into::into)),
            (header::REDRIVE_FIRST, self.message().headers.value(header::FIRST).cloned()),
        ];
        let id = self.id().map(str::to_owned);
        dead_letter::clear(&mut message.headers);
        for (name, value) in said {
            if let Some(value) = value {
                message.headers.insert(name, value)?;
            }
        }
        let carries = |property| inner.capabilities.properties.has(property);
        let properties = message.properties_mut();
        // Where the broker de-duplicates, it would take the event's own id for a second copy, and drop it.
        properties.id = match carries(Property::Deduplication) {
            true => Some(Id::fresh().to_string()),
            false => id,
        };
        properties.must_route = carries(Property::MustRoute);
        Ok(message)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.message().headers.text(name)
    }

    fn time(&self, name: &str) -> Option<SystemTime> {
        match self.message().headers.value(name)? {
            Value::Time(time) => Some(*time),
            _ => None,
        }
    }
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("handler", &self.handler())
            .field("kind", &self.kind())
            .field("event_type", &self.event_type())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
