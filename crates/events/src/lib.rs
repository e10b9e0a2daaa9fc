#![doc = include_str!("../README.md")]

mod call_id;
mod compression;
mod context;
mod context_data;
mod error;
mod kind;
mod names;
mod payload;
pub mod python;
mod serializer;

pub use call_id::CallId;
pub use compression::Compression;
pub use context::Context;
pub use context_data::{ContextData, HeaderPrefix};
pub use error::{HandlerError, PayloadError};
pub use kind::HandlerKind;
pub use names::{HandlerName, Source};
pub use payload::{Body, Encoded, PayloadOptions};
pub use serializer::{AnySerializer, Serializer, Target};
