//! Delayed requeues: the message waits in a queue that nobody reads, whose dead letters go back where it came from.
//!
//! A copy is parked and confirmed before the first one is acknowledged, so a failure between the two delivers the
//! message twice. The way back is the broker's own: it moves a dead letter without a confirm, so what the queue cannot
//! take at that moment, because its node is down or it is full and rejects, is lost.
mod place;
mod returned;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lapin::{
    BasicProperties,
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use sinew_core::{Attempt, ErrorKind, Message};

use self::place::Place;
pub(crate) use self::{
    place::BACKOFF,
    returned::{Returned, number, returned},
};
use crate::{connect::Inner, error::Cause, names, names::Route, properties, wire::Outbound};

/// Where a parked message came from: a queue takes no exchange and no routing key back.
const EXCHANGE: &str = "x-sinew-exchange";
const KEY: &str = "x-sinew-routing-key";
/// How often it was delivered before it was parked, which the broker forgets with the delivery.
const DELIVERIES: &str = "x-sinew-deliveries";
/// The message had no id; its copy has one by which it is known if it is returned.
const ANONYMOUS: &str = "x-sinew-anonymous";
/// How many delay queues a link declares at once: each takes a channel, of which the broker allows some 2,000.
pub(crate) const DECLARING: usize = 32;
/// RabbitMQ counts a time to live in 32 bits of milliseconds, and the wait until the queue goes is longer than that.
pub(crate) const LONGEST: Duration = Duration::from_secs(4_000_000);

/// Parks a copy of `message`, whose delivery was `attempt`, for `wait`, after which it is in `queue` again; ends when the
/// broker has it.
pub(crate) async fn park(
    inner: &Arc<Inner>,
    queue: &ShortString,
    message: &Message,
    attempt: Attempt,
    wait: Duration,
) -> Result<(), Cause> {
    check(wait)?;
    let place = Place::new(inner.settings.delays, queue, step(wait))?;
    declare(inner, &place).await?;

    let route = names::route(&message.address, inner.settings.default_exchange.as_str())?;
    let room = || inner.room_for_headers();
    let properties = copy(message, route, attempt, &place, inner.settings.user.as_deref(), room)?;
    let copy = Box::new(Outbound {
        exchange: place.exchange.clone(),
        key: place.key.clone(),
        // A queue that went in between is an error, not a loss.
        mandatory: true,
        properties,
        payload: message.payload.clone(),
    });
    // The queue counts from its declaration: a copy that came much later would go with it.
    inner.deliver(copy, place.idle / 2).await
}

/// Declares the queue each time: that is what keeps it from going while something waits in it.
async fn declare(inner: &Inner, place: &Place) -> Result<(), Cause> {
    // Whoever is before us has deadlines of his own, and nobody closes it.
    let _turn = inner.declaring.acquire().await.map_err(|_| Cause::closed())?;
    let session = inner.publishing.session()?;
    let channel = session.channel().await?;
    inner.declare_exchange(&session, &channel, &place.exchange).await?;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let arguments = place.arguments.clone();
    session.ask(channel.queue_declare(place.queue.clone(), options, arguments)).await?;
    if let Some(binding) = place.binding.clone() {
        let (queue, exchange) = (place.queue.clone(), place.exchange.clone());
        let key = ShortString::default();
        let bound = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), binding);
        session.ask(bound).await?;
    }
    let _ = session.ask(channel.close(200, "OK".into())).await;
    Ok(())
}

/// What the copy says beside its payload; `user` is who is logged in, and `room` what its headers may take.
fn copy(
    message: &Message,
    route: Route,
    attempt: Attempt,
    place: &Place,
    user: Option<&str>,
    room: impl FnOnce() -> usize,
) -> Result<BasicProperties, Cause> {
    let mut message = message.clone();
    if message.properties().is_some_and(|it| it.ttl.is_some() || it.user_id.is_some()) {
        let properties = message.properties_mut();
        // It would expire while it waits.
        properties.ttl = None;
        // The broker takes no other user's name from us.
        properties.user_id = properties.user_id.take().filter(|id| Some(id.as_str()) == user);
    }
    let wire = properties::outbound(&mut message, None, room)?;
    let headers = wire.headers().iter().flat_map(FieldTable::inner);
    let kept = headers.filter_map(|(name, value)| {
        let value = match is_obeyed(name.as_str()) {
            true => place.deaths(name.as_str(), value)?,
            false => value.clone(),
        };
        Some((name.clone(), value))
    });
    let ours = [(EXCHANGE, route.exchange), (KEY, route.key)]
        .map(|(name, text)| (name.into(), AMQPValue::LongString(text.as_str().into())));
    let counted = (DELIVERIES.into(), AMQPValue::LongLongInt(attempt.at_least().into()));
    let anonymous =
        wire.message_id().is_none().then(|| (ANONYMOUS.into(), AMQPValue::Boolean(true)));
    let ours = ours.into_iter().chain([counted]).chain(anonymous);
    let headers: BTreeMap<_, _> = kept.chain(ours).chain(place.mark.clone()).collect();
    let wire = wire.with_headers(headers.into());
    Ok(match &place.expiration {
        Some(expiration) => wire.with_expiration(expiration.clone()),
        None => wire,
    })
}

/// Whether the broker acts on a header, or counts in it: it routes by `CC` and `BCC`, and drops a dead letter that has
/// expired in the same queue before.
fn is_obeyed(header: &str) -> bool {
    matches!(header, "CC" | "BCC" | "x-death" | "x-delivery-count")
        || ["x-first-death-", "x-last-death-"].iter().any(|it| header.starts_with(it))
}

/// The wait as it is kept: longer by a tenth at most, so that any number of different waits takes few queues.
fn step(wait: Duration) -> Duration {
    let millis = u64::try_from(wait.min(LONGEST).as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
    let mut unit = 1;
    while millis / unit >= 100 {
        unit *= 10;
    }
    Duration::from_millis(millis.div_ceil(unit).saturating_mul(unit).max(1))
}

/// Whether a delay is one that the broker can keep.
fn check(wait: Duration) -> Result<(), Cause> {
    if wait <= LONGEST {
        return Ok(());
    }
    Err(Cause::plain(ErrorKind::Unsupported, "a delay is 46 days at most"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_is_kept_no_shorter_and_a_tenth_longer_at_most(millis in 1..4_000_000_000_u64) {
            let (asked, kept) = (Duration::from_millis(millis), step(Duration::from_millis(millis)));
            prop_assert!(kept >= asked && kept <= asked + asked / 10, "{kept:?} for {asked:?}");
        }
    }

    #[test]
    fn few_queues_serve_every_delay() {
        let steps: std::collections::BTreeSet<_> =
            (1..=99_000).map(|millis| step(Duration::from_millis(millis))).collect();
        assert_eq!(steps.len(), 99 + 3 * 90);
    }

    #[test]
    fn the_longest_delay_and_the_time_until_the_queue_goes_fit_the_broker() {
        let most = Duration::from_millis(u32::MAX.into());
        assert!(step(LONGEST) + place::IDLE <= most);
        assert!(step(Duration::MAX) <= LONGEST);
    }
}
