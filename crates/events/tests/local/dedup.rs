//! Events that come twice.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use sinew_core::{Error, ErrorKind};
use sinew_events::{
    Begun, DedupStore, EmitOptions, HandlerError, MemoryDedupStore, Profile, RetryPolicy, SettledAs,
};

use crate::support::{QUEUE, Scene, billing, counting, outcomes};

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_twice_is_handled_once() {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Ok(()));
    let service = billing(handler).with_dedup_store(MemoryDedupStore::default());
    let running = scene.start(&service).await;
    let mut events = running.events();
    let orders = scene.orders();
    for id in ["a", "a", "b", "a"] {
        let options = EmitOptions::new().with_message_id(id);
        orders.emit_with("created", &7, &options).await.unwrap();
    }
    let mut ended = outcomes(&mut events, 4).await;
    // A copy that comes while the first is in hand is looked at later.
    while ended.iter().any(|it| matches!(it, SettledAs::Delayed(_))) {
        ended.retain(|it| !matches!(it, SettledAs::Delayed(_)));
        let rest = 4 - ended.len();
        ended.extend(outcomes(&mut events, rest).await);
    }
    let count = |what| ended.iter().filter(|it| **it == what).count();
    assert_eq!((count(SettledAs::Handled), count(SettledAs::Duplicate)), (2, 2));
    assert_eq!(runs.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_not_taken_for_handled() {
    let scene = Scene::new();
    let (handler, runs) = counting(|run| match run {
        1 => Err(HandlerError::new("not yet")),
        _ => Ok(()),
    });
    let store = MemoryDedupStore::default();
    let retry = RetryPolicy::default().with_immediate(0);
    let service = billing(handler).with_dedup_store(store.clone()).with_retry(retry);
    let running = scene.start(&service).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    let ended = outcomes(&mut events, 2).await;
    assert!(matches!(ended.as_slice(), [SettledAs::Delayed(_), SettledAs::Handled]), "{ended:?}");
    assert_eq!((runs.load(SeqCst), store.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_handled_once_though_it_is_redriven_and_emitted_again() {
    let scene = Scene::new();
    let (handler, runs) = counting(|run| match run {
        ..=4 => Err(HandlerError::new("not yet")),
        _ => Ok(()),
    });
    let retry = RetryPolicy::none().with_immediate(1).with_delays([Duration::from_secs(1)]);
    let service = billing(handler).with_dedup_store(MemoryDedupStore::default()).with_retry(retry);
    let running = scene.start(&service).await;
    let mut events = running.events();
    let (orders, same) = (scene.orders(), EmitOptions::new().with_message_id("a"));
    orders.emit_with("created", &7, &same).await.unwrap();
    let second = Duration::from_secs(1);
    let given_up = [SettledAs::Delayed(second), SettledAs::DeadLettered];
    assert_eq!(outcomes(&mut events, 2).await, given_up);
    for event in scene.kept(QUEUE).await {
        event.redrive().await.unwrap();
    }
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
    orders.emit_with("created", &7, &same).await.unwrap();
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Duplicate]);
    assert_eq!(runs.load(SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_id_is_handled_and_counted() {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Ok(()));
    let service = billing(handler).with_dedup_store(MemoryDedupStore::default());
    let running = scene.start(&service).await;
    let mut events = running.events();
    let orders = scene.orders().with_profile(Profile::Nameko);
    for _ in 0..2 {
        orders.emit("created", &7).await.unwrap();
    }
    assert_eq!(outcomes(&mut events, 2).await, [SettledAs::Handled; 2]);
    assert_eq!((runs.load(SeqCst), running.counts().next().unwrap().2.without_id), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_given_up_may_be_made_again_at_once() {
    let scene = Scene::new();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handler = sinew_events::EventHandler::new(
        "orders",
        "created",
        "on_created",
        move |_: sinew_events::Context, id: u64| {
            let told = tell.send(id);
            async move {
                told.map_err(HandlerError::new)?;
                std::future::pending::<Result<(), HandlerError>>().await
            }
        },
    );
    let service = billing(handler).with_dedup_store(MemoryDedupStore::default());
    let first = scene.start(&service).await;
    scene.emit("created", 7).await;
    told.recv().await.unwrap();
    drop(first);
    let second = scene.start(&service).await;
    told.recv().await.unwrap();
    assert_eq!(second.counts().next().unwrap().2.duplicate, 0);
}

/// A store that is down for so many looks.
struct Down(AtomicUsize);

impl DedupStore for Down {
    async fn begin(&self, _: &str, _: &str) -> sinew_core::Result<Begun> {
        let left = self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Err(Error::new(ErrorKind::Timeout, "look up event")),
            Err(_) => Ok(Begun::Fresh),
        }
    }

    async fn finish(&self, _: &str, _: &str) -> sinew_core::Result<()> {
        Ok(())
    }

    async fn forget(&self, _: &str, _: &str) -> sinew_core::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_loses_nothing_in_either_profile_and_for_unreliable_handlers() {
    for (profile, is_reliable) in
        [(Profile::Nameko, true), (Profile::Safe, false), (Profile::Safe, true)]
    {
        let scene = Scene::new();
        let (handler, runs) = counting(|_| Ok(()));
        let service = billing(handler.with_reliable_delivery(is_reliable))
            .with_profile(profile)
            .with_dedup_store(Down(AtomicUsize::new(7)));
        let running = scene.start(&service).await;
        let mut events = running.events();
        scene.emit("created", 7).await;
        let mut expected =
            [1, 2, 4, 8, 16, 30, 30].map(|it| SettledAs::Delayed(Duration::from_secs(it))).to_vec();
        expected.push(SettledAs::Handled);
        assert_eq!(outcomes(&mut events, 8).await, expected, "{profile:?} {is_reliable}");
        assert_eq!(runs.load(SeqCst), 1);
    }
}

/// A store that never answers the first look, and counts what it is told to take back.
#[derive(Clone, Default)]
struct Slow {
    looks: Arc<AtomicUsize>,
    taken_back: Arc<AtomicUsize>,
}

impl DedupStore for Slow {
    async fn begin(&self, _: &str, _: &str) -> sinew_core::Result<Begun> {
        match self.looks.fetch_add(1, SeqCst) {
            0 => std::future::pending().await,
            _ => Ok(Begun::Done),
        }
    }

    async fn finish(&self, _: &str, _: &str) -> sinew_core::Result<()> {
        Ok(())
    }

    async fn forget(&self, _: &str, _: &str) -> sinew_core::Result<()> {
        self.taken_back.fetch_add(1, SeqCst);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_not_heard_of_is_not_taken_back_as_it_may_be_anothers() {
    let scene = Scene::new();
    let (handler, runs) = counting(|_| Ok(()));
    let store = Slow::default();
    let running = scene.start(&billing(handler).with_dedup_store(store.clone())).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    let ended = outcomes(&mut events, 2).await;
    assert!(matches!(ended.as_slice(), [SettledAs::Delayed(_), SettledAs::Duplicate]), "{ended:?}");
    assert_eq!((runs.load(SeqCst), store.taken_back.load(SeqCst)), (0, 0));
}
