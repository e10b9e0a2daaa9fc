//! How the queues of a service's handlers are asked for.
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use sinew_core::{
    AnyBackend, AnyConsumer, Backend, Capabilities, Consume, Consumption, Delivery, Error,
    ErrorKind, Incoming, Queue, QueueStatus, Result,
};
use sinew_events::{Context, EventHandler, HandlerError, Service};
use tokio::time::{Instant, timeout};

use crate::support::{LONG, Scene, a_second};

/// What a backend says to whom asks for the queue of an event type.
type Answers = fn(&str) -> Duration;

/// As the one within it, but slow, and it refuses what takes less than a second.
struct Slow {
    consumer: AnyConsumer,
    takes: Answers,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Backend for Slow {
    fn capabilities(&self) -> Capabilities {
        self.consumer.capabilities()
    }
}

impl Consume for Slow {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        let takes = (self.takes)(wanted.queue.as_str());
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        drop(timeout(takes, pending::<()>()).await);
        self.now.fetch_sub(1, SeqCst);
        if takes < Duration::from_secs(1) {
            return Err(Error::new(ErrorKind::Denied, "test").with_subject(wanted.queue.as_str()));
        }
        self.consumer.consume(wanted).await
    }

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        self.consumer.declare(wanted).await
    }

    async fn inspect(&self, queue: &Queue) -> Result<QueueStatus> {
        self.consumer.inspect(queue).await
    }
}

/// A service of 40 handlers, of `t-0` to `t-39`.
fn forty() -> Service {
    let handler = |number| {
        let event_type = format!("t-{number}");
        EventHandler::new("orders", &event_type, "on_it", |_: Context, _: u64| async {
            Ok::<_, HandlerError>(())
        })
    };
    let service = Service::new("billing").unwrap();
    (0..40).fold(service, |service, number| service.with_handler(handler(number)).unwrap())
}

fn slow(scene: &Scene, takes: Answers) -> (AnyBackend, Arc<Slow>) {
    let backend = scene.connect();
    let consumer = backend.consumer().unwrap();
    let slow =
        Arc::new(Slow { consumer, takes, now: AtomicUsize::new(0), most: AtomicUsize::new(0) });
    (backend.with_consumer(AnyConsumer::new(Arc::clone(&slow))), slow)
}

#[tokio::test(start_paused = true)]
async fn sixteen_queues_are_asked_for_at_once() {
    let scene = Scene::new();
    let (backend, slow) = slow(&scene, |_| Duration::from_secs(1));
    let began = Instant::now();
    // From a task, as it may be started from one.
    let _running =
        tokio::spawn(async move { forty().start(&backend).await }).await.unwrap().unwrap();
    assert_eq!(slow.most.load(SeqCst), 16);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?} for three rounds of a second");
    assert_eq!(scene.broker.stats().intakes, 40);
}

#[tokio::test(start_paused = true)]
async fn of_those_that_are_refused_the_first_is_told_and_nothing_is_consumed() {
    let scene = Scene::new();
    let (backend, _) = slow(&scene, |queue| match queue {
        // Its answer comes last.
        "evt-orders-t-20--billing.on_it" => Duration::from_millis(900),
        "evt-orders-t-18--billing.on_it" => Duration::from_secs(60),
        "evt-orders-t-22--billing.on_it" => Duration::ZERO,
        _ => Duration::from_secs(1),
    });
    let err = forty().start(&backend).await.unwrap_err();
    assert_eq!(
        (err.kind(), err.subject()),
        (ErrorKind::Denied, Some("evt-orders-t-20--billing.on_it"))
    );
    assert_eq!(scene.broker.stats().intakes, 0);
    // What was asked for has no answer any more that could begin something.
    drop(timeout(LONG, pending::<()>()).await);
    assert_eq!(scene.broker.stats().intakes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_dropped_consumes_nothing() {
    let scene = Scene::new();
    let (backend, slow) = slow(&scene, |_| Duration::from_secs(1));
    let service = forty();
    let start = timeout(Duration::from_millis(2500), service.start(&backend));
    assert!(start.await.is_err());
    assert_eq!(slow.most.load(SeqCst), 16, "it was on its way");
    a_second().await;
    assert_eq!(scene.broker.stats().intakes, 0);
}
