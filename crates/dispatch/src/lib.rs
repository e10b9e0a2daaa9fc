#![doc = include_str!("../README.md")]
#![expect(dead_code, reason = "the half behind a broker uses it, and is to come")]

mod agent;
mod agent_id;
mod ask;
mod asking;
mod blocking_handler;
mod context;
mod dispatcher;
mod error;
mod expect;
mod gather;
mod gathering;
mod load;
mod local;
mod options;
mod reply;
mod stats;
mod trace;
mod until;

pub use agent::{Agent, AnyAgent};
pub use agent_id::AgentId;
pub use ask::Ask;
pub use blocking_handler::blocking;
pub use context::Context;
pub use dispatcher::{Dispatcher, DispatcherCounts};
pub use error::AgentError;
pub use expect::{Expect, Presence};
pub use gathering::Gathering;
pub use local::Registration;
pub use options::DispatcherOptions;
pub use reply::{End, Ended, Reply};
pub use until::{Condition, Hedge, SoFar, Until};
