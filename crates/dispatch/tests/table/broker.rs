//! The brokers of the table: in memory, nats-server, RabbitMQ.
use std::{io, net::TcpListener, time::Duration};

use serde_json::Value;
use sinew_adapter_amqp::AmqpOptions;
use sinew_adapter_memory::MemoryBroker;
use sinew_adapter_nats::NatsOptions;
use sinew_core::{AnyBackend, Error, ErrorKind, Result};
use sinew_testkit::harness::{
    nats::{NatsServer, NatsServerOptions},
    rabbitmq::{RabbitMq, RabbitMqOptions},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::failed;

/// Which broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Memory,
    Nats,
    Amqp,
}

/// A running one.
pub(crate) enum Broker {
    Memory(MemoryBroker),
    Nats { server: NatsServer, monitor: u16 },
    Amqp(RabbitMq),
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Nats, Self::Amqp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Nats => "nats",
            Self::Amqp => "amqp",
        }
    }

    pub(crate) async fn start(self) -> Result<Broker> {
        Ok(match self {
            Self::Memory => Broker::Memory(MemoryBroker::new()),
            Self::Nats => {
                let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|it| it.local_addr());
                let monitor = free.map_err(failed)?.port();
                let http = format!("http: \"127.0.0.1:{monitor}\"");
                let server = NatsServerOptions::new().with_config(&http).start().await?;
                Broker::Nats { server, monitor }
            }
            Self::Amqp => Broker::Amqp(RabbitMqOptions::new().start().await?),
        })
    }
}

impl Broker {
    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<AnyBackend> {
        Ok(match self {
            Self::Memory(broker) => broker.connect().into_any(),
            Self::Nats { server, .. } => {
                let ping = Duration::from_millis(500);
                NatsOptions::new(server.url()).with_ping_interval(ping).connect().await?.into_any()
            }
            Self::Amqp(broker) => {
                let options = AmqpOptions::new(broker.url())
                    .with_reconnect_wait(Duration::from_millis(500))
                    .with_connect_timeout(Duration::from_secs(10));
                options.connect().await?.into_any()
            }
        })
    }

    pub(crate) fn kill(&self) -> Result<()> {
        match self {
            Self::Memory(broker) => broker.kill(),
            Self::Nats { server, .. } => server.kill()?,
            Self::Amqp(broker) => broker.kill()?,
        }
        Ok(())
    }

    /// After it was killed.
    pub(crate) async fn start(&self) -> Result<()> {
        match self {
            Self::Memory(broker) => broker.start(),
            Self::Nats { server, .. } => server.restart().await?,
            Self::Amqp(broker) => broker.restart().await?,
        }
        Ok(())
    }

    /// It stops answering, and closes nothing.
    pub(crate) fn freeze(&self) -> Result<()> {
        match self {
            Self::Memory(broker) => broker.freeze(),
            Self::Nats { server, .. } => server.freeze()?,
            Self::Amqp(broker) => broker.freeze()?,
        }
        Ok(())
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        match self {
            Self::Memory(broker) => broker.thaw(),
            Self::Nats { server, .. } => server.thaw()?,
            Self::Amqp(broker) => broker.thaw()?,
        }
        Ok(())
    }

    /// How much is subscribed, in whatever the broker counts.
    pub(crate) async fn subscribed(&self) -> Result<u64> {
        match self {
            Self::Memory(broker) => u64::try_from(broker.stats().intakes).map_err(failed),
            Self::Nats { monitor, .. } => subscriptions(*monitor).await,
            Self::Amqp(broker) => {
                let bindings = broker.list(&["list_bindings"]).await?.len();
                let consumers = broker.list(&["list_consumers"]).await?.len();
                u64::try_from(bindings + consumers).map_err(failed)
            }
        }
    }
}

/// What nats-server says at its monitoring port.
async fn subscriptions(port: u16) -> Result<u64> {
    let read = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /subsz HTTP/1.0\r\n\r\n").await?;
        let mut told = String::new();
        stream.read_to_string(&mut told).await?;
        Ok::<_, io::Error>(told)
    };
    let told = read.await.map_err(failed)?;
    let body = told.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let told: Value = serde_json::from_str(body).map_err(failed)?;
    let count = told.get("num_subscriptions").and_then(Value::as_u64);
    count.ok_or_else(|| Error::new(ErrorKind::Protocol, "read subsz"))
}
