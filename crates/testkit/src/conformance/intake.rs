//! Intakes: registered means registered, each its own copy, ended when dropped.
use sinew_core::{
    AnyBackend, Consume, Consumption, ErrorKind, Lifetime, QueueKind, Registration, Subscribe,
    Subscription,
};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure,
    support::{RETRY, message, numbered, refused, text},
    tally::{Intake, Tally},
    when,
};

behaviours! { "intake";
    |it| when::publishes_and_subscribes(it) && it.registration >= Registration::Confirmed
        => what_is_published_right_after_subscribing_arrives,
    |it| when::publishes_and_consumes(it) && it.registration >= Registration::Confirmed
        => what_is_published_right_after_consuming_arrives,
    |it| when::carries(it) && it.registration == Registration::Eventual
        => a_registration_takes_effect_in_the_end,
    when::publishes_and_subscribes => each_subscriber_gets_a_copy,
    when::carries => a_new_intake_sees_no_past,
    when::publishes_and_subscribes => a_dropped_intake_ends_and_another_takes_its_place,
    when::publishes_and_subscribes => a_stopped_intake_yields_what_it_received,
    when::publishes_and_subscribes => intakes_that_end_at_once_disturb_no_other,
    when::subscribes => a_subscription_without_a_pattern_is_refused,
}

/// Two thousand rounds, from a second connection: a client that only thinks it has subscribed loses most of them.
async fn what_is_published_right_after_subscribing_arrives(cx: &Context) -> Outcome {
    rounds(cx, 2000, |cx, backend, subject| async move {
        let incoming = backend.subscriber()?.subscribe(cx.subscription(subject)).await;
        Ok(Intake::Copies(incoming.during("subscribe")?))
    })
    .await
}

async fn what_is_published_right_after_consuming_arrives(cx: &Context) -> Outcome {
    rounds(cx, 200, |cx, backend, subject| async move {
        let wanted = unused(&cx, cx.consumption(subject.as_str(), &subject)?);
        Ok(Intake::Queue(backend.consumer()?.consume(wanted).await.during("consume")?))
    })
    .await
}

/// In lanes, so that registrations of one connection overlap.
async fn rounds<F>(
    cx: &Context,
    rounds: u32,
    open: impl Fn(Context, AnyBackend, sinew_core::Subject) -> F + Copy + Send + 'static,
) -> Outcome
where
    F: Future<Output = Outcome<Intake>> + Send,
{
    const LANES: u32 = 4;
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        let (cx, near, publisher) = (cx.clone(), near.clone(), far.publisher()?);
        lanes.spawn(async move {
            for round in 0..rounds * cx.pace().rounds / LANES {
                let subject = cx.subject(&format!("round.{lane}.{round}"))?;
                let opened = open(cx.clone(), near.clone(), subject.clone());
                let mut intake = cx.soon("an intake", opened).await??;
                cx.send(&publisher, message(&subject, "x")?).await?;
                intake.message(&cx, format!("the message of round {round}")).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(done) = lanes.join_next().await {
        done.map_err(|died| Failure::new(died.to_string()))??;
    }
    Ok(())
}

async fn a_registration_takes_effect_in_the_end(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("eventual")?);
    for mut intake in cx.intakes_of(&backend, &subject).await? {
        cx.soon("the first message", async {
            loop {
                cx.send(&publisher, message(&subject, "x")?).await?;
                let next = intake.message(cx, "a message");
                if let Ok(seen) = tokio::time::timeout(RETRY, next).await {
                    return seen;
                }
            }
        })
        .await??;
    }
    Ok(())
}

async fn each_subscriber_gets_a_copy(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let (publisher, subject) = (near.publisher()?, cx.subject("copies")?);
    let mut intakes = Vec::new();
    for backend in [&near, &near, &near, &far, &far] {
        let incoming = cx.subscribe(backend, cx.subscription(&subject)).await?;
        intakes.push(Intake::Copies(incoming));
    }
    cx.send_all(&publisher, &subject, numbered("m", 50)).await?;
    let promised = Tally::new(numbered("m", 50)).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

async fn a_new_intake_sees_no_past(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("past")?);
    cx.send_all(&publisher, &subject, numbered("past", 10)).await?;
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    cx.send_all(&publisher, &subject, numbered("new", 10)).await?;
    let promised = Tally::new(numbered("new", 10)).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

async fn a_dropped_intake_ends_and_another_takes_its_place(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("again")?);
    for round in 0..5 {
        let incoming = cx.subscribe(&backend, cx.subscription(&subject)).await?;
        let texts = numbered(format!("round-{round}"), 20);
        cx.send_all(&publisher, &subject, texts.clone()).await?;
        let promised = Tally::new(texts).fenced(&publisher, &subject);
        Intake::Copies(incoming).exactly(cx, promised).await?;
    }
    Ok(())
}

async fn a_stopped_intake_yields_what_it_received(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("stopped")?);
    let promised: Vec<_> = numbered("m", 20).collect();
    // Nobody can see from outside when all is received; who gives it ever more time must see all of it.
    for turn in 0..6 {
        let mut incoming = cx.subscribe(&backend, cx.subscription(&subject)).await?;
        cx.send_all(&publisher, &subject, promised.clone()).await?;
        let first = cx.item(&mut incoming, "the first message").await?;
        cx.quiet(turn).await;
        incoming.stop();
        let mut seen = vec![text(&first)];
        while let Some(event) = cx.soon("the end of the intake", incoming.next()).await? {
            seen.extend(event.during("after the stop")?.item().as_ref().map(text));
        }
        ensure(promised.starts_with(&seen), || format!("received, then stopped: {seen:?}"))?;
        if seen.len() == promised.len() {
            return Ok(());
        }
    }
    Err(Failure::new("messages that had time to be received are not yielded after a stop"))
}

async fn intakes_that_end_at_once_disturb_no_other(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let (publisher, subject) = (near.publisher()?, cx.subject("ending")?);
    let mut staying = cx.intakes_of(&near, &subject).await?;
    let mut ending = Vec::new();
    for backend in [&near, &far] {
        for _ in 0..5 {
            ending.push(cx.subscribe(backend, cx.subscription(&subject)).await?);
        }
    }
    let mut tasks = tokio::task::JoinSet::new();
    for incoming in ending {
        tasks.spawn(async move { drop(incoming) });
    }
    cx.send_all(&publisher, &subject, numbered("m", 50)).await?;
    while tasks.join_next().await.is_some() {}
    let promised = Tally::new(numbered("m", 50)).fenced(&publisher, &subject);
    cx.each_exactly(&mut staying, promised).await
}

async fn a_subscription_without_a_pattern_is_refused(cx: &Context) -> Outcome {
    let subscriber = cx.connect().await?.subscriber()?;
    let mut wanted: Subscription = cx.subscription(&cx.subject("none")?);
    wanted.patterns.clear();
    let opened = subscriber.subscribe(wanted).await;
    refused("a subscription without a pattern", opened, &[ErrorKind::InvalidOptions]).map(drop)
}

/// Leaves less on the broker, where it can.
fn unused(cx: &Context, wanted: Consumption) -> Consumption {
    if cx.capabilities().queues.has(QueueKind::UntilUnused) {
        wanted.with_lifetime(Lifetime::UntilUnused)
    } else {
        wanted
    }
}
