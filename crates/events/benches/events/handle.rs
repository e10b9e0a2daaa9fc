//! Handling with acks: a queue that is full already, worked through by one handler that has nothing to wait for.
use std::{
    future::ready,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::AcqRel},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sinew_adapter_amqp::{
    Amqp,
    lapin::options::{BasicAckOptions, BasicCancelOptions},
};
use sinew_core::{
    AnyBackend, Consume as _, Consumption, Delivery, Event, Incoming, Pattern, Queue, Scope,
};
use sinew_events::{Context, EventHandler, HandlerError, Service};
use sinew_testkit::harness::rabbitmq::RabbitMq;
use tokio::sync::Semaphore;

use crate::{
    Order, Outcome, SERVICE, SOURCE, WINDOW, WORKERS, connect, order,
    original::Original,
    raw::Raw,
    report::{Lane, TARGET, quantile, ratio, turns},
};

/// Odd, so that a median is one of them.
const ROUNDS: usize = 15;
const COUNT: u32 = 20_000;
const COUNT_NAMEKO: u32 = 1_000;
const EVENT: &str = "created";
const METHOD: &str = "on_created";
const QUEUE: &str = "evt-orders-created--billing.on_created";
const DRAIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    Lapin,
    Adapter,
    Events,
    Nameko,
}

struct Bench {
    raw: Raw,
    amqp: Amqp,
    backend: AnyBackend,
    nameko: Option<Original>,
}

/// From the first event that somebody has in hand to the last.
struct Tally {
    began: OnceLock<Instant>,
    left: AtomicU32,
    done: Semaphore,
}

pub(crate) async fn run(broker: &RabbitMq, is_quick: bool) -> Outcome {
    let (rounds, count) = if is_quick { (1, COUNT / 100) } else { (ROUNDS, COUNT) };
    println!(
        "\nhandle with acks, {count} events a round, prefetch {WINDOW}, {WORKERS} workers, {rounds} rounds, turn by turn\n\
         ratio = its time to lapin's, median of paired rounds [quartiles]; target at most {TARGET}"
    );
    let amqp = connect(broker).await?;
    let backend = amqp.clone().into_any();
    let nameko = Original::start(&broker.url(), WORKERS)?;
    let mut bench = Bench { raw: Raw::connect(&broker.url()).await?, amqp, backend, nameko };
    // Its queue is everybody's, and there from now on.
    service(&Arc::new(Tally::new(0)))?.start(&bench.backend).await?.drain(DRAIN).await?;
    let mut contenders = vec![Who::Lapin, Who::Events, Who::Adapter];
    contenders.extend(bench.nameko.is_some().then_some(Who::Nameko));
    let mut lanes = Lane::of(&contenders);
    for (round, turn) in turns(rounds, lanes.len()) {
        let Some(lane) = lanes.get_mut(turn) else { continue };
        let time = bench.round(lane.who, count).await?;
        // The first round warms up.
        if round > 0 {
            lane.times.push(time);
        }
    }
    let [lapin, events, ..] = lanes.as_slice() else { return Ok(()) };
    for lane in &lanes {
        let ratio = match lane.who {
            Who::Lapin => String::new(),
            Who::Events => ratio(&lane.times, &lapin.times, Some(TARGET)),
            Who::Adapter => ratio(&lane.times, &lapin.times, None),
            Who::Nameko => format!("{} of ours", ratio(&lane.times, &events.times, None)),
        };
        println!("  {:<10} {:>8.1} us   {ratio}", lane.who.name(), quantile(&lane.times, 1, 2));
    }
    Ok(())
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Lapin => "lapin",
            Self::Adapter => "adapter",
            Self::Events => "events",
            Self::Nameko => "nameko",
        }
    }
}

impl Tally {
    fn new(count: u32) -> Self {
        Self { began: OnceLock::new(), left: AtomicU32::new(count), done: Semaphore::new(0) }
    }

    fn note(&self, _order: &Order) {
        self.began.get_or_init(Instant::now);
        if self.left.fetch_sub(1, AcqRel) == 1 {
            self.done.add_permits(1);
        }
    }

    fn elapsed(&self) -> Outcome<Duration> {
        Ok(self.began.get().ok_or("nothing came")?.elapsed())
    }
}

fn service(tally: &Arc<Tally>) -> Outcome<Service> {
    let tally = Arc::clone(tally);
    let handler = EventHandler::new(SOURCE, EVENT, METHOD, move |_: Context, order: Order| {
        tally.note(&order);
        ready(Ok::<_, HandlerError>(()))
    });
    let service = Service::new(SERVICE)?.with_max_workers(WORKERS).with_prefetch(WINDOW);
    Ok(service.with_handler(handler)?)
}

impl Bench {
    /// What one event takes.
    async fn round(&mut self, who: Who, count: u32) -> Outcome<Duration> {
        let count = if who == Who::Nameko { COUNT_NAMEKO.min(count) } else { count };
        let order = order(1_000_000);
        let calls = stream::iter(0..count).map(|_| self.raw.fill(EVENT, &order));
        calls.buffer_unordered(WINDOW.into()).try_for_each(async |()| Ok(())).await?;
        if let (Who::Nameko, Some(nameko)) = (who, &mut self.nameko) {
            return nameko.handle(count);
        }
        let tally = Arc::new(Tally::new(count));
        match who {
            Who::Lapin => self.lapin(&tally, count).await?,
            Who::Adapter => self.adapter(&tally, count).await?,
            Who::Events | Who::Nameko => self.events(&tally).await?,
        }
        Ok(tally.elapsed()? / count)
    }

    async fn events(&self, tally: &Arc<Tally>) -> Outcome {
        let running = service(tally)?.start(&self.backend).await?;
        tally.done.acquire().await?.forget();
        Ok(running.drain(DRAIN).await?)
    }

    /// As many acks at once as there are deliveries: as fast as one ack for each can be.
    async fn lapin(&self, tally: &Tally, count: u32) -> Outcome {
        let (channel, mut consumer) = self.raw.consume(QUEUE).await?;
        let tag = consumer.tag();
        let deliveries = (&mut consumer).take(usize::try_from(count)?);
        let acks = deliveries.map(|delivery| async move {
            let delivery = delivery?;
            tally.note(&serde_json::from_slice(&delivery.data)?);
            Outcome::Ok(delivery.ack(BasicAckOptions { multiple: false }).await?)
        });
        let mut acks = pin!(acks.buffer_unordered(WINDOW.into()));
        while let Some(acked) = acks.next().await {
            acked?;
        }
        channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
        Ok(channel.close(200, "OK".into()).await?)
    }

    async fn adapter(&self, tally: &Tally, count: u32) -> Outcome {
        let wanted = Consumption::new(Queue::parse(QUEUE)?, Pattern::parse(EVENT)?)
            .with_scope(Scope::parse("orders.events")?)
            .with_prefetch(WINDOW);
        let mut intake = self.amqp.consume(wanted).await?;
        let mut last = None;
        for _ in 0..count {
            let delivery = arrived(&mut intake).await?;
            tally.note(&serde_json::from_slice(&delivery.message.payload)?);
            last = Some(delivery.ack());
        }
        last.ok_or("nothing came")?.await?;
        intake.stop();
        while intake.next().await.is_some() {}
        Ok(())
    }
}

async fn arrived(intake: &mut Incoming<Delivery>) -> Outcome<Delivery> {
    match intake.next().await {
        Some(Ok(Event::Item(delivery))) => Ok(delivery),
        other => Err(format!("{other:?} came").into()),
    }
}
