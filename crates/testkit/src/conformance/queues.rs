//! Queues: shared by their consumers, kept or gone as asked, bounded in what is unsettled.
use std::time::Duration;

use sinew_core::{Consume, ErrorKind, Lifetime, QueueKind};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure_eq,
    settlement::Work,
    support::{RETRY, message, numbered, refused, text, unsupported},
    tally::{Intake, Tally},
    when,
};

behaviours! { "queues";
    when::publishes_and_consumes => competing_consumers_share_a_queue,
    when::settles_each => each_competing_consumer_gets_work,
    when::publishes_and_consumes => each_queue_gets_a_copy,
    when::publishes_and_consumes => queues_of_similar_names_stay_apart,
    when::publishes_and_consumes => the_prefetch_bounds_what_is_unsettled,
    when::publishes_and_consumes => a_full_consumer_loses_nothing,
    when::settles_each => what_a_dropped_consumer_held_goes_to_others,
    when::has_durable_queues => a_queue_survives_its_consumer,
    when::has_durable_queues => nothing_is_lost_across_reopening,
    |it| when::publishes_and_consumes(it) && it.queues.has(QueueKind::UntilUnused)
        => an_unused_queue_goes,
    |it| when::has_durable_queues(it) && it.queues.has(QueueKind::UntilUnused)
        => a_queue_of_another_lifetime_is_a_conflict,
    |it| when::publishes_and_consumes(it) && it.queues.has(QueueKind::Exclusive)
        => an_exclusive_queue_takes_one_consumer,
    when::consumes => a_kind_of_queue_that_the_backend_has_not_is_refused,
}

async fn competing_consumers_share_a_queue(cx: &Context) -> Outcome {
    let work = Work::open(cx, "shared").await?;
    let far = cx.connect().await?;
    let mut queues = Vec::new();
    for backend in [&work.backend, &work.backend, &far, &far] {
        queues.push(cx.consume(backend, work.wanted.clone().with_prefetch(8)).await?);
    }
    work.publish(200).await?;
    work.share(queues, 200).await
}

/// With one message each in hand, nobody can take another's.
async fn each_competing_consumer_gets_work(cx: &Context) -> Outcome {
    let work = Work::open(cx, "fair").await?;
    let far = cx.connect().await?;
    let mut queues = Vec::new();
    for backend in [&work.backend, &work.backend, &far] {
        queues.push(cx.consume(backend, work.wanted.clone().with_prefetch(1)).await?);
    }
    work.publish(3).await?;
    let mut held = Vec::new();
    for (index, queue) in queues.iter_mut().enumerate() {
        let what = format!("the share of consumer {index}");
        held.push(cx.item(queue, what).await?);
    }
    let mut names: Vec<_> = held.iter().map(|it| text(&it.message)).collect();
    names.sort();
    ensure_eq("what the three hold", names, numbered("m", 3).collect::<Vec<_>>())
}

async fn each_queue_gets_a_copy(cx: &Context) -> Outcome {
    let (one, two) = (Work::open(cx, "copies").await?, cx.queue("two")?);
    let mut second = one.wanted.clone();
    second.queue = two;
    let first = [one.consume().await?, one.consume().await?];
    let second = cx.consume(&one.backend, second).await?;
    one.publish(50).await?;
    one.share(first.into(), 50).await?;
    one.yields(second, numbered("m", 50)).await
}

async fn queues_of_similar_names_stay_apart(cx: &Context) -> Outcome {
    let work = Work::open(cx, "names").await?;
    let mut queues = Vec::new();
    for name in [
        "evt-a.b--svc.m",
        "evt-a_b--svc_m",
        "evt-a%2Eb--svc%2Em",
        "EVT-a.b--svc.m",
        "a b",
        "é*>#/\\",
    ] {
        let mut wanted = work.wanted.clone();
        wanted.queue = cx.queue(name)?;
        queues.push(Intake::Queue(cx.consume(&work.backend, wanted).await.during(name)?));
    }
    work.publish(10).await?;
    let promised = Tally::new(numbered("m", 10)).fenced(&work.publisher, &work.subject);
    cx.each_exactly(&mut queues, promised).await
}

async fn the_prefetch_bounds_what_is_unsettled(cx: &Context) -> Outcome {
    for prefetch in [1, 3] {
        let work = Work::open(cx, &format!("prefetch-{prefetch}")).await?;
        let wanted = work.wanted.clone().with_prefetch(prefetch);
        let mut queue = cx.consume(&work.backend, wanted).await?;
        work.publish(10).await?;
        let mut held = work.take(&mut queue, usize::from(prefetch)).await?;
        for _ in 0..2 {
            cx.silence(&mut queue, format!("beyond {prefetch} unsettled")).await?;
            cx.soon("the ack", held.remove(0).ack()).await??;
            held.extend(work.take(&mut queue, 1).await?);
        }
        cx.silence(&mut queue, format!("beyond {prefetch} unsettled")).await?;
    }
    Ok(())
}

/// More than any buffer on the way takes: the broker keeps it.
async fn a_full_consumer_loses_nothing(cx: &Context) -> Outcome {
    let work = Work::open(cx, "full").await?;
    let queue = cx.consume(&work.backend, work.wanted.clone().with_prefetch(2)).await?;
    work.publish(2000).await?;
    work.yields(queue, numbered("m", 2000)).await
}

async fn what_a_dropped_consumer_held_goes_to_others(cx: &Context) -> Outcome {
    let work = Work::open(cx, "held").await?;
    let mut first = work.consume().await?;
    work.publish(10).await?;
    let taken = work.take(&mut first, 1).await?;
    let second = work.consume().await?;
    drop(first);
    let name = taken.iter().map(|it| text(&it.message)).collect::<String>();
    let promised = numbered("m", 10).filter(|text| *text != name);
    // What was in a hand stays there; what was only on its way does not.
    work.yields(second, promised).await?;
    for delivery in taken {
        cx.soon("the ack", delivery.ack()).await??;
    }
    work.is_empty().await
}

async fn a_queue_survives_its_consumer(cx: &Context) -> Outcome {
    let work = Work::open(cx, "survives").await?;
    let leaving = cx.connect().await?;
    drop(cx.consume(&leaving, work.wanted.clone()).await?);
    sinew_core::Link::drain(&leaving.link(), cx.pace().patience).await.during("drain")?;
    work.publish(20).await?;
    work.yields(work.consume().await?, numbered("m", 20)).await
}

async fn nothing_is_lost_across_reopening(cx: &Context) -> Outcome {
    let work = Work::open(cx, "reopened").await?;
    drop(work.consume().await?);
    work.publish(200).await?;
    let mut seen = Tally::new(numbered("m", 200));
    // Few at a time, and never settling the last: it may come again, nothing may be missing.
    while !seen.is_complete() {
        let mut queue = work.consume().await?;
        let left = seen.missing().len();
        for turn in 0..20 {
            let what = format!("more of {:?}", seen.missing());
            let delivery = cx.item(&mut queue, what).await?;
            seen.count(&delivery.message);
            if seen.is_complete() || (turn == 19 && left > 1) {
                break;
            }
            cx.soon("the ack", delivery.ack()).await??;
        }
    }
    Ok(())
}

async fn an_unused_queue_goes(cx: &Context) -> Outcome {
    let work = Work::open(cx, "unused").await?;
    let wanted = work.wanted.clone().with_lifetime(Lifetime::UntilUnused);
    let mut away = Duration::from_millis(50);
    let mut turn = 0;
    while away < cx.pace().patience * 2 {
        turn += 1;
        let leaving = cx.connect().await?;
        drop(cx.consume(&leaving, wanted.clone()).await?);
        sinew_core::Link::drain(&leaving.link(), cx.pace().patience).await.during("drain")?;
        // Nobody is told when; who waits ever longer must see it.
        tokio::time::sleep(away).await;
        let missed = message(&work.subject, format!("missed-{turn}"))?;
        cx.send(&work.publisher, missed).await?;
        let mut queue = Intake::Queue(cx.consume(&work.backend, wanted.clone()).await?);
        let seen = format!("seen-{turn}");
        cx.send(&work.publisher, message(&work.subject, seen.clone())?).await?;
        let first = text(&queue.message(cx, "a message to the new queue").await?);
        if first == seen {
            return Ok(());
        }
        while text(&queue.message(cx, &seen).await?) != seen {}
        away *= 2;
    }
    Err(Failure::new(format!("the queue is still there {:?} after its last consumer", away / 2)))
}

async fn a_queue_of_another_lifetime_is_a_conflict(cx: &Context) -> Outcome {
    let work = Work::open(cx, "lifetime").await?;
    let kept = work.wanted.clone().with_lifetime(Lifetime::Durable);
    let kept = cx.consume(&work.backend, kept).await?;
    let other = work.wanted.clone().with_lifetime(Lifetime::UntilUnused);
    let opened = work.backend.consumer()?.consume(other).await;
    refused("a queue that is there with another lifetime", opened, &[ErrorKind::Conflict])?;
    // The first is none the worse for it.
    work.publish(5).await?;
    work.yields(kept, numbered("m", 5)).await
}

async fn an_exclusive_queue_takes_one_consumer(cx: &Context) -> Outcome {
    let work = Work::open(cx, "exclusive").await?;
    let far = cx.connect().await?;
    let wanted = work.wanted.clone().with_exclusive(true);
    let first = cx.consume(&work.backend, wanted.clone()).await?;
    for backend in [&work.backend, &far] {
        let second = backend.consumer()?.consume(wanted.clone()).await;
        refused("a second consumer of an exclusive queue", second, &[ErrorKind::Conflict])?;
    }
    work.publish(5).await?;
    work.yields(first, numbered("m", 5)).await?;
    // With the first gone, the broker lets the next in once it knows.
    let next = cx.soon("room for the next consumer", async {
        loop {
            match far.consumer()?.consume(wanted.clone()).await {
                Err(err) if err.kind() == ErrorKind::Conflict => {
                    tokio::time::sleep(RETRY).await;
                }
                opened => return opened,
            }
        }
    });
    let next = next.await?.during("consume after the first is gone")?;
    work.publish(5).await?;
    work.yields(next, numbered("m", 5)).await
}

async fn a_kind_of_queue_that_the_backend_has_not_is_refused(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("kinds")?;
    for kind in QueueKind::ALL.iter().filter(|kind| !cx.capabilities().queues.has(**kind)) {
        let wanted = cx.consumption("kinds", &subject)?;
        let wanted = match kind {
            QueueKind::Durable => wanted.with_lifetime(Lifetime::Durable),
            QueueKind::UntilUnused => wanted.with_lifetime(Lifetime::UntilUnused),
            _ => wanted.with_exclusive(true),
        };
        let opened = backend.consumer()?.consume(wanted).await;
        unsupported(cx, format_args!("a queue {}", kind.describe()), opened)?;
    }
    Ok(())
}
