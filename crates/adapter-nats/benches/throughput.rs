//! Publishing and subscribing through the adapter beside the raw client: one server, one run, turn by turn.
//!
//! `cargo bench -p sinew-adapter-nats --bench throughput`. Each figure is the median of the rounds; the ratio is
//! adapter to raw. Where it differs from 1 by less than the raw client differs from itself, the two are said to be
//! indistinguishable.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]
use std::{
    env,
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_nats::{Client, ConnectOptions, Subscriber};
use bytes::Bytes;
use futures_core::Stream;
use sinew_adapter_nats::{Nats, NatsOptions, async_nats};
use sinew_core::{
    Buffer, ErrorKind, Event, Message, Pattern, Publish, Subject, Subscribe, Subscription,
};
use sinew_testkit::harness::nats::NatsServerOptions;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Payload in bytes, and how many of them make a round.
const SIZES: [(usize, usize); 3] = [(16, 100_000), (512, 50_000), (16 << 10, 8_000)];
/// Odd, so that a median is one of them.
const ROUNDS: usize = 11;
/// A raw client that differs more from itself than this says nothing about anyone else.
const TELLING: f64 = 0.15;
const SUBJECT: &str = "bench.throughput";

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Outcome {
    let server = match NatsServerOptions::new().start().await {
        Ok(server) => server,
        Err(err) if err.kind() == ErrorKind::NotFound => {
            println!("skipped: {err}");
            return Ok(());
        }
        Err(err) => return Err(err.into()),
    };
    let bench = Bench::connect(&server.url()).await?;
    println!("messages a second, medians of {ROUNDS} rounds, raw and adapter turn by turn");
    println!(
        "{:<10} {:>8} {:>12} {:>12} {:>7} {:>7}",
        "what", "bytes", "raw", "adapter", "ratio", "noise"
    );
    for (size, count) in SIZES {
        let payload = Bytes::from(vec![b'x'; size]);
        if wanted("publish") {
            let (mut raw, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                raw.push(bench.publish_raw(&payload, count).await?);
                ours.push(bench.publish(&payload, count).await?);
            }
            report("publish", size, count, raw, ours);
        }
        if wanted("subscribe") {
            let (mut raw, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                raw.push(bench.subscribe_raw(&payload, count).await?);
                ours.push(bench.subscribe(&payload, count).await?);
            }
            report("subscribe", size, count, raw, ours);
        }
    }
    Ok(())
}

/// Whether the command line names it, or nothing.
fn wanted(what: &str) -> bool {
    let mut names = env::args().skip(1).filter(|name| !name.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| name == what)
}

struct Bench {
    raw: Client,
    ours: Nats,
    /// Feeds subscribers.
    source: Client,
}

impl Bench {
    async fn connect(url: &str) -> Outcome<Self> {
        let raw = || ConnectOptions::new().subscription_capacity(1 << 18).connect(url.to_owned());
        Ok(Self {
            raw: raw().await?,
            ours: NatsOptions::new(url).connect().await?,
            source: raw().await?,
        })
    }

    async fn publish_raw(&self, payload: &Bytes, count: usize) -> Outcome<Duration> {
        let subject = async_nats::Subject::from(SUBJECT.to_owned());
        let began = Instant::now();
        for _ in 0..count {
            self.raw.publish(subject.clone(), payload.clone()).await?;
        }
        self.raw.flush().await?;
        // As ours does it: the server has answered. Nobody listens, which is an answer, too.
        let _ = self.raw.request("bench.nobody", Bytes::new()).await;
        Ok(began.elapsed())
    }

    async fn publish(&self, payload: &Bytes, count: usize) -> Outcome<Duration> {
        let subject = Subject::parse(SUBJECT)?;
        let began = Instant::now();
        for _ in 0..count {
            let message = Message::new(subject.clone(), payload.clone());
            drop(self.ours.publish(message).await?);
        }
        self.ours.flush().await?;
        Ok(began.elapsed())
    }

    async fn subscribe_raw(&self, payload: &Bytes, count: usize) -> Outcome<Duration> {
        let mut intake = self.raw.subscribe(SUBJECT).await?;
        self.raw.flush().await?;
        let _ = self.raw.request("bench.nobody", Bytes::new()).await;
        let feeding = self.feed(payload, count);
        next(&mut intake).await.ok_or("it ended")?;
        let began = Instant::now();
        for _ in 1..count {
            next(&mut intake).await.ok_or("it ended")?;
        }
        let took = began.elapsed();
        feeding.await??;
        Ok(took)
    }

    async fn subscribe(&self, payload: &Bytes, count: usize) -> Outcome<Duration> {
        let buffer = Buffer::default().with_messages(1 << 18).with_bytes(1 << 30);
        let wanted = Subscription::new(Pattern::parse(SUBJECT)?).with_buffer(buffer);
        let mut intake = self.ours.subscribe(wanted).await?;
        let feeding = self.feed(payload, count);
        item(intake.next().await)?;
        let began = Instant::now();
        for _ in 1..count {
            item(intake.next().await)?;
        }
        let took = began.elapsed();
        feeding.await??;
        Ok(took)
    }

    fn feed(&self, payload: &Bytes, count: usize) -> tokio::task::JoinHandle<Outcome> {
        let (source, payload) = (self.source.clone(), payload.clone());
        tokio::spawn(async move {
            for _ in 0..count {
                source.publish(SUBJECT, payload.clone()).await?;
            }
            source.flush().await?;
            Ok(())
        })
    }
}

async fn next(subscriber: &mut Subscriber) -> Option<async_nats::Message> {
    std::future::poll_fn(|cx: &mut Context<'_>| -> Poll<_> {
        Pin::new(&mut *subscriber).poll_next(cx)
    })
    .await
}

fn item(event: Option<sinew_core::Result<Event<Message>>>) -> Outcome<Message> {
    match event {
        Some(Ok(Event::Item(message))) => Ok(message),
        other => Err(format!("{other:?} came").into()),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of messages are far below what a float holds exactly"
)]
fn report(what: &str, size: usize, count: usize, raw: Vec<Duration>, ours: Vec<Duration>) {
    let rates = |mut times: Vec<Duration>| {
        times.sort_unstable();
        let at = |index: usize| {
            times.get(index).map_or(f64::NAN, |time| count as f64 / time.as_secs_f64())
        };
        (at(ROUNDS / 2), (at(ROUNDS / 4) - at(ROUNDS * 3 / 4)) / at(ROUNDS / 2))
    };
    let ((raw, noise), (ours, _)) = (rates(raw), rates(ours));
    let ratio = ours / raw;
    let verdict = match (1.0 - ratio).abs() <= noise {
        true if noise <= TELLING => "indistinguishable",
        true => "too noisy to tell",
        false => "",
    };
    println!("{what:<10} {size:>8} {raw:>12.0} {ours:>12.0} {ratio:>7.3} {noise:>7.3} {verdict}");
}
