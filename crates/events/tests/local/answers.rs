//! What becomes of verdicts that the broker takes and does not answer.
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use sinew_core::{
    AnyConsumer, Backend, BoxFuture, Capabilities, Consume, Consumption, Delivery, Incoming,
    Pending, Queue, QueueStatus, Result, Settle, Verdict,
};
use tokio::time::{Instant, timeout};

use crate::support::{Scene, a_second, billing, counting, settled};

/// A consumer whose broker takes each verdict, and answers none of the first so many; the others a moment later.
struct Silent(AnyConsumer, Arc<AtomicUsize>);

impl Silent {
    fn over(consumer: AnyConsumer, unanswered: usize) -> AnyConsumer {
        AnyConsumer::new(Self(consumer, Arc::new(AtomicUsize::new(unanswered))))
    }
}

impl Backend for Silent {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

impl Consume for Silent {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        let left = Arc::clone(&self.1);
        let events = self.0.consume(wanted).await?.map(move |event| {
            event.map(|event| {
                let settled = |it| Unanswered(it, Arc::clone(&left));
                event.map(|it| Delivery::new(it.message.clone(), it.attempt, settled(it)))
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

struct Unanswered(Delivery, Arc<AtomicUsize>);

impl Settle for Unanswered {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        drop(self.0.settle(verdict));
        let is_answered = self.1.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err();
        Pending::later(async move {
            if is_answered {
                drop(timeout(MOMENT, pending::<()>()).await);
                return Ok(());
            }
            pending().await
        })
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        self.0.revoked()
    }
}

const MOMENT: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn verdicts_without_an_answer_are_no_more_than_the_prefetch_and_the_workers() {
    let scene = Scene::new();
    let backend = scene.connect();
    let silent = Silent::over(backend.consumer().unwrap(), usize::MAX);
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

#[tokio::test(start_paused = true)]
async fn a_verdict_without_an_answer_holds_up_nothing_of_what_is_told_of_others() {
    for (unanswered, workers) in [(1, 1), (1, 4), (3, 10)] {
        let scene = Scene::new();
        let backend = scene.connect();
        let silent = Silent::over(backend.consumer().unwrap(), unanswered);
        let (handler, _) = counting(|_| Ok(()));
        let service = billing(handler).with_max_workers(workers);
        let mut events = service.events();
        let running = service.start(&backend.with_consumer(silent)).await.unwrap();
        let began = Instant::now();
        for id in 0..100 {
            scene.emit("created", id).await;
        }
        for _ in unanswered..100 {
            assert!(!settled(&mut events).await.comes_again);
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        for _ in 0..unanswered {
            assert!(settled(&mut events).await.comes_again);
        }
        assert!(began.elapsed() >= Duration::from_secs(10), "it had its time");
        drop(running);
    }
}
