//! Who is there.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use sinew_core::{ErrorKind, Result, Subject};
use sinew_dispatch::{AgentId, AgentState, Ended, Expect, Gathered, Presence, Reply, Until};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    behaviours,
    scene::{SOON, Scene, echo, gated, names, until},
};

behaviours![
    agents_say_that_they_are_there_when_they_are_pinged,
    two_agents_of_one_name_are_told_of,
    one_that_is_called_as_an_agent_here_is_a_duplicate,
    nobody_is_there_at_once,
    an_ask_of_those_who_are_present_fails_at_once_where_nobody_is,
    agents_that_beat_are_expected_and_those_that_stopped_are_not,
    nobody_waits_for_one_that_leaves_while_it_is_asked,
];

/// How long agents have for saying that they are there, on a machine that has other things to do.
const PINGED: Duration = Duration::from_secs(2);

async fn agents_say_that_they_are_there_when_they_are_pinged(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let busy = scene.serve(gated("busy", &gate, Duration::ZERO)?.with_concurrency(1)).await?;
    let _ready = scene.echo("ready").await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").deadline(Duration::from_secs(30));
    let _asked = ask.send::<String>().await?;
    until("it is worked on", async || Ok(busy.running() == 1)).await?;
    let agents = dispatcher.agents(scene.topic(), PINGED).await?;
    let told: Vec<_> = agents.iter().map(|it| (it.agent.as_str(), it.state, it.count)).collect();
    assert_eq!(told, [("busy", AgentState::Busy, 1), ("ready", AgentState::Ready, 1)]);
    Ok(())
}

async fn two_agents_of_one_name_are_told_of(scene: Scene) -> Result<()> {
    let _both = (scene.echo("twin").await?, scene.echo("twin").await?);
    let dispatcher = scene.dispatcher().await?;
    let agents = dispatcher.agents(scene.topic(), PINGED).await?;
    let told: Vec<_> = agents.iter().map(|it| (it.agent.as_str(), it.count)).collect();
    assert_eq!(told, [("twin", 2)]);
    let ask = dispatcher.ask(scene.topic(), "x").until(Until::Deadline);
    let mut replies = ask.deadline(SOON).send().await?;
    let first: Option<Reply<String>> = replies.next().await;
    assert_eq!(first.map(|it| it.result), Some(Ok("x from twin".to_owned())));
    until("the other's is counted", async || Ok(dispatcher.counts().duplicate == 1)).await?;
    let end = replies.finish();
    assert_eq!((end.ok, end.duplicate), (1, 1));
    Ok(())
}

async fn one_that_is_called_as_an_agent_here_is_a_duplicate(scene: Scene) -> Result<()> {
    let _there = scene.echo("twin").await?;
    let dispatcher = scene.dispatcher().await?;
    let _here = dispatcher.register(scene.topic(), &echo("twin")?)?;
    let _served = dispatcher.serve(scene.topic(), &echo("alone")?).await?;
    let agents = dispatcher.agents(scene.topic(), PINGED).await?;
    let told: Vec<_> = agents.iter().map(|it| (it.agent.as_str(), it.count)).collect();
    assert_eq!(told, [("alone", 1), ("twin", 2)]);
    let ask = dispatcher.ask(scene.topic(), "x").until(Until::Deadline).deadline(SOON);
    let mut replies = ask.send::<String>().await?;
    let (one, other) = (replies.next().await, replies.next().await);
    let mut told: Vec<_> = [one, other].into_iter().flatten().map(|it| it.result).collect();
    told.sort_by_key(|it| it.clone().ok());
    assert_eq!(told, [Ok("x from alone".to_owned()), Ok("x from twin".to_owned())]);
    until("the other's is counted", async || Ok(dispatcher.counts().duplicate == 1)).await?;
    let end = replies.finish();
    assert_eq!((end.ok, end.duplicate), (2, 1));
    Ok(())
}

/// Knows that nobody is there.
struct Nobody;

impl Presence for Nobody {
    fn present(&self, _: &Subject) -> Vec<AgentId> {
        Vec::new()
    }

    fn is_present(&self, _: &Subject, _: &AgentId) -> bool {
        false
    }
}

async fn an_ask_of_those_who_are_present_fails_at_once_where_nobody_is(scene: Scene) -> Result<()> {
    // Somebody hears what comes, so that the broker knows no better.
    let other = scene.connect().await?;
    let _heard = scene.hear(&other).await?;
    let dispatcher = scene.dispatcher().await?;
    for expect in [Expect::Present(Arc::new(Nobody)), Expect::Agents(Vec::new())] {
        let asked = Instant::now();
        let ask = dispatcher.ask(scene.topic(), "x").expect(expect).deadline(SOON);
        let told = ask.collect::<String>().await;
        assert_eq!(told.err().map(|it| it.kind()), Some(ErrorKind::NoResponders));
        assert!(asked.elapsed() < SOON / 2, "{:?}", asked.elapsed());
    }
    assert_eq!(dispatcher.counts().pending, 0);
    Ok(())
}

async fn nobody_is_there_at_once(scene: Scene) -> Result<()> {
    let dispatcher = scene.dispatcher().await?;
    let asked = Instant::now();
    let agents = dispatcher.agents(scene.topic(), Duration::from_secs(20)).await?;
    assert!(agents.is_empty() && asked.elapsed() < Duration::from_secs(10), "{agents:?}");
    Ok(())
}

async fn agents_that_beat_are_expected_and_those_that_stopped_are_not(scene: Scene) -> Result<()> {
    use sinew_beat::{HeartOptions, Watch, WatchOptions};
    use sinew_dispatch::BeatPresence;

    use crate::scene::{said, tally};

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
    let Gathered { replies, end, .. } = ask().await?;
    assert_eq!(said(&replies), ["x from one", "x from other"]);
    assert_eq!(
        (end.ended, tally(&end)),
        (Ended::AllKnown, (2, 0, 0, 0)),
        "long before its deadline"
    );
    other.drained(SOON).await?;
    here(1).await?;
    let Gathered { replies, end, .. } = ask().await?;
    assert_eq!((said(&replies), end.ended), (vec!["x from one"], Ended::AllKnown));
    Ok(())
}

/// Knows of two agents; of the second one until it is told.
#[derive(Default)]
struct Leaving(AtomicBool);

impl Presence for Leaving {
    fn present(&self, _: &Subject) -> Vec<AgentId> {
        ["stays", "leaves"].iter().filter_map(|name| AgentId::parse(name).ok()).collect()
    }

    fn is_present(&self, _: &Subject, agent: &AgentId) -> bool {
        agent.as_str() == "stays" || !self.0.load(SeqCst)
    }
}

async fn nobody_waits_for_one_that_leaves_while_it_is_asked(scene: Scene) -> Result<()> {
    const LONG: Duration = Duration::from_secs(120);
    let gate = Arc::new(Semaphore::new(0));
    let leaves = scene.serve(gated("leaves", &gate, Duration::ZERO)?).await?;
    let _stays = scene.echo("stays").await?;
    let dispatcher = scene.dispatcher().await?;
    let presence = Arc::new(Leaving::default());
    let expected = Expect::Present(Arc::<Leaving>::clone(&presence));
    let ask = dispatcher.ask(scene.topic(), "x").expect(expected).deadline(LONG);
    let mut asked = ask.send::<String>().await?;
    let first = asked.next().await.and_then(|it| it.result.ok());
    assert_eq!(first.as_deref(), Some("x from stays"));
    until("it is worked on", async || Ok(leaves.running() == 1)).await?;
    presence.0.store(true, SeqCst);
    assert!(asked.next().await.is_none());
    let end = asked.finish();
    assert_eq!((end.ended, end.ok, names(&end.missing)), (Ended::AllKnown, 1, vec!["leaves"]));
    assert!(end.elapsed < LONG, "{end:?}");
    // It may be there all the same, and is told.
    until("it is called off", async || Ok(leaves.service.counts().cancelled == 1)).await
}
