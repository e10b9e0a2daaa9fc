//! The brokers of the table: in memory, JetStream, plain NATS, RabbitMQ.
use std::time::Duration;

use sinew_adapter_amqp::{AmqpOptions, ExchangePolicy};
use sinew_adapter_memory::MemoryBroker;
use sinew_adapter_nats::{JetStreamOptions, NatsOptions, async_nats::jetstream::stream};
use sinew_core::{AnyBackend, Result};
use sinew_testkit::harness::{
    nats::{NatsServer, NatsServerOptions},
    rabbitmq::{RabbitMq, RabbitMqOptions},
};

use crate::failed;

/// Which broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Memory,
    JetStream,
    Nats,
    Amqp,
}

/// A running one.
pub(crate) enum Broker {
    Memory(MemoryBroker),
    JetStream(NatsServer),
    Nats(NatsServer),
    Amqp(RabbitMq),
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::JetStream, Self::Nats, Self::Amqp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::JetStream => "jetstream",
            Self::Nats => "nats",
            Self::Amqp => "amqp",
        }
    }

    pub(crate) async fn start(self) -> Result<Broker> {
        Ok(match self {
            Self::Memory => Broker::Memory(MemoryBroker::new()),
            Self::JetStream => {
                Broker::JetStream(NatsServerOptions::new().with_jetstream().start().await?)
            }
            Self::Nats => Broker::Nats(NatsServerOptions::new().start().await?),
            Self::Amqp => Broker::Amqp(RabbitMqOptions::new().start().await?),
        })
    }
}

impl Broker {
    /// A connection to a stream of this name and these subjects.
    pub(crate) async fn stream(&self, name: &str, subjects: &[&str]) -> Result<AnyBackend> {
        let Self::JetStream(server) = self else { return Err(failed("it has no streams")) };
        let subjects = subjects.iter().map(|&it| it.to_owned()).collect();
        let config = stream::Config { subjects, ..stream::Config::default() };
        let options =
            JetStreamOptions::new(name).with_create(config).with_ack_wait(Duration::from_secs(2));
        Ok(options.connect(nats(server)).await?.into_any())
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<AnyBackend> {
        Ok(match self {
            Self::Memory(broker) => broker.connect().into_any(),
            Self::JetStream(_) => self.stream("EVENTS", &["@.>", "sinew.errors.>"]).await?,
            Self::Nats(server) => nats(server).connect().await?.into_any(),
            Self::Amqp(broker) => {
                let options = AmqpOptions::new(broker.url())
                    .with_exchanges(ExchangePolicy::declare())
                    .with_reconnect_wait(Duration::from_millis(500))
                    .with_connect_timeout(Duration::from_secs(10));
                options.connect().await?.into_any()
            }
        })
    }

    pub(crate) fn kill(&self) -> Result<()> {
        match self {
            Self::Memory(broker) => broker.kill(),
            Self::JetStream(server) | Self::Nats(server) => server.kill()?,
            Self::Amqp(broker) => broker.kill()?,
        }
        Ok(())
    }

    /// After it was killed.
    pub(crate) async fn start(&self) -> Result<()> {
        match self {
            Self::Memory(broker) => broker.start(),
            Self::JetStream(server) | Self::Nats(server) => server.restart().await?,
            Self::Amqp(broker) => broker.restart().await?,
        }
        Ok(())
    }
}

fn nats(server: &NatsServer) -> NatsOptions {
    NatsOptions::new(server.url()).with_ping_interval(Duration::from_millis(500))
}
