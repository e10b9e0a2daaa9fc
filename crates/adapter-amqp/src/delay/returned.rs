//! What a message that comes back from a delay says of itself.
use std::collections::BTreeMap;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{ANONYMOUS, DELIVERIES, EXCHANGE, KEY, place};

/// What a message says that came straight to its queue.
#[derive(Debug, Default)]
pub(crate) struct Returned {
    /// The exchange and the routing key that it had.
    pub(crate) origin: Option<(ShortString, ShortString)>,
    /// How often it was delivered before it was parked: at least, where the broker does not count. 0 where it was not.
    pub(crate) deliveries: u32,
    /// Its id is none of its own.
    pub(crate) is_anonymous: bool,
}

/// Reads what the copy says, and takes out of its headers what only we understand.
///
/// Python parks as `nameko-amqp-retry` does, and keeps the headers that it finds: so what is counted there may be more
/// than what we wrote.
pub(crate) fn returned(properties: &mut BasicProperties) -> Returned {
    let Some(headers) = properties.headers() else { return Returned::default() };
    let text = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => ShortString::try_new(text.to_string()).ok(),
        _ => None,
    };
    let origin = text(EXCHANGE).zip(text(KEY));
    let counted = headers.inner().get(DELIVERIES).and_then(number).unwrap_or_default();
    let deliveries = counted.max(backoffs(headers)).max(origin.is_some().into());
    let is_anonymous = headers.inner().contains_key(ANONYMOUS);
    let ours = [EXCHANGE, KEY, DELIVERIES, ANONYMOUS];
    let is_ours = |name: &ShortString| ours.contains(&name.as_str());
    if headers.inner().keys().any(is_ours) {
        let left = headers.inner().iter().filter(|(name, _)| !is_ours(name));
        let left: BTreeMap<_, _> =
            left.map(|(name, value)| (name.clone(), value.clone())).collect();
        *properties = std::mem::take(properties).with_headers(left.into());
    }
    Returned { origin, deliveries, is_anonymous }
}

/// How often a message waited in a delay queue of `nameko-amqp-retry`: after one delivery each.
fn backoffs(headers: &FieldTable) -> u32 {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else { return 0 };
    let deaths = deaths.as_slice().iter().filter(|death| place::is_backoff(death));
    let counts = deaths.filter_map(|death| match death {
        AMQPValue::FieldTable(death) => death.inner().get("count").and_then(number),
        _ => None,
    });
    counts.fold(0, u32::saturating_add)
}

/// A count, in whatever size a client wrote it.
pub(crate) fn number(value: &AMQPValue) -> Option<u32> {
    match value {
        AMQPValue::ShortShortInt(count) => u32::try_from(*count).ok(),
        AMQPValue::ShortShortUInt(count) => Some((*count).into()),
        AMQPValue::ShortInt(count) => u32::try_from(*count).ok(),
        AMQPValue::ShortUInt(count) => Some((*count).into()),
        AMQPValue::LongInt(count) => u32::try_from(*count).ok(),
        AMQPValue::LongUInt(count) => Some(*count),
        AMQPValue::LongLongInt(count) => u32::try_from(*count).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(exchange: &str, count: i64) -> AMQPValue {
        let mut death = FieldTable::default();
        death.insert("exchange".into(), AMQPValue::LongString(exchange.into()));
        death.insert("count".into(), AMQPValue::LongLongInt(count));
        AMQPValue::FieldTable(death)
    }

    fn read(headers: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> (Returned, usize) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert(name.into(), value);
        }
        let mut properties = BasicProperties::default().with_headers(table);
        let returned = returned(&mut properties);
        (returned, properties.headers().as_ref().map_or(0, |left| left.inner().len()))
    }

    #[test]
    fn deliveries_are_those_that_we_or_python_counted_whichever_are_more() {
        let deaths = |counts: &[i64]| {
            let deaths = counts.iter().map(|count| death("backoff", *count));
            let other = [death("elsewhere", 9), AMQPValue::Void];
            AMQPValue::FieldArray(deaths.chain(other).collect::<Vec<_>>().into())
        };
        let counted = |count| (DELIVERIES, AMQPValue::LongInt(count));
        assert_eq!(read([]).0.deliveries, 0);
        assert_eq!(read([counted(3)]).0.deliveries, 3);
        assert_eq!(read([("x-death", deaths(&[2, 1]))]).0.deliveries, 3);
        assert_eq!(read([("x-death", deaths(&[2, 1])), counted(2)]).0.deliveries, 3);
        assert_eq!(read([("x-death", deaths(&[1])), counted(4)]).0.deliveries, 4);
        assert_eq!(read([("x-death", deaths(&[i64::from(u32::MAX), 7]))]).0.deliveries, u32::MAX);
    }

    #[test]
    fn what_makes_no_sense_counts_nothing_and_ours_are_taken_out_all_the_same() {
        let (returned, left) = read([
            (DELIVERIES, AMQPValue::LongInt(-1)),
            (KEY, AMQPValue::Void),
            ("x-death", AMQPValue::LongInt(7)),
        ]);
        assert_eq!((returned.deliveries, returned.origin.is_none(), left), (0, true, 1));
    }
}
