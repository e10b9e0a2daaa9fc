//! Time: tokio's, so that a test's paused clock rules here too; and a thread that keeps it where there is no tokio.
use std::{
    io,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Id},
    sync::oneshot,
    task::coop::{RestoreOnPending, poll_proceed},
    time::{Sleep, sleep_until},
};

use crate::error::MemoryError;

pub(crate) use tokio::time::Instant;

/// What a broker's timers run on.
///
/// A timer belongs to the tokio runtime that the waiting task runs on. A task on another runtime, or a plain thread,
/// gets its timers from a thread that is started when first needed and ends with the broker.
#[derive(Debug, Default)]
pub(crate) struct Clock(OnceLock<Keeper>);

/// The thread behind [`Clock`]: it ends when this is dropped.
#[derive(Debug)]
struct Keeper {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

/// A moment to wait for. It is set where it is polled, and again where a task has moved to another runtime: the first
/// one may be gone.
#[derive(Debug)]
pub(crate) struct Timer {
    /// `None` is later than the clock can tell.
    deadline: Option<Instant>,
    set: Option<(Option<Id>, Pin<Box<Sleep>>)>,
}

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Takes part in tokio's cooperative scheduling, so that an intake that never runs dry cannot starve its thread;
/// always ready outside of tokio.
pub(crate) fn poll_turn(cx: &mut Context<'_>) -> Poll<RestoreOnPending> {
    poll_proceed(cx)
}

impl Timer {
    pub(crate) const fn at(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), set: None }
    }

    pub(crate) fn after(duration: Duration) -> Self {
        Self { deadline: now().checked_add(duration), set: None }
    }

    /// The same moment, to be set elsewhere.
    pub(crate) const fn again(&self) -> Self {
        Self { deadline: self.deadline, set: None }
    }

    pub(crate) fn is_at(&self, deadline: Instant) -> bool {
        self.deadline == Some(deadline)
    }

    pub(crate) fn poll(
        &mut self,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), MemoryError>> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let here = Handle::try_current().ok().map(|runtime| runtime.id());
        let sleep = match &mut self.set {
            Some((there, sleep)) if *there == here => sleep,
            other => {
                let sleep = match here {
                    Some(_) => sleep_until(deadline),
                    None => {
                        let _inside = clock.keeper()?.enter();
                        sleep_until(deadline)
                    }
                };
                &mut other.insert((here, Box::pin(sleep))).1
            }
        };
        sleep.as_mut().poll(cx).map(Ok)
    }
}

impl Clock {
    /// Goes on with `task` in the background.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), MemoryError> {
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(task)),
            Err(_) => drop(self.keeper()?.spawn(task)),
        }
        Ok(())
    }

    fn keeper(&self) -> Result<&Handle, MemoryError> {
        if let Some(keeper) = self.0.get() {
            return Ok(&keeper.runtime);
        }
        // Two threads may get here at once: the second keeper is dropped, and its thread ends.
        let keeper = Keeper::start().map_err(MemoryError::NoTimer)?;
        Ok(&self.0.get_or_init(|| keeper).runtime)
    }
}

impl Keeper {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("sinew-memory-clock".to_owned()).spawn(move || {
            // An error is the sender's end, and means the same.
            drop(runtime.block_on(stopped));
        })?;
        Ok(Self { runtime: handle, _stop: stop })
    }
}
