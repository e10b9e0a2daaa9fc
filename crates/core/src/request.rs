//! The contract of requests.
use std::{fmt, sync::Arc};

use crate::{Backend, BoxFuture, Capabilities, Incoming, Message, Result};

/// Asks, and takes the replies in.
///
/// Answering is a publish of [`Message::reply`].
pub trait Request: Backend {
    /// Publishes `message` with a reply address of its own, and yields one reply or many until dropped. A reply that
    /// comes after that reaches nobody. There is no timer here: whoever asks owns the deadline.
    ///
    /// Replies wait to be taken within the bounds of [`Buffer::default`](crate::Buffer); more than that are told as
    /// [`Event::Lost`](crate::Event::Lost). After [`Event::Up`](crate::Event::Up) replies still arrive, unless
    /// its `gap` says that some may be missing.
    ///
    /// # Errors
    ///
    /// As [`Publish::publish`](crate::Publish::publish) has them, and
    /// [`ErrorKind::InvalidOptions`](crate::ErrorKind::InvalidOptions) for a message that has a reply address
    /// already. Where the broker knows that nobody listens, the stream's one item is
    /// [`ErrorKind::NoResponders`](crate::ErrorKind::NoResponders).
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing subscribed; the request may have been sent.
    fn request(&self, message: Message) -> impl Future<Output = Result<Incoming<Message>>> + Send;
}

impl<R: Request> Request for Arc<R> {
    fn request(&self, message: Message) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        (**self).request(message)
    }
}

/// Any requester, its type erased. Cloning shares it.
#[derive(Clone)]
pub struct AnyRequester(Arc<dyn RequestDyn>);

trait RequestDyn: Backend {
    fn request_dyn(&self, message: Message) -> BoxFuture<'_, Result<Incoming<Message>>>;
}

impl<R: Request> RequestDyn for R {
    fn request_dyn(&self, message: Message) -> BoxFuture<'_, Result<Incoming<Message>>> {
        Box::pin(self.request(message))
    }
}

impl AnyRequester {
    /// Erases `requester`.
    #[must_use]
    pub fn new(requester: impl Request + 'static) -> Self {
        Self(Arc::new(requester))
    }
}

impl Request for AnyRequester {
    fn request(&self, message: Message) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        self.0.request_dyn(message)
    }
}

impl Backend for AnyRequester {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

impl fmt::Debug for AnyRequester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyRequester({})", self.0.capabilities().backend)
    }
}
