//! A channel in confirm mode, to which messages are handed one after the other.
use std::{
    fmt,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};

use crate::{error::Cause, session::Session};

/// A message as the wire wants it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
    /// The broker returns it where no queue takes it. It has a message id then.
    pub(crate) mandatory: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: Bytes,
}

/// All the way from the client's hands to the broker's answer.
pub(crate) type Confirmed = BoxFuture<'static, lapin::Result<Confirmation>>;

/// A channel that publishes with confirms.
pub(crate) struct Wire {
    channel: Channel,
    /// Held by whoever hands a message over. The client numbers a message and queues its frames in two steps, and the
    /// broker counts frames: two who did it at once could get each other's confirm.
    handing: Mutex<()>,
}

impl Wire {
    pub(crate) async fn open(session: &Session) -> Result<Self, Cause> {
        let channel = session.channel().await?;
        session.ask(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { channel, handing: Mutex::default() })
    }

    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether a message can be handed over.
    pub(crate) fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    /// Hands a message to the client, and what will come of it to `keep`, before the next one is handed over.
    pub(crate) fn hand_over(
        &self,
        outbound: Outbound,
        keep: impl FnOnce(Confirmed) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let Outbound { exchange, key, mandatory, properties, payload } = outbound;
        let channel = self.channel.clone();
        let mut confirmed: Confirmed = Box::pin(async move {
            let options = BasicPublishOptions { mandatory, immediate: false };
            channel.basic_publish(exchange, key, options, &payload, properties).await?.await
        });
        let _handing = self.handing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_open() {
            return Err(Cause::down());
        }
        // The first look hands it over; it need not be on the wire before the next one is. Whoever waits looks again.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(outcome) = confirmed.as_mut().poll(&mut nobody) {
            confirmed = Box::pin(std::future::ready(Ok(outcome.map_err(Cause::after_sending)?)));
        }
        keep(confirmed)
    }

    /// After this, what the client has begun to say of a frame of confirms, it has said, and what was being handed over
    /// is kept.
    ///
    /// It completes the confirms of one frame one by one under a lock, and gives returned messages to any of them.
    pub(crate) fn fence(&self) {
        let _handing = self.handing.lock().unwrap_or_else(PoisonError::into_inner);
        // The first thing that this does is to take that lock.
        drop(self.channel.wait_for_confirms().now_or_never());
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("channel", &self.channel.id()).finish_non_exhaustive()
    }
}
