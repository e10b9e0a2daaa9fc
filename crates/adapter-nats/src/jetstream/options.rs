//! Which stream, and how its consumers are kept.
use std::time::Duration;

use async_nats::jetstream::stream;
use sinew_core::Result;

use crate::{JetStream, Nats, NatsOptions, options::LONGEST};

/// Which stream of which server, made or assumed, and how its consumers are kept.
///
/// ```no_run
/// use async_nats::jetstream::stream;
/// use sinew_adapter_nats::{JetStreamOptions, NatsOptions, async_nats};
///
/// # async fn connect() -> sinew_core::Result<()> {
/// let orders = JetStreamOptions::new("ORDERS")
///     .with_create(stream::Config { subjects: vec!["orders.>".into()], ..Default::default() })
///     .connect(NatsOptions::new("nats://localhost:4222"))
///     .await?;
/// # drop(orders);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct JetStreamOptions {
    pub(crate) stream: String,
    pub(crate) create: Option<stream::Config>,
    pub(crate) domain: Option<String>,
    pub(crate) ack_wait: Duration,
    pub(crate) unused_timeout: Duration,
}

impl JetStreamOptions {
    /// Uses the stream of that name, which must be there.
    #[must_use]
    pub fn new(stream: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            create: None,
            domain: None,
            ack_wait: Duration::from_secs(30),
            unused_timeout: Duration::from_secs(60),
        }
    }

    /// Makes the stream if it is not there; one that is there with another configuration is a
    /// [`ErrorKind::Conflict`](sinew_core::ErrorKind::Conflict). The configuration's own name is not looked at.
    /// Default: it must be there.
    ///
    /// For scopes to work its subjects need `@.>`, or `@.<scope>.>` for some of them.
    #[must_use]
    pub fn with_create(mut self, config: stream::Config) -> Self {
        self.create = Some(config);
        self
    }

    /// The JetStream domain that the stream is in. Default: the connection's own.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// How long the server waits for a sign of life from whoever holds a delivery, before it delivers it to someone
    /// else. While the link is up the sign is given without the handler's help, however long that takes; so this is
    /// how long the deliveries of a process that died are kept from others. At least 1 s, at most a year. Default:
    /// 30 s.
    #[must_use]
    pub fn with_ack_wait(mut self, wait: Duration) -> Self {
        self.ack_wait = wait.clamp(Duration::from_secs(1), LONGEST);
        self
    }

    /// How long a queue of [`Lifetime::UntilUnused`](sinew_core::Lifetime::UntilUnused) outlives its last consumer.
    /// Never shorter than the wait for acks, at most a year. Default: 60 s.
    #[must_use]
    pub fn with_unused_timeout(mut self, timeout: Duration) -> Self {
        self.unused_timeout = timeout.min(LONGEST);
        self
    }

    /// Connects, and opens the stream.
    ///
    /// # Errors
    ///
    /// As [`NatsOptions::connect`] and [`JetStreamOptions::open`] have them.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves no connection; the stream may have been made.
    pub async fn connect(self, server: NatsOptions) -> Result<JetStream> {
        self.open(&server.connect().await?).await
    }

    /// Opens the stream over a connection that is there, and shares it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](sinew_core::ErrorKind::NotFound) when the stream is not there and is not to be made,
    /// [`ErrorKind::Conflict`](sinew_core::ErrorKind::Conflict) when it is there with another configuration,
    /// [`ErrorKind::Unsupported`](sinew_core::ErrorKind::Unsupported) for a server without JetStream or older than
    /// 2.10, or the link's.
    ///
    /// # Cancel safety
    ///
    /// The stream may have been made.
    pub async fn open(self, nats: &Nats) -> Result<JetStream> {
        JetStream::open(self, nats.clone()).await
    }
}
