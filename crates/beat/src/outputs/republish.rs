//! What a monitor thinks of processes, told on a bus.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sinew_core::{Message, Publish, PublishExt as _, Receipt, Result, Subject};
use tokio::time::timeout;

use super::{unix, worker::Worker};
use crate::{Clock, Transition};

const PREFIX: &str = "liveness.";

/// Tells each transition on `liveness.<process>`, through any backend that can publish.
///
/// The payload is the state and when it began, in seconds since 1970 UTC by the monitor's clock: `down/1767225600.250`.
/// It is text as beatit's is, so that whoever reads heartbeats can read it, and it is true however late it is read.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sinew_core::Result<()> {
/// use sinew_adapter_memory::Memory;
/// use sinew_beat::{MonitorEvent, Republish, Watch, WatchOptions};
///
/// let broker = Memory::new();
/// let mut watch = Watch::start(&broker, WatchOptions::default()).await?;
/// let republish = Republish::new(broker.clone(), watch.clock());
/// # let heart = sinew_beat::Heart::new(broker.clone(), "billing")?;
/// # heart.beat().await?;
/// while let Some(event) = watch.next().await {
///     if let MonitorEvent::Transition(transition) = event? {
///         republish.publish(&transition).await?;
///     }
/// #   break;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Republish<P> {
    publisher: P,
    clock: Clock,
}

impl<P: Publish> Republish<P> {
    /// Tells through `publisher`; `clock` is that of the [`Watch`](crate::Watch) which tells the transitions.
    #[must_use]
    pub const fn new(publisher: P, clock: Clock) -> Self {
        Self { publisher, clock }
    }

    /// Tells one transition.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`](sinew_core::ErrorKind::InvalidSubject) when the process's name makes no subject, and
    /// what [`PublishExt::send`](sinew_core::PublishExt::send) has.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call may or may not tell the transition. It has no deadline of its own.
    pub async fn publish(&self, transition: &Transition) -> Result<Receipt> {
        let subject = Subject::parse(&format!("{PREFIX}{}", transition.process))?;
        let payload = format!("{}/{}", transition.to, unix(&self.clock, transition.at));
        self.publisher.send(Message::new(subject, payload)).await
    }
}

/// How many transitions wait for the one that is told.
const QUEUE: usize = 4096;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of the transitions that were handed to a [`RepublishOutput`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RepublishCounts {
    /// Those that the backend took.
    pub told: u64,
    /// Those that it did not take, or not within 5 s.
    pub failed: u64,
    /// Those that were refused, as too many waited.
    pub refused: u64,
    /// Those that wait, or are being told; once it is finished, those that were lost.
    pub waiting: u64,
}

/// A [`Republish`] on a task of its own: whoever hands in a transition does not wait for the bus.
///
/// They are told one after the other; one that fails is counted and not repeated, as the next one says more of now. Up
/// to 4096 wait. Dropping it ends the task, and loses what waits.
#[derive(Debug)]
pub struct RepublishOutput {
    counts: Arc<Mutex<RepublishCounts>>,
    worker: Worker<Transition>,
}

impl RepublishOutput {
    /// Starts the task. Like [`tokio::spawn`] it panics outside of a tokio runtime.
    #[must_use]
    pub fn start<P: Publish + 'static>(republish: Republish<P>) -> Self {
        let counts = Arc::new(Mutex::new(RepublishCounts::default()));
        let counted = Arc::clone(&counts);
        let worker = Worker::start(QUEUE, |mut waiting| async move {
            while let Some(transition) = waiting.recv().await {
                let told = timeout(PATIENCE, republish.publish(&transition)).await;
                let mut counts = counted.lock().unwrap_or_else(PoisonError::into_inner);
                counts.waiting = counts.waiting.saturating_sub(1);
                match told {
                    Ok(Ok(_)) => counts.told += 1,
                    Ok(Err(_)) | Err(_) => counts.failed += 1,
                }
            }
        });
        Self { counts, worker }
    }

    /// Hands in a transition, and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`](sinew_core::ErrorKind::Overloaded) when 4096 wait,
    /// [`ErrorKind::Closed`](sinew_core::ErrorKind::Closed) when the task has ended, with its runtime say. The transition
    /// is lost then, and counted.
    pub fn send(&self, transition: Transition) -> Result<()> {
        self.lock().waiting += 1;
        self.worker.send(transition, "republish transition").inspect_err(|_| {
            let mut counts = self.lock();
            counts.waiting = counts.waiting.saturating_sub(1);
            counts.refused += 1;
        })
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> RepublishCounts {
        *self.lock()
    }

    /// Lets what waits be told, for no longer than `limit`. Gives what it has counted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call may or may not tell the one under way, and loses what waits.
    pub async fn finish(mut self, limit: Duration) -> RepublishCounts {
        self.worker.finish(limit).await;
        self.counts()
    }

    fn lock(&self) -> MutexGuard<'_, RepublishCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
