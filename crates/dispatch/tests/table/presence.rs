//! Who is there.
use std::{sync::Arc, time::Duration};

use sinew_core::Result;
use sinew_dispatch::AgentState;
use tokio::sync::Semaphore;

use crate::{
    behaviours,
    scene::{Scene, gated, until},
};

#[cfg(not(feature = "beat"))]
behaviours![agents_say_that_they_are_there_when_they_are_pinged, nobody_is_there_at_once];
#[cfg(feature = "beat")]
behaviours![
    agents_say_that_they_are_there_when_they_are_pinged,
    nobody_is_there_at_once,
    agents_that_beat_are_expected_and_those_that_stopped_are_not,
];

async fn agents_say_that_they_are_there_when_they_are_pinged(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let busy = scene.serve(gated("busy", &gate, Duration::ZERO)?.with_concurrency(1)).await?;
    let _ready = scene.echo("ready").await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").deadline(Duration::from_secs(30));
    let _asked = ask.send::<String>().await?;
    until("it is worked on", async || Ok(busy.running() == 1)).await?;
    let agents = dispatcher.agents(scene.topic(), Duration::from_millis(500)).await?;
    let told: Vec<_> = agents.iter().map(|(agent, state)| (agent.as_str(), *state)).collect();
    assert_eq!(told, [("busy", AgentState::Busy), ("ready", AgentState::Ready)]);
    Ok(())
}

async fn nobody_is_there_at_once(scene: Scene) -> Result<()> {
    let dispatcher = scene.dispatcher().await?;
    let asked = tokio::time::Instant::now();
    let agents = dispatcher.agents(scene.topic(), Duration::from_secs(20)).await?;
    assert!(agents.is_empty() && asked.elapsed() < Duration::from_secs(10), "{agents:?}");
    Ok(())
}

#[cfg(feature = "beat")]
async fn agents_that_beat_are_expected_and_those_that_stopped_are_not(scene: Scene) -> Result<()> {
    use sinew_beat::{HeartOptions, Watch, WatchOptions};
    use sinew_dispatch::{BeatPresence, Ended, Expect, Presence as _};

    use crate::scene::{SOON, echo, said, tally};

    let asker = scene.connect().await?;
    let watched = WatchOptions::default().with_processes(format!("dispatch.{}.>", scene.topic()));
    let watch = Watch::start(&asker.subscriber()?, watched).await?;
    let presence = Arc::new(BeatPresence::new(watch.table()));
    let dispatcher = sinew_dispatch::Dispatcher::over(&asker)?;
    let (one, other) = (scene.dispatcher().await?, scene.dispatcher().await?);
    let heart = HeartOptions::default;
    let _one = one.serve_beating(scene.topic(), &echo("one")?, heart()).await?;
    let other = other.serve_beating(scene.topic(), &echo("other")?, heart()).await?;
    let (subject, present) = (scene.subject()?, Arc::clone(&presence));
    let here = async |count| {
        until("they are known", async || Ok(present.present(&subject).len() == count)).await
    };
    here(2).await?;
    let ask = || {
        let ask = dispatcher.ask(scene.topic(), "x").deadline(SOON);
        ask.expect(Expect::Present(Arc::<BeatPresence>::clone(&presence))).collect::<String>()
    };
    let (replies, end) = ask().await?;
    assert_eq!(said(&replies), ["x from one", "x from other"]);
    assert_eq!(
        (end.ended, tally(&end)),
        (Ended::AllKnown, (2, 0, 0, 0)),
        "long before its deadline"
    );
    other.drained(SOON).await?;
    here(1).await?;
    let (replies, end) = ask().await?;
    assert_eq!((said(&replies), end.ended), (vec!["x from one"], Ended::AllKnown));
    Ok(())
}
