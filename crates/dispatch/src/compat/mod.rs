#![doc = include_str!("README.md")]

mod call;
mod dispatcher;
mod listener;
mod producer;

pub use call::Call;
pub use dispatcher::{AteDispatcher, DEFAULT_TTL_MS};
pub use listener::{About, ListenerHandle, RequestId, ResultListener};
pub use producer::{Producer, ProducerHandle};
