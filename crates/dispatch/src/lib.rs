#![doc = include_str!("../README.md")]

mod agent;
mod agent_id;
mod agent_status;
mod ask;
mod asking;
mod background;
mod blocking_dispatcher;
mod blocking_handler;
pub mod compat;
mod context;
mod dispatcher;
mod error;
mod expect;
mod gather;
mod gathering;
mod load;
mod local;
mod options;
mod over;
#[cfg(feature = "beat")]
mod presence;
mod remote;
mod reply;
mod serve;
mod stats;
mod trace;
mod until;
mod wire;

pub use agent::{Agent, AnyAgent};
pub use agent_id::AgentId;
pub use agent_status::AgentStatus;
pub use ask::Ask;
pub use blocking_dispatcher::{BlockingDispatcher, BlockingGathering};
pub use blocking_handler::blocking;
pub use context::Context;
pub use dispatcher::{Dispatcher, DispatcherCounts};
pub use error::AgentError;
pub use expect::{Expect, Presence};
pub use gathering::Gathering;
pub use local::Registration;
pub use options::DispatcherOptions;
#[cfg(feature = "beat")]
pub use presence::{BeatPresence, process_of};
pub use reply::{End, Ended, Reply};
pub use serve::{Service, ServiceCounts};
pub use until::{Condition, Hedge, SoFar, Until};
pub use wire::{AgentState, AskHead, AskId, ReplyHead};
