//! A drain while a handler is at work: intake stops, the handler finishes and may publish, then all is closed.
use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use sinew_core::{
    AnyBackend, AnyConsumer, AnyLink, AnyPublisher, Attempt, Backend, BoxFuture, Capabilities,
    Confirm, Consume, Consumption, Delivery, Error, ErrorKind, Event, Incoming, Link, Message,
    Pending, Publish, PublishExt, Queue, QueueKind, QueueKinds, QueueStatus, Receipt, Result,
    Settle, Settlement, Verdict,
};

use crate::support::{Feed, lock, now, poll, subject};

#[derive(Clone)]
struct Conn(Arc<Mutex<State>>);

struct State {
    stage: Stage,
    unsettled: Vec<u32>,
    verdicts: Vec<(u32, Verdict)>,
    intake: Feed<Delivery>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Stage {
    Open,
    Draining,
    Closed,
}

impl Conn {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            stage: Stage::Open,
            unsettled: Vec::new(),
            verdicts: Vec::new(),
            intake: Feed::new(),
        })))
    }

    fn deliver(&self, number: u32) -> Result<bool> {
        let settle = Settler { conn: self.clone(), number };
        let message = Message::new(subject("work")?, number.to_string());
        let feed = lock(&self.0).intake.clone();
        let is_taken = feed.push(Delivery::new(message, Attempt::Number(1), settle));
        if is_taken {
            lock(&self.0).unsettled.push(number);
        }
        Ok(is_taken)
    }
}

struct Settler {
    conn: Conn,
    number: u32,
}

impl Settle for Settler {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        let mut state = lock(&self.conn.0);
        state.unsettled.retain(|number| *number != self.number);
        state.verdicts.push((self.number, verdict));
        Pending::ready(Ok(()))
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

impl Backend for Conn {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("conn")
            .with_confirm(Confirm::Accepted)
            .with_settlement(Settlement::Each)
            .with_queues(QueueKinds::of(&[QueueKind::Durable]))
    }
}

impl Publish for Conn {
    async fn publish(&self, _: Message) -> Result<Pending<Receipt>> {
        match lock(&self.0).stage {
            Stage::Closed => Err(Error::new(ErrorKind::Closed, "conn publish")),
            Stage::Open | Stage::Draining => Ok(Pending::ready(Ok(Receipt::Accepted))),
        }
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl Consume for Conn {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        self.capabilities().check_consumption(&wanted)?;
        let state = lock(&self.0);
        match state.stage {
            Stage::Open => Ok(state.intake.incoming()),
            Stage::Draining | Stage::Closed => Err(Error::new(ErrorKind::Closed, "conn consume")),
        }
    }

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        self.capabilities().check_consumption(&wanted)?;
        Ok(QueueStatus::new())
    }

    async fn inspect(&self, _: &Queue) -> Result<QueueStatus> {
        Ok(QueueStatus::new())
    }
}

impl Link for Conn {
    fn watch(&self) -> Incoming<()> {
        let feed = Feed::new();
        feed.push_event(Ok(Event::Up { gap: false }));
        feed.incoming()
    }

    async fn drain(&self, _: Duration) -> Result<()> {
        {
            let mut state = lock(&self.0);
            if state.stage == Stage::Open {
                state.stage = Stage::Draining;
            }
            state.intake.stop();
        }
        poll_fn(|_| match lock(&self.0).unsettled.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        self.flush().await?;
        lock(&self.0).stage = Stage::Closed;
        Ok(())
    }
}

fn work() -> Result<Consumption> {
    Ok(Consumption::new(Queue::parse("work")?, subject("work")?))
}

#[test]
fn a_drain_lets_a_busy_handler_finish_and_publish_then_closes() {
    let conn = Conn::new();
    let backend = AnyBackend::new(AnyLink::new(conn.clone()))
        .with_publisher(AnyPublisher::new(conn.clone()))
        .with_consumer(AnyConsumer::new(conn.clone()));
    let (consumer, publisher) = (backend.consumer().unwrap(), backend.publisher().unwrap());
    let mut incoming = now(consumer.consume(work().unwrap())).unwrap().unwrap();
    assert!(conn.deliver(1).unwrap() && conn.deliver(2).unwrap());
    let busy = now(incoming.next_item()).unwrap().unwrap().unwrap();

    let link = backend.link();
    let mut drain = pin!(link.drain(Duration::from_secs(30)));
    assert!(poll(drain.as_mut()).is_pending());
    assert!(!conn.deliver(3).unwrap(), "intake has stopped, so it goes back");
    let err = now(consumer.consume(work().unwrap())).unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Closed);

    // The handler at work still has a live connection; what was received before is still yielded.
    let result = Message::new(subject("done").unwrap(), "1");
    assert_eq!(now(publisher.send(result.clone())).unwrap().unwrap(), Receipt::Accepted);
    now(busy.ack()).unwrap().unwrap();
    let second = now(incoming.next_item()).unwrap().unwrap().unwrap();
    assert!(poll(drain.as_mut()).is_pending());
    drop(second);
    assert!(now(incoming.next()).unwrap().is_none());

    assert!(matches!(poll(drain.as_mut()), Poll::Ready(Ok(()))));
    let verdicts = [(3, Verdict::Requeue), (1, Verdict::Ack), (2, Verdict::Requeue)];
    assert_eq!(lock(&conn.0).verdicts, verdicts);
    assert_eq!(now(publisher.send(result)).unwrap().unwrap_err().kind(), ErrorKind::Closed);
    now(link.drain(Duration::ZERO)).unwrap().unwrap();
}

#[test]
fn an_ack_is_handed_over_even_if_nobody_awaits_its_answer() {
    let conn = Conn::new();
    let mut incoming = now(conn.consume(work().unwrap())).unwrap().unwrap();
    conn.deliver(1).unwrap();
    let delivery = now(incoming.next_item()).unwrap().unwrap().unwrap();
    drop(delivery.ack());
    assert_eq!(lock(&conn.0).verdicts, [(1, Verdict::Ack)]);
}
