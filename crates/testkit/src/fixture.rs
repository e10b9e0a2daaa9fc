//! What an adapter gives the suite: a way to start brokers of its own, and to connect to them.
use bytes::Bytes;
use sinew_core::{AnyBackend, BoxFuture, Capabilities, Error, ErrorKind, Result};

/// One adapter, with one way to run its broker.
///
/// The suite starts one broker for all trials that only use it, and one more for each trial that hurts it.
pub trait Fixture: Send + Sync + 'static {
    /// What the trials are named after: `memory`, `nats`, `nats-jetstream`. No spaces.
    fn name(&self) -> &str;

    /// What the adapter promises, known without a broker, so that trials can be listed. What a connected backend
    /// says may be more precise in `max_payload` and `max_delay` only.
    fn capabilities(&self) -> Capabilities;

    /// Which faults [`Broker::fault`] can inject: what needs another one is not listed. Default: [`Fault::OUTAGES`].
    fn faults(&self) -> &'static [Fault] {
        Fault::OUTAGES
    }

    /// Starts a broker of its own that takes connections when this ends. Dropping it stops it.
    ///
    /// The broker must take every subject below [`SUBJECTS`], in every scope that the adapter has, and any queue
    /// name: where that takes a stream, it is made here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when this machine lacks the broker: the trials are reported as skipped, with the
    /// error's text as the reason. Any other error fails them.
    ///
    /// # Cancel safety
    ///
    /// Need not be: the suite awaits it to its end.
    fn start(&self) -> BoxFuture<'_, Result<Box<dyn Broker>>>;
}

/// A running broker, and the ways to reach and to hurt it.
pub trait Broker: Send + Sync {
    /// Makes a connection of its own, each time.
    ///
    /// It must come back after a fault without anyone's help, within seconds of the broker's return.
    ///
    /// # Errors
    ///
    /// Whatever the adapter says of it.
    ///
    /// # Cancel safety
    ///
    /// Need not be: the suite awaits it to its end.
    fn connect(&self) -> BoxFuture<'_, Result<AnyBackend>>;

    /// Publishes under a name that is no [`Subject`](sinew_core::Subject), past the adapter: an empty routing key,
    /// `a..b`, binary bytes. Where a broker takes only some of those, the others are
    /// [`ErrorKind::Unsupported`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] (the default) where the broker takes no such name.
    ///
    /// # Cancel safety
    ///
    /// Need not be: the suite awaits it to its end.
    fn publish_foreign(&self, name: Bytes, payload: Bytes) -> BoxFuture<'_, Result<()>> {
        drop((name, payload));
        Box::pin(async {
            Err(Error::new(ErrorKind::Unsupported, "publish foreign name")
                .with_detail("this broker takes subjects only"))
        })
    }

    /// Hurts the broker, or mends it; ends when that is done. After [`Fault::Start`] it takes connections again, at
    /// the address it had, with what it had stored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] (the default) for a fault that [`Fixture::faults`] does not name.
    ///
    /// # Cancel safety
    ///
    /// Need not be: the suite awaits it to its end.
    fn fault(&self, fault: Fault) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            Err(Error::new(ErrorKind::Unsupported, "inject fault")
                .with_detail(format!("{fault:?} cannot be injected here")))
        })
    }
}

/// What can happen to a broker.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// It dies at once, as by SIGKILL.
    Kill,
    /// It comes back after [`Fault::Kill`].
    Start,
    /// It stops answering without closing anything, as by SIGSTOP.
    Freeze,
    /// It goes on after [`Fault::Freeze`].
    Thaw,
    /// It takes no publishes for now, and does all else, as RabbitMQ while it is short of memory.
    Block,
    /// It goes on after [`Fault::Block`].
    Unblock,
}

impl Fault {
    /// Every fault there is.
    pub const ALL: &'static [Self] =
        &[Self::Kill, Self::Start, Self::Freeze, Self::Thaw, Self::Block, Self::Unblock];

    /// What befalls every broker: it is away, or does not answer.
    pub const OUTAGES: &'static [Self] = &[Self::Kill, Self::Start, Self::Freeze, Self::Thaw];

    /// What befalls a broker that can say that it takes no publishes for now.
    pub const BLOCKS: &'static [Self] = &[Self::Block, Self::Unblock];
}

/// Every subject that the suite publishes under is wanted by this pattern; those of [`Broker::publish_foreign`]
/// alone may be anything.
pub const SUBJECTS: &str = "conformance.>";
