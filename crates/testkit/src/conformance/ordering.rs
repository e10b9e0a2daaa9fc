//! Order: what a subscription or a queue keeps of it.
use sinew_core::Ordering;

use super::{
    Context, Failure, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{numbered, text},
    when,
};

behaviours! { "ordering";
    when::orders => messages_of_one_subject_keep_their_order,
    |it| when::orders(it) && it.ordering >= Ordering::Publisher && when::takes_tokens(it)
        => messages_of_one_publisher_keep_their_order_across_subjects,
    |it| when::orders(it) && it.ordering >= Ordering::Total => every_intake_sees_one_order,
}

async fn messages_of_one_subject_keep_their_order(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let subject = cx.subject("one")?;
    let mut intakes = cx.intakes_of(&far, &subject).await?;
    cx.send_all(&near.publisher()?, &subject, numbered("m", 1000)).await?;
    for intake in &mut intakes {
        for promised in numbered("m", 1000) {
            ensure_eq("the next", text(&intake.message(cx, &promised).await?), promised)?;
        }
    }
    Ok(())
}

async fn messages_of_one_publisher_keep_their_order_across_subjects(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let publisher = near.publisher()?;
    let mut intakes = cx.intakes_of(&far, cx.pattern("key.*")?).await?;
    let mut pendings = Vec::new();
    for (number, promised) in numbered("m", 800).enumerate() {
        let subject = cx.subject(&format!("key.{}", number % 16))?;
        pendings.extend(cx.hand_over(&publisher, &subject, [promised]).await?);
    }
    cx.answers(pendings).await?;
    for intake in &mut intakes {
        for promised in numbered("m", 800) {
            ensure_eq("the next", text(&intake.message(cx, &promised).await?), promised)?;
        }
    }
    Ok(())
}

async fn every_intake_sees_one_order(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("total")?;
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    intakes.extend(cx.intakes_of(&cx.connect().await?, &subject).await?);
    let mut tasks = tokio::task::JoinSet::new();
    for by in 0..4 {
        let publisher = cx.connect().await?.publisher()?;
        let (cx, subject) = (cx.clone(), subject.clone());
        tasks.spawn(async move {
            cx.send_all(&publisher, &subject, numbered(format!("by-{by}"), 100)).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|died| Failure::new(died.to_string()))??;
    }
    let mut first = None;
    for intake in &mut intakes {
        let mut seen = Vec::new();
        for number in 0..400 {
            seen.push(text(&intake.message(cx, format!("message {number}")).await?));
        }
        match &first {
            None => first = Some(seen),
            Some(first) => {
                let differ = first.iter().zip(&seen).position(|(a, b)| a != b);
                ensure(differ.is_none(), || format!("two intakes differ at {differ:?}"))?;
            }
        }
    }
    Ok(())
}
