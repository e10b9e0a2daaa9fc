//! Emitting with confirms. No queue takes the events, which costs the broker least: what the client costs shows most.
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sinew_adapter_amqp::Amqp;
use sinew_core::{Message, Publish as _};
use sinew_events::{EventDispatcher, Source, python::Uuid};
use sinew_testkit::harness::rabbitmq::RabbitMq;

use crate::{
    Order, Outcome, SOURCE, WINDOW, WORKERS, connect, order,
    original::Original,
    raw::Raw,
    report::{Lane, TARGET, quantile, ratio, turns},
};

/// Odd, so that a median is one of them.
const ROUNDS: usize = 15;
const COUNT: u32 = 20_000;
/// nameko waits for each confirm.
const COUNT_NAMEKO: u32 = 500;
const NOBODY: &str = "unheard";

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
    dispatcher: EventDispatcher,
    nameko: Option<Original>,
}

pub(crate) async fn run(broker: &RabbitMq, is_quick: bool) -> Outcome {
    let (rounds, count) = if is_quick { (1, COUNT / 100) } else { (ROUNDS, COUNT) };
    println!(
        "\nemit with confirms, {count} events a round, {WINDOW} outstanding, {rounds} rounds, turn by turn\n\
         ratio = its time to lapin's, median of paired rounds [quartiles]; target at most {TARGET}"
    );
    let amqp = connect(broker).await?;
    let dispatcher = EventDispatcher::new(&amqp.clone().into_any(), SOURCE)?;
    let nameko = Original::start(&broker.url(), WORKERS)?;
    let mut bench = Bench { raw: Raw::connect(&broker.url()).await?, amqp, dispatcher, nameko };
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

impl Bench {
    /// What one event takes.
    async fn round(&mut self, who: Who, count: u32) -> Outcome<Duration> {
        if let (Who::Nameko, Some(nameko)) = (who, &mut self.nameko) {
            return nameko.emit(NOBODY, &order(0), COUNT_NAMEKO.min(count));
        }
        let order = order(1_000_000);
        let began = Instant::now();
        let calls = stream::iter(0..count).map(|_| self.emit(who, &order));
        calls.buffer_unordered(WINDOW.into()).try_for_each(async |()| Ok(())).await?;
        Ok(began.elapsed() / count)
    }

    async fn emit(&self, who: Who, order: &Order) -> Outcome {
        match who {
            Who::Lapin => self.raw.emit(NOBODY, order).await,
            Who::Events => Ok(self.dispatcher.emit(NOBODY, order).await.map(drop)?),
            Who::Adapter => Ok(self.amqp.publish(message(order)?).await?.await.map(drop)?),
            Who::Nameko => Err("nameko emits elsewhere".into()),
        }
    }
}

/// An event as ours is, made by hand.
fn message(order: &Order) -> Outcome<Message> {
    let address = Source::parse(SOURCE)?.address(NOBODY)?;
    Ok(Message::to(address, serde_json::to_vec(order)?)
        .with_content_type("application/json")
        .with_content_encoding("utf-8")
        .with_id(Uuid::random().to_string())
        .with_timestamp(SystemTime::now())
        .with_priority(0)
        .with_durable(true))
}
