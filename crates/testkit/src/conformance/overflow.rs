//! Slow subscribers: they are told what they lost, and disturb nobody else.
use sinew_core::{
    AnyBackend, AnyPublisher, Buffer, ErrorKind, Event, Incoming, Message, Overflow, Subject,
    Subscribe,
};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{message, numbered, refused, text, unsupported},
    tally::{Intake, Tally},
    when,
};

behaviours! { "overflow";
    |it| when::overflows(it, Overflow::DropNewest) => dropping_the_newest_is_counted_exactly,
    |it| when::overflows(it, Overflow::DropOldest) => dropping_the_oldest_is_counted_exactly,
    |it| when::overflows(it, Overflow::Fail) => a_full_buffer_fails_its_intake,
    |it| when::overflows(it, Overflow::Block) => a_full_buffer_that_blocks_loses_nothing,
    when::publishes_and_subscribes => a_buffer_is_bounded_in_bytes,
    when::publishes_and_subscribes => one_message_is_let_in_however_large,
    |it| when::overflows(it, Overflow::DropNewest) || when::overflows(it, Overflow::DropOldest)
        => a_slow_subscriber_disturbs_no_other,
    when::subscribes => an_overflow_that_the_backend_has_not_is_refused,
}

const SENT: u32 = 1000;
const ROOM: usize = 16;

async fn dropping_the_newest_is_counted_exactly(cx: &Context) -> Outcome {
    let slow = Slow::open(cx, "newest", Overflow::DropNewest).await?;
    let (seen, lost, mut incoming) = slow.fall_behind().await?;
    ensure_eq("received and lost", seen.len() as u64 + lost, u64::from(SENT))?;
    ensure(lost > 0, || format!("{} were kept where {ROOM} fit", seen.len()))?;
    ensure_eq("the first of those kept", seen.first().map(String::as_str), Some("m-0"))?;
    slow.goes_on(&mut incoming).await
}

async fn dropping_the_oldest_is_counted_exactly(cx: &Context) -> Outcome {
    let slow = Slow::open(cx, "oldest", Overflow::DropOldest).await?;
    let (seen, lost, mut incoming) = slow.fall_behind().await?;
    ensure_eq("received and lost", seen.len() as u64 + lost, u64::from(SENT))?;
    ensure(lost > 0, || format!("{} were kept where {ROOM} fit", seen.len()))?;
    let last = format!("m-{}", SENT - 1);
    ensure_eq("the last of those kept", seen.last(), Some(&last))?;
    slow.goes_on(&mut incoming).await
}

async fn a_full_buffer_fails_its_intake(cx: &Context) -> Outcome {
    let slow = Slow::open(cx, "fail", Overflow::Fail).await?;
    let mut incoming = slow.subscribe().await?;
    slow.publish_all().await?;
    cx.quiet(1).await;
    let mut seen = 0;
    let err = loop {
        match cx.soon("the failure", incoming.next()).await? {
            Some(Ok(Event::Item(_))) => seen += 1,
            Some(Err(err)) => break err,
            other => return Err(Failure::new(format!("an error was to come, {other:?} came"))),
        }
        ensure(seen < SENT, || "every message came, through a buffer too small".to_owned())?;
    };
    refused::<()>("a full buffer", Err(err), &[ErrorKind::Overloaded])?;
    cx.end(&mut incoming, "an intake that failed").await
}

async fn a_full_buffer_that_blocks_loses_nothing(cx: &Context) -> Outcome {
    let slow = Slow::open(cx, "block", Overflow::Block).await?;
    let mut incoming = slow.subscribe().await?;
    let publishing = slow.publish_all();
    let reading = async {
        // Slow at first, so that the buffer is full for a while.
        cx.quiet(1).await;
        for promised in numbered("m", SENT) {
            let seen = cx.item(&mut incoming, &promised).await?;
            ensure_eq("the next", text(&seen), promised)?;
        }
        Ok(())
    };
    tokio::try_join!(publishing, reading).map(drop)
}

async fn a_buffer_is_bounded_in_bytes(cx: &Context) -> Outcome {
    let Some(overflow) = dropping(cx) else { return Ok(()) };
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("bytes")?);
    let room = Buffer::default().with_bytes(64 << 10).with_overflow(overflow);
    let wanted = cx.subscription(&subject).with_buffer(room);
    let mut incoming = cx.subscribe(&backend, wanted).await?;
    let mut pendings = Vec::new();
    for _ in 0..200 {
        let large = message(&subject, vec![7; 8 << 10])?;
        let handed = sinew_core::Publish::publish(&publisher, large);
        pendings.push(cx.soon("room to publish", handed).await??);
    }
    cx.answers(pendings).await?;
    cx.quiet(1).await;
    let (seen, lost) = account(cx, &mut incoming, 200).await?;
    goes_on(cx, &publisher, &subject, &mut incoming).await?;
    ensure_eq("received and lost", seen.len() as u64 + lost, 200)?;
    ensure(lost > 0, || "1.6 MB were kept where 64 KiB fit".to_owned())
}

async fn one_message_is_let_in_however_large(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (publisher, subject) = (backend.publisher()?, cx.subject("large")?);
    let mut wanted = cx.subscription(&subject);
    wanted.buffer = wanted.buffer.with_bytes(1).with_messages(1);
    let mut incoming = cx.subscribe(&backend, wanted).await?;
    for round in 0..3 {
        let large = message(&subject, vec![round; 4096])?;
        cx.send(&publisher, large.clone()).await?;
        let seen = cx.item(&mut incoming, "a message larger than the buffer").await?;
        ensure_eq("its payload", seen.payload, large.payload)?;
    }
    Ok(())
}

async fn a_slow_subscriber_disturbs_no_other(cx: &Context) -> Outcome {
    let Some(overflow) = dropping(cx) else { return Ok(()) };
    let slow = Slow::open(cx, "other", overflow).await?;
    let unread = slow.subscribe().await?;
    let quick = cx.subscribe(&slow.backend, cx.subscription(&slow.subject)).await?;
    let reading = async {
        let mut quick = Intake::Copies(quick);
        let promised = Tally::new(numbered("m", SENT));
        quick.exactly(cx, promised.fenced(&slow.publisher, &slow.subject)).await
    };
    tokio::try_join!(slow.publish_all(), reading)?;
    drop(unread);
    Ok(())
}

async fn an_overflow_that_the_backend_has_not_is_refused(cx: &Context) -> Outcome {
    let subscriber = cx.connect().await?.subscriber()?;
    let subject = cx.subject("refused")?;
    for overflow in Overflow::ALL.iter().filter(|it| !cx.capabilities().overflow.has(**it)) {
        let buffer = Buffer::default().with_overflow(*overflow);
        let opened = subscriber.subscribe(cx.subscription(&subject).with_buffer(buffer)).await;
        unsupported(cx, format_args!("overflow: {}", overflow.describe()), opened)?;
    }
    Ok(())
}

/// An overflow that loses and counts, if the backend has one.
fn dropping(cx: &Context) -> Option<Overflow> {
    let has = cx.capabilities().overflow;
    [Overflow::DropNewest, Overflow::DropOldest].into_iter().find(|overflow| has.has(*overflow))
}

/// A subscriber with little room, that reads late.
struct Slow<'a> {
    cx: &'a Context,
    backend: AnyBackend,
    publisher: AnyPublisher,
    subject: Subject,
    overflow: Overflow,
}

impl<'a> Slow<'a> {
    async fn open(cx: &'a Context, name: &str, overflow: Overflow) -> Outcome<Self> {
        let backend = cx.connect().await?;
        let publisher = cx.connect().await?.publisher()?;
        Ok(Self { cx, backend, publisher, subject: cx.subject(name)?, overflow })
    }

    async fn subscribe(&self) -> Outcome<Incoming<Message>> {
        let buffer = Buffer::default().with_messages(ROOM).with_overflow(self.overflow);
        let wanted = self.cx.subscription(&self.subject).with_buffer(buffer);
        self.cx.subscribe(&self.backend, wanted).await
    }

    async fn publish_all(&self) -> Outcome {
        self.cx.send_all(&self.publisher, &self.subject, numbered("m", SENT)).await
    }

    /// What was received, how many were told to be lost.
    async fn fall_behind(&self) -> Outcome<(Vec<String>, u64, Incoming<Message>)> {
        let mut incoming = self.subscribe().await?;
        self.publish_all().await?;
        self.cx.quiet(1).await;
        let (seen, lost) = account(self.cx, &mut incoming, SENT.into()).await?;
        Ok((seen, lost, incoming))
    }

    async fn goes_on(&self, incoming: &mut Incoming<Message>) -> Outcome {
        goes_on(self.cx, &self.publisher, &self.subject, incoming).await
    }
}

/// With all accounted for, what is published next comes next.
async fn goes_on(
    cx: &Context,
    publisher: &AnyPublisher,
    subject: &Subject,
    incoming: &mut Incoming<Message>,
) -> Outcome {
    for after in numbered("after", 5) {
        cx.send(publisher, message(subject, after.clone())?).await?;
        let seen = cx.item(incoming, &after).await?;
        ensure_eq("the next after a loss", text(&seen), after)?;
    }
    Ok(())
}

/// Reads until as many were received or told lost as were sent.
async fn account(
    cx: &Context,
    incoming: &mut Incoming<Message>,
    sent: u64,
) -> Outcome<(Vec<String>, u64)> {
    let (mut seen, mut lost) = (Vec::new(), 0);
    while seen.len() as u64 + lost < sent {
        let what = format!("the rest of {sent}, of which {} came and {lost} are lost", seen.len());
        match cx.event(incoming, what).await.during("a slow subscriber")? {
            Event::Item(message) => seen.push(text(&message)),
            Event::Lost(count) => lost += count,
            other => return Err(Failure::new(format!("{other:?} came"))),
        }
    }
    Ok((seen, lost))
}
