//! A fleet that beats: one connection that speaks for all of them.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sinew_adapter_nats::{Nats, NatsOptions};
use sinew_core::{Message, Publish as _, Subject};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::common::Result;

const PERIOD: Duration = Duration::from_secs(60);

/// So many, the first of all by their names, promise an hour and are left alone: nobody speaks for them meanwhile.
pub(crate) const APART: usize = 16;

/// How often some of them beat.
const TICK: Duration = Duration::from_millis(10);

/// How many are said at once where all of them are, so that few are one too many for who listens.
const PORTION: usize = 1000;

/// Beats for all of them, until it is stopped.
pub(crate) struct Fleet {
    nats: Nats,
    subjects: Vec<Subject>,
    limps: Arc<AtomicBool>,
    beating: JoinHandle<sinew_core::Result<()>>,
}

/// The name of one of them.
pub(crate) fn name(number: usize) -> String {
    format!("eu-west-1.payments.worker-{number:06}")
}

impl Fleet {
    /// Says a beat of each, and goes on with that.
    pub(crate) async fn start(url: &str, count: usize) -> Result<Self> {
        let nats = NatsOptions::new(url).connect().await?;
        let subject = |number| Subject::parse(&format!("heartbeat.{}", name(number)));
        let subjects: Vec<_> = (0..count).map(subject).collect::<Result<_, _>>()?;
        let (apart, steady) = subjects.split_at(APART.min(subjects.len()));
        beat(&nats, apart, "beat/3600").await?;
        let (order, limps) = (shuffled(steady), Arc::new(AtomicBool::new(false)));
        beat_in_turn(&nats, &order, "beat/60").await?;
        let beating = tokio::spawn(keep_beating(nats.clone(), order, Arc::clone(&limps)));
        Ok(Self { nats, subjects, limps, beating })
    }

    /// All of them are degraded from now on.
    pub(crate) async fn limp(&self) -> Result<()> {
        self.limps.store(true, Ordering::Relaxed);
        Ok(beat_in_turn(&self.nats, &self.subjects, "degraded/60").await?)
    }

    /// Says this for one of them.
    pub(crate) async fn say(&self, number: usize, beat: &'static str) -> Result<()> {
        let subject = self.subjects.get(number).ok_or("nobody of that number")?;
        self.nats.publish(Message::new(subject.clone(), beat)).await?.await?;
        Ok(self.nats.flush().await?)
    }

    /// Ends it; an error is what ended it before.
    pub(crate) async fn stop(self) -> Result<()> {
        self.beating.abort();
        match self.beating.await {
            Ok(ended) => Ok(ended?),
            Err(_) => Ok(()),
        }
    }
}

/// In an order of no meaning, as the other benches of heartbeats have it: by Fisher, Yates, and a generator of Knuth's.
fn shuffled(subjects: &[Subject]) -> Vec<Subject> {
    let (mut order, mut random) = (subjects.to_vec(), 1_u64);
    for last in (1..order.len()).rev() {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = usize::try_from(random >> 33).unwrap_or_default() % (last + 1);
        order.swap(last, place);
    }
    order
}

async fn beat(nats: &Nats, subjects: &[Subject], beat: &'static str) -> sinew_core::Result<()> {
    for subject in subjects {
        nats.publish(Message::new(subject.clone(), beat)).await?.await?;
    }
    Ok(())
}

/// As fast as who listens can be expected to take it.
async fn beat_in_turn(
    nats: &Nats,
    subjects: &[Subject],
    word: &'static str,
) -> sinew_core::Result<()> {
    for portion in subjects.chunks(PORTION) {
        beat(nats, portion, word).await?;
        nats.flush().await?;
        sleep(TICK).await;
    }
    Ok(())
}

/// Spread evenly over the period.
async fn keep_beating(
    nats: Nats,
    subjects: Vec<Subject>,
    limps: Arc<AtomicBool>,
) -> sinew_core::Result<()> {
    let ticks = usize::try_from(PERIOD.as_millis() / TICK.as_millis()).unwrap_or(usize::MAX);
    let mut ticking = interval(TICK);
    ticking.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        for portion in subjects.chunks(subjects.len().div_ceil(ticks).max(1)) {
            ticking.tick().await;
            let word = if limps.load(Ordering::Relaxed) { "degraded/60" } else { "beat/60" };
            beat(&nats, portion, word).await?;
        }
    }
}
