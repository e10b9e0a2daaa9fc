//! Sinew's contracts over NATS: core subjects and JetStream.
#![doc = include_str!("../README.md")]

mod connect;
mod control;
mod error;
mod flush;
mod headers;
mod jetstream;
mod link;
mod mux;
mod names;
mod options;
mod publish;
mod request;
mod subscribe;
mod tls;

pub use async_nats;
pub use connect::Nats;
pub use jetstream::{JetStream, JetStreamOptions};
pub use options::NatsOptions;
