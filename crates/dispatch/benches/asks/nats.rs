//! Ten agents behind a real nats-server.
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::try_join_all};
use sinew_adapter_nats::{
    NatsOptions,
    async_nats::{self, Client, Subscriber},
};
use sinew_core::ErrorKind;
use sinew_dispatch::{AgentError, AgentId, AnyAgent, Context, Dispatcher, Expect, Service};
use sinew_testkit::harness::nats::{NatsServer, NatsServerOptions};
use tokio::task::JoinSet;

use crate::{Outcome, median, quantile, ratio};

const AGENTS: usize = 10;
const ASKS: usize = 1_024;
/// How many ask at once, each after the end of its last ask.
const ASKERS: [usize; 2] = [1, 16];
const TARGET: f64 = 1.1;
const OURS: &str = "bench.ours";
const RAW: &str = "bench.raw";
const REQUEST: &[u8] = b"wafer 7";

pub(crate) async fn run(rounds: usize) -> Outcome {
    let server = match NatsServerOptions::new().start().await {
        Ok(server) => server,
        Err(err) if err.kind() == ErrorKind::NotFound => {
            println!("NATS skipped: {err}");
            return Ok(());
        }
        Err(err) => return Err(err.into()),
    };
    println!("\n{AGENTS} agents over NATS, {ASKS} asks a round, {rounds} rounds, turn by turn");
    println!(
        "ratio = our time to that of an inbox loop on async-nats [quartiles]; target {TARGET}"
    );
    let ours = Ours::start(&server).await?;
    let raw = Raw::start(&server).await?;
    for askers in ASKERS {
        let (mut our_rounds, mut raw_rounds) = (Vec::new(), Vec::new());
        let (mut our_asks, mut raw_asks) = (Vec::new(), Vec::new());
        // The first round warms up.
        for round in 0..=rounds {
            let (raw_time, raw_each) = raw.round(askers).await?;
            let (our_time, our_each) = ours.round(askers).await?;
            if round > 0 {
                our_rounds.push(our_time);
                raw_rounds.push(raw_time);
                our_asks.extend(our_each);
                raw_asks.extend(raw_each);
            }
        }
        println!("\n{askers} askers");
        report("async-nats", &raw_rounds, &raw_asks, String::new());
        report("asked", &our_rounds, &our_asks, ratio(&our_rounds, &raw_rounds, Some(TARGET)));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a float holds a thousand")]
fn report(who: &str, rounds: &[Duration], asks: &[Duration], ratio: String) {
    let rate = ASKS as f64 / (median(rounds) / 1e6);
    let (half, most) = (median(asks), quantile(asks, 99, 100));
    println!("  {who:<12} {rate:>8.0} asks/s, p50 {half:>7.0} us, p99 {most:>7.0} us   {ratio}");
}

/// What all askers take, and each ask of theirs.
type Times = (Duration, Vec<Duration>);

/// Lets so many ask at once, until all asks are done.
async fn asks<F>(askers: usize, ask: impl Fn() -> F) -> Outcome<Times>
where
    F: Future<Output = Outcome<Vec<Duration>>> + Send + 'static,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..askers {
        tasks.spawn(ask());
    }
    let mut each = Vec::with_capacity(ASKS);
    while let Some(times) = tasks.join_next().await {
        each.extend(times??);
    }
    Ok((began.elapsed(), each))
}

struct Ours {
    asker: Dispatcher,
    names: Vec<AgentId>,
    _services: Vec<(Dispatcher, Service)>,
}

impl Ours {
    async fn start(server: &NatsServer) -> Outcome<Self> {
        let over = async || {
            let nats = NatsOptions::new(server.url()).connect().await?;
            Outcome::Ok(Dispatcher::over(&nats.into_any())?)
        };
        let (mut services, mut names) = (Vec::new(), Vec::new());
        for number in 0..AGENTS {
            let agent = AnyAgent::new(&format!("agent-{number}"), answer)?;
            let dispatcher = over().await?;
            names.push(agent.id().clone());
            let service = dispatcher.serve(OURS, &agent).await?;
            services.push((dispatcher, service));
        }
        Ok(Self { asker: over().await?, names, _services: services })
    }

    async fn round(&self, askers: usize) -> Outcome<Times> {
        asks(askers, || {
            let (asker, names) = (self.asker.clone(), self.names.clone());
            async move {
                let mut times = Vec::with_capacity(ASKS / askers);
                for _ in 0..ASKS / askers {
                    let began = Instant::now();
                    let ask = asker.ask(OURS, Bytes::from_static(REQUEST));
                    let ask = ask.expect(Expect::Agents(names.clone()));
                    let mut replies = ask.send::<Bytes>().await?;
                    while let Some(reply) = replies.next().await {
                        reply.result.map_err(|err| err.to_string())?;
                    }
                    if replies.finish().ok != AGENTS {
                        return Err("an answer is missing".into());
                    }
                    times.push(began.elapsed());
                }
                Ok(times)
            }
        })
        .await
    }
}

async fn answer(_: Context, request: Bytes) -> Result<Bytes, AgentError> {
    Ok(request)
}

struct Raw {
    asker: Client,
    _agents: JoinSet<Outcome>,
}

impl Raw {
    async fn start(server: &NatsServer) -> Outcome<Self> {
        let mut agents = JoinSet::new();
        let clients = (0..AGENTS).map(|_| async_nats::connect(server.url()));
        for client in try_join_all(clients).await? {
            let asks = client.subscribe(RAW).await?;
            client.flush().await?;
            agents.spawn(answer_raw(client, asks));
        }
        Ok(Self { asker: async_nats::connect(server.url()).await?, _agents: agents })
    }

    async fn round(&self, askers: usize) -> Outcome<Times> {
        asks(askers, || {
            let client = self.asker.clone();
            async move {
                // One inbox for all asks of a task; the last word of the subject says whose answer it is.
                let inbox = client.new_inbox();
                let mut replies = client.subscribe(format!("{inbox}.*")).await?;
                let mut times = Vec::with_capacity(ASKS / askers);
                for number in 0..ASKS / askers {
                    let began = Instant::now();
                    let back = format!("{inbox}.{number}");
                    let request = Bytes::from_static(REQUEST);
                    client.publish_with_reply(RAW, back.clone(), request).await?;
                    let mut missing = AGENTS;
                    while missing > 0 {
                        let reply = replies.next().await.ok_or("it ended")?;
                        missing -= usize::from(*reply.subject == *back);
                    }
                    times.push(began.elapsed());
                }
                Ok(times)
            }
        })
        .await
    }
}

/// A task for each ask, as our agents have.
async fn answer_raw(client: Client, mut asks: Subscriber) -> Outcome {
    let mut answers = JoinSet::new();
    while let Some(ask) = asks.next().await {
        let client = client.clone();
        answers.spawn(async move {
            if let Some(reply) = ask.reply {
                client.publish(reply, ask.payload).await?;
            }
            Outcome::Ok(())
        });
        while answers.try_join_next().is_some() {}
    }
    Ok(())
}
