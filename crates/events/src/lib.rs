#![doc = include_str!("../README.md")]

mod call_id;
mod context;
mod context_data;
mod error;
mod kind;
mod names;

pub use call_id::CallId;
pub use context::Context;
pub use context_data::{ContextData, HeaderPrefix};
pub use error::{HandlerError, PayloadError};
pub use kind::HandlerKind;
pub use names::{HandlerName, Source};
