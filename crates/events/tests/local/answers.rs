//! What becomes of verdicts that the broker takes and does not answer.
use std::{future::pending, sync::atomic::Ordering::SeqCst, time::Duration};

use futures_util::StreamExt as _;
use sinew_core::{
    AnyConsumer, Backend, BoxFuture, Capabilities, Consume, Consumption, Delivery, Incoming,
    Pending, Queue, QueueStatus, Result, Settle, Verdict,
};
use tokio::time::Instant;

use crate::support::{Scene, a_second, billing, counting, settled};

/// A consumer whose broker takes each verdict, and answers none.
struct Silent(AnyConsumer);

impl Backend for Silent {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

impl Consume for Silent {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        let events = self.0.consume(wanted).await?.map(|event| {
            event.map(|event| {
                event.map(|it| Delivery::new(it.message.clone(), it.attempt, Unanswered(it)))
            })
        });
        Ok(Incoming::new(events, || ()))
    }

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        self.0.declare(wanted).await
    }

    async fn inspect(&self, queue: &Queue) -> Result<QueueStatus> {
        self.0.inspect(queue).await
    }
}

struct Unanswered(Delivery);

impl Settle for Unanswered {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        drop(self.0.settle(verdict));
        Pending::later(pending())
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        self.0.revoked()
    }
}

#[tokio::test(start_paused = true)]
async fn verdicts_without_an_answer_are_no_more_than_the_prefetch_and_the_workers() {
    let scene = Scene::new();
    let backend = scene.connect();
    let silent = AnyConsumer::new(Silent(backend.consumer().unwrap()));
    let (handler, runs) = counting(|_| Ok(()));
    let service = billing(handler).with_max_workers(4).with_prefetch(8);
    let mut events = service.events();
    let running = service.start(&backend.with_consumer(silent)).await.unwrap();
    for id in 0..100 {
        scene.emit("created", id).await;
    }
    let began = Instant::now();
    a_second().await;
    // One is waited for, as many as are sent ahead wait behind it, and each worker has one.
    assert_eq!(runs.load(SeqCst), 1 + 8 + 4);
    for _ in 0..13 {
        assert!(settled(&mut events).await.comes_again);
    }
    assert_eq!(began.elapsed(), Duration::from_secs(10), "each has a time of its own");
    for _ in 13..100 {
        assert!(settled(&mut events).await.comes_again);
    }
    assert_eq!(runs.load(SeqCst), 100, "it goes on");
    drop(running);
}
