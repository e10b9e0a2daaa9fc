//! Sinew's contracts over AMQP 0-9-1: RabbitMQ, and what speaks like it.
#![doc = include_str!("../README.md")]

mod dial;
mod error;
mod login;
mod options;
mod policy;
mod refusal;
mod tls;
mod url;

pub use lapin;
pub use options::AmqpOptions;
pub use policy::{ExchangeKind, ExchangePolicy, QueuePolicy};
