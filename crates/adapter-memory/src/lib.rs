#![doc = include_str!("../README.md")]

mod broker;
mod clock;
mod connection;
mod consume;
mod dedup;
mod error;
mod faults;
mod held;
mod index;
mod intakes;
mod link;
mod log;
mod mailbox;
mod offer;
mod options;
mod publish;
mod queue;
mod reply;
mod request;
mod settle;
mod state;
mod subscribe;
mod sync;
mod trie;
mod wait;

pub use broker::{MemoryBroker, MemoryStats};
pub use connection::Memory;
pub use options::MemoryOptions;
