//! A backend whose intake yields what a test says.
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use futures_util::stream;
use sinew_core::{
    Backend, Capabilities, Error, ErrorKind, Event, Incoming, Message, Pattern, Registration,
    Result, Subscribe, Subscription, Wildcards,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(crate) type Script = UnboundedSender<Result<Event<Message>>>;

pub(crate) struct Scripted {
    pub(crate) capabilities: Capabilities,
    intake: Mutex<Option<UnboundedReceiver<Result<Event<Message>>>>>,
    /// What was subscribed to.
    pub(crate) wanted: Mutex<Vec<Pattern>>,
    /// Set once the intake is gone.
    pub(crate) stopped: Arc<AtomicBool>,
}

/// The backend, and what it is told to say.
pub(crate) fn scripted() -> (Scripted, Script) {
    let (script, intake) = unbounded_channel();
    let capabilities = Capabilities::new("scripted")
        .with_registration(Registration::Confirmed)
        .with_wildcards(Wildcards::Tokens);
    let backend = Scripted {
        capabilities,
        intake: Mutex::new(Some(intake)),
        wanted: Mutex::default(),
        stopped: Arc::default(),
    };
    (backend, script)
}

impl Backend for Scripted {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
}

impl Subscribe for Scripted {
    async fn subscribe(&self, wanted: Subscription) -> Result<Incoming<Message>> {
        lock(&self.wanted).extend(wanted.patterns);
        let intake = lock(&self.intake).take();
        let intake = intake.ok_or_else(|| Error::new(ErrorKind::Internal, "subscribe twice"))?;
        let events = stream::unfold(intake, |mut intake| async {
            intake.recv().await.map(|event| (event, intake))
        });
        let stopped = Arc::clone(&self.stopped);
        Ok(Incoming::new(events, move || stopped.store(true, Ordering::SeqCst)))
    }
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
