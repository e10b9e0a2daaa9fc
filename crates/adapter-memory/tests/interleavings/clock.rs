//! A clock that stands still: under shuttle nothing happens by time.
use std::{
    future::Future,
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};

use crate::error::MemoryError;

pub(crate) use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Clock(());

/// A timer that does not fire.
#[derive(Debug)]
pub(crate) struct Timer(Instant);

/// A turn that costs nothing.
pub(crate) struct Turn;

pub(crate) fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

pub(crate) fn poll_turn(_: &mut Context<'_>) -> Poll<Turn> {
    Poll::Ready(Turn)
}

impl Turn {
    pub(crate) fn made_progress(self) {}
}

impl Timer {
    pub(crate) fn at(deadline: Instant) -> Self {
        Self(deadline)
    }

    pub(crate) fn after(duration: Duration) -> Self {
        Self(now() + duration)
    }

    pub(crate) fn again(&self) -> Self {
        Self(self.0)
    }

    pub(crate) fn is_at(&self, deadline: Instant) -> bool {
        self.0 == deadline
    }

    pub(crate) fn poll(&mut self, _: &Clock, _: &mut Context<'_>) -> Poll<Result<(), MemoryError>> {
        Poll::Pending
    }
}

impl Clock {
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), MemoryError> {
        drop(shuttle::future::spawn(task));
        Ok(())
    }
}
