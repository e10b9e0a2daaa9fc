//! Where a copy waits, how it gets there, and what it says for that.
use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use crate::{DelayLayout, error::Cause, queues};

/// The headers exchange of `nameko-amqp-retry`, and the header that it routes by.
pub(crate) const BACKOFF: &str = "backoff";
/// How long an empty delay queue stays after it was declared last.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// The same in `nameko-amqp-retry`: whoever declares it with another one is refused.
const IDLE_OF_BACKOFF: Duration = Duration::from_secs(5);

/// A delay queue, and the way to it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) queue: ShortString,
    pub(super) arguments: FieldTable,
    /// How long the queue stays without a declaration, beyond the wait.
    pub(super) idle: Duration,
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    /// Arguments of the queue's binding, where it needs one.
    pub(super) binding: Option<FieldTable>,
    /// What the copy has to say to get there.
    pub(super) mark: Option<(ShortString, AMQPValue)>,
    /// Where the copy, not its queue, says how long it waits.
    pub(super) expiration: Option<ShortString>,
}

impl Place {
    /// Where what goes back to `queue` waits for `wait`.
    pub(super) fn new(
        layout: DelayLayout,
        queue: &ShortString,
        wait: Duration,
    ) -> Result<Self, Cause> {
        match layout {
            DelayLayout::PerQueue => Self::per_queue(queue, wait),
            DelayLayout::NamekoAmqpRetry => Self::backoff(queue, wait),
        }
    }

    /// Its messages expire by themselves, and go back by the broker's default exchange.
    fn per_queue(queue: &ShortString, wait: Duration) -> Result<Self, Cause> {
        let parking = queues::parking(queue, wait)?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-message-ttl".into(), millis(wait));
        arguments.insert("x-expires".into(), millis(wait + IDLE));
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(queue.as_str()));
        Ok(Self {
            queue: parking.clone(),
            arguments,
            idle: IDLE,
            exchange: ShortString::default(),
            key: parking,
            binding: None,
            mark: None,
            expiration: None,
        })
    }

    /// As `nameko-amqp-retry` 0.7 declares and publishes it: a dead letter keeps its routing key, which is the queue that
    /// it goes back to.
    fn backoff(queue: &ShortString, wait: Duration) -> Result<Self, Cause> {
        let number = millis(wait);
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), millis(wait + IDLE_OF_BACKOFF));
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        let mut binding = FieldTable::default();
        binding.insert(BACKOFF.into(), number.clone());
        binding.insert("x-match".into(), text("any"));
        let wait = wait.as_millis();
        Ok(Self {
            queue: format!("backoff--{wait}ms").into(),
            arguments,
            idle: IDLE_OF_BACKOFF,
            exchange: BACKOFF.into(),
            key: queue.clone(),
            binding: Some(binding),
            mark: Some((BACKOFF.into(), number)),
            expiration: Some(wait.to_string().into()),
        })
    }

    /// What the copy keeps of a header in which the broker counts: where Python counts by it, what Python counts. Of the
    /// rest the broker might see a circle in it, and drop the copy.
    pub(super) fn deaths(&self, name: &str, value: &AMQPValue) -> Option<AMQPValue> {
        let AMQPValue::FieldArray(deaths) = value else { return None };
        if name != "x-death" || self.exchange.as_str() != BACKOFF {
            return None;
        }
        let ours = deaths.as_slice().iter().filter(|death| is_backoff(death)).cloned();
        Some(AMQPValue::FieldArray(ours.collect::<Vec<_>>().into()))
    }
}

/// Whether a message died in a delay queue of `nameko-amqp-retry`.
pub(super) fn is_backoff(death: &AMQPValue) -> bool {
    let AMQPValue::FieldTable(death) = death else { return false };
    matches!(
        death.inner().get("exchange"),
        Some(AMQPValue::LongString(exchange)) if exchange.as_bytes() == BACKOFF.as_bytes()
    )
}

/// As small as it fits, which is how Python's client sends it.
fn millis(time: Duration) -> AMQPValue {
    match i32::try_from(time.as_millis()) {
        Ok(small) => AMQPValue::LongInt(small),
        Err(_) => AMQPValue::LongLongInt(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}
