#![doc = include_str!("../README.md")]

mod age;
mod alerts;
mod blocking;
mod deadline;
mod heart;
mod histogram;
mod instance;
mod monitor;
mod outbox;
mod outputs;
mod process;
mod progress;
mod pulse;
mod rhythm;
mod run;
mod snapshot;
mod stats;
mod time;
mod trace;
mod watch;
mod wire;

pub use alerts::{
    Alert, AlertCounts, AlertKey, AlertKind, AlertOptions, Alerts, Condition, InhibitionRule, Mute,
    MuteCause, MuteId, Notification, ToldIncident, Weekday,
};
pub use blocking::{BlockingHeart, BlockingRun};
pub use heart::{Heart, HeartCounts, HeartOptions};
pub use histogram::Histogram;
pub use instance::{Instance, InstancePair};
pub use monitor::{
    BlindCause, Monitor, MonitorCounts, MonitorEvent, MonitorOptions, Patience, ProcessStatus,
    Reason, State, Transition, TransitionCount,
};
pub use outputs::{
    CommandCounts, CommandFailure, CommandOptions, CommandOutput, Republish, RepublishCounts,
    RepublishOutput,
};
#[cfg(feature = "webhook")]
pub use outputs::{WebhookCounts, WebhookFailure, WebhookOptions, WebhookOutput, WebhookSecret};
pub use process::Process;
pub use progress::{Health, Progress};
pub use pulse::{MIN_INTERVAL, OnChange, Pulse};
pub use snapshot::Snapshot;
pub use time::{Clock, Timestamp};
pub use watch::{Watch, WatchOptions, WatchTable};
pub use wire::{Beat, MAX_PROMISE, Malformed};
