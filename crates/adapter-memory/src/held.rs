//! A message inside the broker: stored once, however many wait for it.
use std::{mem, sync::Arc};

use bytes::Bytes;
use sinew_core::{Address, Message, Position};

use crate::clock::{self, Instant};

/// A message that was taken, and when it is no longer worth delivering.
///
/// Whoever gets a copy shares it until it is read: a mailbox of many messages stays small, and the last reader is given
/// the message itself.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    message: Message,
    expires: Option<Instant>,
}

impl Held {
    /// Starts the time to live of `message`.
    pub(crate) fn new(message: Message) -> Self {
        let ttl = message.properties().and_then(|properties| properties.ttl);
        // A time beyond what the clock can tell never comes.
        let expires = ttl.and_then(|ttl| clock::now().checked_add(ttl));
        Self(Arc::new(Inner { message, expires }))
    }

    /// Whether it is too late for it. The clock is read only where that matters.
    pub(crate) fn is_expired(&self) -> bool {
        self.0.expires.is_some_and(|expires| expires <= clock::now())
    }

    /// Bytes of payload.
    pub(crate) fn len(&self) -> usize {
        self.0.message.payload.len()
    }

    pub(crate) fn message(&self) -> &Message {
        &self.0.message
    }

    /// Says where it is stored, before anyone else has it.
    pub(crate) fn store_at(&mut self, position: Position) {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            let message = Message::to(Address::Foreign(None, Bytes::new()), Bytes::new());
            inner.message = mem::replace(&mut inner.message, message).with_position(position);
        }
    }

    pub(crate) fn into_message(self) -> Message {
        // Looked at before it is tried: a failed try costs as much as one that succeeds.
        if Arc::strong_count(&self.0) > 1 {
            return self.0.message.clone();
        }
        match Arc::try_unwrap(self.0) {
            Ok(inner) => inner.message,
            Err(shared) => shared.message.clone(),
        }
    }
}
