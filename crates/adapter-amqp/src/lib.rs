//! Sinew's contracts over AMQP 0-9-1: RabbitMQ, and what speaks like it.
#![doc = include_str!("../README.md")]

mod acks;
mod backoff;
mod connect;
mod consume;
mod control;
mod declare;
mod delay;
mod dial;
mod error;
mod fall;
mod fields;
mod gate;
mod guard;
mod ids;
mod inbound;
mod lane;
mod link;
mod login;
#[cfg(feature = "nameko")]
mod nameko;
mod names;
mod options;
mod policy;
mod properties;
mod publish;
mod queues;
mod refusal;
mod request;
mod returns;
mod run;
mod session;
mod settings;
mod settle;
mod stream;
mod subscribe;
mod supervisor;
mod table;
mod tap;
mod tls;
mod url;
mod wire;

pub use connect::Amqp;
pub use lapin;
#[cfg(feature = "nameko")]
pub use nameko::{NamekoConfig, NamekoSerializer};
pub use options::AmqpOptions;
pub use policy::{DelayLayout, ExchangeKind, ExchangePolicy, QueuePolicy};
