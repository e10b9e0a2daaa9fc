//! Real brokers for tests: started on loopback, killed, frozen and restarted; and a proxy that spoils a link.
//!
//! A [`Server`] is one broker process, with a free port and a folder of its own, that is gone when it is dropped.
//! A [`Recipe`] says how to run a particular broker; [`nats`] has the one for nats-server,
//! [`rabbitmq`] the one for RabbitMQ.

pub mod nats;
pub mod rabbitmq;

mod locate;
mod port;
mod process;
mod proxy;
mod server;

pub(crate) use self::locate::is_missing;
pub use self::{
    locate::{
        find_nameko, find_nats_server, find_old_nameko, find_prerelease_nameko, find_python,
        find_rabbitmq_server,
    },
    proxy::Proxy,
    server::{Recipe, Server},
};
