//! What is recorded is what the README lists, name by name.
use std::{collections::BTreeSet, time::Duration};

use metrics::with_local_recorder;
use sinew_beat::{Heart, HeartOptions, Instance, MonitorOptions, Watch, WatchOptions};
use sinew_core::{Error, ErrorKind, Event, Message, Position, Result, Subject, publish_fn};
use sinew_testkit::MetricKeys;
use tokio::{
    runtime::Builder,
    time::{advance, timeout},
};

use self::scripted::scripted;

mod scripted;

/// Lets virtual time pass, and everything happen that is due within it.
async fn pass(time: Duration) {
    let _ = timeout(time, std::future::pending::<()>()).await;
}

/// Everything that is counted happens.
async fn scene() -> Result<()> {
    let second = Duration::from_secs(1);
    let (backend, script) = scripted();
    let monitor =
        MonitorOptions::default().with_max_processes(1).with_reap_after(Some(60 * second));
    let watch = Watch::start(&backend, WatchOptions::default().with_monitor(monitor)).await?;
    let say = |event| {
        let told = script.send(Ok(event));
        told.map_err(|_| Error::new(ErrorKind::Closed, "intake"))
    };
    let message = |name: &str, payload: &'static str| {
        Ok::<_, Error>(Message::new(Subject::parse(&format!("heartbeat.{name}"))?, payload))
    };
    let heart = |instance| {
        let wire = script.clone();
        let publish = publish_fn(move |message: Message| {
            let sent = wire.send(Ok(Event::Item(message)));
            sent.map_err(|_| Error::new(ErrorKind::Disconnected, "intake"))
        });
        HeartOptions::default().with_instance(Instance::parse(instance)?).build(publish, "a")
    };
    let (one, other) = (heart("pod-1")?, heart("pod-2")?);
    for _ in 0..3 {
        one.beat().await?;
        one.beat().await?;
        other.beat().await?;
        pass(second).await;
    }
    // Of one's third and fifth nothing was seen of the fourth.
    let fifth = message("a", "beat/5")?.with_header("beat-instance", "pod-3")?;
    say(Event::Item(fifth.clone().with_header("beat-sequence", 3)?))?;
    say(Event::Item(fifth.with_header("beat-sequence", 5)?))?;
    say(Event::Item(message("b", "beat/5")?))?;
    say(Event::Item(message("a", "beat/soon")?))?;
    say(Event::Lost(1))?;
    say(Event::Down)?;
    say(Event::Up { gap: false })?;
    for _ in 0..30 {
        say(Event::Item(message("a", "degraded/5")?))?;
        say(Event::Item(message("a", "beat/5")?))?;
    }
    pass(second).await;
    let stored = |age| {
        let at = watch.clock().wall(watch.clock().now()) - age;
        let position = Position::new("BEATS", 1).with_stored_at(at);
        message("a", "beat/5").map(|message| Event::Item(message.with_position(position)))
    };
    say(stored(Duration::ZERO)?)?;
    say(stored(60 * second)?)?;
    pass(second).await;
    advance(30 * second).await;
    pass(600 * second).await;
    let broken = publish_fn(|_: Message| Err(Error::new(ErrorKind::Disconnected, "broken")));
    assert!(Heart::new(broken, "c")?.beat().await.is_err());
    assert_eq!(watch.table().processes(), []);
    Ok(())
}

#[test]
fn what_is_recorded_is_what_the_readme_lists() {
    let recorded = MetricKeys::default();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    with_local_recorder(&recorded, || runtime.block_on(scene())).unwrap();
    let readme = include_str!("../README.md");
    let (_, catalogue) = readme.split_once("\n## Metrics\n").unwrap();
    // Those of a webhook need somebody to post to.
    let is_ours = |row: &&str| row.starts_with("| `beat_") && !row.contains("beat_webhook_");
    let rows = catalogue.lines().filter(is_ours);
    let firsts = rows.filter_map(|row| row.split('|').nth(1));
    let listed: BTreeSet<String> = firsts
        .flat_map(|first| first.split('`').filter(|text| text.starts_with("beat_")))
        .map(|name| name.split('{').next().unwrap_or(name).to_owned())
        .collect();
    assert_eq!(recorded.names(), listed);
}
