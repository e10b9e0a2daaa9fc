//! A broker that takes messages and never confirms them, as one whose queue has lost its majority.
use std::time::Duration;

use futures_util::future::join_all;
use sinew_adapter_amqp::lapin::{
    options::QueueBindOptions,
    types::{FieldTable, ShortString},
};
use sinew_core::{ErrorKind, Publish as _, PublishExt as _, Request as _, Scope, Sent};
use sinew_testkit::harness::rabbitmq::RabbitMq;

use crate::support::{
    Other, Outcome, Shared, address, check, failure, message, options, refused, soon,
};

/// How long our answers may take here; the broker's own are there long before.
const ANSWER: Duration = Duration::from_secs(5);
const PLACES: usize = 8;

/// A queue whose process stands still: the broker routes to it, and waits.
struct Stuck<'a> {
    broker: &'a RabbitMq,
    other: Other,
    name: &'static str,
}

impl<'a> Stuck<'a> {
    async fn make(shared: &'a Shared, name: &'static str, exchanges: &[&str]) -> Outcome<Self> {
        let broker = shared.broker().await?;
        let other = Other::connect(address(broker)).await?;
        other.declare(name, false).await?;
        for exchange in exchanges {
            let [queue, key, exchange] = [name, name, exchange].map(ShortString::from);
            let bound = QueueBindOptions::default();
            other.channel.queue_bind(queue, exchange, key, bound, FieldTable::default()).await?;
        }
        let stuck = Self { broker, other, name };
        stuck.tell("suspend").await?;
        Ok(stuck)
    }

    async fn goes_on(self, holds: u32) -> Outcome {
        self.tell("resume").await?;
        self.other.until_waiting(self.name, holds).await
    }

    async fn tell(&self, what: &str) -> Outcome {
        let Self { name, .. } = self;
        let queue = format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{name}\">>)), \
             sys:{what}(amqqueue:get_pid(Q))."
        );
        self.broker.ctl(&["eval", &queue]).await?;
        Ok(())
    }
}

/// Half of the places for each exchange: neither channel keeps more than that by itself.
pub(crate) async fn channels(shared: Shared) -> Outcome {
    let stuck = Stuck::make(&shared, "clogged", &["amq.topic", "amq.direct"]).await?;
    let options = options(shared.address().await?).with_answer_timeout(ANSWER);
    let amqp = options.with_confirm_window(PLACES).connect().await?;
    let direct = Scope::parse("amq.direct")?;
    let mut pending = Vec::new();
    for number in 0..PLACES {
        let it = message("clogged", "x")?;
        let it = if number % 2 == 0 { it } else { it.with_scope(direct.clone()) };
        pending.push(amqp.publish(it).await?);
    }
    for outcome in soon("the end of the wait", join_all(pending)).await? {
        refused(outcome, ErrorKind::Timeout, Sent::Maybe)?;
    }
    soon("a place", amqp.send(message("elsewhere", "x")?)).await??;
    // What was not confirmed has arrived all the same.
    stuck.goes_on(u32::try_from(PLACES)?).await
}

pub(crate) async fn desks(shared: Shared) -> Outcome {
    let stuck = Stuck::make(&shared, "clogged.questions", &["amq.topic"]).await?;
    let options = options(shared.address().await?).with_answer_timeout(ANSWER);
    let amqp = options.with_confirm_window(2).connect().await?;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(amqp.request(message("clogged.questions", "?")?).await?);
    }
    for replies in &mut waiting {
        let err = failure(replies).await?;
        let is_late = err.kind() == ErrorKind::Timeout && err.sent() == Sent::Maybe;
        check(is_late && err.is_transient(), err)?;
    }
    soon("a place", amqp.send(message("elsewhere", "x")?)).await??;
    stuck.goes_on(2).await
}
