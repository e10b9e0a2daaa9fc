//! Publishing to core subjects.
use std::pin::pin;

use async_nats::{HeaderMap, Subject as Wire, client::traits::Publisher, message::OutboundMessage};
use bytes::Bytes;
use sinew_core::{Error, ErrorKind, Message, Pending, Publish, Receipt, Result};

use crate::{
    Nats,
    connect::Inner,
    error::Cause,
    headers,
    names::{self, Names},
};

/// A message as the wire has it.
pub(crate) struct Outbound {
    pub(crate) subject: Wire,
    pub(crate) reply: Option<Wire>,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
}

impl Outbound {
    /// Translates a message that the capabilities allow.
    pub(crate) fn new(names: &Names, message: Message, operation: &'static str) -> Result<Self> {
        let named =
            |cause: Cause| Error::from(cause.during(operation).on(message.address.to_string()));
        let subject = names.outbound(&message.address).map_err(named)?;
        let reply = message.reply_to.as_ref().map(names::reply).transpose().map_err(named)?;
        let headers = headers::outbound(&message)?;
        Ok(Self { subject, reply, headers, payload: message.payload })
    }
}

impl Inner {
    /// Hands a message to the client; there is no answer.
    ///
    /// The client would take it while the link is down, and keep it; here that is an error, and so is a link that
    /// breaks while the client has no room.
    pub(crate) async fn hand_over(
        &self,
        subject: Wire,
        headers: Option<HeaderMap>,
        payload: Bytes,
        reply: Option<Wire>,
    ) -> Result<(), Cause> {
        let (connected, generation) = self.connection();
        if self.view.borrow().is_closed() {
            return Err(Cause::closed());
        }
        if !connected {
            return Err(Cause::down());
        }
        let message = OutboundMessage { subject, reply, payload, headers };
        let mut handed_over = pin!(self.client.publish_message(message));
        tokio::select! {
            biased;
            outcome = &mut handed_over => Ok(outcome?),
            () = self.past(generation) => Err(Cause::down()),
        }
    }

    /// Ends when the connection of `generation` is known to be gone.
    async fn past(&self, generation: u64) {
        // An error means that the link is closed, hence gone.
        let _ = self
            .view
            .subscribe()
            .wait_for(|view| view.is_closed() || view.is_past(generation))
            .await;
    }
}

impl Publish for Nats {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        let inner = &*self.inner;
        inner.capabilities.check_message(&message)?;
        let Outbound { subject, reply, headers, payload } =
            Outbound::new(&inner.names, message, "nats publish")?;
        let name = subject.clone();
        match inner.hand_over(subject, headers, payload, reply).await {
            Ok(()) => {
                inner.note_unflushed();
                Ok(Pending::ready(Ok(Receipt::Buffered)))
            }
            Err(cause) => Err(cause.during("nats publish").on(name.as_str()).into()),
        }
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush_all().await
    }
}

impl Cause {
    /// The server does not let us publish there.
    pub(crate) const fn denied_publish() -> Self {
        Self::plain(ErrorKind::Denied, "the server refused the permission to publish")
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.kind() == ErrorKind::Denied
    }

    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unreachable | ErrorKind::Timeout)
    }
}
