//! Requests over core subjects.
use std::{pin::pin, sync::Arc};

use async_nats::client::traits::Publisher;
use sinew_core::{
    Buffer, Error, ErrorKind, Incoming, IntakeBuffer, IntakeReader, Message, ReplyTo, Request,
    Result,
};

use crate::{Nats, connect::Inner, error::Cause, mux::REQUEST};

impl Request for Nats {
    fn request(&self, message: Message) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        request(&self.inner, message, None)
    }

    fn request_noted(
        &self,
        message: Message,
        note: &str,
    ) -> impl Future<Output = Result<Incoming<Message>>> + Send {
        request(&self.inner, message, Some(note))
    }
}

async fn request(
    inner: &Arc<Inner>,
    mut message: Message,
    note: Option<&str>,
) -> Result<Incoming<Message>> {
    inner.capabilities.check_message(&message)?;
    note.map_or(Ok(()), ReplyTo::check_note)?;
    let failed = |cause: Cause| Error::from(cause.during(REQUEST));
    inner.check_open().map_err(failed)?;
    if message.reply_to.is_some() {
        return Err(failed(Cause::plain(
            ErrorKind::InvalidOptions,
            "a request gets a reply address of its own; publish the message instead",
        )));
    }
    let mut outbound = inner.translate(&mut message, REQUEST)?;
    let replies = Arc::new(IntakeBuffer::new(Buffer::default(), REQUEST));
    let ticket = inner.mux.many(Arc::clone(&replies), outbound.subject.clone());
    outbound.reply = Some(note.map_or_else(|| ticket.wire(), |note| ticket.noted(note)));
    inner.hand_over(pin!(inner.client.publish_message(outbound))).await.map_err(failed)?;
    let token = ticket.keep();
    let shared = Arc::clone(inner);
    Ok(Incoming::new(IntakeReader::new(replies), move || shared.mux.close(token)))
}
