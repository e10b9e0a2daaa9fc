//! Testing a service: emit, and see what becomes of it.
//!
//! Over the memory backend in virtual time (`start_paused`) a test takes no time, whatever delays its retries have; the same
//! test runs over a real broker, in real time.
//!
//! ```
//! use sinew_adapter_memory::MemoryBroker;
//! use sinew_core::Attempt;
//! use sinew_events::{Context, EventHandler, HandlerError, Service, SettledAs, testing::Harness};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> sinew_core::Result<()> {
//! let handler = EventHandler::new("orders", "created", "on_created", |ctx: Context, id: u64| async move {
//!     if ctx.attempt() == Attempt::Number(1) {
//!         return Err(HandlerError::new("not yet"));
//!     }
//!     ctx.emit("billed", &id).await?;
//!     Ok(())
//! });
//! let billing = Service::new("billing")?.with_handler(handler)?;
//!
//! let mut harness = Harness::start(&billing, &MemoryBroker::new().connect().into_any()).await?;
//! harness.emit("orders", "created", &7).await?;
//! let settled = harness.settled("on_created").await?; // after the retries
//! assert_eq!((settled.outcome, settled.runs), (SettledAs::Handled, 1));
//! assert_eq!(harness.emitted::<u64>("billed").await?, 7);
//! harness.finish().await?;
//! # Ok(())
//! # }
//! ```
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use sinew_core::{
    AnyBackend, Backend as _, Error, ErrorKind, Event, Incoming, Message, Pattern, Property,
    Receipt, Result, Subscribe as _, Subscription,
};
use tokio::time::timeout;

use crate::{
    EmitOptions, EventDispatcher, PayloadOptions, Running, Service, ServiceEvent, ServiceEvents,
    Settled, Source, dead_letter::event_type,
};

/// A service that runs for a test, what it emits, and what becomes of what is emitted to it.
#[derive(Debug)]
pub struct Harness {
    backend: AnyBackend,
    running: Running,
    events: ServiceEvents,
    emitted: Incoming<Message>,
    payload: PayloadOptions,
    deadline: Duration,
}

impl Harness {
    /// Starts `service` over `backend`, and listens to what it emits.
    ///
    /// # Errors
    ///
    /// As [`Service::start`] has them, and [`Subscribe::subscribe`](sinew_core::Subscribe::subscribe).
    ///
    /// # Cancel safety
    ///
    /// As [`Service::start`].
    pub async fn start(service: &Service, backend: &AnyBackend) -> Result<Self> {
        let emitted = Subscription::new(Pattern::parse("#")?)
            .with_scope(Source::parse(service.name())?.scope().clone());
        let emitted = backend.subscriber()?.subscribe(emitted).await?;
        let events = service.events();
        Ok(Self {
            backend: backend.clone(),
            running: service.start(backend).await?,
            events,
            emitted,
            payload: service.payload().clone(),
            deadline: Duration::from_secs(600),
        })
    }

    /// How long to wait for what is to happen, in tokio's time. Default: 10 min, which is longer than the default retries
    /// take.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Emits an event of the service `source`, written as the service itself writes. Where the backend can tell, one that no
    /// queue takes is [`ErrorKind::Unroutable`]: its name is wrong, or nobody handles it.
    ///
    /// # Errors
    ///
    /// As [`EventDispatcher::emit_with`] has them.
    ///
    /// # Cancel safety
    ///
    /// As [`EventDispatcher::emit`].
    pub async fn emit<Payload: Serialize + Sync + ?Sized>(
        &mut self,
        source: &str,
        event_type: &str,
        payload: &Payload,
    ) -> Result<Receipt> {
        let can_tell = self.backend.capabilities().properties.has(Property::MustRoute);
        let options = EmitOptions::new().with_must_route(can_tell);
        EventDispatcher::new(&self.backend, source)?
            .with_payload(self.payload.clone())
            .emit_with(event_type, payload, &options)
            .await
    }

    /// Waits until an event of the handler `method` is dealt with for good: deliveries that come again are passed over, and
    /// so is what became of other handlers' events.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when none is, in time; [`ErrorKind::Overloaded`] when so much happened meanwhile that some of
    /// it was missed; [`ErrorKind::Closed`] when its intake has ended.
    ///
    /// # Cancel safety
    ///
    /// What was passed over is gone.
    pub async fn settled(&mut self, method: &str) -> Result<Settled> {
        let failed = |kind| Err(Error::new(kind, "await event").with_subject(method));
        let events = &mut self.events;
        let next = async {
            loop {
                match events.next().await {
                    Some(Ok(ServiceEvent::Settled(settled)))
                        if settled.handler.method() == method && !settled.comes_again =>
                    {
                        return Ok(settled);
                    }
                    Some(Ok(ServiceEvent::Ended { handler, .. })) if handler.method() == method => {
                        return failed(ErrorKind::Closed);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return failed(ErrorKind::Overloaded),
                    None => return failed(ErrorKind::Closed),
                }
            }
        };
        timeout(self.deadline, next).await.unwrap_or_else(|_| failed(ErrorKind::Timeout))
    }

    /// The payload of the next event of this type that the service emits; those of other types are passed over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when none comes, in time; [`ErrorKind::InvalidPayload`] when it is no `T`;
    /// [`ErrorKind::Overloaded`] when some were lost, as more were emitted than are held; else why nothing can come any more.
    ///
    /// # Cancel safety
    ///
    /// What was passed over is gone.
    pub async fn emitted<T: DeserializeOwned>(&mut self, wanted: &str) -> Result<T> {
        let failed = |kind| Err(Error::new(kind, "await emitted event").with_subject(wanted));
        let emitted = &mut self.emitted;
        let next = async {
            loop {
                match emitted.next().await.transpose()? {
                    Some(Event::Item(message)) if event_type(&message.address) == Some(wanted) => {
                        return Ok(message);
                    }
                    Some(Event::Lost(_)) => return failed(ErrorKind::Overloaded),
                    Some(_) => {}
                    None => return failed(ErrorKind::Closed),
                }
            }
        };
        let next = timeout(self.deadline, next).await;
        Ok(self.payload.decode(&next.unwrap_or_else(|_| failed(ErrorKind::Timeout))?)?)
    }

    /// The service.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Drains the service.
    ///
    /// # Errors
    ///
    /// As [`Running::drain`] has them.
    ///
    /// # Cancel safety
    ///
    /// As [`Running::drain`].
    pub async fn finish(self) -> Result<()> {
        self.running.drain(self.deadline).await
    }
}
