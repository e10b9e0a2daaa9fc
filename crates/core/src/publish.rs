//! The contract of publishing.
use std::{fmt, pin::pin, sync::Arc};

use crate::{
    Backend, BoxFuture, Capabilities, Confirm, HeaderCarriage, IntoPayload, Message, Names,
    Pending, PropertySet, Receipt, Result, Scopes, ToSubject,
};

/// Hands messages over.
///
/// The first await is hand-over and back-pressure, the [`Pending`] is the broker's answer, so publishing pipelines.
pub trait Publish: Backend {
    /// Hands `message` over, and tells the broker's answer. Messages of one publisher handed over one after the
    /// other keep their order.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for what the backend cannot carry,
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge), [`ErrorKind::Closed`](crate::ErrorKind::Closed) after
    /// the link was drained, and what the broker answers; [`Error::sent`](crate::Error::sent) tells whether it can
    /// have arrived.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has sent nothing. A dropped `Pending` withdraws nothing.
    fn publish(&self, message: Message) -> impl Future<Output = Result<Pending<Receipt>>> + Send;

    /// Ends when all that was handed over before, through any clone, is answered.
    ///
    /// # Errors
    ///
    /// The first failure whose `Pending` nobody awaited to its end, or the link's.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    fn flush(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Conveniences over [`Publish`]: blanket, so that nobody can override or forget one.
pub trait PublishExt: Publish {
    /// Publishes and waits for the broker's answer.
    ///
    /// # Errors
    ///
    /// As [`Publish::publish`] and its outcome have them.
    ///
    /// # Cancel safety
    ///
    /// Dropped before hand-over it has sent nothing, after it the message is on its way.
    fn send(&self, message: Message) -> impl Future<Output = Result<Receipt>> + Send {
        // Pinned where it is made: a future that is awaited by value is copied, and this one is large.
        async move { pin!(self.publish(message)).await?.await }
    }

    /// Encodes `payload`, publishes it under `subject` and waits for the broker's answer.
    ///
    /// # Errors
    ///
    /// As [`Message::encode`] and [`Publish::publish`] have them.
    ///
    /// # Cancel safety
    ///
    /// As [`PublishExt::send`].
    fn send_to<P: IntoPayload>(
        &self,
        subject: impl ToSubject,
        payload: P,
    ) -> impl Future<Output = Result<Receipt>> + Send {
        let message = Message::encode(subject, payload);
        async { pin!(self.send(message?)).await }
    }
}

impl<P: Publish + ?Sized> PublishExt for P {}

impl<P: Publish> Publish for Arc<P> {
    fn publish(&self, message: Message) -> impl Future<Output = Result<Pending<Receipt>>> + Send {
        (**self).publish(message)
    }

    fn flush(&self) -> impl Future<Output = Result<()>> + Send {
        (**self).flush()
    }
}

/// Any publisher, its type erased. Cloning shares it.
#[derive(Clone)]
pub struct AnyPublisher(Arc<dyn PublishDyn>);

trait PublishDyn: Backend {
    fn publish_dyn(&self, message: Message) -> BoxFuture<'_, Result<Pending<Receipt>>>;
    fn flush_dyn(&self) -> BoxFuture<'_, Result<()>>;
}

impl<P: Publish> PublishDyn for P {
    fn publish_dyn(&self, message: Message) -> BoxFuture<'_, Result<Pending<Receipt>>> {
        Box::pin(self.publish(message))
    }

    fn flush_dyn(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.flush())
    }
}

impl AnyPublisher {
    /// Erases `publisher`.
    #[must_use]
    pub fn new(publisher: impl Publish + 'static) -> Self {
        Self(Arc::new(publisher))
    }
}

impl Publish for AnyPublisher {
    fn publish(&self, message: Message) -> impl Future<Output = Result<Pending<Receipt>>> + Send {
        self.0.publish_dyn(message)
    }

    fn flush(&self) -> impl Future<Output = Result<()>> + Send {
        self.0.flush_dyn()
    }
}

impl Backend for AnyPublisher {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

impl fmt::Debug for AnyPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyPublisher({})", self.0.capabilities().backend)
    }
}

/// Makes a publisher of a closure that takes a message and says how it went: a test's recorder, another messaging
/// library's `publish`.
///
/// What it is given is whole: the closure decides what becomes of headers and properties. Its `Ok` counts as
/// [`Receipt::Buffered`], and there is nothing to flush.
///
/// ```
/// use std::sync::Mutex;
/// use sinew_core::{Message, publish_fn};
///
/// let sent = Mutex::new(Vec::new());
/// let publisher = publish_fn(|message: Message| {
///     sent.lock().unwrap().push(message);
///     Ok(())
/// });
/// # let _ = publisher;
/// ```
pub fn publish_fn<F>(publish: F) -> PublishFn<F>
where
    F: Fn(Message) -> Result<()> + Send + Sync,
{
    PublishFn(publish)
}

/// A closure as a publisher; made by [`publish_fn`].
#[derive(Clone, Copy)]
pub struct PublishFn<F>(F);

impl<F: Fn(Message) -> Result<()> + Send + Sync> Publish for PublishFn<F> {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        (self.0)(message).map(|()| Pending::ready(Ok(Receipt::Buffered)))
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl<F: Send + Sync> Backend for PublishFn<F> {
    fn capabilities(&self) -> Capabilities {
        CLOSURE
    }
}

impl<F> fmt::Debug for PublishFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishFn")
    }
}

/// The same as [`publish_fn`] for a closure that returns a future: another messaging library's `async fn publish`.
///
/// Its future runs within [`Publish::publish`], and so is as safe to cancel as it is by itself. It cannot borrow from
/// the closure: clone a handle into it.
///
/// ```
/// use sinew_core::{Message, Result, publish_async_fn};
///
/// async fn elsewhere(topic: &str, payload: &[u8]) -> Result<()> {
///     # let _ = (topic, payload);
///     Ok(())
/// }
///
/// let publisher = publish_async_fn(|message: Message| async move {
///     elsewhere(&message.address.to_string(), &message.payload).await
/// });
/// # let _ = publisher;
/// ```
pub fn publish_async_fn<F, Fut>(publish: F) -> PublishAsyncFn<F>
where
    F: Fn(Message) -> Fut + Send + Sync,
    Fut: Future<Output = Result<()>> + Send,
{
    PublishAsyncFn(publish)
}

/// An asynchronous closure as a publisher; made by [`publish_async_fn`].
#[derive(Clone, Copy)]
pub struct PublishAsyncFn<F>(F);

impl<F, Fut> Publish for PublishAsyncFn<F>
where
    F: Fn(Message) -> Fut + Send + Sync,
    Fut: Future<Output = Result<()>> + Send,
{
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        (self.0)(message).await.map(|()| Pending::ready(Ok(Receipt::Buffered)))
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl<F: Send + Sync> Backend for PublishAsyncFn<F> {
    fn capabilities(&self) -> Capabilities {
        CLOSURE
    }
}

impl<F> fmt::Debug for PublishAsyncFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishAsyncFn")
    }
}

/// A closure is given the whole message, so nothing is refused on its behalf.
const CLOSURE: Capabilities = Capabilities::new("closure")
    .with_confirm(Confirm::Buffered)
    .with_headers(HeaderCarriage::Typed)
    .with_names(Names::Prefixes)
    .with_scopes(Scopes::Native)
    .with_properties(PropertySet::all());
