//! How much is handled at once.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use sinew_events::{Context, EventHandler, HandlerError, Service, SettledAs};

use crate::support::{Scene, a_second, outcomes};

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
