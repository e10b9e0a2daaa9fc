//! Asks that are dropped, and agents that come and go, all at once.
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use sinew_core::{ErrorKind, Result};
use sinew_dispatch::{AgentError, AnyAgent, Context, Dispatcher, Hedge, Until};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    behaviours, failed,
    scene::{SOON, Scene, expect, until},
};

behaviours![
    what_is_asked_on_behalf_of_an_ask_is_called_off_with_it,
    asks_and_agents_that_come_and_go_leave_nothing,
];

async fn what_is_asked_on_behalf_of_an_ask_is_called_off_with_it(scene: Scene) -> Result<()> {
    const LONG: Duration = Duration::from_secs(300);
    let inner = Scene::new(scene.kind, Arc::clone(&scene.broker), "inner");
    let stuck = inner
        .serve(AnyAgent::new("stuck", |_: Context, _: String| {
            pending::<Result<String, AgentError>>()
        })?)
        .await?;
    let (asker, topic) = (inner.dispatcher().await?, inner.topic().to_owned());
    let asks = asker.clone();
    let outer = AnyAgent::new("outer", move |context: Context, asked: String| {
        let (asker, topic) = (asks.clone(), topic.clone());
        async move {
            let ask = asker.ask(topic.as_str(), asked).deadline(LONG).within(&context);
            ask.collect::<String>().await?;
            Ok::<_, AgentError>(String::new())
        }
    })?;
    let outer = scene.serve(outer).await?;
    let dispatcher = scene.dispatcher().await?;
    let asked = dispatcher.ask(scene.topic(), "x").deadline(LONG).send::<String>().await?;
    until("it is worked on", async || Ok(stuck.running() == 1)).await?;
    drop(asked);
    let counts = || (outer.service.counts().cancelled, stuck.service.counts().cancelled);
    until("both are called off", async || Ok(counts() == (1, 1))).await?;
    until("neither works", async || Ok((outer.running(), stuck.running()) == (0, 0))).await?;
    assert_eq!((dispatcher.counts().pending, asker.counts().pending), (0, 0));
    Ok(())
}

const NAMES: [&str; 4] = ["echoes", "fails", "slow", "stuck"];

/// One of each kind, by its name.
fn agent(name: &'static str) -> Result<AnyAgent> {
    let agent = AnyAgent::new(name, move |_: Context, asked: String| async move {
        match name {
            "echoes" => Ok(asked),
            "fails" => Err(AgentError::new("broken", "")),
            "slow" => {
                drop(timeout(Duration::from_millis(5), pending::<()>()).await);
                Ok(asked)
            }
            _ => pending().await,
        }
    })?;
    Ok(agent.with_grace(Duration::ZERO))
}

/// Serves agents of one name, one after the other, until it is told to stop.
async fn come_and_go(
    scene: Scene,
    name: &'static str,
    is_over: Arc<AtomicBool>,
) -> Result<Vec<AnyAgent>> {
    let dispatcher = scene.dispatcher().await?;
    let mut all = Vec::new();
    while !is_over.load(SeqCst) {
        let agent = agent(name)?;
        let service = dispatcher.serve(scene.topic(), &agent).await?;
        drop(timeout(Duration::from_millis(20), pending::<()>()).await);
        match all.len() % 2 {
            0 => drop(service),
            _ => service.drained(SOON).await?,
        }
        all.push(agent);
    }
    Ok(all)
}

/// Asks in many ways, and drops some of them in the middle.
async fn ask_and_drop(dispatcher: Dispatcher, topic: String, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        let ask = dispatcher.ask(topic.as_str(), "x").expect(expect(&NAMES)?);
        let ask = ask.deadline(Duration::from_millis(40));
        let is_hedged = round % 3 == 0;
        let ask = match round % 3 {
            0 => ask.until(Until::First(1)).hedge(Hedge::after(Duration::from_millis(2)).max(3)),
            1 => ask.until(Until::First(1)),
            _ => ask,
        };
        let mut asked = match ask.send::<String>().await {
            Ok(asked) => asked,
            // Nobody is there, or the broker takes its time.
            Err(err) if [ErrorKind::NoResponders, ErrorKind::Timeout].contains(&err.kind()) => {
                continue;
            }
            Err(err) => return Err(err),
        };
        match round % 4 {
            0 => drop(asked),
            1 => drop(timeout(Duration::from_millis(3), asked.next()).await),
            2 => drop(asked.next().await),
            _ => {
                while asked.next().await.is_some() {}
                let end = asked.finish();
                let all = end.ok + end.failed + end.missing.len() + end.cancelled.len();
                let is_each_once = all == NAMES.len() || (is_hedged && all < NAMES.len());
                assert!(is_each_once, "{end:?}");
            }
        }
    }
    Ok(())
}

async fn asks_and_agents_that_come_and_go_leave_nothing(scene: Scene) -> Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut agents = JoinSet::new();
    for name in NAMES {
        agents.spawn(come_and_go(scene.clone(), name, Arc::clone(&is_over)));
    }
    let (dispatcher, mut asking) = (scene.dispatcher().await?, JoinSet::new());
    for _ in 0..8 {
        asking.spawn(ask_and_drop(dispatcher.clone(), scene.topic().to_owned(), 120));
    }
    while let Some(done) = asking.join_next().await {
        done.map_err(failed)??;
    }
    is_over.store(true, SeqCst);
    let mut served = Vec::new();
    while let Some(done) = agents.join_next().await {
        served.extend(done.map_err(failed)??);
    }
    dispatcher.drained(SOON).await?;
    assert_eq!(dispatcher.counts().pending, 0);
    let running = || served.iter().map(AnyAgent::running).sum::<usize>();
    until("none works", async || Ok(running() == 0)).await
}
