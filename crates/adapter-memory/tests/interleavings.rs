//! The adapter's own sources under shuttle: its locks and counters are scheduled in thousands of orders, and a wake-up
//! that is lost in any of them is a deadlock that shuttle reports with the schedule to replay.
//!
//! Only two modules differ from what users run: `sync` holds shuttle's primitives, and `clock` stands still.
#![expect(dead_code, reason = "what the library exports is not all called here")]

mod sync {
    //! The same names as in the library, from shuttle.
    pub(crate) use shuttle::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    };
    use std::sync::PoisonError;

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[path = "../src/broker.rs"]
mod broker;
#[path = "interleavings/clock.rs"]
mod clock;
#[path = "../src/connection.rs"]
mod connection;
#[path = "../src/consume.rs"]
mod consume;
#[path = "../src/dedup.rs"]
mod dedup;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/faults.rs"]
mod faults;
#[path = "../src/held.rs"]
mod held;
#[path = "../src/index.rs"]
mod index;
#[path = "../src/intakes.rs"]
mod intakes;
#[path = "../src/link.rs"]
mod link;
#[path = "../src/log.rs"]
mod log;
#[path = "../src/mailbox.rs"]
mod mailbox;
#[path = "../src/offer.rs"]
mod offer;
#[path = "../src/options.rs"]
mod options;
#[path = "../src/publish.rs"]
mod publish;
#[path = "../src/queue.rs"]
mod queue;
#[path = "../src/reply.rs"]
mod reply;
#[path = "../src/request.rs"]
mod request;
#[path = "../src/settle.rs"]
mod settle;
#[path = "../src/state.rs"]
mod state;
#[path = "../src/subscribe.rs"]
mod subscribe;
#[path = "../src/trie.rs"]
mod trie;
#[path = "../src/wait.rs"]
mod wait;

#[path = "interleavings/scenes.rs"]
mod scenes;

pub use broker::{MemoryBroker, MemoryStats};
pub use connection::Memory;
pub use options::MemoryOptions;
