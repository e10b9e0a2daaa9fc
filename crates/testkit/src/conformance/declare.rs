//! Queues that are made before anyone consumes them, and published to by their name.
use std::time::Duration;

use sinew_core::{
    Address, AnyBackend, Consume, Consumption, ErrorKind, Lifetime, Message, Pattern, Property,
    PublishExt, QueueKind, QueueStatus, Subject, Verdict,
};

use super::{
    Context, During, Outcome,
    behaviour::behaviours,
    ensure_eq,
    settlement::Work,
    support::{RETRY, message, numbered, refused, text, unsupported},
    tally::{Intake, Tally},
    when,
};

behaviours! { "declare";
    when::publishes_and_consumes => a_declared_queue_keeps_what_is_published,
    when::publishes_and_consumes => a_declaration_tells_how_the_queue_is,
    when::publishes_and_consumes => a_look_makes_no_queue_and_tells_how_one_is,
    |it| when::has_durable_queues(it) && it.queues.has(QueueKind::UntilUnused)
        => declaring_a_queue_of_another_lifetime_is_a_conflict,
    when::consumes => a_kind_of_queue_that_the_backend_has_not_is_not_declared,
    when::addresses_queues => a_queue_is_published_to_by_its_name,
    when::addresses_queues => a_delivery_that_was_published_to_its_queue_comes_back_as_it_was,
    |it| when::addresses_queues(it) && it.properties.has(Property::MustRoute)
        => a_must_route_message_to_a_queue_that_is_not_there_fails,
    when::addresses_no_queues => publishing_to_a_queue_is_refused,
    |it| when::consumes(it) && when::addresses_no_queues(it) => an_unbound_queue_is_refused,
}

async fn a_declared_queue_keeps_what_is_published(cx: &Context) -> Outcome {
    let work = Work::open(cx, "declared").await?;
    let far = cx.connect().await?;
    for backend in [&work.backend, &far, &work.backend] {
        declare(cx, backend, work.wanted.clone()).await?;
    }
    work.publish(20).await?;
    work.yields(work.consume().await?, numbered("m", 20)).await
}

async fn a_declaration_tells_how_the_queue_is(cx: &Context) -> Outcome {
    let work = Work::open(cx, "status").await?;
    let status = || declare(cx, &work.backend, work.wanted.clone());
    let told = |what: &str, seen: Option<u64>, promised| match seen {
        Some(seen) => ensure_eq(what, seen, promised),
        None => Ok(()),
    };
    let new = status().await?;
    told("messages in a new queue", new.messages, 0)?;
    told("consumers of a new queue", new.consumers.map(u64::from), 0)?;
    work.publish(3).await?;
    let filled = status().await?;
    told("messages in a queue of three", filled.messages, 3)?;
    let queues = [work.consume().await?, work.consume().await?];
    told("consumers of a queue of two", status().await?.consumers.map(u64::from), 2)?;
    drop(queues);
    cx.soon("the end of its consumers", async {
        while status().await?.consumers.is_some_and(|count| count > 0) {
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    })
    .await?
}

async fn a_look_makes_no_queue_and_tells_how_one_is(cx: &Context) -> Outcome {
    let work = Work::open(cx, "looked").await?;
    let consumer = work.backend.consumer()?;
    let look = || cx.soon("a look at a queue", consumer.inspect(&work.wanted.queue));
    for _ in 0..2 {
        refused("a look at no queue", look().await?, &[ErrorKind::NotFound])?;
    }
    let declared = declare(cx, &work.backend, work.wanted.clone()).await?;
    ensure_eq("a look at a new queue", look().await?.during("inspect")?, declared)?;
    work.publish(3).await?;
    let messages = look().await?.during("inspect")?.messages;
    ensure_eq("messages in a queue of three", messages, declared.messages.map(|none| none + 3))?;
    work.yields(work.consume().await?, numbered("m", 3)).await
}

async fn declaring_a_queue_of_another_lifetime_is_a_conflict(cx: &Context) -> Outcome {
    let work = Work::open(cx, "lifetime").await?;
    declare(cx, &work.backend, work.wanted.clone().with_lifetime(Lifetime::Durable)).await?;
    let other = work.wanted.clone().with_lifetime(Lifetime::UntilUnused);
    let declared = work.backend.consumer()?.declare(other).await;
    refused("a queue that is there with another lifetime", declared, &[ErrorKind::Conflict])?;
    work.publish(5).await?;
    work.yields(work.consume().await?, numbered("m", 5)).await
}

async fn a_kind_of_queue_that_the_backend_has_not_is_not_declared(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("kinds")?;
    for kind in QueueKind::ALL.iter().filter(|kind| !cx.capabilities().queues.has(**kind)) {
        let wanted = cx.consumption("kinds", &subject)?;
        let wanted = match kind {
            QueueKind::Durable => wanted.with_lifetime(Lifetime::Durable),
            QueueKind::UntilUnused => wanted.with_lifetime(Lifetime::UntilUnused),
            _ => wanted.with_exclusive(true),
        };
        let declared = backend.consumer()?.declare(wanted).await;
        unsupported(cx, format_args!("a queue {}", kind.describe()), declared)?;
    }
    Ok(())
}

/// Nobody else gets it: not another queue, nor who wants a subject of that name.
async fn a_queue_is_published_to_by_its_name(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let subject = cx.subject("bound")?;
    let names = ["plain", "evt-a.b--svc.m", "evt-a_b--svc_m", "a b", "é*>#/\\"];
    let mut queues = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let mut wanted = unbound(cx, name)?;
        if index == 0 {
            wanted = wanted.and(&subject);
        }
        declare(cx, &backend, wanted.clone()).await.during(name)?;
        let address = Address::Queue(wanted.queue.clone());
        cx.send(&publisher, Message::to(address.clone(), name.to_string())).await?;
        queues.push((address, Intake::Queue(cx.consume(&backend, wanted).await.during(name)?)));
    }
    for (name, (address, intake)) in names.iter().zip(&mut queues) {
        let what = format!("the message to {address}");
        let seen = intake.message(cx, &what).await?;
        ensure_eq(&what, text(&seen), name.to_string())?;
        ensure_eq("its address", &seen.address, &*address)?;
    }
    // A bound queue gets the rest as well.
    cx.send(&publisher, message(&subject, "bound")?).await?;
    cx.exactly(queues.iter_mut().enumerate().map(|(index, (address, intake))| {
        let promised = (index == 0).then(|| "bound".to_owned());
        (intake, Tally::new(promised).named(&*address).fenced_at(&publisher, address.clone()))
    }))
    .await
}

async fn a_delivery_that_was_published_to_its_queue_comes_back_as_it_was(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let wanted = unbound(cx, "back")?;
    let address = Address::Queue(wanted.queue.clone());
    let mut queue = cx.consume(&backend, wanted).await?;
    cx.send(&backend.publisher()?, Message::to(address.clone(), "again")).await?;
    let delay = Duration::from_millis(50);
    for verdict in [Verdict::Requeue, Verdict::RequeueAfter(delay), Verdict::Ack] {
        let delivery = cx.item(&mut queue, "the delivery").await?;
        ensure_eq("its payload", text(&delivery.message), "again".to_owned())?;
        ensure_eq("its address", &delivery.message.address, &address)?;
        if cx.capabilities().check_verdict(verdict).is_ok() {
            cx.soon("the answer", delivery.settle(verdict)).await??;
        } else {
            return Ok(cx.soon("the ack", delivery.ack()).await??);
        }
    }
    Ok(())
}

async fn a_must_route_message_to_a_queue_that_is_not_there_fails(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let wanted = unbound(cx, "missing")?;
    let nowhere = Message::to(Address::Queue(wanted.queue.clone()), "x");
    cx.send(&publisher, nowhere.clone()).await.during("publish to a queue that is not there")?;
    let nowhere = nowhere.with_must_route(true);
    let sent = cx.soon("the answer", publisher.send(nowhere.clone())).await?;
    refused("a must-route message to no queue", sent, &[ErrorKind::Unroutable])?;
    declare(cx, &backend, wanted).await?;
    cx.send(&publisher, nowhere).await.map(drop)
}

async fn publishing_to_a_queue_is_refused(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let sent = publisher.send(Message::to(Address::Queue(cx.queue("refused")?), "x")).await;
    unsupported(cx, "a message to a queue", sent)
}

async fn an_unbound_queue_is_refused(cx: &Context) -> Outcome {
    let consumer = cx.connect().await?.consumer()?;
    let wanted = unbound(cx, "refused")?;
    unsupported(cx, "to declare an unbound queue", consumer.declare(wanted.clone()).await)?;
    unsupported(cx, "to consume an unbound queue", consumer.consume(wanted).await)
}

/// A queue that is bound to nothing, with a lifetime that the backend has.
fn unbound(cx: &Context, name: &str) -> Outcome<Consumption> {
    let mut wanted = cx.consumption(name, Pattern::from(&Subject::parse("unused")?))?;
    wanted.patterns.clear();
    Ok(wanted)
}

async fn declare(cx: &Context, backend: &AnyBackend, wanted: Consumption) -> Outcome<QueueStatus> {
    let declare = async { backend.consumer()?.declare(wanted).await };
    cx.soon("a declaration", declare).await?.during("declare")
}
