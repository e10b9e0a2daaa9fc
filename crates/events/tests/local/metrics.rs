//! What is recorded is what the README lists, name by name.
use std::collections::BTreeSet;

use metrics::with_local_recorder;
use sinew_events::{HandlerError, MemoryDedupStore, Profile, SettledAs};
use sinew_testkit::MetricKeys;
use tokio::runtime::Builder;

use crate::support::{Scene, billing, counting, outcomes};

async fn scene() {
    let scene = Scene::new();
    let (handler, _) = counting(|run| if run < 3 { Err(HandlerError::new("x")) } else { Ok(()) });
    let service = billing(handler).with_dedup_store(MemoryDedupStore::default());
    let running = scene.start(&service).await;
    let mut events = running.events();
    scene.emit("created", 1).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
    let orders = scene.orders().with_profile(Profile::Nameko);
    orders.emit("created", "no number").await.unwrap();
    orders.emit("created", &1).await.unwrap();
    outcomes(&mut events, 2).await;
    scene.broker.kill();
    while !matches!(events.next().await, Some(Ok(sinew_events::ServiceEvent::Down { .. }))) {}
}

#[test]
fn what_is_recorded_is_what_the_readme_lists() {
    let recorded = MetricKeys::default();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    with_local_recorder(&recorded, || runtime.block_on(scene()));
    let readme = include_str!("../../README.md");
    let table = readme.split_once("| metric | what |").unwrap().1.split_once("\n\n").unwrap().0;
    let names_of = |line: &str| -> Vec<String> {
        let cell = line.split('|').nth(1).unwrap_or_default();
        let codes = cell.split('`').skip(1).step_by(2);
        codes.map(|it| it.split('{').next().unwrap_or_default().to_owned()).collect()
    };
    let mut listed: BTreeSet<String> = table.lines().flat_map(names_of).collect();
    // A broker that takes no verdict, an error queue that takes no copy, a buffer that is full: shown elsewhere.
    for rare in ["events_unsettled_total", "events_unkept_total", "events_lost_total"] {
        assert!(listed.remove(rare), "{rare}");
    }
    assert_eq!(recorded.names(), listed);
}
