//! End to end: beats a second from the publisher to what a watch knows, beside the backend's own intake and the raw
//! client, which only count what comes.
//!
//! `cargo bench -p sinew-beat --bench watch`. A beat of each of 100,000 processes a round, turn by turn; from the first
//! publish to the last beat in the table. Each figure is the median of the rounds.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use sinew_adapter_memory::MemoryBroker;
use sinew_adapter_nats::{
    NatsOptions,
    async_nats::{self, Client, ConnectOptions},
};
use sinew_beat::{Watch, WatchOptions, WatchTable};
use sinew_core::{
    Buffer, ErrorKind, Event, Message, Pattern, Publish, Subject, Subscribe, Subscription,
};
use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::{task::JoinHandle, time::sleep};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Odd, so that a median is one of them.
const ROUNDS: usize = 7;
const PROCESSES: usize = 100_000;
const BEAT: &[u8] = b"beat/5";

fn main() -> Outcome {
    let quick = !env::args().any(|arg| arg == "--bench");
    let (count, rounds) = if quick { (PROCESSES / 100, 1) } else { (PROCESSES, ROUNDS) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        memory(count, rounds).await?;
        nats(count, rounds).await
    })
}

fn subjects(count: usize) -> Outcome<Vec<Subject>> {
    let name = |number| format!("heartbeat.eu-west-1.payments.worker-{number:09}");
    Ok((0..count).map(|number| Subject::parse(&name(number))).collect::<Result<_, _>>()?)
}

async fn memory(count: usize, rounds: usize) -> Outcome {
    let broker = MemoryBroker::new();
    let source = broker.connect();
    let feed = {
        let subjects = subjects(count)?;
        move || {
            let (source, subjects) = (source.clone(), subjects.clone());
            tokio::spawn(async move {
                for subject in subjects {
                    source.publish(Message::new(subject, BEAT)).await?.await?;
                }
                Ok(())
            })
        }
    };
    let (mut intake, mut watch) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        intake.push(counted(&broker.connect(), count, &feed).await?);
        watch.push(watched(&broker.connect(), count, &feed).await?);
    }
    report("memory", count, vec![("intake", intake), ("watch", watch)]);
    Ok(())
}

async fn nats(count: usize, rounds: usize) -> Outcome {
    let server = match NatsServerOptions::new().start().await {
        Ok(server) => server,
        Err(err) if err.kind() == ErrorKind::NotFound => {
            println!("NATS skipped: {err}");
            return Ok(());
        }
        Err(err) => return Err(err.into()),
    };
    let raw = || ConnectOptions::new().subscription_capacity(1 << 18).connect(server.url());
    let (source, reader) = (raw().await?, raw().await?);
    let ours = NatsOptions::new(server.url()).connect().await?;
    let feed = {
        let texts = subjects(count)?;
        let subjects: Vec<_> =
            texts.iter().map(|it| async_nats::Subject::from(it.as_str().to_owned())).collect();
        move || {
            let (source, subjects) = (source.clone(), subjects.clone());
            tokio::spawn(async move {
                for subject in subjects {
                    source.publish(subject, Bytes::from_static(BEAT)).await?;
                }
                source.flush().await?;
                Ok(())
            })
        }
    };
    let (mut client, mut intake, mut watch) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        client.push(counted_raw(&reader, count, &feed).await?);
        intake.push(counted(&ours, count, &feed).await?);
        watch.push(watched(&ours, count, &feed).await?);
    }
    report("NATS", count, vec![("raw client", client), ("intake", intake), ("watch", watch)]);
    Ok(())
}

/// As much as a round has.
fn room() -> Buffer {
    Buffer::default().with_messages(1 << 18).with_bytes(1 << 30)
}

async fn counted_raw(
    client: &Client,
    count: usize,
    feed: impl Fn() -> JoinHandle<Outcome>,
) -> Outcome<Duration> {
    let mut intake = client.subscribe("heartbeat.>").await?;
    // The server has answered, so it has subscribed; nobody listens, which is an answer, too.
    client.flush().await?;
    let _ = client.request("bench.nobody", Bytes::new()).await;
    let began = Instant::now();
    let feeding = feed();
    for _ in 0..count {
        intake.next().await.ok_or("it ended")?;
    }
    let took = began.elapsed();
    feeding.await??;
    Ok(took)
}

async fn counted(
    backend: &impl Subscribe,
    count: usize,
    feed: impl Fn() -> JoinHandle<Outcome>,
) -> Outcome<Duration> {
    let wanted = Subscription::new(Pattern::parse("heartbeat.>")?).with_buffer(room());
    let mut intake = backend.subscribe(wanted).await?;
    let began = Instant::now();
    let feeding = feed();
    for _ in 0..count {
        match intake.next().await.ok_or("it ended")?? {
            Event::Item(_) => {}
            other => return Err(format!("{other:?} came").into()),
        }
    }
    let took = began.elapsed();
    feeding.await??;
    Ok(took)
}

/// Everyone is known and told of before the time is taken.
async fn watched(
    backend: &impl Subscribe,
    count: usize,
    feed: impl Fn() -> JoinHandle<Outcome>,
) -> Outcome<Duration> {
    let watch = Watch::start(backend, WatchOptions::default().with_buffer(room())).await?;
    let table = watch.table();
    feed().await??;
    heard(&table, count).await?;
    let began = Instant::now();
    let feeding = feed();
    heard(&table, 2 * count).await?;
    let took = began.elapsed();
    feeding.await??;
    Ok(took)
}

async fn heard(table: &WatchTable, count: usize) -> Outcome {
    loop {
        let counts = table.counts();
        if counts.lost + counts.malformed + counts.refused > 0 {
            return Err(format!("{counts:?}").into());
        }
        if counts.beats >= count as u64 {
            return Ok(());
        }
        // What a round takes is some hundred times as long.
        sleep(Duration::from_millis(1)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of at most millions")]
fn report(what: &str, count: usize, contenders: Vec<(&str, Vec<Duration>)>) {
    let mut first = None;
    for (name, mut times) in contenders {
        times.sort_unstable();
        let at = |quarter: usize| {
            let time = times.get(times.len() * quarter / 4).copied().unwrap_or_default();
            count as f64 / time.as_secs_f64()
        };
        let (rate, noise) = (at(2), (at(1) - at(3)) / at(2));
        let ratio = rate / *first.get_or_insert(rate);
        println!("{what:<8} {name:<12} {rate:>12.0} a second, {ratio:.2}; noise {noise:.2}");
    }
}
