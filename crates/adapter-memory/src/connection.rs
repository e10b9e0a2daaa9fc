//! Connections: what a program holds of the broker.
use std::{fmt, sync::Arc};

use sinew_core::{
    AnyBackend, AnyConsumer, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Backend,
    Capabilities, Error, Incoming, Message, Result,
};

use crate::{
    MemoryBroker,
    broker::Shared,
    error::MemoryError,
    intakes::Registered,
    options::CAPABILITIES,
    state::{Attempt, State},
    subscribe::Messages,
    sync::{AtomicU8, Mutex, Ordering},
    wait::Wakers,
};

/// One connection to a [`MemoryBroker`], behind all five contracts. Cloning shares it; draining it ends it for every
/// clone, dropping one clone does nothing to the others.
#[derive(Clone)]
pub struct Memory {
    pub(crate) connection: Arc<Connection>,
}

/// What the clones of one connection share, its intakes and deliveries included.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: u64,
    phase: AtomicU8,
    /// The first failure that no publisher has read: `flush` tells it.
    pub(crate) unread: Mutex<Option<Error>>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub(crate) enum Phase {
    Open,
    Draining,
    Closed,
}

impl Memory {
    /// What a connection to a broker with default options can do; see
    /// [`MemoryOptions::capabilities`](crate::MemoryOptions::capabilities) for others.
    pub const CAPABILITIES: Capabilities = CAPABILITIES;

    /// A connection to a broker of its own, with default options.
    #[must_use]
    pub fn new() -> Self {
        MemoryBroker::new().connect()
    }

    pub(crate) fn new_on(shared: Arc<Shared>) -> Self {
        let id = shared.with(|state, _| state.next_id());
        let phase = AtomicU8::new(Phase::Open as u8);
        Self { connection: Arc::new(Connection { shared, id, phase, unread: Mutex::new(None) }) }
    }

    /// The same connection with its type erased.
    #[must_use]
    pub fn into_any(self) -> AnyBackend {
        AnyBackend::new(AnyLink::new(self.clone()))
            .with_publisher(AnyPublisher::new(self.clone()))
            .with_subscriber(AnySubscriber::new(self.clone()))
            .with_consumer(AnyConsumer::new(self.clone()))
            .with_requester(AnyRequester::new(self))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Memory> for AnyBackend {
    fn from(memory: Memory) -> Self {
        memory.into_any()
    }
}

impl Backend for Memory {
    fn capabilities(&self) -> Capabilities {
        self.connection.shared.capabilities.clone()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("connection", &self.connection.id)
            .field("phase", &self.connection.phase())
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Closed,
        }
    }

    /// Goes on to `phase`; never back. Call it under the broker's lock, so that who looks there sees it.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8
    }

    /// Registers an intake, unless the connection is on its way out.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is registered before it ends.
    pub(crate) async fn register<T: Send>(
        &self,
        operation: &'static str,
        mut register: impl FnMut(&mut State, &mut Wakers) -> Result<T, MemoryError> + Send,
    ) -> Result<T> {
        self.shared
            .attempt(operation, |state, wakers| {
                if self.phase() != Phase::Open {
                    return Attempt::Done(Err(MemoryError::Closed));
                }
                match state.unready() {
                    Some(unready) => unready,
                    None => Attempt::Done(register(state, wakers)),
                }
            })
            .await
    }

    /// The reader's end of an intake of messages.
    pub(crate) fn incoming(
        self: &Arc<Self>,
        intake: Registered,
        replays: bool,
    ) -> Incoming<Message> {
        let id = intake.id;
        let connection = Arc::clone(self);
        Incoming::new(Messages::new(Arc::clone(self), intake, replays), move || {
            connection.remove(id);
        })
    }

    /// Stops an intake.
    pub(crate) fn remove(&self, id: u64) {
        let removed = self.shared.with(|state, wakers| state.remove(id, wakers));
        drop(removed);
    }
}
