//! A running intake, read by blocking calls.
use std::{fmt, sync::Arc, time::Duration};

use sinew_core::{Event, Incoming, Result};

use super::background::Background;

/// A running intake for code without an async runtime. Dropping it ends the intake.
#[must_use = "dropping it ends the intake"]
pub struct Intake<T> {
    incoming: Incoming<T>,
    background: Arc<Background>,
}

impl<T> Intake<T> {
    pub(super) fn new(incoming: Incoming<T>, background: Arc<Background>) -> Self {
        Self { incoming, background }
    }

    /// The next event; `None` once the intake has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) when none came within `within`, after which the
    /// intake goes on; else whatever ended it.
    pub fn next(&mut self, within: Duration) -> Result<Option<Event<T>>> {
        let Self { incoming, background } = self;
        background.wait("blocking next", within, async { incoming.next().await.transpose() })
    }

    /// The next item, passing over what else there is to say; `None` once the intake has ended.
    ///
    /// # Errors
    ///
    /// As [`Intake::next`].
    pub fn next_item(&mut self, within: Duration) -> Result<Option<T>> {
        let Self { incoming, background } = self;
        background.wait("blocking next", within, async { incoming.next_item().await.transpose() })
    }

    /// Stops the intake: what was received is still yielded, then `None`.
    pub fn stop(&mut self) {
        self.incoming.stop();
    }
}

impl<T> fmt::Debug for Intake<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Intake").field(&self.incoming).finish()
    }
}
