//! A broker that takes no publishes for a while, as when it is short of memory or disk.
use sinew_core::{Error, Event, PublishExt, Sent};
use tokio::task::JoinSet;

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure,
    faults::is_honest,
    settlement::Work,
    support::{message, numbered, text},
    when,
};
use crate::Fault;

behaviours! { "blocked", with Fault::BLOCKS;
    when::publishes_and_consumes => a_publish_waits_or_fails_honestly_until_the_broker_takes_it,
    when::publishes_and_consumes => consumers_go_on_while_publishers_wait,
}

async fn a_publish_waits_or_fails_honestly_until_the_broker_takes_it(cx: &Context) -> Outcome {
    let work = Work::open(cx, "blocked").await?;
    let mut queue = work.consume().await?;
    let publisher = cx.connect().await?.publisher()?;
    cx.send(&publisher, message(&work.subject, "before")?).await?;
    cx.fault(Fault::Block).await?;
    let mut sending = JoinSet::new();
    for text in numbered("m", 5) {
        let (publisher, sent) = (publisher.clone(), message(&work.subject, text.clone())?);
        sending.spawn(async move { (text, publisher.send(sent).await) });
    }
    // Longer than many a backend waits.
    cx.quiet(12).await;
    let (mut taken, mut refused) = (vec!["before".to_owned()], Vec::new());
    let mut fail = |text: String, err: Error| {
        refused.extend((err.sent() == Sent::No).then_some(text));
        is_honest(&err)
    };
    while let Some(done) = sending.try_join_next() {
        match done.map_err(|died| Failure::new(died.to_string()))? {
            (text, Ok(receipt)) => {
                return Err(Failure::new(format!("{text}: {receipt:?} came while none was taken")));
            }
            (text, Err(err)) => fail(text, err)?,
        }
    }
    let (late, sent) = (publisher.clone(), message(&work.subject, "late")?);
    sending.spawn(async move { ("late".to_owned(), late.send(sent).await) });
    cx.quiet(1).await;
    cx.fault(Fault::Unblock).await?;
    while let Some(done) = cx.soon("an answer once it takes them", sending.join_next()).await? {
        match done.map_err(|died| Failure::new(died.to_string()))? {
            (text, Ok(_)) => taken.push(text),
            (text, Err(err)) => fail(text, err)?,
        }
    }
    cx.send_until_done(&publisher, message(&work.subject, "after")?).await?;
    taken.push("after".to_owned());
    // Those of which nobody knows may come as well.
    while !taken.is_empty() {
        let what = format!("one of {taken:?}");
        let Event::Item(delivery) = cx.event(&mut queue, what).await? else { continue };
        let came = text(&delivery.message);
        ensure(!refused.contains(&came), || format!("{came} came, and was called not sent"))?;
        taken.retain(|text| *text != came);
        delivery.ack().await.during("ack")?;
    }
    Ok(())
}

async fn consumers_go_on_while_publishers_wait(cx: &Context) -> Outcome {
    const COUNT: u32 = 30;
    let mut work = Work::open(cx, "goes-on").await?;
    // So that most of it comes only as acks arrive.
    work.wanted.prefetch = 2;
    let mut queue = work.consume().await?;
    work.publish(COUNT).await?;
    cx.fault(Fault::Block).await?;
    // The broker may stop a connection when it publishes.
    let publishing = {
        let (publisher, sent) = (work.publisher.clone(), message(&work.subject, "blocked")?);
        tokio::spawn(async move { publisher.send(sent).await })
    };
    cx.quiet(1).await;
    for expected in numbered("m", COUNT) {
        let delivery = cx.item(&mut queue, &expected).await?;
        let came = text(&delivery.message);
        ensure(came == expected, || format!("{expected} was promised, {came} came"))?;
        cx.soon("an answer to an ack", delivery.ack()).await?.during("ack")?;
    }
    cx.fault(Fault::Unblock).await?;
    let answer = cx.soon("an answer to the publish", publishing).await?;
    if let Err(err) = answer.map_err(|died| Failure::new(died.to_string()))? {
        is_honest(&err)?;
    }
    cx.send_until_done(&work.publisher, message(&work.subject, "after")?).await?;
    loop {
        let delivery = cx.item(&mut queue, "after").await?;
        let came = text(&delivery.message);
        delivery.ack().await.during("ack")?;
        match came.as_str() {
            "after" => return Ok(()),
            "blocked" => {}
            other => return Err(Failure::new(format!("{other} was acked, and came again"))),
        }
    }
}
