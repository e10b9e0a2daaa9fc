//! A running service: what becomes of it, and how it ends.
use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use sinew_core::{Error, ErrorKind, Queue, Result};
use tokio::{
    select,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::{timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Came,
    intake::Intake,
    notifier::{Notifier, ServiceEvent, ServiceEvents},
    permit::Workers,
    processor::Processor,
};
use crate::{EventDispatcher, HandlerCounts, HandlerName, deadline::deadline};

/// A service that is running. Dropping it ends it at once: what is being handled is given up and comes again.
///
/// ```no_run
/// # async fn run(running: sinew_events::Running) -> std::io::Result<()> {
/// use std::time::Duration;
/// use tokio::signal::unix::{SignalKind, signal};
///
/// let mut signals = signal(SignalKind::terminate())?;
/// let terminated = async || drop(signals.recv().await);
/// running.run_until(terminated, Duration::from_secs(30)).await.map_err(std::io::Error::other)
/// # }
/// ```
#[must_use = "dropping it ends the service"]
pub struct Running {
    dispatcher: EventDispatcher,
    notifier: Notifier,
    processors: Vec<Arc<Processor>>,
    intakes: JoinSet<()>,
    /// Says once of each that it takes nothing in any more.
    ended: UnboundedReceiver<Ended>,
    stop: CancellationToken,
    give_up: CancellationToken,
}

/// A handler's intake that has ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended {
    /// Whose.
    pub handler: HandlerName,
    /// Why: its link was drained, or an error.
    pub result: Result<()>,
}

/// How long what was given up may take to hand its events back.
const GRACE: Duration = Duration::from_secs(2);

impl Running {
    /// Begins to take events in.
    pub(super) fn new(
        dispatcher: EventDispatcher,
        notifier: Notifier,
        intakes: Vec<(Arc<Processor>, Workers, Came)>,
    ) -> Self {
        let (tell, ended) = unbounded_channel();
        let processors = intakes.iter().map(|it| Arc::clone(&it.0)).collect();
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let mut running = Self {
            dispatcher,
            notifier,
            processors,
            intakes: JoinSet::new(),
            ended,
            stop,
            give_up,
        };
        for (processor, workers, came) in intakes {
            let taking = running.take_in(processor, workers, came, tell.clone());
            running.intakes.spawn(taking.in_current_span());
        }
        running
    }

    /// Takes in the events of one handler, then waits for what runs.
    fn take_in(
        &self,
        processor: Arc<Processor>,
        workers: Workers,
        came: Came,
        tell: UnboundedSender<Ended>,
    ) -> impl Future<Output = ()> + use<> {
        let (handler, notifier) = (processor.name.clone(), self.notifier.clone());
        let (stop, give_up) = (self.stop.clone(), self.give_up.clone());
        let mut intake = Intake::new(processor, workers, stop.clone(), give_up);
        async move {
            let through = async {
                match came {
                    Came::Settled(incoming) => intake.through(incoming).await,
                    Came::Unsettled(incoming) => intake.through(incoming).await,
                }
            };
            // What an adapter does wrong ends one handler, and not in silence.
            let ended = AssertUnwindSafe(through).catch_unwind().await;
            let result = ended.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "take events in").with_detail("it panicked"))
            });
            if !stop.is_cancelled() {
                // An error goes to one owner; others are told what it says.
                let error = result.as_ref().err().map(|err| Arc::from(err.to_string()));
                tracing::error!(target: crate::trace::TARGET, %handler, error = error.as_deref(), "intake ended");
                notifier.tell(|| ServiceEvent::Ended { handler: handler.clone(), error });
            }
            // Where nobody listens any more, it was dropped.
            let _ = tell.send(Ended { handler, result });
            drop(tell);
            intake.finish().await;
        }
    }

    /// Emits events of this service.
    #[must_use]
    pub fn dispatcher(&self) -> &EventDispatcher {
        &self.dispatcher
    }

    /// Hears from now on what happens to it; what was handled since it was started is heard by
    /// [`Service::events`](crate::Service::events).
    #[must_use]
    pub fn events(&self) -> ServiceEvents {
        self.notifier.listen()
    }

    /// Each handler, its queue, and what became of its events.
    pub fn counts(&self) -> impl Iterator<Item = (&HandlerName, &Queue, HandlerCounts)> {
        self.processors
            .iter()
            .map(|processor| (&processor.name, &processor.queue, processor.meter.read()))
    }

    /// Waits until a handler's intake has ended by itself, so that nothing comes to it any more; none once all have. What it has
    /// begun goes on, and so do the others.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn ended(&mut self) -> Option<Ended> {
        self.ended.recv().await
    }

    /// Runs until a signal comes or a handler's intake has ended by itself, then [drains](Running::drain) for `within`; a second
    /// signal ends it at once. `signal` waits for the next one: SIGTERM, Ctrl-C.
    /// The process may outlive it: under `#[tokio::main]` it waits for threads of [`blocking`](crate::blocking()) handlers.
    ///
    /// # Errors
    ///
    /// Why an intake has ended: a service that is short of a handler is better started anew. As [`Running::drain`] has
    /// them; [`ErrorKind::Timeout`] after a second signal.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it ends at once.
    pub async fn run_until(
        mut self,
        mut signal: impl AsyncFnMut(),
        within: Duration,
    ) -> Result<()> {
        let name = self.dispatcher.source().clone();
        let ended = select! {
            () = signal() => Ok(()),
            ended = self.ended() => ended.map_or(Ok(()), |it| it.result),
        };
        let drained = select! {
            biased;
            drained = self.drain(within) => drained,
            () = signal() => Err(Error::new(ErrorKind::Timeout, "drain service")
                .with_subject(name.as_str())
                .with_detail("a second signal; what ran comes again")),
        };
        ended.and(drained)
    }

    /// Ends it in order, and takes `within` at most, and 2 s more where something is given up, for its event to be handed back
    /// before it is dropped: no new work; what runs goes on to its end, may emit, and is acknowledged;
    /// what was sent ahead is given back to the broker; what was emitted is answered.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when something still ran: it was given up, and comes again. Else why an intake had ended before,
    /// or what an emit failed with that nobody waited for.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it ends at once, as a second signal should.
    pub async fn drain(mut self, within: Duration) -> Result<()> {
        let end = deadline(within);
        self.stop.cancel();
        let all = async { while self.intakes.join_next().await.is_some() {} };
        if timeout_at(end, all).await.is_err() {
            let left: u64 =
                self.processors.iter().map(|processor| processor.meter.read().in_flight).sum();
            self.give_up.cancel();
            let all = async { while self.intakes.join_next().await.is_some() {} };
            drop(timeout(GRACE, all).await);
            return Err(Error::new(ErrorKind::Timeout, "drain service")
                .with_subject(self.dispatcher.source().as_str())
                .with_detail(format!("given up after {within:?}, to come again: {left}")));
        }
        while let Ok(ended) = self.ended.try_recv() {
            ended.result?;
        }
        match timeout_at(end, self.dispatcher.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(Error::new(ErrorKind::Timeout, "drain service")
                .with_subject(self.dispatcher.source().as_str())
                .with_detail("not all that was emitted is answered")),
        }
    }
}

/// The tasks end by themselves: aborted, they could not take back what they noted of the events that they give up.
impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.give_up.cancel();
        self.intakes.detach_all();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<_> =
            self.processors.iter().map(|processor| processor.name.as_str()).collect();
        f.debug_struct("Running")
            .field("service", &self.dispatcher.source().as_str())
            .field("handlers", &handlers)
            .finish_non_exhaustive()
    }
}
