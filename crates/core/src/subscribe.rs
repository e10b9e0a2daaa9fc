//! The contract of unsettled intake.
use std::{fmt, sync::Arc};

use crate::{Backend, BoxFuture, Capabilities, Incoming, Message, Result, Subscription};

/// Takes messages in without settling them: each subscriber gets a copy, or one member of its group does.
pub trait Subscribe: Backend {
    /// Ends when the backend will deliver what anyone publishes from now on; where that cannot be known, the
    /// capabilities say [`Registration::Eventual`](crate::Registration::Eventual).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for what the backend cannot honour,
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied), [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for a
    /// log that is not there, [`ErrorKind::Closed`](crate::ErrorKind::Closed), or the link's.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing subscribed.
    fn subscribe(
        &self,
        wanted: Subscription,
    ) -> impl Future<Output = Result<Incoming<Message>>> + Send;
}

impl<S: Subscribe> Subscribe for Arc<S> {
    fn subscribe(
        &self,
        wanted: Subscription,
    ) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        (**self).subscribe(wanted)
    }
}

/// Any subscriber, its type erased. Cloning shares it.
#[derive(Clone)]
pub struct AnySubscriber(Arc<dyn SubscribeDyn>);

trait SubscribeDyn: Backend {
    fn subscribe_dyn(&self, wanted: Subscription) -> BoxFuture<'_, Result<Incoming<Message>>>;
}

impl<S: Subscribe> SubscribeDyn for S {
    fn subscribe_dyn(&self, wanted: Subscription) -> BoxFuture<'_, Result<Incoming<Message>>> {
        Box::pin(self.subscribe(wanted))
    }
}

impl AnySubscriber {
    /// Erases `subscriber`.
    #[must_use]
    pub fn new(subscriber: impl Subscribe + 'static) -> Self {
        Self(Arc::new(subscriber))
    }
}

impl Subscribe for AnySubscriber {
    fn subscribe(
        &self,
        wanted: Subscription,
    ) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        self.0.subscribe_dyn(wanted)
    }
}

impl Backend for AnySubscriber {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

impl fmt::Debug for AnySubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnySubscriber({})", self.0.capabilities().backend)
    }
}
