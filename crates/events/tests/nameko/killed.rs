//! D3: a broker that is killed under load.
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use libtest_mimic::Trial;
use serde_json::json;
use sinew_adapter_amqp::lapin::{
    Connection, ConnectionProperties,
    types::{FieldTable, ShortString},
};
use sinew_core::{AnyBackend, ErrorKind, Sent};
use sinew_events::{
    Context, EmitOptions, EventDispatcher, EventHandler, HandlerError, Running, Service,
    ServiceEvent,
};
use sinew_testkit::harness::rabbitmq::{RabbitMq, Tap};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, unbounded_channel},
    },
    task::JoinSet,
    time::interval,
};

use crate::{
    Stage, is_long,
    rust::{Cast, as_it_is},
    world::{Held, Outcome, Scene, address, check, equal, options, soon, until_held, url_through},
};

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend([
        stage.trial("d3_what_was_confirmed_is_handled_though_the_broker_is_killed", killed),
        stage.trial("d3_a_binding_that_a_kill_took_is_missed_by_who_must_route_alone", unbound),
    ]);
}

/// How many events are under way at most, from their emitter to the end of their handler.
const LOAD: usize = 200;
/// How many are handled in each life of the broker, at least.
const COUNT: usize = 500;
const EMITTERS: usize = 8;

/// What became of emits.
#[derive(Debug, Default)]
struct Emitted {
    /// With the life of the broker that confirmed it.
    confirmed: BTreeMap<u64, usize>,
    /// Those that failed and may have arrived.
    open: BTreeSet<u64>,
    /// How many no queue took.
    unroutable: usize,
}

/// What all emitters share.
struct Emitters {
    source: String,
    room: Semaphore,
    life: AtomicUsize,
    emitted: Mutex<Emitted>,
}

impl Emitters {
    fn new(source: &str) -> Self {
        let (room, source) = (Semaphore::new(LOAD), source.to_owned());
        Self { source, room, life: AtomicUsize::new(0), emitted: Mutex::default() }
    }

    fn emitted(&self) -> MutexGuard<'_, Emitted> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that goes on until there is no room any more; its numbers are not those of the others.
    async fn emit(self: Arc<Self>, backend: AnyBackend, first: u64) -> Outcome {
        // RabbitMQ confirms what no queue takes, and killed, it may forget a binding that it made a moment before.
        let options = EmitOptions::new().with_must_route(true);
        let dispatcher = EventDispatcher::new(&backend, &self.source)?.with_options(options);
        let mut again = interval(Duration::from_millis(20));
        for number in (first..).step_by(EMITTERS) {
            let Ok(place) = self.room.acquire().await else { break };
            match dispatcher.emit("created", &number).await {
                Ok(_) => {
                    // Given back by whoever handles it.
                    place.forget();
                    let life = self.life.load(Ordering::SeqCst);
                    self.emitted().confirmed.insert(number, life);
                }
                Err(err) => {
                    if err.kind() == ErrorKind::Unroutable {
                        self.emitted().unroutable += 1;
                    } else if err.sent() == Sent::Maybe {
                        self.emitted().open.insert(number);
                    }
                    drop(place);
                    again.tick().await;
                }
            }
        }
        Ok(())
    }
}

/// What was handled, and in which life of the broker.
struct Ledger {
    told: UnboundedReceiver<(u64, usize)>,
    emitters: Arc<Emitters>,
    handled: BTreeMap<u64, Vec<usize>>,
}

impl Ledger {
    /// Hears of so many.
    async fn hear(&mut self, count: usize) -> Outcome {
        for _ in 0..count {
            let told = soon("an event", self.told.recv()).await?.ok_or("it has ended")?;
            self.note(told);
        }
        Ok(())
    }

    fn note(&mut self, (number, life): (u64, usize)) {
        let lives = self.handled.entry(number).or_default();
        lives.push(life);
        if lives.len() == 1 {
            self.emitters.room.add_permits(1);
        }
    }

    fn has_all(&self) -> bool {
        self.emitters.emitted().confirmed.keys().all(|it| self.handled.contains_key(it))
    }

    /// What has not come, and whether the broker has it.
    async fn missing(&self, victim: &RabbitMq) -> String {
        let told = {
            let emitted = self.emitters.emitted();
            let missing = emitted.confirmed.iter().filter(|it| !self.handled.contains_key(it.0));
            let missing: Vec<_> = missing.collect();
            let (confirmed, last) = (emitted.confirmed.len(), emitted.confirmed.last_key_value());
            let handled = self.handled.len();
            format!(
                "{confirmed} confirmed, up to {last:?}, {handled} handled; missing, each with the life that confirmed it: {missing:?}"
            )
        };
        let columns =
            ["list_queues", "name", "messages_ready", "messages_unacknowledged", "consumers"];
        let queues = victim.list(&columns).await;
        let room = self.emitters.room.available_permits();
        format!("{told}; room for {room}; the broker has {queues:?}\n{}", victim.log_tail())
    }
}

/// With many emits and events under way each time.
async fn killed(scene: Scene) -> Outcome {
    let rounds = if is_long() { 20 } else { 2 };
    let victim = scene.victim().await?;
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let tap = Tap::start(address(&victim)).await?;
    let soon_back = |url: &str| options(url).with_reconnect_wait(Duration::from_millis(500));
    let backend = soon_back(&url_through(tap.address())).connect().await?.into_any();
    let emitters = Arc::new(Emitters::new(&source));
    let (teller, told) = unbounded_channel();
    let counted = Arc::clone(&emitters);
    let act = move |_: Context, number: u64| {
        let told = teller.send((number, counted.life.load(Ordering::SeqCst)));
        async move { told.map_err(HandlerError::new) }
    };
    let handler = EventHandler::new(&source, "created", "on", act);
    let running = Service::new(&service)?.with_handler(handler)?.start(&backend).await?;
    let queue = format!("evt-{source}-created--{service}.on");
    let far = soon_back(&victim.url()).connect().await?.into_any();
    let mut emitting = JoinSet::new();
    for first in (0..).take(EMITTERS) {
        emitting.spawn(Arc::clone(&emitters).emit(far.clone(), first));
    }
    let mut ledger = Ledger { told, emitters, handled: BTreeMap::new() };
    let handled = async {
        for _ in 0..rounds {
            ledger.hear(COUNT).await?;
            kill(&victim, &running).await?;
            // What is handled from now on came after it, and what comes twice after it was not taken off its queue.
            ledger.emitters.life.fetch_add(1, Ordering::SeqCst);
            victim.restart().await?;
        }
        ledger.hear(COUNT).await?;
        ledger.emitters.room.close();
        while let Some(one) = soon("the last emit", emitting.join_next()).await? {
            one??;
        }
        while !ledger.has_all() {
            ledger.hear(1).await?;
        }
        Outcome::Ok(())
    };
    if let Err(err) = handled.await {
        return Err(format!("{err}; {}", ledger.missing(&victim).await).into());
    }
    let binds = tap.binds(&queue);
    running.drain(Duration::from_secs(60)).await?;
    until_held(&victim, "/", &queue, Held::default()).await?;
    while let Ok(told) = ledger.told.try_recv() {
        ledger.note(told);
    }
    audit(rounds, &ledger.emitters.emitted(), &ledger.handled)?;
    equal("binds", binds, rounds + 1)
}

/// As RabbitMQ may come back from a kill.
async fn unbound(scene: Scene) -> Outcome {
    let victim = scene.victim().await?;
    let (source, service) = (scene.name("orders"), scene.name("billing"));
    let backend = options(&victim.url()).connect().await?.into_any();
    let mut ours =
        Cast::new(&service)?.handles(&source, "created", "on", as_it_is)?.start(&backend).await?;
    unbind(&victim.url(), &source, &format!("evt-{source}-created--{service}.on")).await?;
    let whatever = EventDispatcher::new(&backend, &source)?;
    let must_route = whatever.clone().with_options(EmitOptions::new().with_must_route(true));
    whatever.emit("created", &"gone").await?;
    let err = must_route.emit("created", &"missed").await.err();
    let told = err.map(|it| (it.kind(), it.sent()));
    equal("told", told, Some((ErrorKind::Unroutable, Sent::No)))?;
    victim.restart().await?;
    while !matches!(ours.event().await?, ServiceEvent::Up { .. }) {}
    must_route.emit("created", &"again").await?;
    equal("what comes", ours.seen().await?.payload, json!("again"))
}

async fn unbind(url: &str, source: &str, queue: &str) -> Outcome {
    let url = format!("{url}/%2f");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let name = |text: &str| ShortString::try_new(text);
    let (queue, exchange) = (name(queue)?, name(&format!("{source}.events"))?);
    channel.queue_unbind(queue, exchange, name("created")?, FieldTable::default()).await?;
    Ok(connection.close(200, "done".into()).await?)
}

/// Kills it, and ends when the service knows.
async fn kill(victim: &RabbitMq, running: &Running) -> Outcome {
    let mut events = running.events();
    victim.kill()?;
    soon("the service to know", async {
        loop {
            match events.next().await {
                Some(Ok(ServiceEvent::Down { .. })) => return Ok(()),
                // Who hears slowly misses what was handled before.
                Some(_) => {}
                None => return Err("it has ended".into()),
            }
        }
    })
    .await?
}

fn audit(rounds: usize, emitted: &Emitted, handled: &BTreeMap<u64, Vec<usize>>) -> Outcome {
    let Emitted { confirmed, open, unroutable } = emitted;
    let mut strange = handled.keys().filter(|it| !confirmed.contains_key(it) && !open.contains(it));
    equal("handled, though refused or never emitted", strange.next(), None)?;
    // At least once: an ack that dies with the broker was for nothing. Without a death, there is no second time.
    let within_a_life =
        |lives: &Vec<usize>| lives.iter().collect::<BTreeSet<_>>().len() < lives.len();
    let mut twice_in_one = handled.iter().filter(|it| within_a_life(it.1));
    equal("handled twice in one life of the broker", twice_in_one.next(), None)?;
    let twice: usize = handled.values().map(|lives| lives.len() - 1).sum();
    writeln!(
        io::stderr(),
        "{rounds} kills: {} confirmed, all handled; {} of unknown fate; {unroutable} unroutable; {twice} handled again",
        confirmed.len(),
        open.len(),
    )?;
    check(twice <= rounds * LOAD, format!("{twice} were handled again, more than were under way"))
}
