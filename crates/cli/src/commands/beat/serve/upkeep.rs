//! How what the monitor does for itself went the last time.
use std::{
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::SystemTime,
};

/// What is done again and again, and may fail without anybody's notice.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Reading the file anew.
    pub(super) reload: LastTime,
    /// Writing the snapshot.
    pub(super) snapshot: LastTime,
    /// Events that were not printed, as nobody read them in time.
    pub(super) unprinted: AtomicU64,
}

/// How something went the last time, if it was ever done.
#[derive(Debug, Default)]
pub(super) struct LastTime(Mutex<Inner>);

#[derive(Clone, Copy, Debug, Default)]
struct Inner {
    is_well: Option<bool>,
    succeeded: Option<SystemTime>,
}

impl LastTime {
    /// Notes how it went; whether that is news.
    pub(super) fn note(&self, is_well: bool) -> bool {
        let mut inner = self.lock();
        if is_well {
            inner.succeeded = Some(SystemTime::now());
        }
        inner.is_well.replace(is_well) != Some(is_well)
    }

    /// Whether it went well the last time; none if it was never done.
    pub(super) fn is_well(&self) -> Option<bool> {
        self.lock().is_well
    }

    /// When it went well last.
    pub(super) fn succeeded(&self) -> Option<SystemTime> {
        self.lock().succeeded
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
