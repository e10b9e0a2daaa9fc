//! What a running service has to tell: of its intakes, and of each event that it is done with.
use std::{fmt, sync::Arc, time::Duration};

use sinew_core::Message;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::HandlerName;

/// Something that happened to a running service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// The link of a handler's intake is down; its events wait.
    Down {
        /// Whose.
        handler: HandlerName,
    },
    /// The link is up again, its queue declared and consumed again.
    Up {
        /// Whose.
        handler: HandlerName,
        /// Events may have been missed in between.
        gap: bool,
    },
    /// At least so many events were lost on their way in, as the intake's buffer was full.
    Lost {
        /// Whose.
        handler: HandlerName,
        /// How many.
        count: u64,
    },
    /// A handler's intake has ended by itself: nothing comes to it any more, until the service is started again.
    Ended {
        /// Whose.
        handler: HandlerName,
        /// Why; none when its link was drained.
        error: Option<Arc<str>>,
    },
    /// An event was dealt with, for this delivery of it.
    Settled(Settled),
}

/// What became of one delivery of an event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settled {
    /// Whose handler.
    pub handler: HandlerName,
    /// The event as it came.
    pub message: Message,
    /// What became of it.
    pub outcome: SettledAs,
    /// How often the handler was run for this delivery.
    pub runs: u32,
    /// What the last run, or the attempt to decode the event, failed with.
    pub error: Option<Arc<str>>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SettledAs {
    /// The handler has handled it.
    Handled,
    /// It was handled before, and is not again.
    Duplicate,
    /// It was redriven to another handler that shares the subject, and is no business of this one.
    PassedOver,
    /// Handed back, to be delivered again at once.
    Requeued,
    /// Handed back, to be delivered again after this delay.
    Delayed(Duration),
    /// Put into the error queue.
    DeadLettered,
    /// Given up: acknowledged, and gone.
    Dropped,
    /// Not handled to its end: the broker took it back, or the service was ended without waiting. It comes again.
    Cancelled,
}

/// Hears of a running service. Who hears slowly misses the oldest, and is told how many.
pub struct ServiceEvents(broadcast::Receiver<ServiceEvent>);

/// How many are kept for who hears slowly.
const KEPT: usize = 1024;

impl ServiceEvents {
    /// The next one; none when the service has ended and is not held to be started again.
    ///
    /// # Errors
    ///
    /// How many were missed since the last one.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn next(&mut self) -> Option<Result<ServiceEvent, u64>> {
        match self.0.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(RecvError::Lagged(missed)) => Some(Err(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl fmt::Debug for ServiceEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceEvents")
    }
}

/// Tells whoever hears.
#[derive(Clone, Debug)]
pub(crate) struct Teller(broadcast::Sender<ServiceEvent>);

impl Teller {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(KEPT).0)
    }

    pub(crate) fn listen(&self) -> ServiceEvents {
        ServiceEvents(self.0.subscribe())
    }

    /// Tells what is made only if somebody hears.
    pub(crate) fn tell(&self, make: impl FnOnce() -> ServiceEvent) {
        if self.0.receiver_count() > 0 {
            // Whoever heard has gone meanwhile.
            let _ = self.0.send(make());
        }
    }
}
