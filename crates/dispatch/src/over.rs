//! Whether an ask is over: said once, seen at a glance, waited for by any number.
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Over {
    is_over: AtomicBool,
    told: Notify,
    is_claimed: AtomicBool,
}

impl Over {
    /// Says so.
    pub(crate) fn tell(&self) {
        if !self.is_over.swap(true, SeqCst) {
            self.told.notify_waiters();
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    /// Whether the caller is who tells those elsewhere: said to one.
    pub(crate) fn claim(&self) -> bool {
        !self.is_claimed.swap(true, SeqCst)
    }

    /// Waits until somebody says so.
    pub(crate) async fn told(&self) {
        // It hears what is said from its making on, polled or not.
        let told = self.told.notified();
        if !self.is_told() {
            told.await;
        }
    }
}
