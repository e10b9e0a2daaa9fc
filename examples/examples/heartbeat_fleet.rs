//! A small fleet and its monitor: one service works, one says that it is unwell, one crashes.
#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::time::Duration;

use sinew_beat::{
    Heart, HeartOptions, MonitorOptions, Patience, Process, State, Watch, WatchOptions,
};
use sinew_core::{AnyPublisher, Result};
use tokio::time::{sleep, timeout};

#[tokio::main]
async fn main() -> Result<()> {
    let backend = sinew_connect::connect("memory:").await?;
    // Impatient, so that the example ends soon: real fleets keep the defaults.
    let monitor = MonitorOptions::default().with_patience(Patience::default().with_missed(1));
    let options = WatchOptions::default()
        .with_monitor(monitor)
        .with_expected(Process::parse("billing")?)
        .with_expected(Process::parse("search")?);
    let mut watch = Watch::start(&backend.subscriber()?, options).await?;

    let publisher = backend.publisher()?;
    let well = tokio::spawn(work(publisher.clone(), "billing", 12));
    let unwell = heart(publisher.clone(), "search")?;
    unwell.degraded().await?;
    unwell.stop().await?;
    // It beats once, and is never heard of again.
    heart(publisher, "crawler")?.beat().await?;

    while let Ok(Some(event)) = timeout(Duration::from_secs(5), watch.next()).await {
        if let Some(it) = event?.transition() {
            let at = it.at.since_start().as_secs_f64();
            println!("{at:4.1} s: {} is {} ({})", it.process, it.to, it.reason);
            if it.to == State::Down {
                break;
            }
        }
    }
    well.await.unwrap_or(Ok(()))?;
    let counts = watch.table().counts();
    println!("{} beats, {} changes of state", counts.beats, counts.transitions);
    Ok(())
}

fn heart(publisher: AnyPublisher, process: &str) -> Result<Heart<AnyPublisher>> {
    HeartOptions::default().with_period(Duration::from_secs(1)).build(publisher, process)
}

/// A work loop beats as often as it turns; its heart sends once a second.
async fn work(publisher: AnyPublisher, process: &str, turns: u32) -> Result<()> {
    let heart = heart(publisher, process)?;
    heart.start().await?;
    for _ in 0..turns {
        sleep(Duration::from_millis(100)).await;
        heart.beat().await?;
    }
    heart.stop().await.map(|_| ())
}
