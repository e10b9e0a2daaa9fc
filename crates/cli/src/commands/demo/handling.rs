//! The third act: orders are billed and shipped by services that fail, are tried again, and lose nothing.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clap::builder::styling::Style;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sinew_core::{AnyBackend, ErrorKind, Queue, Result};
use sinew_events::{
    Context, DeadLetter, ErrorQueue, EventDispatcher, EventHandler, HandlerError, HandlerKind,
    RetryPolicy, Running, Service, ServiceEvent, ServiceEvents, SettledAs,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    exit::{Failure, Outcome, Status},
    interrupt::Stop,
    output::Output,
    session::Session,
    time::spoken,
};

/// A broker of its own, which nothing else in this process connects to.
const BROKER: &str = "memory:sinew-demo-events";
const BILLING: &str = "evt-orders-created--billing.on_created";
/// Between two scenes, so that one can read.
const PAUSE: Duration = Duration::from_millis(700);
/// How long a scene may take.
const MOST: Duration = Duration::from_secs(5);
/// After which time what failed twice at once is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// What the services are told of.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Order {
    id: u64,
}

/// A scene of the play.
#[derive(Clone, Copy)]
enum Scene {
    Well,
    Retried,
    Kept,
    Redriven,
}

const SCENES: [Scene; 4] = [Scene::Well, Scene::Retried, Scene::Kept, Scene::Redriven];

impl Scene {
    fn shows(self) -> &'static str {
        match self {
            Self::Well => "each service has it once, each dashboard has it too",
            Self::Retried => "the card reader fails twice: billing tries again",
            Self::Kept => "the card is unknown: billing keeps the event, with its cause",
            Self::Redriven => "the card is known now: the event is redriven, to billing alone",
        }
    }

    /// How often the card reader fails.
    fn failures(self) -> u32 {
        match self {
            Self::Retried => 2,
            Self::Kept => UNKNOWN,
            Self::Well | Self::Redriven => 0,
        }
    }

    /// How many runs handle the event, and how many fail.
    fn runs(self) -> (u64, u64) {
        match self {
            Self::Well => (4, 0),
            Self::Retried => (4, 2),
            Self::Kept => (3, 1),
            Self::Redriven => (1, 0),
        }
    }
}

/// The card reader: how often it fails still; [`UNKNOWN`] is a card that it does not know.
type Reader = Arc<AtomicU32>;
const UNKNOWN: u32 = u32::MAX;

/// What a handler has to tell.
struct Told {
    who: &'static str,
    order: u64,
    error: Option<&'static str>,
}

/// What the play has come to.
#[derive(Default)]
struct Sum {
    emitted: u64,
    handled: u64,
    failed: u64,
    kept: u64,
    redriven: u64,
}

pub(super) async fn run(session: &Session, length: Duration) -> Outcome {
    let began = Instant::now();
    let (tell, mut told) = mpsc::channel(64);
    let reader = Reader::default();
    let cluster = start(&tell, &reader).await?;
    let [(_, one), (_, other), ..] = &cluster[..] else {
        return Err(Failure::new(Status::Fault, "nobody bills"));
    };
    let mut billing = [one.events(), other.events()];
    let backend = sinew_connect::connect(BROKER).await?;
    let mut sum = Sum::default();
    let stop = tokio::select! {
        biased;
        stop = session.interrupt.or_deadline(Some(began + length)) => stop,
        Err(failure) = play(session.output, &backend, &reader, &mut billing, &mut told, &mut sum) => {
            return Err(failure);
        }
    };
    summary(session.output, &sum, began.elapsed())?;
    drop(cluster);
    session.drain(&backend).await;
    Ok(if stop == Stop::Interrupted { Status::Interrupted } else { Status::Done })
}

/// Each over a connection of its own, as if it were a process.
async fn start(tell: &mpsc::Sender<Told>, reader: &Reader) -> Result<Vec<(AnyBackend, Running)>> {
    let retry = RetryPolicy::none().with_immediate(1).with_delays([AGAIN]);
    let mut cluster = Vec::new();
    for (who, kind) in [
        ("billing 1", HandlerKind::ServicePool),
        ("billing 2", HandlerKind::ServicePool),
        ("shipping", HandlerKind::ServicePool),
        ("dashboard 1", HandlerKind::Broadcast),
        ("dashboard 2", HandlerKind::Broadcast),
    ] {
        let (tell, reader) = (tell.clone(), who.starts_with("billing").then(|| Arc::clone(reader)));
        let handle = move |_: Context, order: Order| {
            let (tell, reader) = (tell.clone(), reader.clone());
            async move {
                let read = reader.map_or(Ok(()), |reader| read_card(&reader));
                let error = read.as_ref().err().copied();
                // Whoever looked on may have gone.
                drop(tell.send(Told { who, order: order.id, error }).await);
                read.map_err(|error| match error {
                    STUCK => HandlerError::new(error),
                    _ => HandlerError::permanent(error),
                })
            }
        };
        let handler = EventHandler::new("orders", "created", "on_created", handle)
            .with_kind(kind)
            .with_reliable_delivery(kind != HandlerKind::Broadcast);
        let name = who.split(' ').next().unwrap_or(who);
        let service = Service::new(name)?.with_retry(retry.clone()).with_handler(handler)?;
        let backend = sinew_connect::connect(BROKER).await?;
        let running = service.start(&backend).await?;
        cluster.push((backend, running));
    }
    Ok(cluster)
}

const STUCK: &str = "the card reader is stuck";

fn read_card(reader: &Reader) -> Result<(), &'static str> {
    let fails = |left: u32| (left != UNKNOWN).then(|| left.saturating_sub(1));
    match reader.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails) {
        Ok(0) => Ok(()),
        Ok(_) => Err(STUCK),
        Err(_) => Err("the card is unknown"),
    }
}

/// Plays until it is dropped.
async fn play(
    output: Output,
    backend: &AnyBackend,
    reader: &Reader,
    billing: &mut [ServiceEvents; 2],
    told: &mut mpsc::Receiver<Told>,
    sum: &mut Sum,
) -> Result<(), Failure> {
    let orders = EventDispatcher::new(backend, "orders")?;
    let errors = ErrorQueue::new(backend, Queue::parse(BILLING)?)?;
    loop {
        for scene in SCENES {
            let until = Instant::now() + MOST;
            reader.store(scene.failures(), Ordering::Relaxed);
            if matches!(scene, Scene::Redriven) {
                announce(output, scene, sum.emitted)?;
                for event in first(&errors).await? {
                    event.redrive().await?;
                    sum.redriven += 1;
                }
            } else {
                sum.emitted += 1;
                announce(output, scene, sum.emitted)?;
                orders.emit("created", &Order { id: sum.emitted }).await?;
            }
            hear(output, told, scene.runs(), until, sum).await?;
            if matches!(scene, Scene::Kept) {
                // The one who told of it puts it there next.
                drop(timeout_at(until, dead_lettered(billing)).await);
                // Looked at, and left where it is.
                for event in first(&errors).await? {
                    sum.kept += 1;
                    kept(output, event.error().unwrap_or_default())?;
                }
            }
            sleep(PAUSE).await;
        }
    }
}

/// The first event in the error queue, if there is one yet: the machine may have stood still.
async fn first(errors: &ErrorQueue) -> Result<Vec<DeadLetter>, Failure> {
    match errors.take(1, MOST).await {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        taken => Ok(taken?),
    }
}

/// Waits until one of them has put an event into its error queue.
async fn dead_lettered([one, other]: &mut [ServiceEvents; 2]) {
    loop {
        let event = tokio::select! {
            event = one.next() => event,
            event = other.next() => event,
        };
        match event {
            Some(Ok(ServiceEvent::Settled(it))) if it.outcome == SettledAs::DeadLettered => return,
            Some(_) => {}
            None => return,
        }
    }
}

/// Tells what handlers tell, until so many runs have handled the event, and so many have failed.
async fn hear(
    output: Output,
    told: &mut mpsc::Receiver<Told>,
    runs: (u64, u64),
    until: Instant,
    sum: &mut Sum,
) -> Result<(), Failure> {
    let (handled, failed) = (sum.handled + runs.0, sum.failed + runs.1);
    while sum.handled < handled || sum.failed < failed {
        let Ok(Some(Told { who, order, error })) = timeout_at(until, told.recv()).await else {
            break;
        };
        match error {
            None => sum.handled += 1,
            Some(_) => sum.failed += 1,
        }
        if output.json {
            output.object(&json!({ "handler": who, "order": order, "error": error }))?;
        } else {
            let what = error.unwrap_or("handled");
            output.line(format_args!("  {who:12} {what}"))?;
        }
    }
    Ok(())
}

fn announce(output: Output, scene: Scene, order: u64) -> Result<(), Failure> {
    let shows = scene.shows();
    if output.json {
        return output.object(&json!({ "order": order, "shows": shows }));
    }
    let title = output.paint(Style::new().bold(), format_args!("order {order}: {shows}"));
    output.line(format_args!("\n{title}"))
}

fn kept(output: Output, error: &str) -> Result<(), Failure> {
    match output.json {
        true => output.object(&json!({ "kept": BILLING, "error": error })),
        false => output.line(format_args!("  {:12} {error}", "kept")),
    }
}

fn summary(output: Output, sum: &Sum, elapsed: Duration) -> Result<(), Failure> {
    let Sum { emitted, handled, failed, kept, redriven } = sum;
    if output.json {
        return output.object(&json!({
            "summary": {
                "elapsed": elapsed.as_secs_f64(),
                "emitted": emitted,
                "handled": handled,
                "failed": failed,
                "kept": kept,
                "redriven": redriven,
            }
        }));
    }
    output.line(format_args!(
        "\nIn {}: orders {emitted}, handled {handled}, failures {failed}, kept {kept}, redriven {redriven}.",
        spoken(elapsed)
    ))?;
    output.line("With a RabbitMQ: sinew events listen, and beside it sinew events emit")
}
