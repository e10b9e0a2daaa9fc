//! Requests over core subjects.
use std::sync::Arc;

use sinew_core::{Buffer as Bounds, Error, ErrorKind, Incoming, Message, Request, Result};

use crate::{
    Nats,
    buffer::{Buffer, Reader},
    error::Cause,
    publish::Outbound,
};

impl Request for Nats {
    async fn request(&self, message: Message) -> Result<Incoming<Message>> {
        let inner = &self.inner;
        inner.capabilities.check_message(&message)?;
        let failed = |cause: Cause| Error::from(cause.during("nats request"));
        inner.check_open().map_err(failed)?;
        if message.reply_to.is_some() {
            return Err(failed(Cause::plain(
                ErrorKind::InvalidOptions,
                "a request gets a reply address of its own; publish the message instead",
            )));
        }
        let Outbound { subject, headers, payload, .. } =
            Outbound::new(&inner.names, message, "nats request")?;
        let replies = Buffer::new(Bounds::default());
        let ticket = inner.mux.many(Arc::clone(&replies));
        inner.hand_over(subject, headers, payload, Some(ticket.wire())).await.map_err(failed)?;
        let token = ticket.keep();
        let shared = Arc::clone(inner);
        Ok(Incoming::new(Reader(replies), move || shared.mux.close(token)))
    }
}
