//! Properties: messages as AMQP's basic class has them, and back.
use std::{mem::take, time::Duration};

use lapin::{
    BasicProperties,
    types::{AMQPValue, ShortString},
};
use sinew_core::{Address, ErrorKind, Message, Properties};

use crate::{error::Cause, fields, names, request::REPLY_TO};

const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// What goes out beside the payload. `correlation_id` is that of the question where the message is an answer; one that
/// the message has of its own comes first. `room` is what the headers may take, in bytes.
///
/// A message is persistent unless it says otherwise, and of a time stamp only whole seconds go. Its properties are taken
/// out of it.
pub(crate) fn outbound(
    message: &mut Message,
    correlation_id: Option<ShortString>,
    room: impl FnOnce() -> usize,
) -> Result<BasicProperties, Cause> {
    let mut wire = match message.properties() {
        Some(_) => of(take(message.properties_mut()))?,
        None => BasicProperties::default().with_delivery_mode(PERSISTENT),
    };
    if let Some(headers) = fields::outbound(&message.headers, room)? {
        wire = wire.with_headers(headers);
    }
    let mut id = correlation_id;
    if let Some(reply_to) = &message.reply_to {
        let (asked, queue) = names::reply_parts(reply_to)?;
        let own = wire.correlation_id();
        if own.is_some() && asked.is_some() && asked != *own {
            return Err(Cause::plain(
                ErrorKind::InvalidOptions,
                "the correlation id and that of the reply address differ; leave the first out",
            ));
        }
        id = asked.or(id);
        wire = wire.with_reply_to(queue);
    }
    Ok(match id {
        Some(id) if wire.correlation_id().is_none() => wire.with_correlation_id(id),
        _ => wire,
    })
}

fn of(properties: Properties) -> Result<BasicProperties, Cause> {
    let mode = if properties.durable == Some(false) { TRANSIENT } else { PERSISTENT };
    let mut wire = BasicProperties::default().with_delivery_mode(mode);
    let texts: [Text; 7] = [
        ("message id", properties.id, BasicProperties::with_message_id),
        ("correlation id", properties.correlation_id, BasicProperties::with_correlation_id),
        ("content type", properties.content_type, BasicProperties::with_content_type),
        ("content encoding", properties.content_encoding, BasicProperties::with_content_encoding),
        ("message type", properties.message_type, BasicProperties::with_type),
        ("application id", properties.app_id, BasicProperties::with_app_id),
        ("user id", properties.user_id, BasicProperties::with_user_id),
    ];
    for (what, text, set) in texts {
        if let Some(text) = text {
            let text = ShortString::try_new(text).map_err(|_| Cause::Given {
                kind: ErrorKind::InvalidOptions,
                detail: format!("the {what} is longer than 255 bytes"),
            })?;
            wire = set(wire, text);
        }
    }
    if let Some(ttl) = properties.ttl {
        wire = wire.with_expiration(expiration(ttl)?);
    }
    if let Some(priority) = properties.priority {
        wire = wire.with_priority(priority);
    }
    if let Some(timestamp) = properties.timestamp {
        let seconds = fields::seconds(timestamp).ok_or(Cause::plain(
            ErrorKind::InvalidOptions,
            "a time stamp is of the years 1970 to 9999 here",
        ))?;
        wire = wire.with_timestamp(seconds);
    }
    Ok(wire)
}

/// What an error calls it, what it is, and where it goes.
type Text = (&'static str, Option<String>, fn(BasicProperties, ShortString) -> BasicProperties);

/// Milliseconds as text; of a fraction the next whole one, so that nothing expires early. None at all lets a message
/// reach only a consumer who takes it at once.
fn expiration(ttl: Duration) -> Result<ShortString, Cause> {
    match u32::try_from(ttl.as_nanos().div_ceil(1_000_000)) {
        Ok(millis) => Ok(millis.to_string().into()),
        // More costs the channel.
        Err(_) => Err(Cause::plain(
            ErrorKind::Unsupported,
            "RabbitMQ counts a time to live in 32 bits of milliseconds: 49 days at most",
        )),
    }
}

/// Refuses what RabbitMQ would refuse as well, at the cost of the channel and of every confirm that is awaited on it:
/// another user than the one who is logged in, routes that are no list of texts, and answers to a channel that asks
/// nothing.
pub(crate) fn check(wire: &BasicProperties, logged_in: Option<&str>) -> Result<(), Cause> {
    let refuse = |kind, detail| Err(Cause::plain(kind, detail));
    if wire.user_id().as_ref().is_some_and(|claimed| logged_in != Some(claimed.as_str())) {
        return refuse(
            ErrorKind::Denied,
            "RabbitMQ takes no other user id than the user who is logged in, by name and password",
        );
    }
    if wire.reply_to().as_ref().is_some_and(|queue| queue.as_str() == REPLY_TO) {
        return refuse(
            ErrorKind::InvalidOptions,
            "direct reply-to is for requests alone; name a queue for the answers",
        );
    }
    let routes = |name| wire.headers().as_ref()?.inner().get(name);
    if ["CC", "BCC"].into_iter().filter_map(routes).any(|it| !is_texts(it)) {
        return refuse(
            ErrorKind::InvalidHeader,
            "RabbitMQ routes by the headers `CC` and `BCC`: each is a list of texts",
        );
    }
    Ok(())
}

fn is_texts(value: &AMQPValue) -> bool {
    let AMQPValue::FieldArray(list) = value else { return false };
    list.as_slice().iter().all(|it| matches!(it, AMQPValue::LongString(_)))
}

/// What came in under `address`, and how many headers were left out of it.
pub(crate) fn inbound(wire: &BasicProperties, body: Vec<u8>, address: Address) -> (Message, usize) {
    let mut message = Message::to(address, body);
    let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
    let mut properties = Properties::default();
    properties.id = text(wire.message_id());
    properties.correlation_id = text(wire.correlation_id());
    properties.content_type = text(wire.content_type());
    properties.content_encoding = text(wire.content_encoding());
    properties.message_type = text(wire.kind());
    properties.app_id = text(wire.app_id());
    properties.user_id = text(wire.user_id());
    properties.ttl = wire
        .expiration()
        .as_ref()
        .and_then(|text| text.as_str().parse().ok().map(Duration::from_millis));
    properties.priority = *wire.priority();
    properties.timestamp = wire.timestamp().and_then(fields::time);
    properties.durable = match wire.delivery_mode() {
        Some(TRANSIENT) => Some(false),
        Some(PERSISTENT) => Some(true),
        _ => None,
    };
    if let Some(queue) = wire.reply_to() {
        message.reply_to = names::reply_to(properties.correlation_id.as_deref(), queue.as_str());
    }
    if properties != Properties::default() {
        *message.properties_mut() = properties;
    }
    let left_out = match wire.headers() {
        Some(headers) => {
            let (headers, left_out) = fields::inbound(headers);
            message.headers = headers;
            left_out
        }
        None => 0,
    };
    (message, left_out)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use lapin::types::FieldTable;
    use proptest::prelude::*;
    use sinew_core::{ReplyTo, Subject, Value};

    use super::*;

    fn plain() -> Message {
        Message::new(Subject::parse("a").unwrap(), "body")
    }

    fn there_and_back(message: &Message) -> Message {
        let wire = outbound(&mut message.clone(), None, || fields::MAX_BYTES).unwrap();
        let (seen, left_out) = inbound(&wire, message.payload.to_vec(), message.address.clone());
        assert_eq!(left_out, 0);
        seen
    }

    fn refusal(message: &Message) -> ErrorKind {
        outbound(&mut message.clone(), None, || fields::MAX_BYTES).unwrap_err().kind()
    }

    #[test]
    fn a_plain_message_is_persistent_and_nothing_else() {
        let wire = outbound(&mut plain(), None, || fields::MAX_BYTES).unwrap();
        assert_eq!(wire, BasicProperties::default().with_delivery_mode(PERSISTENT));
        let wire = outbound(&mut plain().with_durable(false), None, || fields::MAX_BYTES).unwrap();
        assert_eq!(wire.delivery_mode(), &Some(TRANSIENT));
    }

    #[test]
    fn every_property_arrives_as_it_was() {
        let sent = plain()
            .with_id("7")
            .with_correlation_id("c\0d")
            .with_content_type("application/json")
            .with_content_encoding("utf-8")
            .with_message_type("order.created")
            .with_app_id("billing")
            .with_user_id("guest")
            .with_ttl(Duration::from_millis(1500))
            .with_priority(9)
            .with_timestamp(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .with_durable(false)
            .with_header("x", Value::from_iter(["a", "b"]))
            .unwrap();
        assert_eq!(there_and_back(&sent), sent);
    }

    #[test]
    fn a_text_of_more_than_255_bytes_is_refused_by_name() {
        let long = "é".repeat(128);
        for (message, what) in [
            (plain().with_id(&*long), "message id"),
            (plain().with_correlation_id(&*long), "correlation id"),
            (plain().with_content_type(&*long), "content type"),
            (plain().with_content_encoding(&*long), "content encoding"),
            (plain().with_message_type(&*long), "message type"),
            (plain().with_app_id(&*long), "application id"),
            (plain().with_user_id(&*long), "user id"),
        ] {
            let cause = outbound(&mut message.clone(), None, || fields::MAX_BYTES).unwrap_err();
            assert_eq!(cause.kind(), ErrorKind::InvalidOptions);
            assert!(cause.to_string().contains(what), "{cause}");
        }
    }

    #[test]
    fn a_time_to_live_is_rounded_up_to_milliseconds() {
        for (ttl, text) in [
            (Duration::ZERO, "0"),
            (Duration::from_nanos(1), "1"),
            (Duration::from_secs(5), "5000"),
            (Duration::from_millis(u32::MAX.into()), "4294967295"),
        ] {
            let wire = outbound(&mut plain().with_ttl(ttl), None, || fields::MAX_BYTES).unwrap();
            assert_eq!(wire.expiration().as_ref().unwrap().as_str(), text);
        }
        for ttl in [Duration::from_millis(1 << 32), Duration::MAX] {
            assert_eq!(refusal(&plain().with_ttl(ttl)), ErrorKind::Unsupported);
        }
    }

    #[test]
    fn a_time_before_1970_or_after_9999_is_refused() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        let after = UNIX_EPOCH + Duration::from_secs(253_402_300_800);
        for time in [before, after] {
            assert_eq!(refusal(&plain().with_timestamp(time)), ErrorKind::InvalidOptions);
        }
    }

    #[test]
    fn nobody_claims_to_be_somebody_else() {
        let claims =
            outbound(&mut plain().with_user_id("ann"), None, || fields::MAX_BYTES).unwrap();
        assert!(check(&claims, Some("ann")).is_ok());
        for other in [Some("bob"), None] {
            assert_eq!(check(&claims, other).unwrap_err().kind(), ErrorKind::Denied);
        }
        assert!(check(&outbound(&mut plain(), None, || fields::MAX_BYTES).unwrap(), None).is_ok());
    }

    #[test]
    fn what_would_cost_the_channel_is_refused() {
        let check = |message: Message| {
            check(&outbound(&mut message.clone(), None, || fields::MAX_BYTES).unwrap(), None)
                .map_err(|cause| cause.kind())
        };
        for name in ["CC", "BCC"] {
            for value in [Value::from("a"), Value::Integer(7), Value::from_iter([1])] {
                let routed = plain().with_header(name, value).unwrap();
                assert_eq!(check(routed), Err(ErrorKind::InvalidHeader));
            }
            let routed = plain().with_header(name, Value::from_iter(["a", "b"])).unwrap();
            assert_eq!(check(routed), Ok(()));
        }
        let asks = |queue| plain().with_reply_to(names::reply_to(None, queue).unwrap());
        assert_eq!(check(asks(REPLY_TO)), Err(ErrorKind::InvalidOptions));
        // As a question of somebody else came with it.
        assert_eq!(check(asks("amq.rabbitmq.reply-to.g2dkAB5yYWJiaXQ")), Ok(()));
    }

    #[test]
    fn an_answer_carries_the_correlation_id_of_its_question_unless_it_has_one() {
        let asked = Some(ShortString::from("q-1"));
        let wire = outbound(&mut plain(), asked.clone(), || 0).unwrap();
        assert_eq!(wire.correlation_id(), &asked);
        let wire = outbound(&mut plain().with_correlation_id("own"), asked, || 0).unwrap();
        assert_eq!(wire.correlation_id().as_ref().unwrap().as_str(), "own");
    }

    #[test]
    fn a_question_names_where_its_answers_go_and_under_which_correlation_id() {
        let asking = plain().with_reply_to(names::reply_to(Some("q-1"), "replies").unwrap());
        for sent in [asking.clone(), asking.clone().with_correlation_id("q-1")] {
            let seen = there_and_back(&sent);
            assert_eq!(seen.reply_to, sent.reply_to);
            assert_eq!(seen.properties().unwrap().correlation_id.as_deref(), Some("q-1"));
        }
        assert_eq!(refusal(&asking.with_correlation_id("other")), ErrorKind::InvalidOptions);
        let strange = plain().with_reply_to(ReplyTo::new("_INBOX.1"));
        assert_eq!(refusal(&strange), ErrorKind::InvalidSubject);
    }

    #[test]
    fn what_a_peer_may_send_is_taken_as_far_as_it_makes_sense() {
        let mut headers = FieldTable::default();
        headers.insert("not a name".into(), AMQPValue::Void);
        headers.insert("x".into(), AMQPValue::LongInt(1));
        let wire = BasicProperties::default()
            .with_expiration("soon".into())
            .with_timestamp(u64::MAX)
            .with_delivery_mode(7)
            .with_priority(255)
            .with_reply_to("".into())
            .with_headers(headers);
        let (seen, left_out) = inbound(&wire, Vec::new(), plain().address);
        let mut wanted = Properties::default();
        wanted.priority = Some(255);
        assert_eq!((seen.properties(), left_out), (Some(&wanted), 1));
        assert_eq!((seen.headers.len(), seen.reply_to), (1, None));
        let (bare, _) = inbound(&BasicProperties::default(), Vec::new(), plain().address);
        assert_eq!(bare.properties(), None);
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        prop::option::of(".{0,63}")
    }

    proptest! {
        #[test]
        fn whatever_is_taken_arrives_as_it_was(
            texts in prop::array::uniform7(text()),
            ttl in prop::option::of(any::<u32>()),
            priority in prop::option::of(0_u8..=9),
            timestamp in prop::option::of(0..253_402_300_800_u64),
            durable in any::<bool>(),
        ) {
            let mut sent = plain();
            let [id, correlation_id, content_type, content_encoding, kind, app_id, user_id] = texts;
            let properties = sent.properties_mut();
            properties.id = id;
            properties.correlation_id = correlation_id;
            properties.content_type = content_type;
            properties.content_encoding = content_encoding;
            properties.message_type = kind;
            properties.app_id = app_id;
            properties.user_id = user_id;
            properties.ttl = ttl.map(|millis| Duration::from_millis(millis.into()));
            properties.priority = priority;
            properties.timestamp = timestamp
                .map(|seconds| -> SystemTime { UNIX_EPOCH + Duration::from_secs(seconds) });
            properties.durable = Some(durable);
            prop_assert_eq!(there_and_back(&sent), sent);
        }
    }
}
