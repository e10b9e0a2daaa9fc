//! What trials share: a broker, Python processes, and waits that say what was waited for.
use std::{
    fmt::Display,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use sinew_adapter_amqp::{Amqp, AmqpOptions, ExchangePolicy};
use sinew_core::AnyBackend;
use sinew_testkit::harness::{
    find_nameko, find_old_nameko, find_prerelease_nameko,
    rabbitmq::{RabbitMq, RabbitMqOptions},
};
pub(crate) use sinew_testkit::trial::Outcome;
use tokio::{
    sync::{MappedMutexGuard, Mutex, MutexGuard, OnceCell},
    time::timeout,
};

use crate::peer::{Desk, Peer};

/// How long a step may take on a machine that has other things to do.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Without a second try.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);

/// As by default.
pub(crate) const HELD_TOO_LONG: Duration = Duration::from_secs(30 * 60);

/// Which nameko, on which kombu.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Generation {
    /// kombu 5.7, as an install of today has it.
    Today,
    /// kombu 5.2, as old fleets have it.
    Old,
    /// nameko 3.0.0rc11 on kombu 5.7.
    Prerelease,
    /// The same under OpenTelemetry's instrumentation.
    Traced,
}

impl Generation {
    /// Both kombus.
    pub(crate) const KOMBUS: &[Self] = &[Self::Today, Self::Old];
    /// Both namekos.
    pub(crate) const NAMEKOS: &[Self] = &[Self::Today, Self::Prerelease];
    pub(crate) const ALL: &[Self] = &[Self::Today, Self::Old, Self::Prerelease];
}

#[derive(Clone, Default)]
pub(crate) struct World(Arc<Shared>);

#[derive(Default)]
struct Shared {
    broker: OnceCell<RabbitMq>,
    victim: Mutex<Option<RabbitMq>>,
    today: OnceCell<Peer>,
    old: OnceCell<Peer>,
    prerelease: OnceCell<Peer>,
    traced: OnceCell<Peer>,
    scenes: AtomicUsize,
}

impl World {
    pub(crate) fn scene(&self, generation: Generation) -> Scene {
        let number = self.0.scenes.fetch_add(1, Ordering::Relaxed);
        Scene { world: self.clone(), tag: format!("t{number}"), generation }
    }
}

/// One trial's part of the world.
pub(crate) struct Scene {
    world: World,
    tag: String,
    /// Of the Python that it is about.
    pub(crate) generation: Generation,
}

impl Scene {
    pub(crate) async fn broker(&self) -> Outcome<&RabbitMq> {
        let start = || async { RabbitMqOptions::new().start().await };
        Ok(self.world.0.broker.get_or_try_init(start).await?)
    }

    /// As the broker calls it.
    pub(crate) async fn rabbitmq_version(&self) -> Outcome<String> {
        Ok(self.broker().await?.ctl(&["version"]).await?.trim().to_owned())
    }

    /// A broker that may be hurt: trials take turns. It looks each second whether something is held too long.
    pub(crate) async fn victim(&self) -> Outcome<MappedMutexGuard<'_, RabbitMq>> {
        let mut slot = self.world.0.victim.lock().await;
        match &*slot {
            // Whoever had it has failed.
            Some(broker) if broker.id().is_none() => broker.restart().await?,
            Some(_) => {}
            None => {
                let options = RabbitMqOptions::new().with_consumer_timeout(HELD_TOO_LONG);
                *slot = Some(options.start().await?);
            }
        }
        MutexGuard::try_map(slot, Option::as_mut).map_err(|_| "it was started".into())
    }

    /// A name that no other trial uses.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.tag)
    }

    /// The Python process that this trial is about; what it tells of it.
    pub(crate) async fn peer(&self) -> Outcome<Desk> {
        self.python(self.generation).await
    }

    /// A Python process; what it tells of this trial.
    pub(crate) async fn python(&self, generation: Generation) -> Outcome<Desk> {
        let url = pyamqp(&self.broker().await?.url());
        let shared = &self.world.0;
        let (cell, program, more): (_, _, &[_]) = match generation {
            Generation::Today => (&shared.today, find_nameko()?, &[]),
            Generation::Old => (&shared.old, find_old_nameko()?, &[]),
            Generation::Prerelease => (&shared.prerelease, find_prerelease_nameko()?, &[]),
            Generation::Traced => (&shared.traced, find_prerelease_nameko()?, &["--traced"]),
        };
        let peer = cell.get_or_try_init(|| Peer::start(&program, &url, more)).await?;
        Ok(peer.desk(&self.tag))
    }

    /// A Python process of this trial's own, at this broker.
    pub(crate) async fn python_of(&self, broker: &RabbitMq) -> Outcome<(Peer, Desk)> {
        let peer = Peer::start(&find_nameko()?, &pyamqp(&broker.url()), &[]).await?;
        let desk = peer.desk(&self.tag);
        Ok((peer, desk))
    }

    /// Options that declare exchanges as nameko does.
    pub(crate) async fn options(&self) -> Outcome<AmqpOptions> {
        Ok(options(&self.broker().await?.url()))
    }

    pub(crate) async fn amqp(&self) -> Outcome<Amqp> {
        Ok(self.options().await?.connect().await?)
    }

    /// A connection of ours.
    pub(crate) async fn backend(&self) -> Outcome<AnyBackend> {
        Ok(self.amqp().await?.into_any())
    }
}

pub(crate) fn options(url: &str) -> AmqpOptions {
    AmqpOptions::new(url)
        .with_exchanges(ExchangePolicy::declare())
        .with_connect_timeout(SOON)
        .with_answer_timeout(SOON)
}

/// Where it listens.
pub(crate) fn address(broker: &RabbitMq) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], broker.port()))
}

/// A broker's URL, through a proxy that listens there.
pub(crate) fn url_through(address: SocketAddr) -> String {
    format!("amqp://guest:guest@{address}")
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Held {
    pub(crate) ready: u64,
    pub(crate) unacknowledged: u64,
}

/// Waits until `queue` holds that.
pub(crate) async fn until_held(
    broker: &RabbitMq,
    vhost: &str,
    queue: &str,
    wanted: Held,
) -> Outcome {
    const COLUMNS: [&str; 3] = ["name", "messages_ready", "messages_unacknowledged"];
    let command = [&["list_queues", "-p", vhost][..], &COLUMNS].concat();
    let mut last = None;
    let looking = async {
        // Each look takes about a second.
        while last != Some(wanted) {
            let queues = broker.list(&command).await?;
            let found = queues.iter().find(|it| text(it, "name") == queue);
            let count = |it: &Value, column| it.get(column).and_then(Value::as_u64);
            last = found.and_then(|it| {
                let (ready, unacknowledged) = (count(it, COLUMNS[1])?, count(it, COLUMNS[2])?);
                Some(Held { ready, unacknowledged })
            });
        }
        Outcome::Ok(())
    };
    match timeout(SOON, looking).await {
        Ok(looked) => looked,
        Err(_) => Err(format!("{queue} holds {last:?}, and not {wanted:?}").into()),
    }
}

/// A virtual host whose durable queues are quorum queues.
pub(crate) async fn quorum_vhost(broker: &RabbitMq, scene: &Scene) -> Outcome<String> {
    let vhost = scene.name("quorum");
    broker.ctl(&["add_vhost", &vhost, "--default-queue-type", "quorum"]).await?;
    broker.ctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]).await?;
    Ok(vhost)
}

/// The same URL, as nameko's users write it.
pub(crate) fn pyamqp(url: &str) -> String {
    let url = url.replacen("amqp://", "pyamqp://", 1);
    // Without a path it is the virtual host `/`, to either.
    if url.matches('/').count() > 2 { url } else { format!("{url}//") }
}

/// A handler of Python's: `kind` is `pool`, `singleton` or `broadcast`; `more` holds what is not as by default.
pub(crate) fn python_handler(
    method: &str,
    source: &str,
    event_type: &str,
    kind: &str,
    more: Value,
) -> Value {
    let mut spec = json!({ "method": method, "source": source, "type": event_type, "kind": kind });
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    spec
}

/// What `work` ends with, in time.
pub(crate) async fn soon<T>(
    what: impl Display + Send,
    work: impl Future<Output = T> + Send,
) -> Outcome<T> {
    match timeout(SOON, work).await {
        Ok(done) => Ok(done),
        Err(_) => Err(format!("{what} did not come within {SOON:?}").into()),
    }
}

pub(crate) fn check(holds: bool, what: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

pub(crate) fn equal<T: std::fmt::Debug + PartialEq>(
    what: impl Display,
    seen: T,
    promised: T,
) -> Outcome {
    check(seen == promised, format!("{what}: {promised:?} was promised, {seen:?} came"))
}

/// What is at a JSON pointer; null where nothing is.
pub(crate) fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text at `key`.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
