//! How much is handled at once.
use std::{
    collections::HashSet,
    future::{poll_fn, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sinew_core::AnyBackend;
use sinew_events::{Context, EventHandler, HandlerError, Service, ServiceEvent, SettledAs};

use crate::support::{LONG, QUEUE, Scene, a_second, billing, outcomes};

const LATE: Duration = Duration::from_secs(20);

/// A handler that takes a second, and how many of its runs there were at once at most.
fn slow(method: &str, all: &Arc<AtomicUsize>) -> (EventHandler, Arc<AtomicUsize>) {
    let most = Arc::new(AtomicUsize::new(0));
    let (now, seen, all) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&most), Arc::clone(all));
    let handler = EventHandler::new("orders", "created", method, move |_: Context, _: u64| {
        let (now, most, all) = (Arc::clone(&now), Arc::clone(&seen), Arc::clone(&all));
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            all.fetch_add(1, SeqCst);
            a_second().await;
            let left = all.fetch_sub(1, SeqCst);
            now.fetch_sub(1, SeqCst);
            if left > 4 { Err(HandlerError::permanent("more than four at once")) } else { Ok(()) }
        }
    });
    (handler, most)
}

#[tokio::test(start_paused = true)]
async fn a_service_works_on_so_many_at_once_and_a_handler_on_no_more_than_it_may() {
    let scene = Scene::new();
    let all = Arc::default();
    let (wide, wide_most) = slow("wide", &all);
    let (narrow, narrow_most) = slow("narrow", &all);
    let service = Service::new("billing")
        .unwrap()
        .with_max_workers(4)
        .with_handler(wide)
        .unwrap()
        .with_handler(narrow.with_concurrency(1))
        .unwrap();
    let running = scene.start(&service).await;
    let mut events = running.events();
    for id in 0..20 {
        scene.emit("created", id).await;
    }
    assert_eq!(outcomes(&mut events, 40).await, [SettledAs::Handled; 40]);
    assert!((3..=4).contains(&wide_most.load(SeqCst)), "{wide_most:?}");
    assert_eq!(narrow_most.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_at_its_limit_takes_no_worker_from_others() {
    let scene = Scene::new();
    let (stuck, quick) = (
        EventHandler::new("orders", "created", "stuck", |_: Context, _: u64| {
            std::future::pending::<Result<(), HandlerError>>()
        }),
        EventHandler::new("orders", "created", "quick", |_: Context, _: u64| async {
            Ok::<_, HandlerError>(())
        }),
    );
    let service = Service::new("billing")
        .unwrap()
        .with_max_workers(2)
        .with_handler(stuck.with_concurrency(1))
        .unwrap()
        .with_handler(quick)
        .unwrap();
    let running = scene.start(&service).await;
    let mut events = running.events();
    for id in 0..10 {
        scene.emit("created", id).await;
    }
    assert_eq!(outcomes(&mut events, 10).await, [SettledAs::Handled; 10]);
}

#[tokio::test(start_paused = true)]
async fn more_may_be_sent_ahead_than_is_handled_and_goes_back_when_the_service_ends() {
    for (service_says, handler_says, sent) in
        [(None, None, 1), (Some(5), None, 5), (Some(5), Some(1), 1), (Some(0), Some(5), 5)]
    {
        let scene = Scene::new();
        let (handler, most) = slow("on_created", &Arc::default());
        let service = billing(handler.with_prefetch(handler_says));
        let service = service.with_max_workers(1).with_prefetch(service_says);
        let running = scene.start(&service).await;
        let mut events = running.events();
        for id in 0..10 {
            scene.emit("created", id).await;
        }
        for settled in 1..=3 {
            assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
            let left = 10 - settled - sent;
            while scene.waiting(QUEUE).await != left {
                tokio::task::yield_now().await;
            }
        }
        running.drain(LONG).await.unwrap();
        assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled], "what ran was finished");
        assert_eq!(scene.waiting(QUEUE).await, 10 - 4, "what only waited went back");
        assert_eq!(most.load(SeqCst), 1, "one at a time, all the while");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_goes_is_told_while_events_wait_for_a_worker() {
    let scene = Scene::new();
    // Without queues nothing is taken back from here when the link goes.
    let memory = scene.connect();
    let passing = AnyBackend::new(memory.link())
        .with_publisher(memory.publisher().unwrap())
        .with_subscriber(memory.subscriber().unwrap());
    let (handler, most) = slow("on_created", &Arc::default());
    let service = billing(handler.with_reliable_delivery(false)).with_max_workers(1);
    let mut events = service.events();
    let running = service.start(&passing).await.unwrap();
    for id in 0..2 {
        scene.emit("created", id).await;
    }
    tokio::task::yield_now().await;
    scene.broker.kill();
    assert!(matches!(events.next().await, Some(Ok(ServiceEvent::Down { .. }))));
    scene.broker.start();
    assert!(matches!(events.next().await, Some(Ok(ServiceEvent::Up { gap: true, .. }))));
    // What had come is handled all the same.
    assert_eq!(outcomes(&mut events, 2).await, [SettledAs::Handled; 2]);
    assert_eq!(most.load(SeqCst), 1, "one at a time");
    drop(running);
}

/// What one event makes its handler do.
#[derive(Clone, Copy, Deserialize, Serialize)]
enum Do {
    Nothing,
    /// Compute for so many milliseconds.
    Compute(u64),
    /// Compute until another event makes it do so, too.
    Meet,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn runs_that_hold_their_thread_hold_up_no_others_once_one_of_them_has() {
    // Whatever was quick in between.
    for quick in [0, 10, 100] {
        let scene = Scene::new();
        let met = AtomicUsize::new(0);
        let handler =
            EventHandler::new("orders", "created", "on_created", move |_: Context, it: Do| {
                let began = Instant::now();
                match it {
                    Do::Nothing => {}
                    Do::Compute(ms) => while began.elapsed() < Duration::from_millis(ms) {},
                    Do::Meet => {
                        met.fetch_add(1, SeqCst);
                        while met.load(SeqCst) < 2 {
                            if began.elapsed() > LATE {
                                return ready(Err(HandlerError::permanent("one after the other")));
                            }
                        }
                    }
                }
                ready(Ok(()))
            });
        let running = scene.start(&billing(handler)).await;
        let mut events = running.events();
        scene.emit("created", Do::Compute(20)).await;
        for _ in 0..quick {
            scene.emit("created", Do::Nothing).await;
        }
        for _ in 0..2 {
            scene.emit("created", Do::Meet).await;
        }
        let ended = outcomes(&mut events, quick + 3).await;
        assert!(ended.iter().all(|it| *it == SettledAs::Handled), "after {quick} quick ones");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_run_does_once_it_has_waited_is_in_a_task_of_its_own() {
    let scene = Scene::new();
    let turns = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&turns);
    let handler =
        EventHandler::new("orders", "created", "on_created", move |_: Context, _: u64| {
            let seen = Arc::clone(&seen);
            poll_fn(move |_| {
                seen.lock().unwrap().push(tokio::task::id());
                Poll::<Result<(), HandlerError>>::Pending
            })
        });
    let _running = scene.start(&billing(handler)).await;
    scene.emit("created", 7).await;
    a_second().await;
    // Its intake's first, where it takes it for a quick one; then its own, and nobody has woken that.
    let turns = std::mem::take(&mut *turns.lock().unwrap());
    assert!((1..=2).contains(&turns.len()), "{turns:?}");
    assert_eq!(turns.iter().collect::<HashSet<_>>().len(), turns.len(), "{turns:?}");
}
