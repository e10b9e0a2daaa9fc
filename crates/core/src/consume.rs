//! The contract of settled intake.
use std::{fmt, sync::Arc};

use crate::{Backend, BoxFuture, Capabilities, Consumption, Delivery, Incoming, Queue, Result};

/// Takes deliveries in, each to be settled: a named queue bound to patterns; each message goes to one of its
/// consumers.
///
/// After a broken link the adapter makes the queue and consumes it again by itself; deliveries from before are revoked,
/// and come again.
pub trait Consume: Backend {
    /// Makes the queue where it is not there, and consumes it; ends when it takes what anyone publishes from now on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for what the backend cannot honour,
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) for a queue that is there with other properties or
    /// taken by an exclusive consumer, [`ErrorKind::Denied`](crate::ErrorKind::Denied),
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for a stream or an exchange that is not there,
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed), or the link's.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves no consumer; the queue may be there.
    fn consume(
        &self,
        wanted: Consumption,
    ) -> impl Future<Output = Result<Incoming<Delivery>>> + Send;

    /// Makes the queue where it is not there, as [`Consume::consume`] would, takes nothing from it, and tells how it is.
    /// It ends when the queue takes what anyone publishes from now on.
    ///
    /// A queue of [`Lifetime::UntilUnused`](crate::Lifetime::UntilUnused) waits for its first consumer, for as long as
    /// the backend lets one. Nothing makes the queue again by itself where the broker forgets it.
    ///
    /// # Errors
    ///
    /// As [`Consume::consume`] has them, but that a queue which is taken by an exclusive consumer may be told, with that
    /// consumer counted, instead of refused.
    ///
    /// # Cancel safety
    ///
    /// After a dropped call the queue may be there.
    fn declare(&self, wanted: Consumption) -> impl Future<Output = Result<QueueStatus>> + Send;

    /// Tells how a queue is, whatever it is bound to, and makes none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) where it is not there,
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) where it is and another connection has it for itself alone,
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied), [`ErrorKind::Closed`](crate::ErrorKind::Closed), or the link's.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    fn inspect(&self, queue: &Queue) -> impl Future<Output = Result<QueueStatus>> + Send;
}

/// How a queue is at one moment, as far as its backend tells.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// How many messages wait in it; what consumers hold, or a delay, is not counted.
    pub messages: Option<u64>,
    /// How many consumers it has, this process's included.
    pub consumers: Option<u32>,
}

impl QueueStatus {
    /// For adapters: nothing known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { messages: None, consumers: None }
    }

    /// Says how many messages wait in it.
    #[must_use]
    pub const fn with_messages(mut self, messages: u64) -> Self {
        self.messages = Some(messages);
        self
    }

    /// Says how many consumers it has.
    #[must_use]
    pub const fn with_consumers(mut self, consumers: u32) -> Self {
        self.consumers = Some(consumers);
        self
    }
}

impl<C: Consume> Consume for Arc<C> {
    fn consume(
        &self,
        wanted: Consumption,
    ) -> impl Future<Output = Result<Incoming<Delivery>>> + Send {
        (**self).consume(wanted)
    }

    fn declare(&self, wanted: Consumption) -> impl Future<Output = Result<QueueStatus>> + Send {
        (**self).declare(wanted)
    }

    fn inspect(&self, queue: &Queue) -> impl Future<Output = Result<QueueStatus>> + Send {
        (**self).inspect(queue)
    }
}

/// Any consumer, its type erased. Cloning shares it.
#[derive(Clone)]
pub struct AnyConsumer(Arc<dyn ConsumeDyn>);

trait ConsumeDyn: Backend {
    fn consume_dyn(&self, wanted: Consumption) -> BoxFuture<'_, Result<Incoming<Delivery>>>;
    fn declare_dyn(&self, wanted: Consumption) -> BoxFuture<'_, Result<QueueStatus>>;
    fn inspect_dyn<'a>(&'a self, queue: &'a Queue) -> BoxFuture<'a, Result<QueueStatus>>;
}

impl<C: Consume> ConsumeDyn for C {
    fn consume_dyn(&self, wanted: Consumption) -> BoxFuture<'_, Result<Incoming<Delivery>>> {
        Box::pin(self.consume(wanted))
    }

    fn declare_dyn(&self, wanted: Consumption) -> BoxFuture<'_, Result<QueueStatus>> {
        Box::pin(self.declare(wanted))
    }

    fn inspect_dyn<'a>(&'a self, queue: &'a Queue) -> BoxFuture<'a, Result<QueueStatus>> {
        Box::pin(self.inspect(queue))
    }
}

impl AnyConsumer {
    /// Erases `consumer`.
    #[must_use]
    pub fn new(consumer: impl Consume + 'static) -> Self {
        Self(Arc::new(consumer))
    }
}

impl Consume for AnyConsumer {
    fn consume(
        &self,
        wanted: Consumption,
    ) -> impl Future<Output = Result<Incoming<Delivery>>> + Send {
        self.0.consume_dyn(wanted)
    }

    fn declare(&self, wanted: Consumption) -> impl Future<Output = Result<QueueStatus>> + Send {
        self.0.declare_dyn(wanted)
    }

    async fn inspect(&self, queue: &Queue) -> Result<QueueStatus> {
        self.0.inspect_dyn(queue).await
    }
}

impl Backend for AnyConsumer {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

impl fmt::Debug for AnyConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyConsumer({})", self.0.capabilities().backend)
    }
}
