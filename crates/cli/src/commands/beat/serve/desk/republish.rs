//! Transitions told on the bus, beside everything else: nothing waits for them.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sinew_beat::{Clock, Republish, Transition};
use sinew_core::AnyPublisher;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// How many transitions wait for the bus; further ones are not told on it.
const QUEUE: usize = 4096;

/// How long the bus may take for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The task that tells them.
#[derive(Debug)]
pub(crate) struct Republishing {
    queue: mpsc::Sender<Transition>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    told: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Republishing {
    pub(crate) fn start(publisher: AnyPublisher, clock: Clock) -> Self {
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let republish = Republish::new(publisher, clock);
        let task = tokio::spawn(async move {
            while let Some(transition) = waiting.recv().await {
                match timeout(PATIENCE, republish.publish(&transition)).await {
                    Ok(Ok(_)) => counted.told.fetch_add(1, Relaxed),
                    Ok(Err(_)) | Err(_) => counted.failed.fetch_add(1, Relaxed),
                };
            }
        });
        Self { queue, counts, task }
    }

    pub(crate) fn tell(&self, transition: &Transition) {
        if self.queue.try_send(transition.clone()).is_err() {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    /// What became of them.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        let Counts { told, failed, dropped } = &*self.counts;
        [("told", told), ("failed", failed), ("dropped", dropped)]
            .map(|(name, count)| (name, count.load(Relaxed)))
    }
}

impl Drop for Republishing {
    fn drop(&mut self) {
        self.task.abort();
    }
}
