//! Publishing: what `Ok` means, what flushing waits for, what arrives.
use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll, Waker},
};

use sinew_core::{Confirm, Message, Publish, PublishExt, Receipt};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{message, numbered},
    tally::Tally,
    when,
};

behaviours! { "publish";
    when::publishes => a_receipt_says_what_the_capability_says,
    |it| it.confirm >= Confirm::Persisted => positions_rise_within_one_log,
    when::carries => messages_arrive_once,
    when::publishes => outcomes_that_nobody_awaits_hold_nothing_up,
    when::carries => a_dropped_outcome_withdraws_nothing,
    |it| it.confirm >= Confirm::Accepted => a_flush_waits_for_the_answers,
    when::carries => a_publish_reaches_other_connections,
    when::carries => many_publishers_reach_many_intakes,
    when::carries => subjects_stay_apart,
    when::carries => unusual_subjects_stay_apart,
}

async fn a_receipt_says_what_the_capability_says(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let subject = cx.subject("receipt")?;
    let receipt = publisher.send_to(subject, "x").await.during("publish")?;
    let level = match receipt {
        Receipt::Buffered => Confirm::Buffered,
        Receipt::Accepted => Confirm::Accepted,
        Receipt::Persisted(_) => Confirm::Persisted,
        _ => Confirm::None,
    };
    ensure_eq("the receipt's level", level, cx.capabilities().confirm)
}

async fn positions_rise_within_one_log(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let subject = cx.subject("positions")?;
    let mut last = None;
    for text in numbered("m", 20) {
        let receipt = cx.send(&publisher, message(&subject, text)?).await?;
        let Receipt::Persisted(position) = receipt else {
            return Err(Failure::new(format!("a position was promised, {receipt:?} came")));
        };
        if let Some(last) = last.replace(position.clone()) {
            ensure(last.log == position.log && last.offset < position.offset, || {
                format!("{position} after {last}: one log and a rising offset were promised")
            })?;
        }
    }
    Ok(())
}

async fn messages_arrive_once(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("once")?);
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    cx.send_all(&publisher, &subject, numbered("m", 100)).await?;
    let promised = Tally::new(numbered("m", 100)).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

async fn outcomes_that_nobody_awaits_hold_nothing_up(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let subject = cx.subject("unawaited")?;
    let pendings = cx.hand_over(&publisher, &subject, numbered("m", 2000)).await?;
    cx.answers(pendings).await
}

async fn a_dropped_outcome_withdraws_nothing(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("dropped")?);
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    drop(cx.hand_over(&publisher, &subject, numbered("m", 50)).await?);
    let promised = Tally::new(numbered("m", 50)).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

async fn a_flush_waits_for_the_answers(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let subject = cx.subject("flush")?;
    let pendings = cx.hand_over(&publisher, &subject, numbered("m", 500)).await?;
    // Through another clone: it waits for what any of them handed over.
    cx.soon("the flush", publisher.clone().flush()).await?.during("flush")?;
    for (index, mut pending) in pendings.into_iter().enumerate() {
        match Pin::new(&mut pending).poll(&mut TaskContext::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => drop(outcome.during("publish")?),
            Poll::Pending => {
                return Err(Failure::new(format!("message {index} is not answered after a flush")));
            }
        }
    }
    Ok(())
}

async fn a_publish_reaches_other_connections(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let (publisher, subject) = (near.publisher()?, cx.subject("far")?);
    let mut intakes = cx.intakes_of(&far, &subject).await?;
    cx.send_all(&publisher, &subject, numbered("m", 50)).await?;
    let promised = Tally::new(numbered("m", 50)).fenced(&publisher, &subject);
    cx.each_exactly(&mut intakes, promised).await
}

async fn many_publishers_reach_many_intakes(cx: &Context) -> Outcome {
    let subject = cx.subject("many")?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let backend = cx.connect().await?;
        for mut intake in cx.intakes_of(&backend, &subject).await? {
            let (cx, publisher, subject) = (cx.clone(), backend.publisher()?, subject.clone());
            tasks.spawn(async move {
                let promised = (0..20).flat_map(|by| numbered(format!("by-{by}"), 50));
                intake.exactly(&cx, Tally::new(promised).fenced(&publisher, &subject)).await
            });
        }
    }
    for by in 0..20 {
        let publisher = cx.connect().await?.publisher()?;
        let (cx, subject) = (cx.clone(), subject.clone());
        tasks.spawn(async move {
            cx.send_all(&publisher, &subject, numbered(format!("by-{by}"), 50)).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|died| Failure::new(died.to_string()))??;
    }
    Ok(())
}

async fn subjects_stay_apart(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let mut opened = Vec::new();
    for topic in 0..20 {
        let subject = cx.subject(&format!("topic-{topic}"))?;
        let intakes = cx.intakes_of(&backend, &subject).await?;
        opened.push((topic, subject, intakes));
    }
    let mut pendings = Vec::new();
    for (topic, subject, _) in &mut opened {
        let texts = numbered(format!("topic-{topic}"), 20);
        pendings.extend(cx.hand_over(&publisher, subject, texts).await?);
    }
    cx.answers(pendings).await?;
    cx.exactly(opened.iter_mut().flat_map(|(topic, subject, intakes)| {
        let tally = Tally::new(numbered(format!("topic-{topic}"), 20));
        let tally = tally.named(&*subject).fenced(&publisher, subject);
        intakes.iter_mut().map(move |intake| (intake, tally.clone()))
    }))
    .await
}

/// Case, punctuation, text beyond ASCII and length are part of a name.
async fn unusual_subjects_stay_apart(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let root = cx.subject("x")?;
    let longest = "l".repeat(sinew_core::MAX_NAME_LEN - root.len() - 2);
    let names = ["a", "A", "é", "日本", "a-b", "a_b", "a%2Eb", "a/b", "$x", "@:;=+,'\"", "x.a"];
    let mut opened = Vec::new();
    for name in names.into_iter().chain([&*longest]) {
        let subject = cx.subject(&format!("x.{name}"))?;
        let intakes = cx.intakes_of(&backend, &subject).await.during(&subject)?;
        opened.push((subject, intakes));
    }
    for (subject, _) in &mut opened {
        cx.send(&publisher, Message::new(subject.clone(), subject.to_string())).await?;
    }
    for (subject, intakes) in &mut opened {
        for intake in intakes {
            let seen = intake.message(cx, &subject).await?;
            ensure_eq("the subject", seen.subject(), Some(&*subject))?;
            ensure_eq("the payload", seen.payload.as_ref(), subject.as_bytes())?;
        }
    }
    cx.exactly(opened.iter_mut().flat_map(|(subject, intakes)| {
        let nothing = Tally::default().named(&*subject).fenced(&publisher, subject);
        intakes.iter_mut().map(move |intake| (intake, nothing.clone()))
    }))
    .await
}
