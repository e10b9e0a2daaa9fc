//! Logs: where an intake starts, and what a position means. Also names that are no subjects, which everyone sees.
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sinew_core::{
    Address, AnyBackend, AnyPublisher, Confirm, Consume, ErrorKind, Pattern, Position, Property,
    PublishExt, Receipt, Start, StartPoint, Subject, Subscribe,
};

use super::{
    Context, Failure, Outcome,
    behaviour::behaviours,
    ensure_eq,
    support::{message, numbered, refused, text, unsupported},
    tally::{Intake, Tally, is_fence},
    when,
};

behaviours! { "log", alone;
    |it| when::starts(it, StartPoint::Earliest) => each_new_intake_sees_the_whole_log,
    |it| when::starts(it, StartPoint::Latest) => an_intake_starts_with_the_latest_message,
    |it| when::starts(it, StartPoint::Offset) && has_positions(it)
        => an_intake_starts_at_and_after_a_position,
    |it| when::starts(it, StartPoint::Offset) => a_position_of_another_log_is_refused,
    |it| when::starts(it, StartPoint::Time) => an_intake_starts_at_a_time,
    when::carries => a_start_that_the_backend_has_not_is_refused,
    |it| when::carries(it) && has_positions(it) => a_message_says_where_it_is_stored,
    |it| when::publishes(it) && has_positions(it)
        && it.properties.has(Property::ExpectedPosition) => the_expected_position_is_checked,
    |it| when::publishes(it) && has_positions(it)
        && it.properties.has(Property::ExpectedPosition) => a_flush_tells_a_failure_that_nobody_read,
    when::takes_tokens => a_foreign_name_is_delivered,
}

fn has_positions(it: &sinew_core::Capabilities) -> bool {
    it.confirm >= Confirm::Persisted
}

async fn each_new_intake_sees_the_whole_log(cx: &Context) -> Outcome {
    let log = Log::open(cx).await?;
    for round in 1..=3 {
        log.publish(numbered(format!("round-{round}"), 10)).await?;
        let whole = (1..=round).flat_map(|round| numbered(format!("round-{round}"), 10)).collect();
        let mut opened = Vec::new();
        log.open_at(Start::Earliest, whole, &mut opened).await?;
        log.sees(opened).await?;
    }
    Ok(())
}

async fn an_intake_starts_with_the_latest_message(cx: &Context) -> Outcome {
    let log = Log::open(cx).await?;
    log.publish(numbered("m", 5)).await?;
    let mut opened = Vec::new();
    log.open_at(Start::Latest, ["m-4", "new"].map(str::to_owned).into(), &mut opened).await?;
    log.publish(["new".to_owned()]).await?;
    log.sees(opened).await
}

async fn an_intake_starts_at_and_after_a_position(cx: &Context) -> Outcome {
    let log = Log::open(cx).await?;
    let positions = log.publish(numbered("m", 10)).await?;
    let mut opened = Vec::new();
    for (number, position) in positions.into_iter().enumerate().step_by(3) {
        let from = |first| numbered("m", 10).skip(first).collect();
        log.open_at(Start::At(position.clone()), from(number), &mut opened).await?;
        log.open_at(Start::After(position), from(number + 1), &mut opened).await?;
    }
    log.sees(opened).await
}

async fn a_position_of_another_log_is_refused(cx: &Context) -> Outcome {
    let log = Log::open(cx).await?;
    log.publish(numbered("m", 3)).await?;
    let kinds = [ErrorKind::InvalidOptions, ErrorKind::NotFound, ErrorKind::Unsupported];
    let elsewhere = Position::new("a log that is not this one", 1);
    for start in [Start::At(elsewhere.clone()), Start::After(elsewhere)] {
        if when::subscribes(cx.capabilities()) {
            let wanted = cx.subscription(&log.subject).with_start(start.clone());
            let opened = log.backend.subscriber()?.subscribe(wanted).await;
            refused("a subscription at a position of another log", opened, &kinds)?;
        }
        if when::consumes(cx.capabilities()) {
            let wanted = cx.consumption("elsewhere", &log.subject)?.with_start(start);
            let opened = log.backend.consumer()?.consume(wanted).await;
            refused("a queue at a position of another log", opened, &kinds)?;
        }
    }
    Ok(())
}

async fn an_intake_starts_at_a_time(cx: &Context) -> Outcome {
    // Clocks of broker and test are one; their resolution need not be.
    const APART: Duration = Duration::from_millis(100);
    let log = Log::open(cx).await?;
    log.publish(numbered("before", 5)).await?;
    tokio::time::sleep(APART).await;
    let time = SystemTime::now();
    tokio::time::sleep(APART).await;
    log.publish(numbered("after", 5)).await?;
    let mut opened = Vec::new();
    log.open_at(Start::Time(time), numbered("after", 5).collect(), &mut opened).await?;
    log.sees(opened).await
}

async fn a_start_that_the_backend_has_not_is_refused(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("start")?;
    for point in StartPoint::ALL.iter().filter(|point| !cx.capabilities().starts.has(**point)) {
        let start = match point {
            StartPoint::Earliest => Start::Earliest,
            StartPoint::Latest => Start::Latest,
            StartPoint::Offset => Start::At(Position::new("log", 1)),
            _ => Start::Time(SystemTime::now()),
        };
        if when::subscribes(cx.capabilities()) {
            let wanted = cx.subscription(&subject).with_start(start.clone());
            let opened = backend.subscriber()?.subscribe(wanted).await;
            unsupported(cx, format_args!("a subscription from {start:?}"), opened)?;
        }
        if when::consumes(cx.capabilities()) {
            let wanted = cx.consumption("start", &subject)?.with_start(start.clone());
            let opened = backend.consumer()?.consume(wanted).await;
            unsupported(cx, format_args!("a queue from {start:?}"), opened)?;
        }
    }
    Ok(())
}

async fn a_message_says_where_it_is_stored(cx: &Context) -> Outcome {
    let log = Log::open(cx).await?;
    let mut intakes = cx.intakes_of(&log.backend, &log.subject).await?;
    let positions = log.publish(numbered("m", 5)).await?;
    for intake in &mut intakes {
        for position in &positions {
            let seen = intake.message(cx, format!("the message at {position}")).await?;
            ensure_eq("its position", seen.position(), Some(position))?;
        }
    }
    Ok(())
}

async fn the_expected_position_is_checked(cx: &Context) -> Outcome {
    let log = Log::open(cx).await?;
    let positions = log.publish(numbered("m", 3)).await?;
    let [.., earlier, last] = positions.as_slice() else {
        return Err(Failure::new("three messages have fewer positions"));
    };
    let stale = message(&log.subject, "stale")?.with_expected_position(earlier.clone());
    let kinds = [ErrorKind::WrongPosition];
    let err = refused("a stale position", log.publisher.send(stale).await, &kinds)?;
    ensure_eq("transient", err.is_transient(), false)?;
    let expected = message(&log.subject, "fresh")?.with_expected_position(last.clone());
    let Receipt::Persisted(next) = cx.send(&log.publisher, expected).await? else {
        return Err(Failure::new("a position was promised"));
    };
    // What was refused took no place.
    ensure_eq("the next offset", next.offset, last.offset + 1)
}

async fn a_flush_tells_a_failure_that_nobody_read(cx: &Context) -> Outcome {
    let log = Log::open(cx).await?;
    log.publish(numbered("m", 3)).await?;
    let log_name = match cx.send(&log.publisher, message(&log.subject, "last")?).await? {
        Receipt::Persisted(position) => position.log,
        other => return Err(Failure::new(format!("a position was promised, {other:?} came"))),
    };
    let wrong = message(&log.subject, "wrong")?.with_expected_position(Position::new(log_name, 1));
    drop(cx.soon("hand-over", sinew_core::Publish::publish(&log.publisher, wrong)).await??);
    let flush = || cx.soon("the flush", sinew_core::Publish::flush(&log.publisher));
    refused("the flush after a dropped outcome", flush().await?, &[ErrorKind::WrongPosition])?;
    // It is told once.
    Ok(flush().await??)
}

/// What others publish under a name that is no subject is shown as it is to whoever wants everything.
async fn a_foreign_name_is_delivered(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let mut intakes = cx.intakes_of(&backend, Pattern::parse("#")?).await?;
    let names: [&[u8]; 6] = [
        b"",
        b"conformance..x",
        b"conformance.x.",
        b"conformance.nul\0",
        b"conformance.\xff\xfe",
        b"conformance.x y",
    ];
    for name in names {
        let name = Bytes::from_static(name);
        let payload = Bytes::from(format!("to {}", name.escape_ascii()));
        match cx.broker().publish_foreign(name.clone(), payload.clone()).await {
            Err(err) if err.kind() == ErrorKind::Unsupported => continue,
            published => published?,
        }
        for intake in &mut intakes {
            let what = format!("the message to `{}`", name.escape_ascii());
            let seen = intake.message(cx, &what).await?;
            ensure_eq("its address", seen.address, Address::Foreign(None, name.clone()))?;
            ensure_eq("its payload", seen.payload, payload.clone())?;
        }
    }
    let subject = cx.subject("plain")?;
    cx.send(&publisher, message(&subject, "x")?).await?;
    for intake in &mut intakes {
        ensure_eq("the next", intake.message(cx, "a subject").await?.subject(), Some(&subject))?;
    }
    Ok(())
}

/// One subject with its past.
struct Log<'a> {
    cx: &'a Context,
    backend: AnyBackend,
    publisher: AnyPublisher,
    subject: Subject,
}

impl<'a> Log<'a> {
    async fn open(cx: &'a Context) -> Outcome<Self> {
        let backend = cx.connect().await?;
        let publisher = backend.publisher()?;
        Ok(Self { cx, backend, publisher, subject: cx.subject("log")? })
    }

    async fn publish(&self, texts: impl IntoIterator<Item = String>) -> Outcome<Vec<Position>> {
        let mut positions = Vec::new();
        for text in texts {
            let receipt = self.cx.send(&self.publisher, message(&self.subject, text)?).await?;
            if let Receipt::Persisted(position) = receipt {
                positions.push(position);
            }
        }
        Ok(positions)
    }

    /// One intake of each kind that starts there, each with what it promises.
    async fn open_at(
        &self,
        start: Start,
        promised: Vec<String>,
        opened: &mut Vec<(Intake, Vec<String>)>,
    ) -> Outcome {
        let Self { cx, backend, subject, .. } = self;
        if when::subscribes(cx.capabilities()) {
            let wanted = cx.subscription(subject).with_start(start.clone());
            let incoming = cx.subscribe(backend, wanted).await?;
            opened.push((Intake::Copies(incoming), promised.clone()));
        }
        if when::consumes(cx.capabilities()) {
            let wanted = cx.consumption(&cx.next_queue(), subject)?.with_start(start);
            opened.push((Intake::Queue(cx.consume(backend, wanted).await?), promised));
        }
        Ok(())
    }

    /// Each intake yields exactly what it promises, in this order.
    async fn sees(&self, opened: Vec<(Intake, Vec<String>)>) -> Outcome {
        let mut read = Vec::new();
        for (mut intake, promised) in opened {
            for promised in promised {
                let mut seen = intake.message(self.cx, &promised).await?;
                // The log keeps those, too.
                while is_fence(&seen) {
                    seen = intake.message(self.cx, &promised).await?;
                }
                ensure_eq("the next", text(&seen), promised)?;
            }
            read.push(intake);
        }
        let nothing = Tally::default().fenced(&self.publisher, &self.subject);
        self.cx.each_exactly(&mut read, nothing).await
    }
}
