//! The locks and counters of this crate, in one place: `tests/interleavings.rs` compiles the same sources with shuttle's.
use std::sync::PoisonError;
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};

/// Locks, whatever became of the thread that held it last: nobody else's code runs under these locks, so what they
/// guard is whole even where such a thread panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
