//! Declaring at the broker. All of it can be said again, so it is: what was there a moment ago may be gone.
use lapin::{
    Channel, Queue,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{FieldTable, ShortString},
};
use sinew_core::{ErrorKind, QueueStatus};
use tokio::time::timeout;

use crate::{connect::Inner, error::Cause, policy::ExchangePolicy, session::Session};

/// A queue and where its messages come from.
#[derive(Clone, Debug)]
pub(crate) struct QueueSpec {
    pub(crate) name: ShortString,
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: FieldTable,
    /// Assumed to be there as it should be: neither declared nor bound.
    pub(crate) assumed: bool,
    pub(crate) exchange: ShortString,
    pub(crate) bindings: Vec<ShortString>,
}

impl Inner {
    /// Sees to it that `exchange` is there before anything is published to it: a publish to one that is not would cost
    /// the channel, and with it every confirm that is awaited on it.
    pub(crate) async fn ensure_exchange(
        &self,
        session: &Session,
        exchange: &ShortString,
    ) -> Result<(), Cause> {
        // An error ends the channel, so it is one that nobody else uses.
        let channel = session.channel().await?;
        let declared = self.declare_exchange(session, &channel, exchange).await;
        close(session, &channel).await;
        declared
    }

    /// Declares or looks for an exchange, on a channel of the caller's that an error ends.
    pub(crate) async fn declare_exchange(
        &self,
        session: &Session,
        channel: &Channel,
        exchange: &ShortString,
    ) -> Result<(), Cause> {
        // The default exchange is always there.
        if exchange.as_str().is_empty() {
            return Ok(());
        }
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
        let declared = session.ask(declared).await;
        declared.map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => Cause::Given {
                kind: ErrorKind::NotFound,
                detail: format!(
                    "{}; have it made: `?declare_exchanges` in a URL, `AmqpOptions::with_exchanges`",
                    cause.describe()
                ),
            },
            _ => cause,
        })
    }
}

impl QueueSpec {
    /// Declares the exchange, the queue and its bindings, on a channel of the caller's that an error ends.
    ///
    /// Bounded by the broker's answers; what fails leaves no queue of ours behind.
    pub(crate) async fn establish(
        &self,
        inner: &Inner,
        session: &Session,
        channel: &Channel,
    ) -> Result<QueueStatus, Cause> {
        if !self.assumed && !self.bindings.is_empty() {
            inner.declare_exchange(session, channel, &self.exchange).await?;
        }
        let status = self.declare(session, channel).await?;
        if let Err(cause) = self.bind(session, channel).await {
            self.clear_away(inner, session, channel).await;
            return Err(cause);
        }
        Ok(status)
    }

    /// Undoes what was declared for a consumer that does not come.
    pub(crate) async fn clear_away(&self, inner: &Inner, session: &Session, channel: &Channel) {
        let leave = async {
            // By itself it would stay open for a consumer that comes late.
            close(session, channel).await;
            if self.auto_delete && !self.assumed {
                let _ = self.abandon(session).await;
            }
        };
        let _ = timeout(inner.settings.answer_timeout, leave).await;
    }

    /// Declares or looks for it, on a channel of the caller's that an error ends.
    async fn declare(&self, session: &Session, channel: &Channel) -> Result<QueueStatus, Cause> {
        let options = QueueDeclareOptions {
            passive: self.assumed,
            durable: self.durable,
            exclusive: self.exclusive,
            auto_delete: self.auto_delete,
            nowait: false,
        };
        let declared = channel.queue_declare(self.name.clone(), options, self.arguments.clone());
        let queue = session.ask(declared).await.map_err(|cause| self.explain(cause))?;
        Ok(status(&queue))
    }

    /// Binds it as often as it has patterns.
    async fn bind(&self, session: &Session, channel: &Channel) -> Result<(), Cause> {
        // The default exchange binds by itself.
        if self.assumed || self.exchange.as_str().is_empty() {
            return Ok(());
        }
        for key in &self.bindings {
            let bound = channel.queue_bind(
                self.name.clone(),
                self.exchange.clone(),
                key.clone(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            session.ask(bound).await.map_err(|cause| self.explain(cause))?;
        }
        Ok(())
    }

    /// What is declared is never missing: it went in between with its last consumer, or is on a node that is down.
    /// Both pass.
    pub(crate) fn explain(&self, cause: Cause) -> Cause {
        match cause.kind() {
            ErrorKind::NotFound if !self.assumed => cause.of_kind(ErrorKind::Unreachable),
            _ => cause,
        }
    }

    /// Whether there is such a queue.
    pub(crate) async fn exists(&self, session: &Session) -> Result<bool, Cause> {
        match inspect(session, self.name.clone()).await {
            Ok(_) => Ok(true),
            Err(cause) => match cause.kind() {
                ErrorKind::NotFound => Ok(false),
                // There it is, and in use by the connection that we lost or by somebody else.
                ErrorKind::Conflict => Ok(true),
                _ => Err(cause),
            },
        }
    }

    /// Deletes it unless it has a consumer: the broker does that itself only after there was one.
    async fn abandon(&self, session: &Session) -> Result<(), Cause> {
        let channel = session.channel().await?;
        let unused = QueueDeleteOptions { if_unused: true, ..QueueDeleteOptions::default() };
        let deleted = session.ask(channel.queue_delete(self.name.clone(), unused)).await;
        close(session, &channel).await;
        deleted.map(drop)
    }
}

/// How a queue is, which is not made: an error ends the channel, so it is one of its own.
pub(crate) async fn inspect(session: &Session, name: ShortString) -> Result<QueueStatus, Cause> {
    let channel = session.channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asked = channel.queue_declare(name, passive, FieldTable::default());
    let answer = session.ask(asked).await;
    close(session, &channel).await;
    answer.map(|queue| status(&queue))
}

fn status(queue: &Queue) -> QueueStatus {
    QueueStatus::new()
        .with_messages(queue.message_count().into())
        .with_consumers(queue.consumer_count())
}

/// Closes a channel whose work is done. Where it cannot be, it is closed, or will be with the connection.
pub(crate) async fn close(session: &Session, channel: &Channel) {
    let _ = session.ask(channel.close(200, "OK".into())).await;
}
