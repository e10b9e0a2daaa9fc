//! What a running service has to tell: of its intakes, and of each event that it is done with.
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use sinew_core::{Buffer, Event, IntakeBuffer, IntakeReader, Message, Overflow};

use crate::HandlerName;

/// Something that happened to a running service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// The link of a handler's intake is down; its events wait. Where the backend has no queues, it is told once no more
    /// events wait here for a worker than were to be sent ahead.
    #[non_exhaustive]
    Down {
        /// Whose.
        handler: HandlerName,
    },
    /// The link is up again, its queue declared and consumed again.
    #[non_exhaustive]
    Up {
        /// Whose.
        handler: HandlerName,
        /// Events may have been missed in between.
        gap: bool,
    },
    /// At least so many events were lost on their way in, as the intake's buffer was full.
    #[non_exhaustive]
    Lost {
        /// Whose.
        handler: HandlerName,
        /// How many.
        count: u64,
    },
    /// A handler's intake has ended by itself: nothing comes to it any more, until the service is started again.
    #[non_exhaustive]
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
    /// What became of it here.
    pub outcome: SettledAs,
    /// Whether it is delivered again all the same: it was handed back, or the broker did not take the verdict (the link broke,
    /// it had taken the event back), or did not answer within 10 s, after which it may be.
    pub comes_again: bool,
    /// How often the handler was run for this delivery.
    pub runs: u32,
    /// What the last run, or the attempt to decode the event, failed with.
    pub error: Option<Arc<str>>,
}

/// What became of a delivery, and the verdict that the broker was given: [`Settled::comes_again`] says whether it took it.
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

/// Hears of a running service. Who hears slowly misses the oldest, and is told how many: 1,024 events are held, and 16 MiB of
/// the payloads among them, or one that is larger.
pub struct ServiceEvents(IntakeReader<ServiceEvent>);

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
        loop {
            // It is ended without an error, and has no link.
            match self.0.next().await?.ok()? {
                Event::Item(event) => return Some(Ok(event)),
                Event::Lost(missed) => return Some(Err(missed)),
                _ => {}
            }
        }
    }
}

impl fmt::Debug for ServiceEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceEvents")
    }
}

/// Tells whoever hears.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notifier(Arc<Listeners>);

#[derive(Debug, Default)]
struct Listeners {
    heard_by: Mutex<Vec<Arc<IntakeBuffer<ServiceEvent>>>>,
    /// How many those are: mostly none, which costs no lock.
    count: AtomicUsize,
}

/// What is held for who hears slowly.
fn bounds() -> Buffer {
    Buffer::default().with_messages(1024).with_bytes(16 << 20).with_overflow(Overflow::DropOldest)
}

impl Notifier {
    pub(crate) fn listen(&self) -> ServiceEvents {
        let buffer = Arc::new(IntakeBuffer::new(bounds(), "service events"));
        let mut heard_by = self.0.lock();
        heard_by.push(Arc::clone(&buffer));
        self.0.count.store(heard_by.len(), Relaxed);
        ServiceEvents(IntakeReader::new(buffer))
    }

    /// Tells what is made only if somebody hears.
    pub(crate) fn tell(&self, make: impl FnOnce() -> ServiceEvent) {
        if self.0.count.load(Relaxed) == 0 {
            return;
        }
        let event = make();
        let bytes = match &event {
            ServiceEvent::Settled(settled) => settled.message.payload.len(),
            _ => 0,
        };
        // Under the lock, so that all hear the same order.
        let mut heard_by = self.0.lock();
        heard_by.retain(|it| it.is_open());
        self.0.count.store(heard_by.len(), Relaxed);
        for buffer in &*heard_by {
            buffer.extend([(event.clone(), bytes)]);
        }
    }
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<IntakeBuffer<ServiceEvent>>>> {
        self.heard_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing can happen any more.
impl Drop for Listeners {
    fn drop(&mut self) {
        for buffer in &*self.lock() {
            buffer.end(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::Subject;

    use super::*;

    fn settled(payload: usize) -> ServiceEvent {
        let message = Message::new(Subject::parse("a").unwrap(), vec![0; payload]);
        let (handler, outcome) = ("billing.on_created".parse().unwrap(), SettledAs::Handled);
        ServiceEvent::Settled(Settled {
            handler,
            message,
            outcome,
            comes_again: false,
            runs: 1,
            error: None,
        })
    }

    /// How many are heard and missed of what was told so far.
    async fn heard(mut events: ServiceEvents) -> (usize, u64) {
        let (mut heard, mut missed) = (0, 0);
        while let Some(next) = events.next().await {
            match next {
                Ok(_) => heard += 1,
                Err(more) => missed += more,
            }
        }
        (heard, missed)
    }

    #[tokio::test]
    async fn who_hears_slowly_misses_the_oldest_and_holds_no_more_than_so_many_bytes() {
        for (payload, told, expected) in [
            (0, 1030, (1024, 6)),
            (1 << 20, 100, (16, 84)),
            // One is held however large it is.
            (17 << 20, 3, (1, 2)),
        ] {
            let notifier = Notifier::default();
            let (first, second) = (notifier.listen(), notifier.listen());
            drop(notifier.listen());
            for _ in 0..told {
                notifier.tell(|| settled(payload));
            }
            assert_eq!(notifier.0.count.load(Relaxed), 2, "who has gone is let go of");
            drop(notifier);
            assert_eq!((heard(first).await, heard(second).await), (expected, expected));
        }
    }

    #[test]
    fn nothing_is_made_that_nobody_hears() {
        let notifier = Notifier::default();
        notifier.tell(|| unreachable!());
        drop(notifier.listen());
        notifier.tell(|| settled(1));
        notifier.tell(|| unreachable!());
    }
}
