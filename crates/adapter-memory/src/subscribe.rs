//! Unsettled intake: a copy of each message, a share of a group's, or the log first.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use sinew_core::{Event, Incoming, Message, Result, Start, Subscribe, Subscription};

use crate::{
    Memory, clock,
    connection::Connection,
    error::MemoryError,
    held::Held,
    intakes::Registered,
    log::Replayed,
    mailbox::{FellBehind, Next},
    state::Health,
};

impl Subscribe for Memory {
    async fn subscribe(&self, wanted: Subscription) -> Result<Incoming<Message>> {
        let connection = &self.connection;
        connection.shared.capabilities.check_subscription(&wanted)?;
        let replays = wanted.start != Start::New;
        let intake = connection
            .register("memory subscribe", |state, _| state.subscribe(connection.id, &wanted))
            .await?;
        Ok(connection.incoming(intake, replays))
    }
}

/// Reads a mailbox, after the log where that was asked for.
pub(crate) struct Messages {
    connection: Arc<Connection>,
    intake: Registered,
    replays: bool,
}

impl Messages {
    pub(crate) fn new(connection: Arc<Connection>, intake: Registered, replays: bool) -> Self {
        Self { connection, intake, replays }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event<Message>>>> {
        let next = if self.replays { self.replay(cx) } else { self.intake.reader.read(cx) };
        if let Some(report) = self.intake.reader.report() {
            self.connection.shared.with(|state, wakers| {
                state.counts.expired += report.expired;
                if report.awaited {
                    state.waiting.drain(wakers);
                }
            });
        }
        next.map(|next| {
            next.map(|event| match event {
                Ok(event) => Ok(event.map(Held::into_message)),
                Err(FellBehind) => Err(MemoryError::FellBehind.during("memory subscribe")),
            })
        })
    }

    /// Reads the log, and the mailbox once there is no more of it. Under one lock, so that no thaw is missed.
    fn replay(&mut self, cx: &Context<'_>) -> Next {
        let Self { connection, intake, replays } = self;
        connection.shared.with(|state, _| {
            if state.health == Health::Frozen {
                return intake.reader.read(cx);
            }
            match state.replay(intake.id) {
                Replayed::Message(held) => Poll::Ready(Some(Ok(Event::Item(held)))),
                Replayed::Lost(count) => Poll::Ready(Some(Ok(Event::Lost(count)))),
                Replayed::Further => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Replayed::End => {
                    *replays = false;
                    intake.reader.read(cx)
                }
            }
        })
    }
}

impl Stream for Messages {
    type Item = Result<Event<Message>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let turn = ready!(clock::poll_turn(cx));
        let next = self.get_mut().poll_event(cx);
        if next.is_ready() {
            turn.made_progress();
        }
        next
    }
}
