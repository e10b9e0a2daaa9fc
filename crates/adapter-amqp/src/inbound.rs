//! What a delivery of the client's becomes.
use lapin::message::Delivery as WireDelivery;
use sinew_core::{Address, Attempt, Message};

use crate::{
    delay::{self, Returned},
    names, properties,
};

/// A message, and which delivery of it this is.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) message: Message,
    pub(crate) attempt: Attempt,
}

/// Reads a delivery. What comes back from a delay gets its own address again, and comes by the default exchange: on any
/// other one, whoever may publish there could write another address into the headers.
pub(crate) fn message(default_exchange: &str, delivery: WireDelivery) -> Inbound {
    let WireDelivery { exchange, routing_key, redelivered, mut properties, data, .. } = delivery;
    let is_direct = exchange.as_str().is_empty();
    let Returned { origin, deliveries, is_anonymous } =
        if is_direct { delay::returned(&mut properties) } else { Returned::default() };
    let since = if redelivered { again(&properties) } else { Attempt::Unknown };
    let attempt = match (deliveries, since) {
        (0, since) => since,
        (before, Attempt::Number(since)) => Attempt::Number(before.saturating_add(since)),
        // At least: how often it came back since, nobody counts.
        (before, Attempt::Redelivered) => Attempt::Number(before.saturating_add(2)),
        (before, _) => Attempt::Number(before.saturating_add(1)),
    };
    let (exchange, key) = origin.unwrap_or((exchange, routing_key));
    let address = names::inbound(exchange.as_str(), key.as_str(), default_exchange);
    let (mut message, left_out) = properties::inbound(&properties, data, address);
    if is_anonymous {
        message.properties_mut().id = None;
    }
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

/// Quorum queues count what they take back; classic ones only say that they did. On a first delivery, the header is
/// whatever the publisher made of it.
fn again(properties: &lapin::BasicProperties) -> Attempt {
    let headers = properties.headers().as_ref();
    let count = headers.and_then(|headers| headers.inner().get("x-delivery-count"));
    let count = count.and_then(delay::number);
    count.map_or(Attempt::Redelivered, |count| Attempt::Number(count.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use lapin::{
        BasicProperties,
        types::{AMQPValue, FieldTable, ShortString},
    };

    use super::*;

    fn read(exchange: &str, redelivered: bool) -> Inbound {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut headers = FieldTable::default();
        headers.insert("x-sinew-exchange".into(), text("amq.topic"));
        headers.insert("x-sinew-routing-key".into(), text("true.one"));
        headers.insert("x-sinew-user-id".into(), text("root"));
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(6));
        let short = |text: &str| ShortString::try_new(text).unwrap();
        let mut delivery =
            WireDelivery::mock(1, short(exchange), short("a.b"), redelivered, Vec::new());
        delivery.properties = BasicProperties::default().with_headers(headers);
        message("amq.topic", delivery)
    }

    #[test]
    fn only_what_comes_from_a_delay_has_its_address_in_its_headers() {
        let address = |exchange| read(exchange, false).message.address.to_string();
        assert_eq!(address(""), "true.one");
        assert_eq!(address("amq.topic"), "a.b");
    }

    #[test]
    fn the_id_of_a_copy_whose_first_had_none_goes_with_the_delay() {
        let id = |headers: FieldTable| {
            let text = |text: &str| ShortString::try_new(text).unwrap();
            let mut delivery = WireDelivery::mock(1, text(""), text("q"), false, Vec::new());
            delivery.properties =
                BasicProperties::default().with_headers(headers).with_message_id(text("7"));
            let Inbound { message, .. } = message("amq.topic", delivery);
            assert!(message.headers.is_empty());
            message.properties().and_then(|it| it.id.clone())
        };
        assert_eq!(id(FieldTable::default()), Some("7".to_owned()));
        let mut headers = FieldTable::default();
        headers.insert("x-sinew-anonymous".into(), AMQPValue::Boolean(true));
        assert_eq!(id(headers), None);
    }

    #[test]
    fn a_header_makes_no_user() {
        for exchange in ["", "amq.topic"] {
            assert_eq!(read(exchange, false).message.properties(), None, "from {exchange:?}");
        }
    }

    #[test]
    fn only_a_delivery_that_is_not_the_first_is_counted() {
        assert_eq!(read("amq.topic", false).attempt, Attempt::Unknown);
        assert_eq!(read("amq.topic", true).attempt, Attempt::Number(7));
        assert_eq!(read("", false).attempt, Attempt::Number(2));
        assert_eq!(read("", true).attempt, Attempt::Number(8));
    }
}
