//! The contract of settled intake.
use std::{fmt, sync::Arc};

use crate::{Backend, BoxFuture, Capabilities, Consumption, Delivery, Incoming, Result};

/// Takes deliveries in, each to be settled: a named queue bound to patterns; each message goes to one of its
/// consumers.
///
/// After a broken link the adapter makes the queue and consumes it again by itself; deliveries from before are revoked,
/// and come again.
pub trait Consume: Backend {
    /// Makes the queue where it is not there, and ends when it takes what anyone publishes from now on.
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
}

impl<C: Consume> Consume for Arc<C> {
    fn consume(
        &self,
        wanted: Consumption,
    ) -> impl Future<Output = Result<Incoming<Delivery>>> + Send {
        (**self).consume(wanted)
    }
}

/// Any consumer, its type erased. Cloning shares it.
#[derive(Clone)]
pub struct AnyConsumer(Arc<dyn ConsumeDyn>);

trait ConsumeDyn: Backend {
    fn consume_dyn(&self, wanted: Consumption) -> BoxFuture<'_, Result<Incoming<Delivery>>>;
}

impl<C: Consume> ConsumeDyn for C {
    fn consume_dyn(&self, wanted: Consumption) -> BoxFuture<'_, Result<Incoming<Delivery>>> {
        Box::pin(self.consume(wanted))
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
