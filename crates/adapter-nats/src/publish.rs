//! Publishing to core subjects.
use std::{mem::take, pin::pin, sync::Mutex};

use async_nats::{
    Subject as Wire, client::traits::Publisher, connection::State, message::OutboundMessage,
};
use bytes::Bytes;
use sinew_core::{Address, ErrorKind, Message, Pending, Publish, Receipt, Result, Subject};

use crate::{Nats, connect::Inner, error::Cause, headers, names};

const OPERATION: &str = "nats publish";

impl Inner {
    /// Whether a message has nothing but a subject and a payload that fits, so that no capability need be looked at.
    fn is_plain(&self, message: &Message) -> bool {
        matches!(message.address, Address::Subject(None, _))
            && message.headers.is_empty()
            && message.reply_to.is_none()
            && message.properties().is_none()
            && self.capabilities.max_payload.is_some_and(|max| message.payload.len() <= max)
    }

    /// Translates a message that the capabilities allow; its address stays with it, for errors.
    pub(crate) fn translate(
        &self,
        message: &mut Message,
        operation: &'static str,
    ) -> Result<OutboundMessage> {
        let wire = match &message.address {
            Address::Subject(None, subject) => {
                self.latest.wire(subject, || self.names.outbound(&message.address))
            }
            address => self.names.outbound(address),
        };
        let reply = message.reply_to.as_ref().map(names::reply).transpose();
        let (subject, reply) = match (wire, reply) {
            (Ok(subject), Ok(reply)) => (subject, reply),
            (Err(cause), _) | (_, Err(cause)) => {
                return Err(cause.during(operation).on(message.address.to_string()).into());
            }
        };
        let headers = headers::outbound(message)?;
        Ok(OutboundMessage { subject, reply, headers, payload: take(&mut message.payload) })
    }

    /// Hands a message of the adapter's own to the client.
    pub(crate) async fn send(
        &self,
        subject: Wire,
        payload: Bytes,
        reply: Option<Wire>,
    ) -> Result<(), Cause> {
        self.hand_over(OutboundMessage { subject, payload, reply, headers: None }).await
    }

    /// Hands a message to the client; there is no answer.
    ///
    /// The client would take it while the link is down, and keep it; here that is an error, and so is a link that
    /// breaks while the client has no room.
    pub(crate) async fn hand_over(&self, message: OutboundMessage) -> Result<(), Cause> {
        if self.signal.is_closed() {
            return Err(Cause::closed());
        }
        if self.client.connection_state() != State::Connected {
            return Err(Cause::down());
        }
        let mut handed_over = pin!(self.client.publish_message(message));
        tokio::select! {
            biased;
            outcome = &mut handed_over => Ok(outcome?),
            () = self.gone() => Err(Cause::down()),
        }
    }

    /// Ends when the connection of now is known to be gone.
    async fn gone(&self) {
        // Asked for only when somebody waits: the count shares a cache line with what the client counts per message.
        let generation = self.generation();
        // An error means that the link is closed, hence gone.
        let _ = self
            .view
            .subscribe()
            .wait_for(|view| view.is_closed() || view.is_past(generation))
            .await;
    }
}

impl Publish for Nats {
    async fn publish(&self, mut message: Message) -> Result<Pending<Receipt>> {
        let inner = &*self.inner;
        if !inner.is_plain(&message) {
            inner.capabilities.check_message(&message)?;
        }
        let outbound = inner.translate(&mut message, OPERATION)?;
        inner
            .hand_over(outbound)
            .await
            .map_err(|cause| cause.during(OPERATION).on(message.address.to_string()))?;
        inner.note_unflushed();
        Ok(Pending::ready(Ok(Receipt::Buffered)))
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush_all().await
    }
}

/// The latest subject and its form on the wire: who publishes often does so under few subjects, and making the form
/// costs more than all the rest.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<Option<(Subject, Wire)>>);

impl Latest {
    fn wire(
        &self,
        subject: &Subject,
        make: impl FnOnce() -> Result<Wire, Cause>,
    ) -> Result<Wire, Cause> {
        // Whoever does not get the lock at once makes its own.
        let Ok(mut latest) = self.0.try_lock() else { return make() };
        if let Some((known, wire)) = &*latest
            && known == subject
        {
            return Ok(wire.clone());
        }
        let wire = make()?;
        *latest = Some((subject.clone(), wire.clone()));
        Ok(wire)
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
