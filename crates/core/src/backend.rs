//! What every contract builds on, and the bundle of contracts that a URL leads to.
use std::{fmt, pin::Pin, sync::Arc};

use crate::{
    AnyConsumer, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Capabilities, Confirm, Error,
    ErrorKind, Requests, Result, Settlement,
};

/// A boxed future, as the erased contracts return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What every contract builds on: what this backend can do.
///
/// It stands in one place, so that a type with several contracts has one record, and a wrapper changes the claim
/// where it changes the behaviour. The answer never changes during a handle's life.
pub trait Backend: Send + Sync {
    /// What this backend can do.
    fn capabilities(&self) -> Capabilities;
}

impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
}

/// A backend with its type erased: the contracts that it keeps, each behind its `Any*` handle.
///
/// A service configured by URL holds one of these. Asking for a contract that the backend lacks is a typed refusal.
#[derive(Clone)]
pub struct AnyBackend {
    capabilities: Capabilities,
    link: AnyLink,
    publisher: Option<AnyPublisher>,
    subscriber: Option<AnySubscriber>,
    consumer: Option<AnyConsumer>,
    requester: Option<AnyRequester>,
}

impl AnyBackend {
    /// A backend that has only its link yet; add the contracts it keeps.
    #[must_use]
    pub fn new(link: AnyLink) -> Self {
        Self {
            capabilities: link.capabilities(),
            link,
            publisher: None,
            subscriber: None,
            consumer: None,
            requester: None,
        }
    }

    /// Adds what publishes.
    #[must_use]
    pub fn with_publisher(mut self, publisher: AnyPublisher) -> Self {
        self.publisher = Some(publisher);
        self
    }

    /// Adds what subscribes.
    #[must_use]
    pub fn with_subscriber(mut self, subscriber: AnySubscriber) -> Self {
        self.subscriber = Some(subscriber);
        self
    }

    /// Adds what consumes.
    #[must_use]
    pub fn with_consumer(mut self, consumer: AnyConsumer) -> Self {
        self.consumer = Some(consumer);
        self
    }

    /// Adds what requests.
    #[must_use]
    pub fn with_requester(mut self, requester: AnyRequester) -> Self {
        self.requester = Some(requester);
        self
    }

    /// The connection.
    #[must_use]
    pub fn link(&self) -> AnyLink {
        self.link.clone()
    }

    /// What publishes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where nothing can be published.
    pub fn publisher(&self) -> Result<AnyPublisher> {
        self.publisher.clone().ok_or_else(|| self.lacks("publish", Confirm::None.describe()))
    }

    /// What subscribes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where there is no unsettled intake.
    pub fn subscriber(&self) -> Result<AnySubscriber> {
        self.subscriber.clone().ok_or_else(|| self.lacks("subscribe", "no unsettled intake"))
    }

    /// What consumes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where there is no settled intake.
    pub fn consumer(&self) -> Result<AnyConsumer> {
        self.consumer.clone().ok_or_else(|| self.lacks("consume", Settlement::None.describe()))
    }

    /// What requests.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where no requests can be made.
    pub fn requester(&self) -> Result<AnyRequester> {
        self.requester.clone().ok_or_else(|| self.lacks("request", Requests::None.describe()))
    }

    fn lacks(&self, contract: &str, has: &str) -> Error {
        Error::new(ErrorKind::Unsupported, self.capabilities.backend).with_detail(format!(
            "it cannot {contract} (it has {has}); choose a backend that can: `sinew backends` lists them"
        ))
    }
}

impl Backend for AnyBackend {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
}

impl fmt::Debug for AnyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyBackend")
            .field("backend", &self.capabilities.backend)
            .field("publishes", &self.publisher.is_some())
            .field("subscribes", &self.subscriber.is_some())
            .field("consumes", &self.consumer.is_some())
            .field("requests", &self.requester.is_some())
            .finish()
    }
}
