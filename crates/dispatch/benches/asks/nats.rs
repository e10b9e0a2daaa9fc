//! Ten agents behind a real nats-server.
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::try_join_all};
use sinew_adapter_nats::{
    NatsOptions,
    async_nats::{self, Client, HeaderMap, Message, Subscriber},
};
use sinew_core::ErrorKind;
use sinew_dispatch::{AgentError, AgentId, AnyAgent, Context, Dispatcher, Expect, Service};
use sinew_testkit::harness::nats::{NatsServer, NatsServerOptions};
use tokio::{
    task::JoinSet,
    time::{timeout, timeout_at},
};

use crate::{Outcome, median, quantile, ratio};

const AGENTS: usize = 10;
const ASKS: usize = 1_024;
/// How many ask at once, each after the end of its last ask.
const ASKERS: [usize; 2] = [1, 16];
const TARGET: f64 = 1.1;
const OURS: &str = "bench.ours";
const RAW: &str = "bench.raw";
const NAMED: &str = "bench.named";
const DEADLINE: Duration = Duration::from_secs(5);
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
        "ratio = our time to that of an inbox loop on async-nats [quartiles]; target {TARGET}. The named loop has a deadline,\n\
         and knows who answered, by a header each way"
    );
    let ours = Ours::start(&server).await?;
    let raw = Raw::start(&server).await?;
    let named = Named::start(&server).await?;
    for askers in ASKERS {
        let [mut ours_took, mut raw_took, mut named_took] = [const { (Vec::new(), Vec::new()) }; 3];
        // The first round warms up.
        for round in 0..=rounds {
            let took = [
                (&mut raw_took, raw.round(askers).await?),
                (&mut ours_took, ours.round(askers).await?),
                (&mut named_took, named.round(askers).await?),
            ];
            for ((rounds, asks), (time, each)) in took.into_iter().filter(|_| round > 0) {
                rounds.push(time);
                asks.extend(each);
            }
        }
        println!("\n{askers} askers");
        report("async-nats", &raw_took, String::new());
        report("named", &named_took, ratio(&named_took.0, &raw_took.0, None));
        let to_named = ratio(&ours_took.0, &named_took.0, None);
        let to_raw = ratio(&ours_took.0, &raw_took.0, Some(TARGET));
        report("asked", &ours_took, format!("{to_raw}, to the named loop {to_named}"));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a float holds a thousand")]
fn report(who: &str, (rounds, asks): &(Vec<Duration>, Vec<Duration>), ratio: String) {
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

/// A task for each ask, so that none holds up another.
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

/// The same where each answer says whose it is, each ask how long it waits, and both keep to that.
struct Named {
    asker: Client,
    _agents: JoinSet<Outcome>,
}

impl Named {
    async fn start(server: &NatsServer) -> Outcome<Self> {
        let mut agents = JoinSet::new();
        for number in 0..AGENTS {
            let client = async_nats::connect(server.url()).await?;
            let asks = client.subscribe(NAMED).await?;
            client.flush().await?;
            agents.spawn(answer_named(client, asks, format!("agent-{number}")));
        }
        Ok(Self { asker: async_nats::connect(server.url()).await?, _agents: agents })
    }

    async fn round(&self, askers: usize) -> Outcome<Times> {
        asks(askers, || {
            let client = self.asker.clone();
            async move {
                let inbox = client.new_inbox();
                let mut replies = client.subscribe(format!("{inbox}.*")).await?;
                let mut times = Vec::with_capacity(ASKS / askers);
                for number in 0..ASKS / askers {
                    let began = Instant::now();
                    let until = tokio::time::Instant::now() + DEADLINE;
                    let back = format!("{inbox}.{number}");
                    let mut headers = HeaderMap::new();
                    headers.insert("remaining-ms", DEADLINE.as_millis().to_string());
                    let request = Bytes::from_static(REQUEST);
                    let asked = client.publish_with_reply_and_headers(
                        NAMED,
                        back.clone(),
                        headers,
                        request,
                    );
                    asked.await?;
                    let mut answered = HashSet::new();
                    while answered.len() < AGENTS {
                        let reply = timeout_at(until, replies.next()).await?.ok_or("it ended")?;
                        if *reply.subject == *back {
                            answered.insert(header(&reply, "agent").ok_or("nobody's")?.to_owned());
                        }
                    }
                    times.push(began.elapsed());
                }
                Ok(times)
            }
        })
        .await
    }
}

fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}

async fn answer_named(client: Client, mut asks: Subscriber, name: String) -> Outcome {
    let mut answers = JoinSet::new();
    while let Some(ask) = asks.next().await {
        let (client, name) = (client.clone(), name.clone());
        let millis = header(&ask, "remaining-ms").ok_or("no deadline")?.parse()?;
        answers.spawn(timeout(Duration::from_millis(millis), async move {
            if let Some(reply) = ask.reply {
                let mut headers = HeaderMap::new();
                headers.insert("agent", name);
                client.publish_with_headers(reply, headers, ask.payload).await?;
            }
            Outcome::Ok(())
        }));
        while answers.try_join_next().is_some() {}
    }
    Ok(())
}
