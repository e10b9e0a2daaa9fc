//! A clock that stands still: under shuttle nothing happens by time.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::error::MemoryError;

pub(crate) use std::time::Instant;

pub(crate) type Sleep = Pin<Box<Never>>;

#[derive(Debug, Default)]
pub(crate) struct Clock(());

/// A timer that does not fire.
#[derive(Debug)]
pub(crate) struct Never(Instant);

/// A turn that costs nothing.
pub(crate) struct Turn;

pub(crate) fn now() -> Instant {
    static NOW: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

pub(crate) fn poll_turn(_: &mut Context<'_>) -> Poll<Turn> {
    Poll::Ready(Turn)
}

impl Turn {
    pub(crate) fn made_progress(self) {}
}

impl Never {
    pub(crate) fn deadline(&self) -> Instant {
        self.0
    }
}

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Clock {
    pub(crate) fn sleep(&self, duration: Duration) -> Result<Sleep, MemoryError> {
        self.sleep_until(now() + duration)
    }

    pub(crate) fn sleep_until(&self, deadline: Instant) -> Result<Sleep, MemoryError> {
        Ok(Box::pin(Never(deadline)))
    }

    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), MemoryError> {
        shuttle::future::spawn(task);
        Ok(())
    }
}
