//! Looks into an error queue: what goes back to a quorum queue was delivered, and is counted.
use std::time::Duration;

use libtest_mimic::Trial;
use sinew_core::{AnyConsumer, Attempt, Consume as _, Consumption, Pattern, Queue};
use sinew_events::{DeadLetter, ErrorQueue, EventDispatcher, HandlerError, SettledAs};
use tokio::time::interval;

use crate::{
    Stage,
    rust::{Cast, as_it_is},
    world::{Outcome, SOON, Scene, check, equal, options, quorum_vhost, soon},
};

const QUEUE: &str = "evt-orders-created--billing.on";
/// Where the broker puts what it would drop otherwise.
const LOST: &str = "lost";
/// How often the broker gives an event out again.
const LIMIT: u32 = 3;

pub(crate) fn trials(stage: &Stage, trials: &mut Vec<Trial>) {
    trials.extend([
        stage.trial("each_look_into_an_error_queue_counts_against_a_delivery_limit", counted),
        stage.trial("under_the_policy_for_error_queues_25_looks_lose_nothing", spared),
    ]);
}

/// An event that was given up, in a quorum queue.
struct Kept {
    consumer: AnyConsumer,
    errors: ErrorQueue,
}

impl Kept {
    /// In a virtual host where a policy limits how often any event may come; under `policy`, too.
    async fn new(scene: &Scene, policy: Option<&[&str]>) -> Outcome<Self> {
        let broker = scene.broker().await?;
        let vhost = quorum_vhost(broker, scene).await?;
        let set = ["set_policy", "-p", &vhost];
        let limit = format!(
            r#"{{"delivery-limit":{LIMIT},"dead-letter-exchange":"","dead-letter-routing-key":"{LOST}"}}"#
        );
        broker.ctl(&[&set[..], &["limit", "^evt-", &limit]].concat()).await?;
        if let Some(policy) = policy {
            broker.ctl(&[&set[..], policy].concat()).await?;
        }
        let backend = options(&broker.url_of(&vhost)).connect().await?.into_any();
        let consumer = backend.consumer()?;
        consumer.declare(Consumption::new(Queue::parse(LOST)?, Pattern::parse(LOST)?)).await?;
        let act = |_, _| async { Err(HandlerError::permanent("told to fail")) };
        let cast = Cast::new("billing")?.acts("orders", "created", "on", act, as_it_is)?;
        let mut ours = cast.start(&backend).await?;
        EventDispatcher::new(&backend, "orders")?.emit("created", &"x").await?;
        ours.settles_as(SettledAs::DeadLettered).await?;
        let errors = ErrorQueue::new(&backend, Queue::parse(QUEUE)?)?;
        Ok(Self { consumer, errors })
    }

    /// Looks at it, and leaves it where it is.
    async fn look(&self, number: u32) -> Outcome {
        // What was looked at before is back.
        self.until(self.errors.place(), 1).await?;
        let taken = self.errors.take(1, SOON).await?;
        let seen: Vec<_> = taken.iter().map(DeadLetter::attempt).collect();
        let is_counted = match seen[..] {
            [Attempt::Number(seen)] => seen == number,
            // The first one is not counted.
            [_] => number == 1,
            _ => false,
        };
        check(is_counted, format!("look {number} has {seen:?}"))
    }

    /// Waits until so many are ready there.
    async fn until(&self, queue: &str, messages: u64) -> Outcome {
        let queue = Queue::parse(queue)?;
        let mut again = interval(Duration::from_millis(20));
        let holds = async {
            while self.consumer.inspect(&queue).await?.messages != Some(messages) {
                again.tick().await;
            }
            Outcome::Ok(())
        };
        soon(format!("{messages} in {queue}"), holds).await?
    }
}

async fn counted(scene: Scene) -> Outcome {
    let kept = Kept::new(&scene, None).await?;
    for number in 1..=LIMIT + 1 {
        kept.look(number).await?;
    }
    kept.until(LOST, 1).await?;
    equal("left", kept.errors.take(1, SOON).await?.len(), 0)
}

async fn spared(scene: Scene) -> Outcome {
    let limit = r#"{"delivery-limit":1000000}"#;
    let policy = ["errors", r"\.errors$", limit, "--priority", "1"];
    let kept = Kept::new(&scene, Some(&policy)).await?;
    for number in 1..=25 {
        kept.look(number).await?;
    }
    kept.until(kept.errors.place(), 1).await?;
    kept.until(LOST, 0).await
}
