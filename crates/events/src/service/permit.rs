//! Who may be worked on: the service's workers, and how many of them one handler has.
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::EventDispatcher;

/// The workers of a service.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    workers: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// A worker that has something to do; free when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _own: Option<OwnedSemaphorePermit>,
    _worker: Option<OwnedSemaphorePermit>,
}

/// What ties a context to the service that runs its handler.
pub(crate) struct Attachment {
    pub(crate) dispatcher: EventDispatcher,
    /// Counted from 1, for each delivery.
    pub(crate) run: u32,
    pub(crate) cancelled: CancellationToken,
    /// Weak: a context that is kept keeps no worker.
    pub(crate) permit: Weak<Permit>,
}

/// What tells the present run of a delivery to stop, once there is one. Each run has a token of its own, as it may be stopped
/// alone.
#[derive(Debug, Default)]
pub(crate) struct Stop(Mutex<Option<CancellationToken>>);

impl Stop {
    /// That of the next run.
    pub(crate) fn next(&self) -> CancellationToken {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        present.insert(CancellationToken::new()).clone()
    }

    /// Stops the one that runs.
    pub(crate) fn stop(&self) {
        let present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        present.iter().for_each(CancellationToken::cancel);
    }
}

impl Workers {
    pub(crate) fn new(workers: &Arc<Semaphore>, own: usize) -> Self {
        let own = Arc::new(Semaphore::new(own.clamp(1, Semaphore::MAX_PERMITS)));
        Self { workers: Arc::clone(workers), own }
    }

    /// A worker, where one is free.
    pub(crate) fn try_take(&self) -> Option<Arc<Permit>> {
        let own = Arc::clone(&self.own).try_acquire_owned().ok()?;
        let worker = Arc::clone(&self.workers).try_acquire_owned().ok()?;
        Some(Arc::new(Permit { _own: Some(own), _worker: Some(worker) }))
    }

    /// Waits for a worker: first among the handler's own, so that a handler at its limit takes none from others.
    pub(crate) async fn take(&self) -> Arc<Permit> {
        // Neither is ever closed.
        let own = Arc::clone(&self.own).acquire_owned().await.ok();
        let worker = Arc::clone(&self.workers).acquire_owned().await.ok();
        Arc::new(Permit { _own: own, _worker: worker })
    }
}
