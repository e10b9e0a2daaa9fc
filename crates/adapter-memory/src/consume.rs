//! Settled intake: consumers take from a queue what they have room for.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use sinew_core::{
    Attempt, Consume, Consumption, Delivery, Event, Incoming, Queue, QueueStatus, Result,
};

use crate::{
    Memory,
    clock::{self, Timer},
    connection::Connection,
    error::MemoryError,
    intakes::Registered,
    queue::{Backlog, Take},
    settle::Settlement,
    state::State,
    wait::Wakers,
};

impl Consume for Memory {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        let connection = &self.connection;
        connection.shared.capabilities.check_consumption(&wanted)?;
        let (intake, queue) = connection
            .register("memory consume", |state, _| state.consume(connection.id, &wanted))
            .await
            .map_err(|err| err.with_subject(wanted.queue.as_str()))?;
        let id = intake.id;
        let stopped = Arc::clone(connection);
        let deliveries =
            Deliveries { connection: Arc::clone(connection), intake, queue, timer: None };
        Ok(Incoming::new(deliveries, move || stopped.remove(id)))
    }

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        let connection = &self.connection;
        connection.shared.capabilities.check_consumption(&wanted)?;
        connection
            .register("memory declare", |state, _| Ok(state.declare(&wanted)?.status()))
            .await
            .map_err(|err| err.with_subject(wanted.queue.as_str()))
    }

    async fn inspect(&self, queue: &Queue) -> Result<QueueStatus> {
        let look = |state: &mut State, _: &mut Wakers| match state.queues.get(queue) {
            Some(found) => Ok(found.status()),
            None => Err(MemoryError::NoQueue),
        };
        let looked = self.connection.register("memory inspect", look).await;
        looked.map_err(|err| err.with_subject(queue.as_str()))
    }
}

/// Takes from a queue. Its mailbox holds what there is to say of the link.
struct Deliveries {
    connection: Arc<Connection>,
    intake: Registered,
    queue: Arc<Backlog>,
    /// Set while a delayed message is what it waits for.
    timer: Option<Timer>,
}

impl Deliveries {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event<Delivery>>>> {
        match self.intake.reader.read(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Ok(Event::Down))) => return Poll::Ready(Some(Ok(Event::Down))),
            Poll::Ready(Some(Ok(Event::Up { gap }))) => {
                return Poll::Ready(Some(Ok(Event::Up { gap })));
            }
            // No messages are sent to this mailbox, so none is too many.
            Poll::Ready(Some(_)) | Poll::Pending => {}
        }
        loop {
            let (take, aftermath) = self.queue.take(self.intake.id, self.connection.id, cx);
            self.connection.shared.see_to(&self.queue, &aftermath);
            let due = match take {
                Take::Message(tag, message) => {
                    let attempt = Attempt::Number(tag.delivery);
                    let settlement =
                        Settlement::new(Arc::clone(&self.connection), Arc::clone(&self.queue), tag);
                    let delivery = Delivery::new(message, attempt, settlement);
                    return Poll::Ready(Some(Ok(Event::Item(delivery))));
                }
                Take::Wait(None) => {
                    self.timer = None;
                    return Poll::Pending;
                }
                Take::Wait(Some(due)) => due,
            };
            let timer = match &mut self.timer {
                Some(timer) if timer.is_at(due) => timer,
                other => other.insert(Timer::at(due)),
            };
            if let Err(err) = ready!(timer.poll(&self.connection.shared.clock, cx)) {
                return Poll::Ready(Some(Err(err.during("memory consume"))));
            }
            self.timer = None;
        }
    }
}

impl Stream for Deliveries {
    type Item = Result<Event<Delivery>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let turn = ready!(clock::poll_turn(cx));
        let next = self.get_mut().poll_event(cx);
        if next.is_ready() {
            turn.made_progress();
        }
        next
    }
}
