//! RabbitMQ for tests: 3.8 or later, tried with 3.10.8 on Erlang 25. It takes some 4 s to start, so tests that do not
//! hurt it share one, each with queues or a virtual host of its own.

mod broker;
mod launch;
mod options;
mod tap;

pub use self::{broker::RabbitMq, options::RabbitMqOptions, tap::Tap};
