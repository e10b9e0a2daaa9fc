//! Logs: where JetStream and Liftbridge start, and Liftbridge's groups, which settle by cursor.
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use sinew_core::{
    Attempt, Backend, BoxFuture, Capabilities, Consume, Consumption, Delivery, Error, ErrorKind,
    Guarantee, Incoming, Message, Names, Pending, Position, Queue, QueueKind, QueueKinds,
    QueueStatus, Registration, Result, Settle, Settlement, Start, StartPoints, Subscribe,
    Subscription, Verdict, Wildcards,
};

use crate::support::{Feed, lock, now, subject};

/// What the broker is asked for: JetStream's deliver policy, Liftbridge's start position.
#[derive(Clone, Debug, Eq, PartialEq)]
enum From {
    New,
    Earliest,
    Latest,
    Offset(u64),
    Time(SystemTime),
}

/// One stream of JetStream, or one partition of a Liftbridge stream.
struct Log {
    name: &'static str,
    backend: &'static str,
    asked: Mutex<Vec<From>>,
    feed: Feed<Message>,
}

impl Log {
    fn new(backend: &'static str, name: &'static str) -> Self {
        Self { name, backend, asked: Mutex::default(), feed: Feed::new() }
    }

    /// An offset means nothing in another log, so it is refused there.
    fn offset(&self, position: &Position) -> Result<u64> {
        if *position.log == *self.name {
            return Ok(position.offset);
        }
        Err(Error::new(ErrorKind::InvalidOptions, "subscribe")
            .with_subject(position.to_string())
            .with_detail(format!("the subscription reads `{}`", self.name)))
    }
}

impl Backend for Log {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.backend)
            .with_registration(Registration::Confirmed)
            .with_wildcards(Wildcards::Tokens)
            .with_starts(StartPoints::all())
            .with_overflow(sinew_core::Overflows::all())
    }
}

impl Subscribe for Log {
    async fn subscribe(&self, wanted: Subscription) -> Result<Incoming<Message>> {
        self.capabilities().check_subscription(&wanted)?;
        let from = match &wanted.start {
            Start::New => From::New,
            Start::Earliest => From::Earliest,
            Start::Latest => From::Latest,
            Start::At(position) => From::Offset(self.offset(position)?),
            Start::After(position) => From::Offset(self.offset(position)?.saturating_add(1)),
            Start::Time(time) => From::Time(*time),
            other => return Err(Error::new(ErrorKind::Unsupported, format!("{other:?}"))),
        };
        lock(&self.asked).push(from);
        Ok(self.feed.incoming())
    }
}

#[test]
fn a_log_is_read_from_an_offset_and_from_a_time() {
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(43_200);
    for (backend, name) in [("nats jetstream", "ORDERS"), ("liftbridge", "orders/2")] {
        let log = Log::new(backend, name);
        let starts = [
            Start::Earliest,
            Start::At(Position::new(name, 7)),
            Start::After(Position::new(name, 7)),
            Start::Time(noon),
        ];
        for start in starts {
            let wanted = Subscription::new(subject("orders").unwrap()).with_start(start);
            drop(now(log.subscribe(wanted)).unwrap().unwrap());
        }
        let asked = [From::Earliest, From::Offset(7), From::Offset(8), From::Time(noon)];
        assert_eq!(*lock(&log.asked), asked);
    }
}

#[test]
fn an_offset_of_another_log_is_refused() {
    let log = Log::new("liftbridge", "orders/2");
    let wanted = Subscription::new(subject("orders").unwrap())
        .with_start(Start::At(Position::new("orders/0", 7)));
    let err = now(log.subscribe(wanted)).unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
}

#[test]
fn a_reader_without_acks_resumes_after_the_position_of_its_last_message() {
    let log = Log::new("nats jetstream", "ORDERS");
    let wanted = || Subscription::new(subject("orders").unwrap());
    let mut incoming = now(log.subscribe(wanted())).unwrap().unwrap();
    let stored = Message::new(subject("orders").unwrap(), "1");
    log.feed.push(stored.with_position(Position::new("ORDERS", 41)));
    let seen = now(incoming.next_item()).unwrap().unwrap().unwrap();

    let last = seen.position().unwrap().clone();
    drop(now(log.subscribe(wanted().with_start(Start::After(last)))).unwrap().unwrap());
    assert_eq!(*lock(&log.asked), [From::New, From::Offset(42)]);
}

/// A member of a Liftbridge group: the cursor goes over the acknowledged prefix, and nothing goes back.
struct Group {
    cursor: Arc<Mutex<Cursor>>,
    feed: Feed<Delivery>,
}

#[derive(Default)]
struct Cursor {
    next: u64,
    acked: BTreeSet<u64>,
}

impl Cursor {
    fn ack(&mut self, offset: u64) {
        self.acked.insert(offset);
        while self.acked.remove(&self.next) {
            self.next += 1;
        }
    }
}

const GROUP: Capabilities = Capabilities::new("liftbridge")
    .with_registration(Registration::Confirmed)
    .with_delivery(Guarantee::AtLeastOnce)
    .with_settlement(Settlement::Cumulative)
    .with_names(Names::Subjects)
    .with_queues(QueueKinds::of(&[QueueKind::Durable]));

impl Backend for Group {
    fn capabilities(&self) -> Capabilities {
        GROUP
    }
}

impl Consume for Group {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        GROUP.check_consumption(&wanted)?;
        Ok(self.feed.incoming())
    }

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        GROUP.check_consumption(&wanted)?;
        Ok(QueueStatus::new())
    }

    async fn inspect(&self, _: &Queue) -> Result<QueueStatus> {
        Ok(QueueStatus::new())
    }
}

impl Group {
    fn deliver(&self, offset: u64) -> Result<()> {
        let message =
            Message::new(subject("orders")?, "").with_position(Position::new("orders/2", offset));
        let settle = Member { cursor: Arc::clone(&self.cursor), offset };
        self.feed.push(Delivery::new(message, Attempt::Unknown, settle));
        Ok(())
    }
}

struct Member {
    cursor: Arc<Mutex<Cursor>>,
    offset: u64,
}

impl Settle for Member {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        let outcome = GROUP.check_verdict(verdict);
        if outcome.is_ok() {
            lock(&self.cursor).ack(self.offset);
        }
        Pending::ready(outcome)
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_cursor_passes_what_is_acknowledged_without_a_gap_and_no_more() {
    let group = Group { cursor: Arc::default(), feed: Feed::new() };
    let wanted = Consumption::new(Queue::parse("billing").unwrap(), subject("orders").unwrap());
    let mut incoming = now(group.consume(wanted)).unwrap().unwrap();
    let mut deliveries = Vec::new();
    for offset in 0..5 {
        group.deliver(offset).unwrap();
        deliveries.push(now(incoming.next_item()).unwrap().unwrap().unwrap());
    }
    let [first, second, third, fourth, fifth] = deliveries.try_into().unwrap();
    assert_eq!(fifth.message.position(), Some(&Position::new("orders/2", 4)));

    let cursor = || lock(&group.cursor).next;
    now(second.ack()).unwrap().unwrap();
    now(third.ack()).unwrap().unwrap();
    assert_eq!(cursor(), 0);
    now(first.ack()).unwrap().unwrap();
    assert_eq!(cursor(), 3);
    // Dropped, as by a panic: it stays unacknowledged, and keeps the cursor before it.
    drop(fourth);
    now(fifth.ack()).unwrap().unwrap();
    assert_eq!(cursor(), 3);
}

#[test]
fn what_a_cursor_cannot_do_is_refused() {
    let group = Group { cursor: Arc::default(), feed: Feed::new() };
    let mut incoming = group.feed.incoming();
    let refused =
        [Verdict::Requeue, Verdict::RequeueAfter(Duration::from_secs(1)), Verdict::Discard];
    for (offset, verdict) in (0..).zip(refused) {
        group.deliver(offset).unwrap();
        let delivery = now(incoming.next_item()).unwrap().unwrap().unwrap();
        let err = now(delivery.settle(verdict)).unwrap().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unsupported);
    }
    assert_eq!(lock(&group.cursor).next, 0);
    let exclusive = Consumption::new(Queue::parse("billing").unwrap(), subject("a").unwrap())
        .with_exclusive(true);
    let err = now(group.consume(exclusive)).unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unsupported);
}
