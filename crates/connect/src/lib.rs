#![doc = include_str!("../README.md")]

#[cfg(feature = "amqp")]
mod amqp;
pub mod blocking;
mod door;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod options;
mod said;
mod secret;
mod url;

use sinew_core::{AnyBackend, Capabilities, Result};

pub use options::ConnectOptions;
pub use url::BrokerUrl;

/// Connects to `url`, with what it says itself: `memory:`, `nats://host:4222`, `nats+js://host/STREAM`,
/// `amqp://host/vhost`.
///
/// # Errors
///
/// As [`ConnectOptions::new`] and [`ConnectOptions::connect`].
///
/// # Cancel safety
///
/// A dropped call leaves no connection.
pub async fn connect(url: &str) -> Result<AnyBackend> {
    ConnectOptions::new(url)?.connect().await
}

/// What the adapters in this build promise, one record per backend.
#[must_use]
pub fn backends() -> Vec<Capabilities> {
    door::Door::ALL.into_iter().filter_map(door::Door::capabilities).collect()
}
