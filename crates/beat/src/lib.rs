#![doc = include_str!("../README.md")]

mod blocking;
mod deadline;
mod heart;
mod monitor;
mod outbox;
mod process;
mod pulse;
mod stats;
mod time;
mod watch;
mod wire;

pub use blocking::BlockingHeart;
pub use heart::{Heart, HeartCounts, HeartOptions};
pub use monitor::{
    Monitor, MonitorCounts, MonitorEvent, MonitorOptions, Patience, ProcessStatus, Reason, State, Transition,
};
pub use process::Process;
pub use pulse::{MIN_INTERVAL, OnChange, Pulse};
pub use time::{Clock, Timestamp};
pub use watch::{Watch, WatchOptions, WatchTable};
pub use wire::{Beat, MAX_PROMISE, Malformed};
