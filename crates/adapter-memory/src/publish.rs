//! Publishing: hand-over waits for room, and the broker's answer comes with it.
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use sinew_core::{Error, Message, Pending, Publish, Receipt, Result};

use crate::{
    Memory, clock,
    connection::{Connection, Phase},
    error::MemoryError,
    offer::Offer,
    state::{Answer, Attempt, State},
    sync::lock,
    wait::Wakers,
};

impl Publish for Memory {
    fn publish(&self, message: Message) -> impl Future<Output = Result<Pending<Receipt>>> + Send {
        let connection = &self.connection;
        // The message goes where it will stay before there is a future that would have to carry it.
        let checked = connection.shared.capabilities.check_message(&message);
        let offered = checked.map(|()| Offer::new(message, false));
        async {
            Ok(match connection.offer("memory publish", offered?).await? {
                Ok(receipt) => Pending::ready(Ok(receipt)),
                Err(err) => Pending::later(Failure {
                    error: Some(err.during("memory publish")),
                    connection: Arc::clone(connection),
                }),
            })
        }
    }

    async fn flush(&self) -> Result<()> {
        let connection = &self.connection;
        let open = |connection: &Connection| match connection.phase() {
            Phase::Closed => Err(MemoryError::Closed),
            Phase::Open | Phase::Draining => Ok(()),
        };
        connection
            .shared
            .attempt("memory flush", |state, _| {
                state.unready().unwrap_or_else(|| Attempt::Done(open(connection)))
            })
            .await?;
        let unread = lock(&connection.unread).take();
        unread.map_or(Ok(()), Err)
    }
}

impl Connection {
    /// Hands over what is offered, and tells the broker's answer.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has sent nothing.
    pub(crate) async fn offer(
        &self,
        operation: &'static str,
        mut offered: Offer,
    ) -> Result<Answer> {
        // Gives others on this thread their turn after a run of messages that met no wait.
        poll_fn(|cx| clock::poll_turn(cx).map(|turn| turn.made_progress())).await;
        let mut offer = |state: &mut State, wakers: &mut Wakers| {
            if self.phase() == Phase::Closed {
                return Attempt::Done(Err(MemoryError::Closed));
            }
            state.offer(&mut offered, wakers)
        };
        // Most publishes meet no obstacle, and need nothing of what a wait needs.
        match self.shared.with(&mut offer) {
            Attempt::Done(answer) => answer.map_err(|err| err.during(operation)),
            Attempt::Wait(_) => self.shared.attempt(operation, offer).await,
        }
    }
}

/// The outcome of a publish that failed. Where nobody awaits it, `flush` tells it.
struct Failure {
    error: Option<Error>,
    connection: Arc<Connection>,
}

impl Future for Failure {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Receipt>> {
        let awaited_twice = || MemoryError::Closed.during("memory publish");
        Poll::Ready(Err(self.error.take().unwrap_or_else(awaited_twice)))
    }
}

impl Drop for Failure {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            lock(&self.connection.unread).get_or_insert(error);
        }
    }
}
