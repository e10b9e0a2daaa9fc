//! The contract of requests.
use std::{fmt, future::ready, sync::Arc};

use crate::{Backend, BoxFuture, Capabilities, Error, ErrorKind, Incoming, Message, Result};

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
    /// [`ErrorKind::InvalidOptions`] for a message that has a reply address
    /// already. Where the broker knows that nobody listens, the stream's one item is
    /// [`ErrorKind::NoResponders`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing subscribed; the request may have been sent.
    fn request(&self, message: Message) -> impl Future<Output = Result<Incoming<Message>>> + Send;

    /// The same, by an address that ends on `note`, which whoever is asked reads by [`ReplyTo::note`](crate::ReplyTo::note):
    /// a few words that take no header, where the backend has [`Requests::Noted`](crate::Requests::Noted).
    ///
    /// # Errors
    ///
    /// As [`Request::request`]; [`ErrorKind::Unsupported`] where no note can be, and [`ErrorKind::InvalidName`] where it could
    /// be no subject, or holds `.~`.
    ///
    /// # Cancel safety
    ///
    /// As [`Request::request`].
    fn request_noted(
        &self,
        _message: Message,
        _note: &str,
    ) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        let refused = Error::new(ErrorKind::Unsupported, "request")
            .with_detail("no note can stand in a reply address here; say it by a header");
        ready(Err(refused))
    }
}

impl<R: Request> Request for Arc<R> {
    fn request(&self, message: Message) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        (**self).request(message)
    }

    fn request_noted(
        &self,
        message: Message,
        note: &str,
    ) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        (**self).request_noted(message, note)
    }
}

/// Any requester, its type erased. Cloning shares it.
#[derive(Clone)]
pub struct AnyRequester(Arc<dyn RequestDyn>);

trait RequestDyn: Backend {
    fn request_dyn(&self, message: Message) -> BoxFuture<'_, Result<Incoming<Message>>>;

    fn request_noted_dyn<'a>(
        &'a self,
        message: Message,
        note: &'a str,
    ) -> BoxFuture<'a, Result<Incoming<Message>>>;
}

impl<R: Request> RequestDyn for R {
    fn request_dyn(&self, message: Message) -> BoxFuture<'_, Result<Incoming<Message>>> {
        Box::pin(self.request(message))
    }

    fn request_noted_dyn<'a>(
        &'a self,
        message: Message,
        note: &'a str,
    ) -> BoxFuture<'a, Result<Incoming<Message>>> {
        Box::pin(self.request_noted(message, note))
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

    async fn request_noted(&self, message: Message, note: &str) -> Result<Incoming<Message>> {
        self.0.request_noted_dyn(message, note).await
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
