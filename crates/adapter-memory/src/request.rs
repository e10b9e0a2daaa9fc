//! Requests: an inbox of its own for each, and a publish that must find somebody.
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use sinew_core::{Error, Event, Incoming, Message, Request, Result};

use crate::{Memory, error::MemoryError, offer::Offer, reply};

impl Request for Memory {
    async fn request(&self, message: Message) -> Result<Incoming<Message>> {
        let connection = &self.connection;
        connection.shared.capabilities.check_message(&message)?;
        if message.reply_to.is_some() {
            return Err(MemoryError::HasReplyTo.during(OPERATION));
        }
        let (inbox, broker) = connection
            .register(OPERATION, |state, _| Ok((state.open_inbox(connection.id), state.broker)))
            .await?;
        let message = message.with_reply_to(reply::address(inbox.id, broker));
        // From here on the inbox goes when this call is dropped.
        let replies = connection.incoming(inbox, false);
        match connection.offer(OPERATION, Offer::new(message, true)).await? {
            Ok(_) => Ok(replies),
            Err(MemoryError::Unroutable) => {
                let nobody = Nobody(Some(MemoryError::NoResponders.during(OPERATION)));
                Ok(Incoming::new(nobody, || {}))
            }
            Err(err) => Err(err.during(OPERATION)),
        }
    }
}

/// The replies to a request that nobody got.
struct Nobody(Option<Error>);

impl Stream for Nobody {
    type Item = Result<Event<Message>>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

const OPERATION: &str = "memory request";
