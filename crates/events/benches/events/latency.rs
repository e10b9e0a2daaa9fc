//! From emit to handler, at a fixed rate that everybody can keep.
use std::{
    future::ready,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use sinew_adapter_amqp::lapin::options::{BasicAckOptions, BasicCancelOptions};
use sinew_events::{Context, EventDispatcher, EventHandler, HandlerError, Service};
use sinew_testkit::harness::rabbitmq::RabbitMq;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    Order, Outcome, SERVICE, SOURCE, WINDOW, WORKERS, connect, order,
    raw::Raw,
    report::{quantile, ratio},
};

/// Odd, so that a median is one of them.
const ROUNDS: usize = 7;
/// Events a second.
const RATE: u32 = 1_000;
const SECONDS: u32 = 2;
const EVENT: &str = "timed";
const QUEUE: &str = "evt-orders-timed--billing.on_timed";
const LATE: Duration = Duration::from_secs(30);

/// When each event was emitted, and how long it took.
struct Clock {
    emitted: Vec<OnceLock<Instant>>,
    took: Mutex<Vec<Duration>>,
    come: Semaphore,
}

impl Clock {
    fn new(count: u32) -> Arc<Self> {
        Arc::new(Self {
            emitted: (0..count).map(|_| OnceLock::new()).collect(),
            took: Mutex::default(),
            come: Semaphore::new(0),
        })
    }

    fn emits(&self, id: u64) {
        if let Some(at) = usize::try_from(id).ok().and_then(|id| self.emitted.get(id)) {
            at.get_or_init(Instant::now);
        }
    }

    fn comes(&self, order: &Order) {
        let at = usize::try_from(order.id).ok().and_then(|id| self.emitted.get(id)?.get());
        if let Some(at) = at {
            self.took.lock().unwrap_or_else(PoisonError::into_inner).push(at.elapsed());
            self.come.add_permits(1);
        }
    }

    /// Emits at the rate, waits until all have come, and says how long each took.
    async fn run<E>(&self, mut emit: impl FnMut(Order) -> E) -> Outcome<Vec<Duration>>
    where
        E: Future<Output = Outcome> + Send + 'static,
    {
        let mut ticks = interval(Duration::from_secs(1) / RATE);
        // What comes late does not make the others late.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut emits = JoinSet::new();
        for id in 0..self.emitted.len() as u64 {
            ticks.tick().await;
            self.emits(id);
            emits.spawn(emit(order(id)));
        }
        while let Some(emitted) = emits.join_next().await {
            emitted??;
        }
        let all = self.come.acquire_many(u32::try_from(self.emitted.len())?);
        timeout(LATE, all).await??.forget();
        Ok(std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

pub(crate) async fn run(broker: &RabbitMq, is_quick: bool) -> Outcome {
    let (rounds, count) = if is_quick { (1, RATE / 10) } else { (ROUNDS, RATE * SECONDS) };
    println!(
        "\nfrom emit to handler at {RATE} events a second, {count} a round, {rounds} rounds, turn by turn"
    );
    let backend = connect(broker).await?.into_any();
    let dispatcher = EventDispatcher::new(&backend, SOURCE)?;
    let raw = Arc::new(Raw::connect(&broker.url()).await?);
    let [mut ours, mut lapin] = [const { Rounds::new() }; 2];
    // The first round warms up.
    for round in 0..=rounds {
        let clock = Clock::new(count);
        let running = service(&clock)?.start(&backend).await?;
        let emit = |order| {
            let dispatcher = dispatcher.clone();
            async move { Ok(dispatcher.emit(EVENT, &order).await.map(drop)?) }
        };
        let took = clock.run(emit).await?;
        running.drain(LATE).await?;
        ours.add(round, took);

        let clock = Clock::new(count);
        let (channel, mut consumer) = raw.consume(QUEUE).await?;
        let tag = consumer.tag();
        let hears = Arc::clone(&clock);
        let handling = tokio::spawn(async move {
            while let Some(delivery) = consumer.next().await {
                let delivery = delivery?;
                hears.comes(&serde_json::from_slice(&delivery.data)?);
                delivery.ack(BasicAckOptions { multiple: false }).await?;
            }
            Outcome::Ok(())
        });
        let emit = |order| {
            let raw = Arc::clone(&raw);
            async move { raw.emit(EVENT, &order).await }
        };
        let took = clock.run(emit).await?;
        channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
        handling.await??;
        channel.close(200, "OK".into()).await?;
        lapin.add(round, took);
    }
    for (who, rounds) in [("lapin", &lapin), ("events", &ours)] {
        let (half, most) = (quantile(&rounds.all, 1, 2), quantile(&rounds.all, 99, 100));
        println!("  {who:<10} p50 {half:>6.0} us, p99 {most:>6.0} us");
    }
    let (half, most) =
        (ratio(&ours.halves, &lapin.halves, None), ratio(&ours.most, &lapin.most, None));
    println!("  events to lapin: p50 {half}, p99 {most}");
    Ok(())
}

/// What each event took, and the median and the 99th percentile of each round.
struct Rounds {
    all: Vec<Duration>,
    halves: Vec<Duration>,
    most: Vec<Duration>,
}

impl Rounds {
    const fn new() -> Self {
        Self { all: Vec::new(), halves: Vec::new(), most: Vec::new() }
    }

    fn add(&mut self, round: usize, took: Vec<Duration>) {
        if round > 0 {
            let at = |part, whole| Duration::from_secs_f64(quantile(&took, part, whole) / 1e6);
            self.halves.push(at(1, 2));
            self.most.push(at(99, 100));
            self.all.extend(took);
        }
    }
}

fn service(clock: &Arc<Clock>) -> Outcome<Service> {
    let clock = Arc::clone(clock);
    let handler = EventHandler::new(SOURCE, EVENT, "on_timed", move |_: Context, order: Order| {
        clock.comes(&order);
        ready(Ok::<_, HandlerError>(()))
    });
    let service = Service::new(SERVICE)?.with_max_workers(WORKERS).with_prefetch(WINDOW);
    Ok(service.with_handler(handler)?)
}
