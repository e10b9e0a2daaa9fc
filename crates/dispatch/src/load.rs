//! How much runs: an agent's limit, and what a drain waits for.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::Notify;

/// Counts what runs, and tells when nothing does.
#[derive(Debug, Default)]
pub(crate) struct Load {
    running: AtomicUsize,
    /// How many wait until nothing runs: nearly always none.
    waiting: AtomicUsize,
    idle: Notify,
}

impl Load {
    pub(crate) fn running(&self) -> usize {
        self.running.load(SeqCst)
    }

    fn enter(&self, limit: usize) -> bool {
        self.running.fetch_update(SeqCst, SeqCst, |it| (it < limit).then(|| it + 1)).is_ok()
    }

    /// Counts one more thing that runs, until what is returned is dropped.
    pub(crate) fn count(this: &Arc<Self>) -> Counted {
        this.enter(usize::MAX);
        Counted(Arc::clone(this))
    }

    /// The same, unless as many run as may.
    pub(crate) fn try_count(this: &Arc<Self>, limit: usize) -> Option<Counted> {
        this.enter(limit).then(|| Counted(Arc::clone(this)))
    }

    fn leave(&self) {
        if self.running.fetch_sub(1, SeqCst) == 1 && self.waiting.load(SeqCst) > 0 {
            self.idle.notify_waiters();
        }
    }

    /// Waits until nothing runs.
    pub(crate) async fn idle(&self) {
        let _waiting = Waiting::enter(&self.waiting);
        loop {
            let idle = self.idle.notified();
            if self.running() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// One thing that runs.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Load>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Counts one who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// One call that runs, counted for its agent and for its registration until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    agent: Arc<Load>,
    registration: Arc<Load>,
}

impl Slot {
    /// A slot, unless the agent runs as much as it may.
    pub(crate) fn take(agent: &Arc<Load>, limit: usize, registration: &Arc<Load>) -> Option<Self> {
        if !agent.enter(limit) {
            return None;
        }
        registration.enter(usize::MAX);
        Some(Self { agent: Arc::clone(agent), registration: Arc::clone(registration) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.registration.leave();
        self.agent.leave();
    }
}
