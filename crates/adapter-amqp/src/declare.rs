//! Declaring at the broker what our records say is missing.
use lapin::{
    Channel,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use sinew_core::ErrorKind;
use tokio::sync::Mutex;

use crate::{
    connect::Inner,
    error::Cause,
    policy::ExchangePolicy,
    session::Session,
    topology::{QueueSpec, Step, Topology},
};

/// What was declared, for publishing and for consuming: each is one connection.
#[derive(Debug)]
pub(crate) struct Declarations {
    publishing: Mutex<Topology>,
    consuming: Mutex<Topology>,
}

impl Declarations {
    pub(crate) fn new() -> Self {
        Self { publishing: Mutex::default(), consuming: Mutex::default() }
    }
}

impl Inner {
    /// Sees to it that `exchange` is there before anything is published to it: a publish to one that is not would cost
    /// the channel, and with it every confirm that is awaited on it. Asked once per connection.
    pub(crate) async fn ensure_exchange(
        &self,
        session: &Session,
        exchange: &ShortString,
    ) -> Result<(), Cause> {
        if exchange.as_str().is_empty() {
            return Ok(());
        }
        let mut topology = self.declarations.publishing.lock().await;
        topology.turn(session.generation());
        if topology.knows_exchange(exchange) {
            return Ok(());
        }
        // An error ends the channel, so it is one that nobody else uses.
        let channel = session.channel().await?;
        self.declare_exchange(session, &channel, exchange).await?;
        topology.add_exchange(exchange.clone());
        drop(topology);
        close(session, &channel).await;
        Ok(())
    }

    /// `exchange` is gone: the next publish to it asks again.
    pub(crate) async fn forget_exchange(&self, exchange: &ShortString) {
        self.declarations.publishing.lock().await.forget_exchange(exchange);
    }

    /// Declares what is missing of `spec`, on a channel of the caller's that an error ends. Says whether the queue was
    /// there before, where that matters: `look`.
    pub(crate) async fn declare(
        &self,
        session: &Session,
        channel: &Channel,
        spec: &QueueSpec,
        look: bool,
    ) -> Result<bool, Cause> {
        // Held throughout, so that two members of one queue do not both find it unbound.
        let mut topology = self.declarations.consuming.lock().await;
        topology.turn(session.generation());
        let existed = !look || self.exists(session, &spec.name).await?;
        if !existed {
            topology.forget_queue(&spec.name);
        }
        for step in topology.plan(spec) {
            match step {
                Step::Exchange(exchange) => {
                    self.declare_exchange(session, channel, &exchange).await?;
                    topology.add_exchange(exchange);
                }
                Step::Queue => declare_queue(session, channel, spec).await?,
                Step::Bind(key) => {
                    let (queue, exchange) = (spec.name.clone(), spec.exchange.clone());
                    let bind = channel.queue_bind(
                        queue,
                        exchange,
                        key,
                        QueueBindOptions::default(),
                        FieldTable::default(),
                    );
                    session.ask(bind).await?;
                }
            }
        }
        topology.join(spec);
        Ok(existed)
    }

    /// A member of `queue` on the connection of `generation` is gone.
    pub(crate) async fn leave(&self, queue: &ShortString, generation: u64) {
        self.declarations.consuming.lock().await.leave(queue, generation);
    }

    /// Whether there is such a queue.
    async fn exists(&self, session: &Session, queue: &ShortString) -> Result<bool, Cause> {
        let channel = session.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = channel.queue_declare(queue.clone(), passive, FieldTable::default());
        match session.ask(asked).await {
            Ok(_) => {
                close(session, &channel).await;
                Ok(true)
            }
            // The channel ended with the error.
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(false),
            // There it is, and in use by the connection that we lost or by somebody else.
            Err(cause) if cause.kind() == ErrorKind::Conflict => Ok(true),
            Err(cause) => Err(cause),
        }
    }

    async fn declare_exchange(
        &self,
        session: &Session,
        channel: &Channel,
        exchange: &ShortString,
    ) -> Result<(), Cause> {
        let ExchangePolicy { declare, kind, durable, auto_delete } =
            self.settings.exchange(exchange.as_str());
        let options = ExchangeDeclareOptions {
            passive: !declare,
            durable,
            auto_delete,
            ..ExchangeDeclareOptions::default()
        };
        let declared =
            channel.exchange_declare(exchange.clone(), kind.into(), options, FieldTable::default());
        session.ask(declared).await
    }
}

async fn declare_queue(
    session: &Session,
    channel: &Channel,
    spec: &QueueSpec,
) -> Result<(), Cause> {
    let options = QueueDeclareOptions {
        passive: spec.assumed,
        durable: spec.durable,
        exclusive: spec.exclusive,
        auto_delete: spec.auto_delete,
        nowait: false,
    };
    let declared = channel.queue_declare(spec.name.clone(), options, spec.arguments.clone());
    session.ask(declared).await.map(drop)
}

/// Closes a channel that has done its work; one that is lost is closed as well.
async fn close(session: &Session, channel: &Channel) {
    let _ = session.ask(channel.close(200, "OK".into())).await;
}
