//! A source of events of a behaviour's own, services on it, each with a connection of its own, and what they tell.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use sinew_core::{AnyBackend, Queue, Result};
use sinew_events::{
    Context, DeadLetter, ErrorQueue, EventDispatcher, EventHandler, HandlerError, HandlerKind,
    HandlerName, RetryPolicy, Running, Service, ServiceEvent, ServiceEvents, Settled, SettledAs,
    Source,
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{broker::Broker, failed};

/// Long enough for whatever is to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What a behaviour is held on.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) broker: Arc<Broker>,
    pub(crate) source: String,
}

/// A service over a connection of its own, and what it tells.
pub(crate) struct Started {
    pub(crate) running: Running,
    pub(crate) events: ServiceEvents,
}

impl Scene {
    pub(crate) fn new(broker: Arc<Broker>, name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let source = format!("orders-{}-{name}", NEXT.fetch_add(1, Relaxed));
        Self { broker, source }
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) async fn connect(&self) -> Result<AnyBackend> {
        self.broker.connect().await
    }

    pub(crate) async fn orders(&self) -> Result<EventDispatcher> {
        EventDispatcher::new(&self.connect().await?, &self.source)
    }

    /// A handler of `created`, called `on_created`.
    pub(crate) fn handler<P, F, Running>(&self, handler: F) -> EventHandler
    where
        P: DeserializeOwned + Send + 'static,
        F: Fn(Context, P) -> Running + Send + Sync + 'static,
        Running: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        EventHandler::new(&self.source, "created", "on_created", handler)
    }

    pub(crate) async fn start(&self, service: &Service) -> Result<Started> {
        let events = service.events();
        Ok(Started { running: service.start(&self.connect().await?).await?, events })
    }

    /// The error queue of the pool handler of `service`.
    pub(crate) async fn errors(&self, service: &str) -> Result<ErrorQueue> {
        ErrorQueue::new(&self.connect().await?, self.queue(service)?)
    }

    pub(crate) fn queue(&self, service: &str) -> Result<Queue> {
        let (source, name) =
            (Source::parse(&self.source)?, HandlerName::new(service, "on_created")?);
        HandlerKind::ServicePool.queue(&source, "created", &name, None)
    }

    /// Takes what is in it, and waits until that are so many.
    pub(crate) async fn kept(&self, service: &str, count: usize) -> Result<Vec<DeadLetter>> {
        let errors = self.errors(service).await?;
        let mut kept = Vec::new();
        until("it is in the error queue", async || {
            let limit = u16::try_from(count - kept.len()).map_err(failed)?;
            kept.extend(errors.take(limit, Duration::from_secs(2)).await?);
            Ok(kept.len() == count)
        })
        .await?;
        Ok(kept)
    }
}

impl Started {
    /// What becomes of the next delivery.
    pub(crate) async fn settled(&mut self) -> Result<Settled> {
        let next = async {
            loop {
                match self.events.next().await {
                    Some(Ok(ServiceEvent::Settled(settled))) => return Ok(settled),
                    Some(Ok(_)) => {}
                    Some(Err(missed)) => return Err(failed(format!("{missed} were missed"))),
                    None => return Err(failed("it has ended")),
                }
            }
        };
        soon("something becomes of an event", next).await?
    }

    pub(crate) async fn outcomes(&mut self, count: usize) -> Result<Vec<SettledAs>> {
        let mut outcomes = Vec::with_capacity(count);
        while outcomes.len() < count {
            outcomes.push(self.settled().await?.outcome);
        }
        Ok(outcomes)
    }

    pub(crate) fn succeeded(&self) -> u64 {
        self.running.counts().map(|it| it.2.succeeded).sum()
    }
}

/// Retries that a test can wait for.
pub(crate) fn quick() -> RetryPolicy {
    let delay = Duration::from_millis(200);
    RetryPolicy::none().with_immediate(1).with_delays([delay, delay])
}

pub(crate) fn service(name: &str, handler: EventHandler) -> Result<Service> {
    Ok(Service::new(name)?.with_handler(handler)?.with_retry(quick()))
}

pub(crate) async fn emit<P: Serialize + Sync>(
    orders: &EventDispatcher,
    payloads: impl IntoIterator<Item = P>,
) -> Result<()> {
    for payload in payloads {
        orders.emit("created", &payload).await?;
    }
    orders.flush().await
}

/// Waits for a fact that comes by itself.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + SOON;
    let mut look = interval(Duration::from_millis(5));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !holds().await? {
        if Instant::now() > end {
            return Err(failed(format!("not so after {SOON:?}: {what}")));
        }
        look.tick().await;
    }
    Ok(())
}

/// Waits for what is to end by itself.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(SOON, future).await.map_err(|_| failed(format!("not after {SOON:?}: {what}")))
}
