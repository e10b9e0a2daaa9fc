//! Handlers that panic, and handlers that are cancelled.
use std::time::Duration;

use sinew_events::{
    Begun, Context, DedupStore, EventHandler, HandlerError, RetryPolicy, SettledAs, TimeoutLayer,
};

use crate::support::{QUEUE, Scene, billing, outcomes};

/// Panics on every other id below 100, never ends on the others; handles the rest.
fn unruly() -> EventHandler {
    EventHandler::new("orders", "created", "on_created", |_: Context, id: u64| async move {
        match id {
            0..100 if id.is_multiple_of(2) => panic!("a handler fails"),
            0..100 => std::future::pending().await,
            _ => Ok::<_, HandlerError>(()),
        }
    })
    .layer(TimeoutLayer::new(Duration::from_secs(1)))
}

#[tokio::test(start_paused = true)]
async fn fifty_panicking_and_fifty_cancelled_handlers_leave_nothing_unacknowledged() {
    std::panic::set_hook(Box::new(|_| {}));
    let scene = Scene::new();
    let retry = RetryPolicy::none().with_immediate(1).with_delays([Duration::from_secs(1)]);
    let running = scene.start(&billing(unruly()).with_retry(retry)).await;
    let mut events = running.events();
    for id in 0..100 {
        scene.emit("created", id).await;
    }
    let ended = outcomes(&mut events, 200).await;
    assert_eq!(ended.iter().filter(|it| **it == SettledAs::DeadLettered).count(), 100);
    for id in 100..110 {
        scene.emit("created", id).await;
    }
    assert_eq!(outcomes(&mut events, 10).await, [SettledAs::Handled; 10], "the consumer works");
    let counts = running.counts().next().unwrap().2;
    assert_eq!((counts.in_flight, counts.failed, counts.unsettled), (0, 400, 0));
    running.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!(scene.waiting(QUEUE).await, 0);
    let kept = scene.kept(QUEUE).await;
    let of = |kind| kept.iter().filter(|it| it.kind() == Some(kind)).count();
    assert_eq!((of("panicked"), of("failed")), (50, 50));
    let panicked = kept.iter().find(|it| it.kind() == Some("panicked")).unwrap();
    assert_eq!(panicked.error(), Some("the handler panicked; see its log"));
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_before_it_has_a_future_is_a_failed_run() {
    std::panic::set_hook(Box::new(|_| {}));
    let scene = Scene::new();
    let handler = EventHandler::new("orders", "created", "on_created", |_: Context, id: u64| {
        assert_ne!(id, 7, "seven");
        async { Ok::<_, HandlerError>(()) }
    });
    let running = scene.start(&billing(handler).with_retry(RetryPolicy::none())).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    scene.emit("created", 8).await;
    let mut ended = outcomes(&mut events, 2).await;
    ended.sort_by_key(|it| *it == SettledAs::Handled);
    assert_eq!(ended, [SettledAs::DeadLettered, SettledAs::Handled]);
}

/// A payload whose reading is broken.
#[derive(Debug)]
struct Broken;

impl<'de> serde::Deserialize<'de> for Broken {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a reader fails")
    }
}

/// A store that is broken.
struct BrokenStore;

impl DedupStore for BrokenStore {
    async fn begin(&self, _: &str, _: &str) -> sinew_core::Result<Begun> {
        panic!("a store fails")
    }

    async fn finish(&self, _: &str, _: &str) -> sinew_core::Result<()> {
        Ok(())
    }

    async fn forget(&self, _: &str, _: &str) -> sinew_core::Result<()> {
        panic!("a store fails")
    }
}

#[tokio::test(start_paused = true)]
async fn what_panics_beside_a_handler_is_a_failure_as_well() {
    std::panic::set_hook(Box::new(|_| {}));
    let scene = Scene::new();
    let retry = || RetryPolicy::none().with_delays([Duration::from_secs(1)]);
    let handler =
        EventHandler::new("orders", "created", "on_created", |_: Context, _: Broken| async {
            Ok::<_, HandlerError>(())
        });
    let running = scene.start(&billing(handler).with_retry(retry())).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    let ended = outcomes(&mut events, 2).await;
    assert_eq!(ended, [SettledAs::Delayed(Duration::from_secs(1)), SettledAs::DeadLettered]);
    assert_eq!(scene.kept(QUEUE).await[0].error(), Some("the handler panicked; see its log"));
    running.drain(Duration::from_secs(1)).await.unwrap();

    let handler = unruly();
    let service =
        billing(handler).with_retry(retry().with_jitter(false)).with_dedup_store(BrokenStore);
    let running = scene.start(&service).await;
    let mut events = running.events();
    scene.emit("created", 100).await;
    let ended = outcomes(&mut events, 2).await;
    assert_eq!(ended, [1, 2].map(|seconds| SettledAs::Delayed(Duration::from_secs(seconds))));
}

#[tokio::test(start_paused = true)]
async fn what_an_unreliable_handler_gives_up_is_gone_and_makes_no_queue() {
    let scene = Scene::new();
    let handler = unruly().with_reliable_delivery(false);
    let running = scene.start(&billing(handler).with_retry(RetryPolicy::none())).await;
    let mut events = running.events();
    scene.emit("created", 1).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Dropped]);
    assert_eq!(scene.broker.stats().queues, 1);
}
