//! A task that works off what it is handed, and the bounded queue before it.
use std::time::Duration;

use sinew_core::{Error, ErrorKind, Result};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{self, error::TrySendError},
    },
    task::JoinHandle,
    time::timeout,
};

/// Dropping it ends the task, and loses what waits.
#[derive(Debug)]
pub(super) struct Worker<T> {
    queue: Option<mpsc::Sender<T>>,
    task: JoinHandle<()>,
}

impl<T> Worker<T> {
    /// Starts the task; it ends when it gets no more. Like [`tokio::spawn`] it panics outside of a tokio runtime.
    pub(super) fn start<F>(capacity: usize, work: impl FnOnce(mpsc::Receiver<T>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(capacity.clamp(1, Semaphore::MAX_PERMITS));
        Self { queue: Some(queue), task: tokio::spawn(work(waiting)) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.capacity() > 0)
    }

    pub(super) fn send(&self, item: T, operation: &'static str) -> Result<()> {
        let sent = match &self.queue {
            Some(queue) => queue.try_send(item),
            None => Err(TrySendError::Closed(item)),
        };
        let (kind, detail) = match sent {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_)) => (ErrorKind::Overloaded, "too many notifications wait"),
            Err(TrySendError::Closed(_)) => (ErrorKind::Closed, "the task has ended"),
        };
        Err(Error::new(kind, operation).with_detail(detail))
    }

    /// Takes no more, and lets what waits be worked off for no longer than `limit`.
    pub(super) async fn finish(&mut self, limit: Duration) {
        self.queue = None;
        // Either it ended, or it is aborted when `self` is dropped.
        let _ended = timeout(limit, &mut self.task).await;
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
