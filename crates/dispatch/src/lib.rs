#![doc = include_str!("../README.md")]

mod agent;
mod agent_id;
mod agent_status;
mod ask;
mod ask_id;
mod asking;
mod background;
mod blocking_dispatcher;
mod blocking_handler;
mod blocking_service;
#[cfg(feature = "compat")]
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
pub use blocking_service::BlockingService;
pub use context::Context;
pub use dispatcher::{Dispatcher, DispatcherCounts};
pub use error::AgentError;
pub use expect::{Expect, Presence};
pub use gathering::Gathering;
pub use local::Registered;
pub use options::DispatcherOptions;
#[cfg(feature = "beat")]
pub use presence::BeatPresence;
pub use reply::{End, Ended, Gathered, Reply};
pub use serve::{Service, ServiceCounts};
pub use until::{Hedge, Predicate, SoFar, Until};
pub use wire::AgentState;

/// What stands in headers, for those who test how they are read.
#[doc(hidden)]
pub mod heads {
    pub use crate::{
        ask_id::AskId,
        wire::{AskHead, ReplyHead},
    };
}
