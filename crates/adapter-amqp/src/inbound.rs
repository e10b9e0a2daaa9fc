//! What a delivery of the client's becomes.
use lapin::{message::Delivery as WireDelivery, types::AMQPValue};
use sinew_core::{Address, Attempt, Message};

use crate::{delay, names, properties};

/// A message, and which delivery of it this is.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) message: Message,
    pub(crate) attempt: Attempt,
}

/// Reads a delivery. What comes back from a delay gets its own address again.
pub(crate) fn message(default_exchange: &str, delivery: WireDelivery) -> Inbound {
    let WireDelivery { exchange, routing_key, redelivered, mut properties, data, .. } = delivery;
    let origin = delay::origin(&mut properties);
    let attempt = attempt(redelivered || origin.is_some(), &properties);
    let (exchange, key) = origin.unwrap_or((exchange, routing_key));
    let address = names::inbound(exchange.as_str(), key.as_str(), default_exchange);
    let (message, left_out) = properties::inbound(&properties, data, address);
    if left_out > 0 {
        tracing::warn!(left_out, address = %message.address, "headers that have no place here were left out");
    }
    Inbound { message, attempt }
}

/// Reads the reply to a request. Its routing key is the broker's own, and its address that of a reply.
pub(crate) fn reply(delivery: WireDelivery) -> Message {
    let WireDelivery { routing_key, properties, data, .. } = delivery;
    let address = Address::from_wire(None, routing_key.as_str().as_bytes().to_vec());
    properties::inbound(&properties, data, address).0
}

/// Quorum queues count what they take back; classic ones only say that they did.
fn attempt(again: bool, properties: &lapin::BasicProperties) -> Attempt {
    let headers = properties.headers().as_ref();
    let counted = headers.and_then(|headers| headers.inner().get("x-delivery-count"));
    let count = match counted {
        Some(AMQPValue::LongLongInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::LongInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::LongUInt(count)) => Some(*count),
        _ => None,
    };
    match (count, again) {
        (Some(count), _) => Attempt::Number(count.saturating_add(1)),
        (None, true) => Attempt::Redelivered,
        (None, false) => Attempt::Unknown,
    }
}
