//! A broker, services on it, and what they tell.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use serde::Serialize;
use sinew_adapter_memory::MemoryBroker;
use sinew_core::{AnyBackend, Backend as _, Consume as _, Queue, Result};
use sinew_events::{
    Context, DeadLetter, ErrorQueue, EventDispatcher, EventHandler, HandlerError, Running, Service,
    ServiceEvent, ServiceEvents, Settled, SettledAs,
};
use tokio::time::timeout;

/// Longer than any delay that the tests know; virtual.
pub(crate) const LONG: Duration = Duration::from_secs(24 * 3600);

/// Work that takes a second; virtual.
pub(crate) async fn a_second() {
    drop(timeout(Duration::from_secs(1), std::future::pending::<()>()).await);
}

/// What a handler fails with.
pub(crate) fn broken() -> HandlerError {
    HandlerError::new("the printer is on fire")
}

#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) broker: MemoryBroker,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { broker: MemoryBroker::new() }
    }

    /// A connection of its own.
    pub(crate) fn connect(&self) -> AnyBackend {
        self.broker.connect().into_any()
    }

    pub(crate) async fn start(&self, service: &Service) -> Running {
        service.start(&self.connect()).await.unwrap()
    }

    pub(crate) async fn emit<P: Serialize + Sync>(&self, event_type: &str, payload: P) {
        self.orders().emit(event_type, &payload).await.unwrap();
    }

    /// Who emits the events of `orders`.
    pub(crate) fn orders(&self) -> EventDispatcher {
        EventDispatcher::new(&self.connect(), "orders").unwrap()
    }

    /// What is in the error queue of `queue`; dropped, it stays there.
    pub(crate) async fn kept(&self, queue: &str) -> Vec<DeadLetter> {
        let errors = ErrorQueue::new(&self.connect(), Queue::parse(queue).unwrap()).unwrap();
        errors.take(100, LONG).await.unwrap()
    }

    /// How many messages wait in the durable queue of a pool.
    pub(crate) async fn waiting(&self, queue: &str) -> u64 {
        let consumer = self.connect().consumer().unwrap();
        let wanted = sinew_core::Consumption::new(
            Queue::parse(queue).unwrap(),
            sinew_core::Pattern::parse("created").unwrap(),
        )
        .with_scope(sinew_core::Scope::parse("orders.events").unwrap());
        assert_eq!(consumer.capabilities().backend, "memory");
        consumer.declare(wanted).await.unwrap().messages.unwrap()
    }
}

/// A service `billing` with one handler, `on_created`, of the events `created` of `orders`.
pub(crate) fn billing(handler: EventHandler) -> Service {
    Service::new("billing").unwrap().with_handler(handler).unwrap()
}

pub(crate) const QUEUE: &str = "evt-orders-created--billing.on_created";

/// A handler that counts its runs and ends as `end` says of their number, from 1.
pub(crate) fn counting<E>(end: E) -> (EventHandler, Arc<AtomicUsize>)
where
    E: Fn(usize) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let handler =
        EventHandler::new("orders", "created", "on_created", move |_: Context, _: u64| {
            let ended = end(counted.fetch_add(1, SeqCst) + 1);
            async move { ended }
        });
    (handler, runs)
}

/// What becomes of the next delivery.
pub(crate) async fn settled(events: &mut ServiceEvents) -> Settled {
    let next = async {
        loop {
            if let ServiceEvent::Settled(settled) = events.next().await.unwrap().unwrap() {
                return settled;
            }
        }
    };
    timeout(LONG, next).await.unwrap()
}

/// What becomes of the next deliveries.
pub(crate) async fn outcomes(events: &mut ServiceEvents, count: usize) -> Vec<SettledAs> {
    let mut outcomes = Vec::new();
    while outcomes.len() < count {
        outcomes.push(settled(events).await.outcome);
    }
    outcomes
}
