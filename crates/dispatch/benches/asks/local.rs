//! A fan-out within this process.
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinew_dispatch::{AgentError, AnyAgent, Context, Dispatcher, Registered};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{Outcome, median, original::Original, ratio};

/// To how many agents.
const FAN_OUTS: [usize; 4] = [1, 10, 100, 1_000];
/// How many answers make a round.
const ANSWERS: u32 = 20_000;
/// What the original is given instead: it is slow.
const ANSWERS_OF_ORIGINAL: u32 = 2_000;
const TARGET: f64 = 1.5;
const TOPIC: &str = "bench.local";
const REQUEST: &[u8] = b"wafer 7";

pub(crate) async fn run(rounds: usize) -> Outcome {
    println!("local fan-out, {rounds} rounds, turn by turn; microseconds an ask");
    println!("ratio = our time to the other's [quartiles]; target at most {TARGET} of the JoinSet");
    for agents in FAN_OUTS {
        let fan_out = u32::try_from(agents)?;
        let (asks, asks_of_original) = (ANSWERS / fan_out, (ANSWERS_OF_ORIGINAL / fan_out).max(2));
        let (dispatcher, _registered) = dispatcher(agents)?;
        let mut original = Original::start(agents)?;
        let (mut bare, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        // The first round warms up.
        for round in 0..=rounds {
            let times = (joined(agents, asks).await?, asked(&dispatcher, agents, asks).await?);
            let time = original.as_mut().map(|it| it.ask(asks_of_original)).transpose()?;
            if round > 0 {
                bare.push(times.0);
                ours.push(times.1);
                theirs.extend(time);
            }
        }
        println!("\n{agents} agents");
        println!("  JoinSet                {:>10.1}", median(&bare));
        let ratio_to_bare = ratio(&ours, &bare, Some(TARGET));
        println!("  asked                  {:>10.1}   {ratio_to_bare}", median(&ours));
        match theirs.is_empty() {
            true => println!("  ate-dispatcher skipped: no Python that has it"),
            false => {
                let ratio = ratio(&ours, &theirs, None);
                println!("  ate-dispatcher         {:>10.1}   {ratio}", median(&theirs));
            }
        }
    }
    Ok(())
}

fn dispatcher(agents: usize) -> Outcome<(Dispatcher, Vec<Registered>)> {
    let dispatcher = Dispatcher::local();
    let registered: Result<_, _> = (0..agents)
        .map(|number| {
            let agent = AnyAgent::new(&format!("agent-{number}"), answer)?;
            dispatcher.register(TOPIC, &agent)
        })
        .collect();
    Ok((dispatcher, registered?))
}

async fn answer(_: Context, request: Bytes) -> Result<Bytes, AgentError> {
    Ok(request)
}

/// A task for each agent, and a channel for their answers.
async fn joined(agents: usize, asks: u32) -> Outcome<Duration> {
    let began = Instant::now();
    for _ in 0..asks {
        let request = Bytes::from_static(REQUEST);
        let (sender, mut answers) = mpsc::channel(agents);
        let mut tasks = JoinSet::new();
        for number in 0..agents {
            let (sender, request) = (sender.clone(), request.clone());
            tasks.spawn(async move { sender.send((number, Instant::now(), request)).await });
        }
        drop(sender);
        let mut count = 0;
        while answers.recv().await.is_some() {
            count += 1;
        }
        if count != agents {
            return Err("an answer is missing".into());
        }
    }
    Ok(began.elapsed() / asks)
}

async fn asked(dispatcher: &Dispatcher, agents: usize, asks: u32) -> Outcome<Duration> {
    let began = Instant::now();
    for _ in 0..asks {
        let mut replies =
            dispatcher.ask(TOPIC, Bytes::from_static(REQUEST)).send::<Bytes>().await?;
        while let Some(reply) = replies.next().await {
            reply.result.map_err(|err| err.to_string())?;
        }
        if replies.finish().ok != agents {
            return Err("an answer is missing".into());
        }
    }
    Ok(began.elapsed() / asks)
}
