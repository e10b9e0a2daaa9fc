//! What the memory broker promises beyond the behaviour suite: virtual time, bounds, the truth about its log, no leaks.
use std::{
    task::{Context, Waker},
    time::{Duration, SystemTime},
};

use futures_executor::block_on;
use sinew_adapter_memory::{Memory, MemoryBroker, MemoryOptions, MemoryStats};
use sinew_core::{
    Address, Buffer, Consume, Consumption, Error, ErrorKind, Event, Incoming, Lifetime, Link,
    Message, Overflow, Pattern, Position, Publish, PublishExt, Queue, Receipt, Request, Result,
    Sent, Start, Subject, Subscribe, Subscription, Verdict,
};
use tokio::time::Instant;

fn on(pattern: &str) -> Result<Subscription> {
    Ok(Subscription::new(Pattern::parse(pattern)?))
}

fn queue(name: &str) -> Result<Consumption> {
    Ok(Consumption::new(Queue::parse(name)?, Pattern::parse("a")?))
}

fn message(payload: &'static str) -> Result<Message> {
    Ok(Message::new(Subject::parse("a")?, payload))
}

/// The next item of an intake that has not ended.
async fn next<T>(incoming: &mut Incoming<T>) -> Result<T> {
    let ended = || Error::new(ErrorKind::Closed, "read intake");
    incoming.next_item().await.ok_or_else(ended)?
}

/// Whether there is nothing to read yet.
fn is_silent<T>(incoming: &mut Incoming<T>) -> bool {
    let next = std::pin::pin!(incoming.next());
    next.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn logged(messages: usize) -> MemoryBroker {
    MemoryBroker::with_options(MemoryOptions::default().with_log(messages, 1 << 20))
}

#[tokio::test(start_paused = true)]
async fn a_delayed_requeue_returns_in_virtual_time() -> Result<()> {
    let memory = Memory::new();
    let mut incoming = memory.consume(queue("q")?).await?;
    memory.send(message("1")?).await?;
    let started = Instant::now();
    let hour = Duration::from_secs(3600);
    next(&mut incoming).await?.settle(Verdict::RequeueAfter(hour)).await?;
    drop(next(&mut incoming).await?);
    assert!(started.elapsed() >= hour && started.elapsed() < hour + Duration::from_secs(1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_waits_already_learns_of_a_delay() -> Result<()> {
    let memory = Memory::new();
    let mut first = memory.consume(queue("q")?).await?;
    memory.send(message("1")?).await?;
    let held = next(&mut first).await?;
    let mut second = memory.consume(queue("q")?).await?;
    assert!(is_silent(&mut second));
    let waiting = tokio::spawn(async move { next(&mut second).await });
    tokio::task::yield_now().await;
    held.settle(Verdict::RequeueAfter(Duration::from_secs(60))).await?;
    assert_eq!(waiting.await.unwrap()?.message.payload, "1");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_outlives_its_time_is_counted_and_told() -> Result<()> {
    let broker = MemoryBroker::new();
    let memory = broker.connect();
    let mut incoming = memory.subscribe(on("a")?).await?;
    let mut consumer = memory.consume(queue("q")?).await?;
    let second = Duration::from_secs(1);
    memory.send(message("short")?.with_ttl(second)).await?;
    memory.send(message("long")?.with_ttl(Duration::MAX)).await?;
    tokio::time::advance(2 * second).await;
    assert!(matches!(incoming.next().await, Some(Ok(Event::Lost(1)))));
    assert_eq!(next(&mut incoming).await?.payload, "long");
    assert_eq!(next(&mut consumer).await?.message.payload, "long");
    assert_eq!(broker.stats().expired, 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_publish_into_a_full_queue_waits_and_then_fails_unsent() -> Result<()> {
    let options = MemoryOptions::default().with_queue_bounds(2, 1 << 20);
    let memory = MemoryBroker::with_options(options).connect();
    let mut incoming = memory.consume(queue("q")?).await?;
    for payload in ["1", "2"] {
        memory.send(message(payload)?).await?;
    }
    let err = memory.send(message("3")?).await.unwrap_err();
    assert_eq!((err.kind(), err.sent()), (ErrorKind::Overloaded, Sent::No));
    // Taken is not gone: the verdict makes the room.
    let held = next(&mut incoming).await?;
    let publisher = memory.clone();
    let waiting = tokio::spawn(async move { publisher.send(message("3")?).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    held.ack().await?;
    assert_eq!(waiting.await.unwrap()?, Receipt::Accepted);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_waits_for_one_has_reached_nobody() -> Result<()> {
    let memory = Memory::new();
    let mut eager = memory.subscribe(on("a")?).await?;
    let buffer = Buffer::default().with_messages(1).with_overflow(Overflow::Block);
    let mut slow = memory.subscribe(on("a")?.with_buffer(buffer)).await?;
    memory.send(message("1")?).await?;
    assert_eq!(next(&mut eager).await?.payload, "1");
    {
        let mut blocked = std::pin::pin!(memory.publish(message("2")?));
        assert!(blocked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(is_silent(&mut eager));
    }
    // The dropped call has sent nothing.
    assert_eq!(next(&mut slow).await?.payload, "1");
    memory.send(message("3")?).await?;
    assert_eq!(next(&mut eager).await?.payload, "3");
    assert_eq!(next(&mut slow).await?.payload, "3");
    Ok(())
}

#[tokio::test]
async fn a_replay_is_told_what_went_before_it_was_read() -> Result<()> {
    let memory = logged(3).connect();
    let mut incoming = memory.subscribe(on("a")?.with_start(Start::Earliest)).await?;
    for payload in ["1", "2", "3", "4", "5"] {
        memory.send(message(payload)?).await?;
        memory.send_to("other", payload).await?;
    }
    assert!(matches!(incoming.next().await, Some(Ok(Event::Lost(4)))));
    assert_eq!(next(&mut incoming).await?.payload, "5");
    memory.send(message("6")?).await?;
    assert_eq!(next(&mut incoming).await?.payload, "6");
    Ok(())
}

#[tokio::test]
async fn a_position_names_its_log_and_does_not_outlive_it() -> Result<()> {
    let broker = logged(10);
    let memory = broker.connect();
    let Receipt::Persisted(position) = memory.send(message("1")?).await? else {
        panic!("no position")
    };
    let after = on("a")?.with_start(Start::After(position.clone()));
    drop(memory.subscribe(after.clone()).await?);
    broker.kill();
    broker.start();
    assert_eq!(memory.subscribe(after).await.unwrap_err().kind(), ErrorKind::NotFound);
    let stale = message("2")?.with_expected_position(position);
    assert_eq!(memory.send(stale).await.unwrap_err().kind(), ErrorKind::WrongPosition);
    Ok(())
}

#[tokio::test]
async fn a_queue_starts_in_the_past_when_it_is_made() -> Result<()> {
    let memory = logged(10).connect();
    for payload in ["1", "2"] {
        memory.send(message(payload)?).await?;
    }
    let mut incoming = memory.consume(queue("q")?.with_start(Start::Latest)).await?;
    let first = next(&mut incoming).await?;
    assert_eq!(first.message.payload, "2");
    assert_eq!(first.message.position().map(|position| position.offset), Some(2));
    Ok(())
}

#[tokio::test]
async fn a_time_after_everything_starts_with_what_is_new() -> Result<()> {
    let memory = logged(10).connect();
    memory.send(message("old")?).await?;
    let later = SystemTime::now() + Duration::from_secs(3600);
    let mut incoming = memory.subscribe(on("a")?.with_start(Start::Time(later))).await?;
    assert!(is_silent(&mut incoming));
    memory.send(message("new")?).await?;
    assert_eq!(next(&mut incoming).await?.payload, "new");
    Ok(())
}

#[tokio::test]
async fn what_is_forwarded_says_nothing_to_the_broker() -> Result<()> {
    let memory = logged(10).connect();
    let mut incoming = memory.subscribe(on(">")?).await?;
    let end = match memory.send(message("0")?).await? {
        Receipt::Persisted(position) => position,
        other => panic!("{other:?}"),
    };
    memory
        .send(message("1")?.with_must_route(true).with_expected_position(end).with_id("7"))
        .await?;
    next(&mut incoming).await?;
    let mut arrived = next(&mut incoming).await?;
    let properties = arrived.properties().unwrap();
    assert_eq!((properties.must_route, &properties.expected_position), (false, &None));
    arrived.address = Address::from_wire(None, "elsewhere");
    memory.send(arrived).await?;
    let forwarded = next(&mut incoming).await?;
    assert_eq!(forwarded.position().map(|position| position.offset), Some(3));
    assert_eq!(forwarded.properties().unwrap().id.as_deref(), Some("7"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_id_is_remembered_for_its_window() -> Result<()> {
    let window = Duration::from_secs(60);
    let options = MemoryOptions::default().with_deduplication(window, 2);
    let broker = MemoryBroker::with_options(options);
    let memory = broker.connect();
    let mut incoming = memory.subscribe(on("a")?).await?;
    for id in ["1", "1", "2", "3", "1"] {
        memory.send(message("x")?.with_id(id)).await?;
    }
    // The last `1` is new again: two ids are remembered, and two have come since.
    assert_eq!(broker.stats().duplicates, 1);
    tokio::time::advance(window + Duration::from_millis(1)).await;
    memory.send(message("x")?.with_id("1")).await?;
    for _ in 0..5 {
        next(&mut incoming).await?;
    }
    assert!(is_silent(&mut incoming));
    Ok(())
}

#[tokio::test]
async fn nothing_stays_registered() -> Result<()> {
    let broker = logged(10);
    let memory = broker.connect();
    drop(memory.subscribe(on("a")?).await?);
    drop(memory.subscribe(on("a")?.with_start(Start::Earliest)).await?);
    drop(memory.consume(queue("q")?.with_lifetime(Lifetime::UntilUnused)).await?);
    drop(memory.watch());
    drop(memory.request(message("?")?).await?);
    let mut nobody = memory.request(message("?")?).await?;
    assert_eq!(next(&mut nobody).await.unwrap_err().kind(), ErrorKind::NoResponders);
    assert_eq!(broker.stats(), MemoryStats::default());
    Ok(())
}

#[tokio::test]
async fn a_durable_queue_is_there_until_it_is_deleted() -> Result<()> {
    let broker = MemoryBroker::new();
    let memory = broker.connect();
    let name = Queue::parse("q")?;
    assert!(!broker.delete_queue(&name).unwrap());
    let mut incoming = memory.consume(queue("q")?).await?;
    assert_eq!(broker.delete_queue(&name).unwrap_err().kind(), ErrorKind::Conflict);
    memory.send(message("1")?).await?;
    let held = next(&mut incoming).await?;
    drop(incoming);
    assert_eq!(broker.delete_queue(&name).unwrap_err().kind(), ErrorKind::Conflict);
    held.ack().await?;
    assert!(broker.delete_queue(&name).unwrap());
    let unroutable = memory.send(message("2")?.with_must_route(true)).await.unwrap_err();
    assert_eq!(unroutable.kind(), ErrorKind::Unroutable);
    Ok(())
}

#[tokio::test]
async fn a_queue_until_unused_waits_for_its_last_verdict() -> Result<()> {
    let broker = MemoryBroker::new();
    let memory = broker.connect();
    let wanted = queue("q")?.with_lifetime(Lifetime::UntilUnused);
    let mut incoming = memory.consume(wanted).await?;
    memory.send(message("1")?).await?;
    let held = next(&mut incoming).await?;
    drop(incoming);
    assert_eq!(broker.stats().queues, 1);
    held.ack().await?;
    assert_eq!(broker.stats().queues, 0);
    Ok(())
}

#[tokio::test]
async fn a_killed_broker_forgets_and_its_clients_do_not() -> Result<()> {
    let broker = MemoryBroker::new();
    let memory = broker.connect();
    let mut link = memory.watch();
    assert!(matches!(link.next().await, Some(Ok(Event::Up { gap: false }))));
    let mut incoming = memory.subscribe(on("a")?).await?;
    memory.consume(queue("forgotten")?).await?.stop();
    memory.send(message("received")?).await?;
    broker.kill();
    let err = memory.send(message("lost")?).await.unwrap_err();
    assert_eq!((err.kind(), err.sent()), (ErrorKind::Disconnected, Sent::No));
    assert_eq!(broker.stats().queues, 0);
    for _ in 0..10 {
        broker.start();
        broker.kill();
    }
    broker.start();
    memory.send(message("after")?).await?;
    assert_eq!(next(&mut incoming).await?.payload, "received");
    assert!(matches!(incoming.next().await, Some(Ok(Event::Down))));
    assert!(matches!(incoming.next().await, Some(Ok(Event::Up { gap: true }))));
    assert_eq!(next(&mut incoming).await?.payload, "after");
    assert!(matches!(link.next().await, Some(Ok(Event::Down))));
    assert!(matches!(link.next().await, Some(Ok(Event::Up { gap: true }))));
    Ok(())
}

#[tokio::test]
async fn a_replay_that_a_kill_ends_goes_live_once() -> Result<()> {
    let broker = logged(10);
    let memory = broker.connect();
    for payload in ["1", "2"] {
        memory.send(message(payload)?).await?;
    }
    let mut incoming = memory.subscribe(on("a")?.with_start(Start::Earliest)).await?;
    assert_eq!(next(&mut incoming).await?.payload, "1");
    broker.kill();
    broker.start();
    memory.send(message("after")?).await?;
    // The rest of the log is the gap.
    assert!(matches!(incoming.next().await, Some(Ok(Event::Down))));
    assert!(matches!(incoming.next().await, Some(Ok(Event::Up { gap: true }))));
    assert_eq!(next(&mut incoming).await?.payload, "after");
    assert!(is_silent(&mut incoming));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_frozen_broker_is_waited_for_no_longer_than_the_timeout() -> Result<()> {
    let timeout = Duration::from_secs(3);
    let broker = MemoryBroker::with_options(MemoryOptions::default().with_timeout(timeout));
    let memory = broker.connect();
    let mut incoming = memory.consume(queue("q")?).await?;
    memory.send(message("1")?).await?;
    let held = next(&mut incoming).await?;
    broker.freeze();
    let started = Instant::now();
    assert_eq!(memory.flush().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(started.elapsed() >= timeout);
    // A verdict is handed over all the same.
    assert_eq!(held.ack().await.unwrap_err().kind(), ErrorKind::Timeout);
    broker.thaw();
    memory.send(message("2")?).await?;
    assert_eq!(next(&mut incoming).await?.message.payload, "2");
    Ok(())
}

#[tokio::test]
async fn a_publisher_that_never_waits_lets_its_readers_run() -> Result<()> {
    let memory = Memory::new();
    let buffer = Buffer::default().with_messages(512);
    let mut incoming = memory.subscribe(on("a")?.with_buffer(buffer)).await?;
    let reader = tokio::spawn(async move {
        for _ in 0..10_000 {
            match incoming.next().await {
                Some(Ok(Event::Item(_))) => {}
                other => return Err(other),
            }
        }
        Ok(())
    });
    for _ in 0..10_000 {
        memory.send(message("x")?).await?;
    }
    assert!(reader.await.unwrap().is_ok());
    Ok(())
}

#[test]
fn timers_work_without_tokio() -> Result<()> {
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let memory = Memory::new();
        let outcome = block_on(async {
            let mut incoming = memory.consume(queue("q")?).await?;
            memory.send(message("1")?).await?;
            let soon = Verdict::RequeueAfter(Duration::from_millis(20));
            next(&mut incoming).await?.settle(soon).await?;
            next(&mut incoming).await?.ack().await?;
            memory.drain(Duration::from_secs(5)).await
        });
        done.send(outcome).unwrap();
    });
    outcome.recv_timeout(Duration::from_secs(10)).unwrap()
}

#[test]
fn a_delay_outlives_the_runtime_that_it_was_waited_for_on() -> Result<()> {
    let memory = Memory::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut incoming = runtime.block_on(async {
        let mut incoming = memory.consume(queue("q")?).await?;
        memory.send(message("1")?).await?;
        let soon = Verdict::RequeueAfter(Duration::from_millis(20));
        next(&mut incoming).await?.settle(soon).await?;
        assert!(is_silent(&mut incoming));
        Result::Ok(incoming)
    })?;
    drop(runtime);
    assert_eq!(block_on(next(&mut incoming))?.message.payload, "1");
    Ok(())
}

#[tokio::test]
async fn a_reply_address_of_another_broker_is_refused() -> Result<()> {
    let (asked, other) = (Memory::new(), Memory::new());
    let mut requests = asked.subscribe(on("a")?).await?;
    let mut replies = asked.request(message("?")?).await?;
    let request = next(&mut requests).await?;
    let err = other.send(request.reply("!").unwrap()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    asked.send(request.reply("!").unwrap()).await?;
    assert_eq!(next(&mut replies).await?.payload, "!");
    Ok(())
}

#[tokio::test]
async fn a_position_says_where_the_log_ends_when_it_is_refused() -> Result<()> {
    let memory = logged(10).connect();
    memory.send(message("1")?).await?;
    let beyond = Start::At(Position::new("memory-1", 3));
    let err = memory.subscribe(on("a")?.with_start(beyond)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert!(err.to_string().contains("memory-1@1"), "{err}");
    Ok(())
}
