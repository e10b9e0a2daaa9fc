//! What is played in every order.
use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use shuttle::{
    future::{block_on, spawn, yield_now},
    sync::Mutex,
};
use sinew_core::{
    Buffer, Consume, Consumption, Delivery, Error, ErrorKind, Event, Incoming, Lifetime, Link,
    Message, Overflow, Pattern, Publish, PublishExt, Queue, Result, Start, Subscribe, Subscription,
};

use crate::{Memory, MemoryBroker, MemoryOptions, sync::lock};

/// Plays a scene in many random orders, and in those with few switches, which find deep races.
fn every_order<F: Future<Output = Result<()>> + 'static>(scene: fn() -> F) {
    let play = move || {
        let outcome = block_on(scene());
        assert!(outcome.is_ok(), "{outcome:?}");
    };
    shuttle::check_random(play, 1_500);
    shuttle::check_pct(play, 1_500, 3);
}

fn on(pattern: &str) -> Result<Subscription> {
    Ok(Subscription::new(Pattern::parse(pattern)?))
}

fn queue(prefetch: u16) -> Result<Consumption> {
    let queue = Consumption::new(Queue::parse("q")?, Pattern::parse("a")?);
    Ok(queue.with_prefetch(prefetch))
}

async fn publish(memory: Memory, payloads: &[&'static str]) -> Result<()> {
    for payload in payloads {
        memory.send_to("a", *payload).await?;
    }
    Ok(())
}

/// The next item of an intake that has not ended.
async fn next<T>(incoming: &mut Incoming<T>) -> Result<T> {
    let ended = || Error::new(ErrorKind::Closed, "read intake");
    incoming.next_item().await.ok_or_else(ended)?
}

async fn read(incoming: &mut Incoming<Message>, count: usize) -> Result<Vec<Bytes>> {
    let mut payloads = Vec::new();
    for _ in 0..count {
        payloads.push(next(incoming).await?.payload);
    }
    Ok(payloads)
}

#[test]
fn a_reader_is_never_left_asleep() {
    every_order(|| async {
        let memory = Memory::new();
        let mut incoming = memory.subscribe(on("a")?).await?;
        let publisher = spawn(publish(memory, &["1", "2", "3"]));
        assert_eq!(read(&mut incoming, 3).await?, ["1", "2", "3"]);
        publisher.await.unwrap()
    });
}

#[test]
fn a_publisher_that_waits_for_room_is_never_left_asleep() {
    every_order(|| async {
        let memory = Memory::new();
        let buffer = Buffer::default().with_messages(1).with_overflow(Overflow::Block);
        let mut incoming = memory.subscribe(on("a")?.with_buffer(buffer)).await?;
        let first = spawn(publish(memory.clone(), &["1", "2"]));
        let second = spawn(publish(memory, &["3", "4"]));
        let mut payloads = read(&mut incoming, 4).await?;
        payloads.sort();
        assert_eq!(payloads, ["1", "2", "3", "4"]);
        first.await.unwrap()?;
        second.await.unwrap()
    });
}

#[test]
fn a_publisher_that_waits_is_released_by_the_end_of_the_intake() {
    every_order(|| async {
        let memory = Memory::new();
        let buffer = Buffer::default().with_messages(1).with_overflow(Overflow::Block);
        let incoming = memory.subscribe(on("a")?.with_buffer(buffer)).await?;
        let publisher = spawn(publish(memory, &["1", "2", "3"]));
        drop(incoming);
        publisher.await.unwrap()
    });
}

#[test]
fn every_subscriber_sees_one_order() {
    every_order(|| async {
        let memory = Memory::new();
        let mut one = memory.subscribe(on("a")?).await?;
        let mut other = memory.subscribe(on("*")?).await?;
        let first = spawn(publish(memory.clone(), &["1", "2"]));
        let second = spawn(publish(memory, &["3", "4"]));
        assert_eq!(read(&mut one, 4).await?, read(&mut other, 4).await?);
        first.await.unwrap()?;
        second.await.unwrap()
    });
}

#[test]
fn a_replay_goes_over_to_live_without_a_gap_or_a_double() {
    every_order(|| async {
        let broker = MemoryBroker::with_options(MemoryOptions::default().with_log(100, 1 << 20));
        publish(broker.connect(), &["1"]).await?;
        let publisher = spawn(publish(broker.connect(), &["2", "3", "4"]));
        let wanted = on("a")?.with_start(Start::Earliest);
        let mut incoming = broker.connect().subscribe(wanted).await?;
        assert_eq!(read(&mut incoming, 4).await?, ["1", "2", "3", "4"]);
        publisher.await.unwrap()
    });
}

/// Acknowledges all but the first delivery, which it drops.
async fn consume(mut incoming: Incoming<Delivery>, acked: Arc<Mutex<Vec<Bytes>>>) -> Result<()> {
    let mut drops = 1;
    while let Some(delivery) = incoming.next_item().await {
        let delivery = delivery?;
        if drops > 0 {
            drops -= 1;
            continue;
        }
        let payload = delivery.message.payload.clone();
        delivery.ack().await?;
        lock(&acked).push(payload);
    }
    Ok(())
}

#[test]
fn competing_consumers_ack_each_message_once() {
    every_order(|| async {
        let broker = MemoryBroker::new();
        let (one, other) = (broker.connect(), broker.connect());
        let acked = Arc::new(Mutex::new(Vec::new()));
        let first = spawn(consume(one.consume(queue(1)?).await?, Arc::clone(&acked)));
        let second = spawn(consume(other.consume(queue(2)?).await?, Arc::clone(&acked)));
        publish(broker.connect(), &["1", "2", "3"]).await?;
        while lock(&acked).len() < 3 {
            yield_now().await;
        }
        for link in [one, other] {
            link.drain(Duration::from_secs(1)).await?;
        }
        first.await.unwrap()?;
        second.await.unwrap()?;
        lock(&acked).sort();
        assert_eq!(*lock(&acked), ["1", "2", "3"]);
        Ok(())
    });
}

async fn ack(delivery: Delivery) -> Result<()> {
    delivery.ack().await
}

#[test]
fn a_consumer_with_its_hands_full_is_woken_by_a_verdict() {
    every_order(|| async {
        let memory = Memory::new();
        let mut incoming = memory.consume(queue(1)?).await?;
        publish(memory, &["1", "2", "3"]).await?;
        let first = spawn(ack(next(&mut incoming).await?));
        let second = spawn(ack(next(&mut incoming).await?));
        next(&mut incoming).await?.ack().await?;
        first.await.unwrap()?;
        second.await.unwrap()
    });
}

#[test]
fn a_drain_ends_with_the_last_verdict() {
    every_order(|| async {
        let memory = Memory::new();
        let mut incoming = memory.consume(queue(2)?).await?;
        publish(memory.clone(), &["1", "2"]).await?;
        let first = spawn(ack(next(&mut incoming).await?));
        let second = spawn(ack(next(&mut incoming).await?));
        memory.drain(Duration::from_secs(1)).await?;
        assert!(incoming.next().await.is_none());
        assert_eq!(memory.flush().await.unwrap_err().kind(), ErrorKind::Closed);
        first.await.unwrap()?;
        second.await.unwrap()
    });
}

#[test]
fn a_verdict_from_before_a_kill_is_refused() {
    every_order(|| async {
        let broker = MemoryBroker::new();
        let mut incoming = broker.connect().consume(queue(1)?).await?;
        publish(broker.connect(), &["before"]).await?;
        let delivery = next(&mut incoming).await?;
        let revoked = delivery.revoked();
        let victim = broker.clone();
        let killer = spawn(async move {
            victim.kill();
            yield_now().await;
            victim.start();
        });
        match delivery.ack().await {
            Ok(()) => {}
            Err(err) if err.kind() == ErrorKind::Disconnected => {}
            Err(err) => assert_eq!(err.kind(), ErrorKind::Revoked),
        }
        killer.await.unwrap();
        revoked.await;
        assert!(matches!(incoming.next().await, Some(Ok(Event::Down))));
        assert!(matches!(incoming.next().await, Some(Ok(Event::Up { gap: true }))));
        publish(broker.connect(), &["after"]).await?;
        assert_eq!(next(&mut incoming).await?.message.payload, "after");
        Ok(())
    });
}

#[test]
fn calls_that_meet_a_frozen_broker_go_on_after_the_thaw() {
    every_order(|| async {
        let broker = MemoryBroker::new();
        let memory = broker.connect();
        let mut incoming = memory.subscribe(on("a")?).await?;
        let publisher = spawn(publish(memory.clone(), &["1", "2"]));
        broker.freeze();
        yield_now().await;
        broker.thaw();
        assert_eq!(read(&mut incoming, 2).await?, ["1", "2"]);
        memory.flush().await?;
        publisher.await.unwrap()
    });
}

async fn use_for_a_moment(memory: Memory) -> Result<()> {
    let mut incoming = memory.consume(queue(1)?.with_lifetime(Lifetime::UntilUnused)).await?;
    publish(memory, &["1"]).await?;
    incoming.stop();
    Ok(())
}

#[test]
fn an_unused_queue_goes_once_and_its_name_is_free() {
    every_order(|| async {
        let broker = MemoryBroker::new();
        let first = spawn(use_for_a_moment(broker.connect()));
        let second = spawn(use_for_a_moment(broker.connect()));
        first.await.unwrap()?;
        second.await.unwrap()?;
        assert_eq!((broker.stats().queues, broker.stats().intakes), (0, 0));
        Ok(())
    });
}
