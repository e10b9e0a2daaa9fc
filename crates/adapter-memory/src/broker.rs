//! The broker: in this process, shared by its connections.
use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, atomic},
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use sinew_core::{Address, Capabilities, Error, ErrorKind, Message, PublishExt, Queue, Result};

use crate::{
    Memory, MemoryOptions,
    clock::{Clock, Timer},
    error::MemoryError,
    queue::{Aftermath, Backlog},
    state::{Attempt, Obstacle, State},
    sync::{Mutex, lock},
    wait::Wakers,
};

/// A broker in this process. Cloning shares it; it ends with the last handle, connection and intake.
///
/// ```
/// use sinew_adapter_memory::MemoryBroker;
/// use sinew_core::{Pattern, PublishExt, Subscribe, Subscription};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let broker = MemoryBroker::new();
/// let (alice, bob) = (broker.connect(), broker.connect());
/// let mut incoming = bob.subscribe(Subscription::new(Pattern::parse("orders.*")?)).await?;
/// alice.send_to("orders.created", "42").await?;
/// let message = incoming.next_item().await.expect("an open intake")?;
/// assert_eq!(message.payload, "42");
/// # Ok::<(), sinew_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryBroker(Arc<Shared>);

/// What connections share.
pub(crate) struct Shared {
    pub(crate) capabilities: Capabilities,
    pub(crate) clock: Clock,
    timeout: Duration,
    state: Mutex<State>,
}

/// What a broker has at one moment, for tests that look for leaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Intakes: subscriptions, consumers, requests that wait for replies, watchers of a link.
    pub intakes: usize,
    /// Queues.
    pub queues: usize,
    /// Messages dropped since the start because their time to live was over.
    pub expired: u64,
    /// Messages dropped since the start because their id came before.
    pub duplicates: u64,
}

impl MemoryBroker {
    /// A broker with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(MemoryOptions::default())
    }

    /// A broker set up as `options` say.
    #[must_use]
    pub fn with_options(options: MemoryOptions) -> Self {
        static BROKERS: atomic::AtomicU64 = atomic::AtomicU64::new(0);
        let broker = BROKERS.fetch_add(1, atomic::Ordering::Relaxed);
        Self(Arc::new(Shared {
            capabilities: options.capabilities(),
            clock: Clock::default(),
            timeout: options.timeout,
            state: Mutex::new(State::new(options, broker)),
        }))
    }

    /// A new connection; its clones share it. While the broker is killed its link is down.
    #[must_use]
    pub fn connect(&self) -> Memory {
        Memory::new_on(Arc::clone(&self.0))
    }

    /// Publishes under a name that may be no subject, as a client without Sinew would.
    ///
    /// # Errors
    ///
    /// As a publish through a connection has them.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has sent nothing.
    pub async fn inject(&self, name: impl Into<Bytes>, payload: impl Into<Bytes>) -> Result<()> {
        let message = Message::to(Address::from_wire(None, name), payload);
        self.connect().send(message).await.map(drop)
    }

    /// Kills the broker: it forgets every message, id and queue that it has; links go down, unsettled deliveries are
    /// revoked, calls fail as [`ErrorKind::Disconnected`]. What intakes had received can still be read.
    pub fn kill(&self) {
        self.0.with(State::kill);
    }

    /// Starts it again after [`MemoryBroker::kill`], empty: links come up, intakes are registered again, the queues of
    /// consumers made again.
    pub fn start(&self) {
        self.0.with(State::start);
    }

    /// Freezes the broker: it takes, delivers and answers nothing, and calls wait for it, each for as long as
    /// [`MemoryOptions::with_timeout`] says. What intakes had received can still be read.
    pub fn freeze(&self) {
        self.0.with(State::freeze);
    }

    /// Lets it go on after [`MemoryBroker::freeze`].
    pub fn thaw(&self) {
        self.0.with(State::thaw);
    }

    /// Deletes a queue with all that is in it: the only end of a durable one. `false` when there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] while it has a consumer or an unsettled delivery.
    pub fn delete_queue(&self, queue: &Queue) -> Result<bool> {
        self.0.with(|state, wakers| match state.queues.get(queue).cloned() {
            None => Ok(false),
            Some(queue) if queue.is_idle() => {
                state.delete(&queue, wakers);
                Ok(true)
            }
            Some(_) => Err(Error::new(ErrorKind::Conflict, "memory delete queue")
                .with_subject(queue.as_str())
                .with_detail("it has a consumer or an unsettled delivery; end those first")),
        })
    }

    /// What it has now.
    #[must_use]
    pub fn stats(&self) -> MemoryStats {
        self.0.with(|state, _| MemoryStats {
            intakes: state.intakes.len(),
            queues: state.queues.len(),
            expired: state.counts.expired,
            duplicates: state.counts.duplicates,
        })
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryBroker").field(&self.stats()).finish()
    }
}

impl Shared {
    /// Does something under the lock, and wakes whom it concerns after it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State, &mut Wakers) -> T) -> T {
        let mut wakers = Wakers::default();
        let result = act(&mut lock(&self.state), &mut wakers);
        wakers.wake();
        result
    }

    /// Tries until it is done, or for as long as a call may wait.
    ///
    /// # Cancel safety
    ///
    /// Safe: an attempt that has to wait has done nothing.
    pub(crate) async fn attempt<T: Send>(
        &self,
        operation: &'static str,
        mut attempt: impl FnMut(&mut State, &mut Wakers) -> Attempt<T> + Send,
    ) -> Result<T> {
        let mut ticket = Ticket::new(self);
        let mut timer: Option<Timer> = None;
        poll_fn(|cx| {
            // A waker that is replaced is dropped out here, with no lock held.
            let (tried, _replaced) = self.with(|state, wakers| match attempt(state, wakers) {
                Attempt::Wait(obstacle) => {
                    (Attempt::Wait(obstacle), state.waiting.register(&mut ticket.key, cx))
                }
                done => (done, None),
            });
            let obstacle = match tried {
                Attempt::Done(result) => {
                    return Poll::Ready(result.map_err(|err| err.during(operation)));
                }
                Attempt::Wait(obstacle) => obstacle,
            };
            let timer = timer.get_or_insert_with(|| Timer::after(self.timeout));
            let waited = match (ready!(timer.poll(&self.clock, cx)), obstacle) {
                (Err(err), _) => err,
                (Ok(()), Obstacle::Frozen) => MemoryError::Frozen(self.timeout),
                (Ok(()), Obstacle::Full) => MemoryError::Full(self.timeout),
            };
            Poll::Ready(Err(waited.during(operation)))
        })
        .await
    }

    /// Does what a change of `queue` asks for, if anything.
    pub(crate) fn see_to(&self, queue: &Arc<Backlog>, aftermath: &Aftermath) {
        if aftermath.awaited || aftermath.unused || aftermath.expired > 0 {
            self.with(|state, wakers| state.see_to(queue, aftermath, wakers));
        }
    }
}

/// A place among the waiting; given up when dropped.
pub(crate) struct Ticket<'a> {
    shared: &'a Shared,
    pub(crate) key: Option<u64>,
}

impl<'a> Ticket<'a> {
    pub(crate) const fn new(shared: &'a Shared) -> Self {
        Self { shared, key: None }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.shared.with(|state, _| state.waiting.leave(key));
            drop(waker);
        }
    }
}
