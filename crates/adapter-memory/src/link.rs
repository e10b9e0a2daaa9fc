//! The connection's state as events, and its end.
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use sinew_core::{Event, Incoming, Link, Result};

use crate::{
    Memory,
    broker::Ticket,
    clock::Timer,
    connection::{Connection, Phase},
    error::MemoryError,
    state::{Health, State},
    subscribe::Messages,
    wait::Wakers,
};

impl Link for Memory {
    fn watch(&self) -> Incoming<()> {
        let connection = &self.connection;
        let watcher = connection.shared.with(|state, wakers| {
            state.watch(connection.id, connection.phase() != Phase::Closed, wakers)
        });
        let id = watcher.id;
        let stopped = Arc::clone(connection);
        let states = States(Messages::new(Arc::clone(connection), watcher, false));
        Incoming::new(states, move || stopped.remove(id))
    }

    async fn drain(&self, within: Duration) -> Result<()> {
        let connection = &self.connection;
        let removed = connection.shared.with(|state, wakers| {
            connection.advance(Phase::Draining);
            state.remove_all(connection.id, false, wakers)
        });
        drop(removed);
        let timer = Timer::after(within);
        let mut cancelled =
            Cancelled { connection: Some(Arc::clone(connection)), timer: timer.again(), within };
        let outcome = connection.drained(timer, within).await;
        cancelled.connection = None;
        outcome
    }
}

impl Connection {
    /// Waits until nothing is unsettled, then closes; closes all the same when `timer` fires.
    async fn drained(&self, mut timer: Timer, within: Duration) -> Result<()> {
        let mut ticket = Ticket::new(&self.shared);
        poll_fn(|cx| {
            // Without a timer there is no waiting.
            let is_late = timer.poll(&self.shared.clock, cx).is_ready();
            let (outcome, _replaced) = self.shared.with(|state, wakers| {
                let left = state.unsettled(self.id);
                let is_done = left == 0 && state.health != Health::Frozen;
                if self.phase() == Phase::Closed {
                    return (Poll::Ready(Ok(())), None);
                }
                if is_done || is_late {
                    self.close(state, wakers);
                }
                match (is_done, is_late) {
                    (true, _) => (Poll::Ready(Ok(())), None),
                    (_, true) => (Poll::Ready(Err(MemoryError::Undrained { left, within })), None),
                    _ => (Poll::Pending, state.waiting.register(&mut ticket.key, cx)),
                }
            });
            outcome.map_err(|err| err.during(OPERATION))
        })
        .await
    }

    fn close(&self, state: &mut State, wakers: &mut Wakers) {
        self.advance(Phase::Closed);
        state.revoke(self.id, wakers);
        // What only watchers hold are states of the link: nobody else's code is dropped under the lock.
        drop(state.remove_all(self.id, true, wakers));
        state.waiting.drain(wakers);
    }
}

/// Goes on draining in the background where the call was dropped.
struct Cancelled {
    /// Taken out when the drain has come to its end.
    connection: Option<Arc<Connection>>,
    timer: Timer,
    within: Duration,
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let (timer, within) = (self.timer.again(), self.within);
        let shared = Arc::clone(&connection.shared);
        let started = shared.clock.spawn(async move {
            // Whoever wanted the outcome has gone.
            drop(connection.drained(timer, within).await);
        });
        // Without a thread for it, the next drain finishes this one.
        drop(started);
    }
}

/// The states among the events of a mailbox that gets no messages.
struct States(Messages);

impl Stream for States {
    type Item = Result<Event<()>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0)
            .poll_next(cx)
            .map(|next| next.map(|event| event.map(|event| event.map(drop))))
    }
}

const OPERATION: &str = "memory drain";
