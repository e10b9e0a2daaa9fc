//! Where the messages of an intake come from: a consumer on a channel of its own.
use std::sync::Arc;

use lapin::{
    Channel, Consumer,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use sinew_core::ErrorKind;
use tokio::time::timeout;

use crate::{
    connect::Inner,
    declare::{self, QueueSpec},
    error::Cause,
    session::Session,
};

/// A consumer, and what it is on.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) session: Arc<Session>,
    pub(crate) channel: Channel,
    pub(crate) consumer: Consumer,
    /// Messages may be missing since the last one.
    pub(crate) gap: bool,
}

/// How to consume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How many messages may be on their way, or not acknowledged.
    pub(crate) prefetch: u16,
    /// Nobody else may consume.
    pub(crate) exclusive: bool,
}

impl Tap {
    /// Declares what `spec` says and consumes from it. `again` when it is not for the first time.
    ///
    /// Bounded by the broker's answers; what fails leaves no consumer and no queue of ours behind.
    pub(crate) async fn open(
        inner: &Inner,
        session: &Arc<Session>,
        spec: &QueueSpec,
        terms: Terms,
        again: bool,
    ) -> Result<Self, Cause> {
        // One that goes with its last consumer is another one now, whoever made it.
        let gap = again && (spec.auto_delete || !spec.exists(session).await?);
        let opened = match attempt(inner, session, spec, terms).await {
            // The last member may have left between our declaring and our consuming, and the queue with it.
            Err(cause) if cause.kind() == ErrorKind::Unreachable => {
                attempt(inner, session, spec, terms).await
            }
            opened => opened,
        };
        let (channel, consumer) = opened?;
        Ok(Self { session: Arc::clone(session), channel, consumer, gap })
    }
}

async fn attempt(
    inner: &Inner,
    session: &Session,
    spec: &QueueSpec,
    terms: Terms,
) -> Result<(Channel, Consumer), Cause> {
    let channel = session.channel().await?;
    let established = async {
        let qos = BasicQosOptions { global: false };
        session.ask(channel.basic_qos(terms.prefetch, qos)).await?;
        spec.establish(inner, session, &channel).await
    };
    if let Err(cause) = established.await {
        let _ = timeout(inner.settings.answer_timeout, declare::close(session, &channel)).await;
        return Err(cause);
    }
    let consumer = async {
        let options =
            BasicConsumeOptions { exclusive: terms.exclusive, ..BasicConsumeOptions::default() };
        let consume = channel.basic_consume(
            spec.name.clone(),
            ShortString::default(),
            options,
            FieldTable::default(),
        );
        session.ask(consume).await.map_err(|cause| spec.explain(cause.of_consumer()))
    }
    .await;
    match consumer {
        Ok(consumer) => Ok((channel, consumer)),
        Err(cause) => {
            spec.clear_away(inner, session, &channel).await;
            Err(cause)
        }
    }
}
