//! The connections: how they are made, and what their handles share.
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::BoxFuture;
use lapin::Connection;
use sinew_core::{
    AnyBackend, AnyConsumer, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Attempts,
    Capabilities, Confirm, ErrorKind, Groups, Guarantee, HeaderCarriage, Names, Ordering, Overflow,
    Overflows, Persistence, Property, PropertySet, QueueAddressing, QueueKind, QueueKinds,
    Registration, Requests, Requeue, Result, Scopes, Settlement, Wildcards,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    task::{JoinError, JoinHandle},
    time::{sleep, timeout},
    try_join,
};

use crate::{
    AmqpOptions,
    backoff::Backoff,
    control::Intake,
    delay,
    dial::{Dialed, Door},
    error::Cause,
    ids::Ids,
    link::Phase,
    publish::Publishing,
    request::Requesting,
    session::Session,
    settings::Settings,
    supervisor::{Kept, Terms},
};

const OPERATION: &str = "amqp connect";
/// How long the last messages may take to be confirmed when the last handle is gone.
const FAREWELL: Duration = Duration::from_secs(5);

/// AMQP 0-9-1 over two connections: one publishes and asks, the other one consumes, so that a broker which is short of
/// memory and stops publishers still delivers.
///
/// Cloning shares the connections. They end with [`Link::drain`](sinew_core::Link::drain), or when the last clone and
/// the last intake are gone. Calls may come from any runtime, or from none: the connections stay on the one where they
/// were made.
#[derive(Clone)]
pub struct Amqp {
    pub(crate) inner: Arc<Inner>,
}

/// What the handles of one link share.
pub(crate) struct Inner {
    pub(crate) handle: Handle,
    pub(crate) settings: Settings,
    pub(crate) publishing: Kept,
    pub(crate) consuming: Kept,
    pub(crate) publishes: Publishing,
    pub(crate) requests: Requesting,
    pub(crate) ids: Ids,
    /// A turn for each delay queue that is being declared.
    pub(crate) declaring: Semaphore,
    pub(crate) phase: watch::Sender<Phase>,
    /// Set when both connections are closed.
    pub(crate) ended: watch::Sender<bool>,
    pub(crate) capabilities: Capabilities,
    /// How many deliveries wait for their verdict.
    pub(crate) unsettled: watch::Sender<usize>,
    pub(crate) intakes: Mutex<Vec<Weak<dyn Intake>>>,
}

/// Makes connections.
pub(crate) trait Dial: fmt::Debug + Send + Sync {
    /// Makes one, all the way through the login.
    fn dial(&self) -> BoxFuture<'_, Result<Dialed, Cause>>;

    /// Whether it will never make one again.
    fn is_spent(&self) -> bool {
        false
    }
}

impl Dial for Door {
    fn dial(&self) -> BoxFuture<'_, Result<Dialed, Cause>> {
        Box::pin(self.open())
    }
}

/// A connection that somebody else made: there is no second one.
#[derive(Debug)]
struct Given(Mutex<Option<Connection>>);

impl Dial for Given {
    fn dial(&self) -> BoxFuture<'_, Result<Dialed, Cause>> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = Cause::plain(
            ErrorKind::Closed,
            "the connection was given to us and is gone; connect again and give a new one",
        );
        let given = given.map(|connection| Dialed { connection, line: None });
        Box::pin(std::future::ready(given.ok_or(gone)))
    }

    fn is_spent(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Amqp {
    /// What RabbitMQ does, known without a connection.
    pub const CAPABILITIES: Capabilities = Capabilities::new("amqp")
        .with_confirm(Confirm::Accepted)
        .with_registration(Registration::Confirmed)
        .with_delivery(Guarantee::AtLeastOnce)
        .with_settlement(Settlement::Each)
        .with_requeue(Requeue::Delayed)
        .with_attempts(Attempts::Flag)
        .with_ordering(Ordering::Key)
        .with_groups(Groups::Named)
        .with_wildcards(Wildcards::Full)
        .with_names(Names::Text)
        .with_scopes(Scopes::Native)
        .with_headers(HeaderCarriage::Typed)
        .with_persistence(Persistence::Disk)
        .with_queues(QueueKinds::of(&[
            QueueKind::Durable,
            QueueKind::UntilUnused,
            QueueKind::Exclusive,
        ]))
        .with_queue_addressing(QueueAddressing::ByName)
        .with_max_delay(Some(delay::LONGEST))
        .with_request(Requests::NoResponders)
        .with_properties(PropertySet::of(&[
            Property::Id,
            Property::CorrelationId,
            Property::ContentType,
            Property::ContentEncoding,
            Property::Type,
            Property::AppId,
            Property::UserId,
            Property::Ttl,
            Property::Priority,
            Property::Timestamp,
            Property::MustRoute,
            Property::Durable,
        ]))
        .with_overflow(Overflows::of(&[
            Overflow::Block,
            Overflow::DropNewest,
            Overflow::DropOldest,
            Overflow::Fail,
        ]));

    pub(crate) async fn connect(options: AmqpOptions) -> Result<Self> {
        let at = options.redacted();
        let start = async {
            let handle = handle()?;
            let settings = options.settings()?;
            let door: Arc<dyn Dial> = Arc::new(Door::new(options).await?);
            Self::start([Arc::clone(&door), door], settings, handle).await
        };
        start.await.map_err(|cause| cause.during(OPERATION).on(at).into())
    }

    /// Takes over two ready-made connections, one to publish and one to consume, with what else `options` say; their
    /// URL is not looked at.
    ///
    /// There is no way to make them again, so the link ends for good when one of them breaks: intakes and watchers end
    /// with an error of kind [`ErrorKind::Closed`]. The connections must not recover by themselves, which would declare
    /// behind our back; the client does not say whether they would, so one that does ends the link as soon as it does,
    /// with [`ErrorKind::InvalidOptions`].
    ///
    /// Nor does it say for sure who is logged in, so messages with a user id are refused, and delayed copies lose theirs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] outside of a tokio runtime, [`ErrorKind::Disconnected`] for a connection that is
    /// down.
    ///
    /// # Cancel safety
    ///
    /// A dropped call closes the connections.
    pub async fn from_connections(
        publishing: Connection,
        consuming: Connection,
        options: &AmqpOptions,
    ) -> Result<Self> {
        let given = |connection| -> Arc<dyn Dial> { Arc::new(Given(Mutex::new(Some(connection)))) };
        let start = async {
            let dials = [given(publishing), given(consuming)];
            let mut settings = options.settings()?;
            // Whom the options name need not be who is logged in.
            settings.user = None;
            Self::start(dials, settings, handle()?).await
        };
        start.await.map_err(|cause| cause.during(OPERATION).into())
    }

    async fn start(
        [publish, consume]: [Arc<dyn Dial>; 2],
        settings: Settings,
        handle: Handle,
    ) -> Result<Self, Cause> {
        let (publishing, consuming) =
            try_join!(first(&*publish, &settings), first(&*consume, &settings))?;
        let terms = Terms {
            answer_timeout: settings.answer_timeout,
            reconnect_wait: settings.reconnect_wait,
            patience: settings.patience(),
            back: Arc::default(),
        };
        let keep = |dial, role, connection| {
            let session = Session::new(connection, 1, terms.answer_timeout, &handle);
            Kept::start(dial, role, session, terms.clone(), &handle)
        };
        let publishing = keep(publish, "publish", publishing);
        let consuming = keep(consume, "consume", consuming);
        let inner = Arc::new(Inner {
            publishes: Publishing::new(&settings),
            requests: Requesting::default(),
            ids: Ids::new(),
            declaring: Semaphore::new(delay::DECLARING),
            settings,
            publishing,
            consuming,
            phase: watch::Sender::new(Phase::Open),
            ended: watch::Sender::new(false),
            capabilities: Self::CAPABILITIES,
            unsettled: watch::Sender::new(0),
            intakes: Mutex::default(),
            handle,
        });
        Ok(Self { inner })
    }

    /// This handle with its type erased.
    #[must_use]
    pub fn into_any(self) -> AnyBackend {
        AnyBackend::new(AnyLink::new(self.clone()))
            .with_publisher(AnyPublisher::new(self.clone()))
            .with_subscriber(AnySubscriber::new(self.clone()))
            .with_consumer(AnyConsumer::new(self.clone()))
            .with_requester(AnyRequester::new(self))
    }
}

/// Makes the first connection; where it may come later, as often as that takes.
async fn first(dial: &dyn Dial, settings: &Settings) -> Result<Dialed, Cause> {
    let mut backoff = Backoff::new(settings.reconnect_wait);
    loop {
        match dial.dial().await {
            Err(cause) if settings.retry_first && !cause.is_lasting() => {
                tracing::warn!(error = %cause.describe(), "not connected yet");
                sleep(backoff.wait()).await;
            }
            made => return made,
        }
    }
}

impl Inner {
    /// Runs `work` on the runtime where the connections are: it needs its timers, wherever it is called from. A caller
    /// who goes away leaves it to end by itself.
    pub(crate) async fn at_home<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Cause>> + Send + 'static,
    ) -> Result<T, Cause> {
        ended(self.handle.spawn(work).await)
    }

    /// As [`Inner::at_home`], but a caller who goes away ends it.
    pub(crate) async fn while_wanted<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Cause>> + Send + 'static,
    ) -> Result<T, Cause> {
        let mut work = Wanted(self.handle.spawn(work));
        ended((&mut work.0).await)
    }
}

/// A task that ends with this.
struct Wanted<T>(JoinHandle<T>);

impl<T> Drop for Wanted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn ended<T>(outcome: Result<Result<T, Cause>, JoinError>) -> Result<T, Cause> {
    match outcome {
        Ok(outcome) => outcome,
        Err(err) if err.is_panic() => {
            Err(Cause::plain(ErrorKind::Internal, "a task of the adapter panicked"))
        }
        Err(_) => Err(Cause::gone()),
    }
}

impl Drop for Inner {
    /// What was handed over still leaves.
    fn drop(&mut self) {
        let (held, settled) = (self.publishing.hold(), self.settled());
        self.handle.spawn(async move {
            // Where the broker does not confirm, it has had the time to take it.
            drop(timeout(FAREWELL, settled).await);
            drop(held);
        });
    }
}

fn handle() -> Result<Handle, Cause> {
    Handle::try_current().map_err(|_| {
        Cause::options("connect inside of a tokio runtime; what follows may run anywhere")
    })
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amqp")
            .field("publishing", &self.inner.publishing.is_up())
            .field("consuming", &self.inner.consuming.is_up())
            .finish_non_exhaustive()
    }
}
