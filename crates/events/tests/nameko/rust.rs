//! Services of ours.
use serde_json::Value;
use sinew_core::AnyBackend;
use sinew_events::{
    Context, EventHandler, HandlerError, Running, Service, ServiceEvent, ServiceEvents, Settled,
    SettledAs,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::world::{Outcome, soon};

/// What a handler was given.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) payload: Value,
    pub(crate) context: Context,
}

/// A running service, and what its handlers see.
pub(crate) struct Rust {
    pub(crate) running: Running,
    pub(crate) seen: UnboundedReceiver<Seen>,
    pub(crate) events: ServiceEvents,
}

/// The handlers of a service to be, and where they tell.
pub(crate) struct Cast {
    teller: UnboundedSender<Seen>,
    seen: UnboundedReceiver<Seen>,
    pub(crate) service: Service,
}

impl Cast {
    pub(crate) fn new(service: &str) -> Outcome<Self> {
        let (teller, seen) = unbounded_channel();
        Ok(Self { teller, seen, service: Service::new(service)? })
    }

    /// Adds a handler that tells what it sees, and ends well.
    pub(crate) fn handles(
        self,
        source: &str,
        event_type: &str,
        method: &str,
        with: impl FnOnce(EventHandler) -> EventHandler,
    ) -> Outcome<Self> {
        self.acts(source, event_type, method, |_, _| async { Ok(()) }, with)
    }

    /// Adds a handler that tells what it sees, and then does something.
    pub(crate) fn acts<F, Doing>(
        mut self,
        source: &str,
        event_type: &str,
        method: &str,
        act: F,
        with: impl FnOnce(EventHandler) -> EventHandler,
    ) -> Outcome<Self>
    where
        F: Fn(Context, Value) -> Doing + Send + Sync + 'static,
        Doing: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let teller = self.teller.clone();
        let handler = EventHandler::new(
            source,
            event_type,
            method,
            move |context: Context, payload: Value| {
                // A trial that is over hears nothing.
                let _ = teller.send(Seen { payload: payload.clone(), context: context.clone() });
                act(context, payload)
            },
        );
        self.service = self.service.with_handler(with(handler))?;
        Ok(self)
    }

    pub(crate) fn with(mut self, with: impl FnOnce(Service) -> Service) -> Self {
        self.service = with(self.service);
        self
    }

    pub(crate) async fn start(self, backend: &AnyBackend) -> Outcome<Rust> {
        let running = soon("the start of a service", self.service.start(backend)).await??;
        let events = running.events();
        Ok(Rust { running, seen: self.seen, events })
    }
}

impl Rust {
    /// What a handler sees next.
    pub(crate) async fn seen(&mut self) -> Outcome<Seen> {
        soon("an event for ours", self.seen.recv()).await?.ok_or_else(|| "it ended".into())
    }

    /// What becomes of the next event.
    pub(crate) async fn settled(&mut self) -> Outcome<Settled> {
        loop {
            if let ServiceEvent::Settled(settled) = self.event().await? {
                return Ok(settled);
            }
        }
    }

    /// The next event has to end so.
    pub(crate) async fn settles_as(&mut self, outcome: SettledAs) -> Outcome<Settled> {
        let settled = self.settled().await?;
        if settled.outcome == outcome {
            return Ok(settled);
        }
        Err(format!("{outcome:?} was promised, {settled:?} came").into())
    }

    pub(crate) async fn event(&mut self) -> Outcome<ServiceEvent> {
        match soon("news of a service", self.events.next()).await? {
            Some(Ok(event)) => Ok(event),
            other => Err(format!("news of a service: {other:?}").into()),
        }
    }
}

pub(crate) fn as_it_is(handler: EventHandler) -> EventHandler {
    handler
}
