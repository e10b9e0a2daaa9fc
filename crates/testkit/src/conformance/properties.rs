//! Properties: each is carried, or the message is refused.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sinew_core::{Consume, ErrorKind, Message, Position, Property, PublishExt, Sent};

use super::{
    Context, During, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{message, numbered, refused, unsupported},
    tally::Tally,
    when,
};

behaviours! { "properties";
    when::carries => a_carried_property_arrives_as_it_was,
    when::carries => an_awkward_property_arrives_as_it_was_or_is_refused,
    when::publishes => a_property_that_is_not_carried_is_refused,
    |it| when::carries_property(it, Property::Deduplication)
        => a_second_message_of_one_id_is_dropped,
    |it| when::carries_property(it, Property::Id)
        && !it.properties.has(Property::Deduplication) => messages_of_one_id_all_arrive,
    |it| when::carries_property(it, Property::MustRoute)
        => a_must_route_message_that_no_queue_takes_fails,
    |it| when::has_durable_queues(it) && it.properties.has(Property::Ttl)
        => an_expired_message_is_not_delivered,
}

async fn a_carried_property_arrives_as_it_was(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let subject = cx.subject("carried")?;
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    for property in cx.capabilities().properties.iter() {
        let Some(sent) = with(message(&subject, property.describe())?, property) else { continue };
        cx.send(&publisher, sent.clone()).await.during(property.describe())?;
        for intake in &mut intakes {
            let seen = intake.message(cx, property.describe()).await?;
            ensure(arrived(property, &sent, &seen), || {
                let (sent, seen) = (sent.properties(), seen.properties());
                format!("{}: {sent:?} was sent, {seen:?} arrived", property.describe())
            })?;
            ensure(seen.headers.is_empty(), || {
                format!("{} arrived as headers {:?}", property.describe(), seen.headers)
            })?;
        }
    }
    Ok(())
}

async fn an_awkward_property_arrives_as_it_was_or_is_refused(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let subject = cx.subject("awkward")?;
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    let plain = message(&subject, "x")?;
    for text in ["", " spaced ", "é日本", "a\r\nb: c", "\0"] {
        let awkward = [
            (Property::Id, plain.clone().with_id(text)),
            (Property::CorrelationId, plain.clone().with_correlation_id(text)),
            (Property::ContentType, plain.clone().with_content_type(text)),
            (Property::ContentEncoding, plain.clone().with_content_encoding(text)),
            (Property::Type, plain.clone().with_message_type(text)),
            (Property::AppId, plain.clone().with_app_id(text)),
            (Property::Key, plain.clone().with_key(Bytes::from_static(text.as_bytes()))),
            (Property::Key, plain.clone().with_key(&b"\xff\xfe"[..])),
        ];
        for (property, sent) in awkward {
            if !cx.capabilities().properties.has(property) {
                continue;
            }
            let what = format!("{} {text:?}", property.describe());
            if let Err(err) = cx.soon(&what, publisher.send(sent.clone())).await? {
                let kinds =
                    [ErrorKind::InvalidHeader, ErrorKind::InvalidOptions, ErrorKind::Unsupported];
                let err = refused::<()>(&what, Err(err), &kinds)?;
                ensure_eq(format_args!("{what}: sent"), err.sent(), Sent::No)?;
                continue;
            }
            for intake in &mut intakes {
                let seen = intake.message(cx, &what).await?;
                ensure(arrived(property, &sent, &seen), || {
                    format!("{what} was sent, {:?} arrived", seen.properties())
                })?;
            }
        }
    }
    Ok(())
}

async fn a_property_that_is_not_carried_is_refused(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let subject = cx.subject("refused")?;
    for property in Property::ALL.iter().filter(|it| !cx.capabilities().properties.has(**it)) {
        let plain = message(&subject, "x")?;
        let carrying = match property {
            Property::MustRoute => Some(plain.with_must_route(true)),
            Property::ExpectedPosition => {
                Some(plain.with_expected_position(Position::new("log", 1)))
            }
            other => with(plain, *other),
        };
        if let Some(carrying) = carrying {
            unsupported(cx, property.describe(), publisher.send(carrying).await)?;
        }
    }
    Ok(())
}

async fn a_second_message_of_one_id_is_dropped(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let subject = cx.subject("duplicates")?;
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    for text in numbered("m", 10) {
        for _ in 0..2 {
            let id = format!("{subject} {text}");
            cx.send(&publisher, message(&subject, text.clone())?.with_id(id)).await?;
        }
    }
    let promised = Tally::new(numbered("m", 10)).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

async fn messages_of_one_id_all_arrive(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let subject = cx.subject("ids")?;
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    for text in numbered("m", 10) {
        cx.send(&publisher, message(&subject, text)?.with_id("one")).await?;
    }
    let promised = Tally::new(numbered("m", 10)).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

async fn a_must_route_message_that_no_queue_takes_fails(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let nowhere = message(cx.subject("nowhere")?, "x")?.with_must_route(true);
    let sent = cx.soon("an answer", publisher.send(nowhere)).await?;
    let err = refused("a message that no queue takes", sent, &[ErrorKind::Unroutable])?;
    ensure(err.sent() != Sent::Maybe, || "the broker said so: `Maybe` is no answer".to_owned())?;

    let subject = cx.subject("somewhere")?;
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    cx.send(&publisher, message(&subject, "x")?.with_must_route(true)).await?;
    for intake in &mut intakes {
        intake.message(cx, "a message that a queue takes").await?;
    }
    Ok(())
}

async fn an_expired_message_is_not_delivered(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("expired")?;
    let wanted = cx.consumption("expired", &subject)?;
    drop(cx.consume(&backend, wanted.clone()).await?);
    let publisher = backend.publisher()?;
    cx.send(&publisher, message(&subject, "short")?.with_ttl(TTL)).await?;
    cx.send(&publisher, message(&subject, "long")?).await?;
    tokio::time::sleep(TTL * 3).await;
    let mut queue = backend.consumer()?.consume(wanted).await?;
    let first = cx.item(&mut queue, "what has not expired").await?;
    ensure_eq("the first to come", first.message.payload.as_ref(), b"long".as_slice())?;
    first.ack().await?;
    Ok(())
}

/// The message with that property set; `None` for those with a behaviour of their own.
fn with(message: Message, property: Property) -> Option<Message> {
    Some(match property {
        Property::Id => message.with_id("an-id"),
        Property::CorrelationId => message.with_correlation_id("7f 8a"),
        Property::ContentType => message.with_content_type("application/json; charset=utf-8"),
        Property::ContentEncoding => message.with_content_encoding("gzip"),
        Property::Type => message.with_message_type("order.created"),
        Property::AppId => message.with_app_id("billing 2"),
        // RabbitMQ takes no other user than the one who is logged in.
        Property::UserId => message.with_user_id("guest"),
        Property::Key => message.with_key("a-key"),
        Property::Ttl => message.with_ttl(Duration::from_secs(3600)),
        Property::Priority => message.with_priority(7),
        Property::Timestamp => message.with_timestamp(time()),
        Property::Durable => message.with_durable(false),
        _ => return None,
    })
}

fn arrived(property: Property, sent: &Message, seen: &Message) -> bool {
    let (Some(sent), Some(seen)) = (sent.properties(), seen.properties()) else {
        // A time to live and durability are instructions to the broker; it need not pass them on.
        return matches!(property, Property::Ttl | Property::Durable);
    };
    match property {
        Property::Id => seen.id == sent.id,
        Property::CorrelationId => seen.correlation_id == sent.correlation_id,
        Property::ContentType => seen.content_type == sent.content_type,
        Property::ContentEncoding => seen.content_encoding == sent.content_encoding,
        Property::Type => seen.message_type == sent.message_type,
        Property::AppId => seen.app_id == sent.app_id,
        Property::UserId => seen.user_id == sent.user_id,
        Property::Key => seen.key == sent.key,
        Property::Priority => seen.priority == sent.priority,
        Property::Timestamp => seen.timestamp == sent.timestamp,
        _ => true,
    }
}

/// A whole second: some brokers keep no more of a time.
fn time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// The shortest that every broker with such a thing takes.
const TTL: Duration = Duration::from_secs(1);
