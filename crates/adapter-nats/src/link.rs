//! The link: what is known of the connection, who is told, and how it ends.
use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{ConnectOptions, Event as ClientEvent, ServerError, connection::State};
use sinew_core::{
    Backend, Buffer, Capabilities, Error, ErrorKind, Event, Incoming, Link, Result, Sent,
};
use tokio::{sync::Notify, time::timeout};

use crate::{
    Nats,
    connect::Inner,
    control::Control,
    error::{Cause, Violation},
};

/// How often the link is looked at when nothing is said about it: the client may drop what it says, and says
/// nothing at all where it was made by someone else.
const LOOK: Duration = Duration::from_millis(250);
/// How many refusals of the server are remembered until they are looked at.
const REFUSALS: usize = 256;

/// What is known of the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct View {
    /// The server has answered a round trip on the connection of this generation.
    pub(crate) up: bool,
    /// How many times it has connected.
    pub(crate) generation: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Open,
    /// Takes no new intake.
    Draining,
    Closed {
        left: Option<LeftOver>,
    },
}

/// What a drain that ran out of time waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LeftOver {
    Deliveries(usize),
    Subscriptions(usize),
    Publishes,
}

impl View {
    pub(crate) const fn new(generation: u64) -> Self {
        Self { up: true, generation, phase: Phase::Open }
    }

    pub(crate) const fn is_closed(self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// Whether what was asked on the connection of `generation` will get no answer.
    pub(crate) const fn is_past(self, generation: u64) -> bool {
        generation < self.generation || generation == self.generation && !self.up
    }

    /// What to say about the change from `earlier`.
    pub(crate) fn since<T>(self, earlier: Self) -> impl Iterator<Item = Event<T>> {
        let broke = earlier.up && (!self.up || self.generation != earlier.generation);
        let rose = self.up && (!earlier.up || self.generation != earlier.generation);
        [broke.then_some(Event::Down), rose.then_some(Event::Up { gap: true })]
            .into_iter()
            .flatten()
    }
}

/// Where the client says what happens to the connection, and whoever keeps the link listens.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    changed: Notify,
    closed: AtomicBool,
    refusals: Mutex<Vec<String>>,
    /// How many messages the client had no room for, as far as it said so.
    dropped: AtomicU64,
}

impl Signal {
    /// Listens to a client that is about to be made.
    pub(crate) fn listen(self: &Arc<Self>, options: ConnectOptions) -> ConnectOptions {
        let (events, delays) = (Arc::clone(self), Arc::clone(self));
        options
            .event_callback(move |event| {
                events.hear(event);
                std::future::ready(())
            })
            .reconnect_delay_callback(move |attempt| delays.delay(attempt))
    }

    fn hear(&self, event: ClientEvent) {
        match event {
            ClientEvent::ServerError(ServerError::Other(text)) => {
                let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
                if refusals.len() < REFUSALS {
                    refusals.push(text);
                }
            }
            ClientEvent::SlowConsumer(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        self.changed.notify_one();
    }

    /// The client never stops reconnecting; after the end it shall not start again.
    fn delay(&self, attempt: usize) -> Duration {
        if self.is_closed() {
            return Duration::from_secs(u32::MAX.into());
        }
        // 0, 0, 20 ms, 40 ms, and so on up to 1.28 s.
        match u32::try_from(attempt).unwrap_or(u32::MAX) {
            0 | 1 => Duration::ZERO,
            more => Duration::from_millis(10 << more.saturating_sub(1).min(7)),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    fn take_refusals(&self) -> Vec<String> {
        std::mem::take(&mut *self.refusals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// Whether the client is connected now, and how many times it has been.
    pub(crate) fn connection(&self) -> (bool, u64) {
        (self.client.connection_state() == State::Connected, self.generation())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.statistics.connects.load(Ordering::Acquire)
    }

    /// Refuses new intakes from the first moment of a drain on.
    pub(crate) fn check_open(&self) -> Result<(), Cause> {
        match self.view.borrow().phase {
            Phase::Open => Ok(()),
            Phase::Draining | Phase::Closed { .. } => Err(Cause::closed()),
        }
    }

    /// Looks at the link until everyone has let go of it.
    pub(crate) async fn keep(inner: Weak<Self>, signal: Arc<Signal>) {
        while let Some(inner) = inner.upgrade() {
            inner.look(&signal).await;
            drop(inner);
            // Either way it is time to look again.
            let _ = timeout(LOOK, signal.changed.notified()).await;
        }
    }

    async fn look(&self, signal: &Signal) {
        self.hear_refusals();
        let dropped = signal.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            // Whose they were it says by a number that it shows to nobody.
            self.intakes().iter().for_each(|intake| intake.lose(dropped));
        }
        let seen = *self.view.borrow();
        let (connected, generation) = self.connection();
        if seen.is_closed() || (connected && seen.up && generation == seen.generation) {
            return;
        }
        self.view.send_if_modified(|view| std::mem::replace(&mut view.up, false));
        // Up is said once the server has taken our subscriptions back in.
        if connected && self.round_trip_on(generation).await.is_ok() {
            self.view.send_modify(|view| {
                view.up = true;
                view.generation = generation;
            });
        }
    }

    /// Tells whom they concern what the server has refused.
    pub(crate) fn hear_refusals(&self) {
        for text in self.signal.take_refusals() {
            self.refuse(&text);
        }
    }

    /// The server refused a publish or a subscription some time ago: tells whom it concerns.
    fn refuse(&self, text: &str) {
        let denied = |operation, subject: &str, sent| {
            let cause = Cause::Server {
                kind: ErrorKind::Denied,
                detail: "the server refused the permission",
                sent,
                source: ServerError::Other(text.to_owned()),
            };
            Error::from(cause.during(operation).on(subject))
        };
        match Violation::parse(text) {
            Some(Violation::Publish(subject)) if self.mux.refused(subject) => {}
            Some(Violation::Publish(subject)) => {
                self.mux.keep_unread(denied("nats publish", subject, Sent::Yes));
            }
            Some(Violation::Subscription(subject)) => {
                for intake in self.intakes() {
                    if intake.filters().iter().any(|filter| filter == subject) {
                        intake.fail(denied("nats subscribe", subject, Sent::No));
                    }
                }
            }
            None => tracing::warn!(error = text, "the server reported an error"),
        }
    }

    fn left_over(&self) -> LeftOver {
        match (*self.unsettled.borrow(), *self.running.borrow()) {
            (0, 0) => LeftOver::Publishes,
            (0, running) => LeftOver::Subscriptions(running),
            (unsettled, _) => LeftOver::Deliveries(unsettled),
        }
    }

    /// Ends the connection. Everything here is bounded by `within`.
    async fn end(&self, within: Duration) {
        let finish = async {
            for intake in self.intakes() {
                intake.stop();
            }
            self.unsettled.subscribe().wait_for(|left| *left == 0).await.is_ok()
                && self.running.subscribe().wait_for(|left| *left == 0).await.is_ok()
                && self.flush_all().await.is_ok()
        };
        let left = match timeout(within, finish).await {
            Ok(true) => None,
            // Looked at before the intakes are ended: what they held is let go of then.
            _ => Some(self.left_over()),
        };
        for intake in self.intakes() {
            intake.end();
        }
        // Before anyone can know of the end: nothing is handed over after it.
        self.signal.close();
        self.view.send_modify(|view| {
            view.up = false;
            view.phase = Phase::Closed { left };
        });
        // The client hears it at once, or is between two attempts to connect, of which there will be no more.
        let _ = timeout(LOOK, self.client.drain()).await;
    }
}

impl From<LeftOver> for Error {
    fn from(left: LeftOver) -> Self {
        Self::new(ErrorKind::Timeout, "nats drain").with_detail(match left {
            LeftOver::Deliveries(count) => {
                format!("{count} deliveries were not settled; they will be delivered again")
            }
            LeftOver::Subscriptions(count) => {
                format!("{count} subscriptions had not ended; what was on its way may be lost")
            }
            LeftOver::Publishes => "the server did not confirm what was published last".to_owned(),
        })
    }
}

impl Link for Nats {
    fn watch(&self) -> Incoming<()> {
        let control = Control::new(Buffer::default(), Vec::new());
        let mut view = self.inner.view.subscribe();
        let told = Arc::clone(&control);
        self.inner.handle.spawn(async move {
            let mut seen = *view.borrow_and_update();
            told.buffer.tell(if seen.up { Event::Up { gap: false } } else { Event::Down });
            while !seen.is_closed() {
                tokio::select! {
                    () = told.stopped() => break,
                    changed = view.changed() => {
                        let now = *view.borrow_and_update();
                        now.since(seen).for_each(|event| told.buffer.tell(event));
                        seen = now;
                        if changed.is_err() {
                            break;
                        }
                    }
                }
            }
            told.buffer.end(None);
        });
        control.incoming()
    }

    async fn drain(&self, within: Duration) -> Result<()> {
        let mut view = self.inner.view.subscribe();
        let first = self.inner.view.send_if_modified(|view| {
            let open = view.phase == Phase::Open;
            if open {
                view.phase = Phase::Draining;
            }
            open
        });
        if first {
            let inner = Arc::clone(&self.inner);
            self.inner.handle.spawn(async move { inner.end(within).await });
        }
        let end = view.wait_for(|view| view.is_closed()).await.map(|view| view.phase);
        match end {
            Ok(Phase::Closed { left: Some(left) }) => Err(left.into()),
            _ => Ok(()),
        }
    }
}

impl Backend for Nats {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities.clone()
    }
}
