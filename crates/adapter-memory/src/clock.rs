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
    runtime::{Builder, Handle},
    sync::oneshot,
    task::coop::{RestoreOnPending, poll_proceed},
};

use crate::error::MemoryError;

pub(crate) use tokio::time::Instant;

/// A timer that has been set.
pub(crate) type Sleep = Pin<Box<tokio::time::Sleep>>;

/// A broker's source of timers.
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

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Takes part in tokio's cooperative scheduling, so that an intake that never runs dry cannot starve its thread;
/// always ready outside of tokio.
pub(crate) fn poll_turn(cx: &mut Context<'_>) -> Poll<RestoreOnPending> {
    poll_proceed(cx)
}

impl Clock {
    pub(crate) fn sleep(&self, duration: Duration) -> Result<Sleep, MemoryError> {
        self.timer(|| tokio::time::sleep(duration))
    }

    pub(crate) fn sleep_until(&self, deadline: Instant) -> Result<Sleep, MemoryError> {
        self.timer(|| tokio::time::sleep_until(deadline))
    }

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

    fn timer(&self, set: impl FnOnce() -> tokio::time::Sleep) -> Result<Sleep, MemoryError> {
        if Handle::try_current().is_ok() {
            return Ok(Box::pin(set()));
        }
        let _inside = self.keeper()?.enter();
        Ok(Box::pin(set()))
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
