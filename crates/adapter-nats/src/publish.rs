//! Publishing to core subjects.
use std::{
    future::poll_fn,
    mem::take,
    pin::{Pin, pin},
    sync::Mutex,
    task::Poll,
};

use async_nats::{
    Subject as Wire,
    client::{PublishError, traits::Publisher},
    connection::State,
    message::OutboundMessage,
};
use bytes::Bytes;
use sinew_core::{Address, Error, ErrorKind, Message, Pending, Publish, Receipt, Result, Subject};

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
        let refused = |cause: Cause| -> Error {
            cause.during(operation).on(message.address.to_string()).into()
        };
        let subject = match &message.address {
            Address::Subject(None, subject) => {
                self.latest.wire(subject, || self.names.outbound(&message.address))
            }
            address => self.names.outbound(address),
        };
        Ok(OutboundMessage {
            subject: subject.map_err(refused)?,
            reply: message.reply_to.as_ref().map(names::reply).transpose().map_err(refused)?,
            headers: headers::outbound(message)?,
            payload: take(&mut message.payload),
        })
    }

    /// Hands a message of the adapter's own to the client.
    pub(crate) async fn send(
        &self,
        subject: Wire,
        payload: Bytes,
        reply: Option<Wire>,
    ) -> Result<(), Cause> {
        let message = OutboundMessage { subject, payload, reply, headers: None };
        self.hand_over(pin!(self.client.publish_message(message))).await
    }

    /// Waits until the client has taken what `handed_over`, its own future, brings it; there is no answer.
    ///
    /// The client would take it while the link is down, and keep it; here that is an error, and so is a link that
    /// breaks while the client has no room.
    ///
    /// It comes pinned, because it is large: by value it would be copied into each future on its way.
    pub(crate) async fn hand_over(
        &self,
        mut handed_over: Pin<&mut impl Future<Output = Result<(), PublishError>>>,
    ) -> Result<(), Cause> {
        if self.signal.is_closed() {
            return Err(Cause::closed());
        }
        if self.client.connection_state() != State::Connected {
            return Err(Cause::down());
        }
        // Nearly always there is room. Whoever must wait pays with an allocation for a smaller future for all.
        let at_once = poll_fn(|cx| Poll::Ready(handed_over.as_mut().poll(cx)));
        if let Poll::Ready(outcome) = at_once.await {
            return Ok(outcome?);
        }
        tokio::select! {
            biased;
            outcome = handed_over => Ok(outcome?),
            () = Box::pin(self.gone()) => Err(Cause::down()),
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
    // Not an `async fn`: its future would hold the message twice.
    fn publish(
        &self,
        mut message: Message,
    ) -> impl Future<Output = Result<Pending<Receipt>>> + Send {
        let inner = &*self.inner;
        async move {
            if !inner.is_plain(&message) {
                inner.capabilities.check_message(&message)?;
            }
            let handed_over =
                pin!(inner.client.publish_message(inner.translate(&mut message, OPERATION)?));
            inner
                .hand_over(handed_over)
                .await
                .map_err(|cause| cause.during(OPERATION).on(message.address.to_string()))?;
            inner.note_unflushed();
            Ok(Pending::ready(Ok(Receipt::Buffered)))
        }
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
