//! What a heart sends, seen by a closure, in virtual time.
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sinew_beat::{
    Beat, BlockingHeart, Heart, HeartCounts, HeartOptions, Instance, OnChange, Pulse,
};
use sinew_core::{
    Backend, Capabilities, Confirm, Error, ErrorKind, Message, Pending, Publish, Receipt, Result,
    Sent, publish_fn,
};
use tokio::time::advance;

/// What was published, as text, and whether the next publish fails.
#[derive(Clone, Default)]
struct Wire {
    sent: Arc<Mutex<Vec<String>>>,
    broken: Arc<AtomicBool>,
}

impl Wire {
    fn publisher(&self) -> impl Publish + use<> {
        let Self { sent, broken } = self.clone();
        publish_fn(move |message: Message| {
            if broken.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Disconnected, "test publish"));
            }
            let mut text = format!("{} {}", message.address, message.payload.escape_ascii());
            for (name, value) in message.headers.iter() {
                text += &format!(" {name}: {value:?}");
            }
            lock(&sent).push(text);
            Ok(())
        })
    }

    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.sent))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test(start_paused = true)]
async fn it_says_what_beatit_says() -> Result<()> {
    let wire = Wire::default();
    let heart = Heart::new(wire.publisher(), "my.process.identifier")?;
    for (call, pulse) in [
        (heart.start().await?, Pulse::Sent),
        (heart.beat().await?, Pulse::Sent),
        (heart.beat().await?, Pulse::Suppressed),
        (heart.degraded().await?, Pulse::Sent),
        (heart.degraded().await?, Pulse::Suppressed),
        (heart.start().await?, Pulse::Sent),
        (heart.stop().await?, Pulse::Sent),
        (heart.stop().await?, Pulse::Sent),
    ] {
        assert_eq!(call, pulse);
    }
    let subject = "heartbeat.my.process.identifier";
    let said = ["start/60", "beat/5", "degraded/5", "start/60", "stop", "stop"];
    assert_eq!(wire.sent(), said.map(|said| format!("{subject} {said}")));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_beat_is_sent_again_after_a_second() -> Result<()> {
    let wire = Wire::default();
    let heart = Heart::new(wire.publisher(), "a")?;
    for _ in 0..4 {
        heart.beat().await?;
        advance(Duration::from_millis(500)).await;
    }
    assert_eq!(wire.sent(), ["heartbeat.a beat/5", "heartbeat.a beat/5"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_period_below_a_second_is_kept_where_the_minimum_interval_allows_it() -> Result<()> {
    let wire = Wire::default();
    let options = HeartOptions::default().with_period(Duration::from_millis(500));
    let err = options.clone().build(wire.publisher(), "a").err().ok_or(ErrorKind::Internal);
    let err = err.map_err(|kind| Error::new(kind, "it was built"))?;
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    let advice = "a period of 500ms is a promise that a minimum interval of 1s breaks; lengthen it, or lower \
        with_min_interval";
    assert_eq!(err.detail(), Some(advice));

    let options = options.with_min_interval(Duration::from_millis(500));
    let heart = options.build(wire.publisher(), "a")?;
    for _ in 0..4 {
        heart.beat().await?;
        advance(Duration::from_millis(250)).await;
    }
    assert_eq!(wire.sent(), ["heartbeat.a beat/0.5", "heartbeat.a beat/0.5"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_recovery_within_a_second_is_told_where_changes_are_sent() -> Result<()> {
    for (on_change, said) in [
        (OnChange::Suppress, &["beat/5", "degraded/5"][..]),
        (OnChange::Send, &["beat/5", "degraded/5", "beat/5"]),
    ] {
        let wire = Wire::default();
        let options = HeartOptions::default().with_on_change(on_change);
        let heart = options.build(wire.publisher(), "a")?;
        heart.beat().await?;
        heart.degraded().await?;
        heart.beat().await?;
        heart.beat().await?;
        let sent = wire.sent();
        let sent: Vec<_> = sent.iter().filter_map(|it| it.strip_prefix("heartbeat.a ")).collect();
        assert_eq!(sent, said);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn it_says_which_instance_it_is_and_numbers_what_it_published() -> Result<()> {
    let wire = Wire::default();
    let options = HeartOptions::default().with_instance(Instance::parse("pod-7")?);
    let heart = options.build(wire.publisher(), "a")?;
    heart.start().await?;
    // What is suppressed or fails leaves no gap.
    wire.broken.store(true, Ordering::SeqCst);
    assert!(heart.beat().await.is_err());
    wire.broken.store(false, Ordering::SeqCst);
    heart.beat().await?;
    heart.beat().await?;
    heart.stop().await?;
    let said = [("start/60", 1), ("beat/5", 2), ("stop", 3)].map(|(said, number)| {
        format!(
            "heartbeat.a {said} beat-instance: Text(\"pod-7\") beat-sequence: Integer({number})"
        )
    });
    assert_eq!(wire.sent(), said);
    Ok(())
}

#[tokio::test]
async fn a_backend_without_headers_carries_the_same_beats_without_them() -> Result<()> {
    /// Refuses what it cannot carry, as each backend does.
    struct Bare;
    impl Backend for Bare {
        fn capabilities(&self) -> Capabilities {
            Capabilities::new("bare").with_confirm(Confirm::Buffered)
        }
    }
    impl Publish for Bare {
        async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
            self.capabilities().check_message(&message)?;
            Ok(Pending::ready(Ok(Receipt::Buffered)))
        }
        async fn flush(&self) -> Result<()> {
            Ok(())
        }
    }
    let heart = HeartOptions::default().with_instance(Instance::unique()).build(Bare, "a")?;
    assert_eq!(heart.beat().await?, Pulse::Sent);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_became_of_each_call_is_counted() -> Result<()> {
    let wire = Wire::default();
    let heart = Heart::new(wire.publisher(), "a")?;
    assert_eq!(heart.counts(), HeartCounts::default());
    heart.start().await?;
    heart.beat().await?;
    heart.beat().await?;
    advance(Duration::from_secs(3)).await;
    wire.broken.store(true, Ordering::SeqCst);
    assert!(heart.beat().await.is_err());
    let counts = heart.counts();
    assert_eq!((counts.sent, counts.suppressed, counts.failed), (2, 1, 1));
    assert_eq!(counts.last_sent, Some(Duration::from_secs(3)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_failed_publish_does_not_count_as_sent() -> Result<()> {
    let wire = Wire::default();
    let heart = Heart::new(wire.publisher(), "a")?;
    wire.broken.store(true, Ordering::SeqCst);
    assert_eq!(heart.beat().await.map_err(|err| err.kind()), Err(ErrorKind::Disconnected));
    wire.broken.store(false, Ordering::SeqCst);
    assert_eq!(heart.beat().await?, Pulse::Sent);
    assert_eq!(heart.beat().await?, Pulse::Suppressed);
    Ok(())
}

/// Takes a message, and never answers; or does not even take it.
struct Stuck {
    takes: bool,
}

impl Backend for Stuck {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("stuck").with_confirm(Confirm::Accepted)
    }
}

impl Publish for Stuck {
    async fn publish(&self, _: Message) -> Result<Pending<Receipt>> {
        if self.takes {
            Ok(Pending::later(std::future::pending()))
        } else {
            std::future::pending().await
        }
    }

    async fn flush(&self) -> Result<()> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_broker_is_a_timeout_that_says_whether_it_was_sent() -> Result<()> {
    for (takes, sent) in [(false, Sent::No), (true, Sent::Maybe)] {
        let heart = Heart::new(Stuck { takes }, "a")?;
        for _ in 0..2 {
            // The second one is not suppressed: the first was not sent.
            let err = heart.beat().await.err().ok_or(ErrorKind::Internal);
            assert_eq!(err.map(|err| (err.kind(), err.sent())), Ok((ErrorKind::Timeout, sent)));
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn stop_alone_is_flushed_and_waits_no_longer_than_its_deadline() -> Result<()> {
    /// Takes everything, and never comes to the end of it.
    struct Endless;
    impl Backend for Endless {
        fn capabilities(&self) -> Capabilities {
            Capabilities::new("endless").with_confirm(Confirm::Buffered)
        }
    }
    impl Publish for Endless {
        async fn publish(&self, _: Message) -> Result<Pending<Receipt>> {
            Ok(Pending::ready(Ok(Receipt::Buffered)))
        }
        async fn flush(&self) -> Result<()> {
            std::future::pending().await
        }
    }
    let heart = Heart::new(Endless, "a")?;
    let start = tokio::time::Instant::now();
    heart.start().await?;
    heart.beat().await?;
    assert_eq!(heart.stop().await.map_err(|err| err.kind()), Err(ErrorKind::Timeout));
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_does_not_count_as_sent() -> Result<()> {
    let heart = Heart::new(Stuck { takes: true }, "a")?;
    let second = Duration::from_millis(100);
    for _ in 0..2 {
        assert!(tokio::time::timeout(second, heart.beat()).await.is_err());
    }
    Ok(())
}

#[test]
fn a_backend_that_cannot_publish_is_refused_by_name() {
    struct Deaf;
    impl Backend for Deaf {
        fn capabilities(&self) -> Capabilities {
            Capabilities::new("deaf")
        }
    }
    impl Publish for Deaf {
        async fn publish(&self, _: Message) -> Result<Pending<Receipt>> {
            Ok(Pending::ready(Ok(Receipt::Buffered)))
        }
        async fn flush(&self) -> Result<()> {
            Ok(())
        }
    }
    let err = Heart::new(Deaf, "a").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unsupported);
    assert!(err.to_string().contains("deaf"), "{err}");
}

#[test]
fn a_name_that_makes_no_subject_is_refused() {
    for name in ["", "a b", "a..b", "a.*", "a.>", "a\n"] {
        assert!(Heart::new(Wire::default().publisher(), name).is_err(), "{name:?}");
    }
}

#[test]
fn a_promise_beyond_the_bound_is_refused() {
    let options = HeartOptions::default().with_period(Duration::MAX);
    let err = options.build(Wire::default().publisher(), "a").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
}

#[test]
fn the_blocking_heart_says_the_same() -> Result<()> {
    let wire = Wire::default();
    let heart = BlockingHeart::new(wire.publisher(), "a")?;
    assert_eq!(heart.start()?, Pulse::Sent);
    assert_eq!(heart.beat()?, Pulse::Sent);
    assert_eq!(heart.beat()?, Pulse::Suppressed);
    assert_eq!(heart.degraded()?, Pulse::Sent);
    assert_eq!(heart.send(Beat::Start { warmup: Duration::from_millis(250) })?, Pulse::Sent);
    assert_eq!(heart.stop()?, Pulse::Sent);
    let counts = heart.counts();
    assert_eq!((counts.sent, counts.suppressed, counts.failed), (5, 1, 0));
    let said = ["start/60", "beat/5", "degraded/5", "start/0.25", "stop"];
    assert_eq!(wire.sent(), said.map(|said| format!("heartbeat.a {said}")));
    Ok(())
}

#[test]
fn the_blocking_heart_waits_no_longer_than_its_deadline() -> Result<()> {
    let options = HeartOptions::default().with_timeout(Duration::from_millis(10));
    let heart = options.build_blocking(Stuck { takes: true }, "a")?;
    assert_eq!(heart.stop().map_err(|err| err.kind()), Err(ErrorKind::Timeout));
    Ok(())
}

#[tokio::test]
async fn a_blocking_call_inside_a_runtime_is_refused() -> Result<()> {
    let heart = BlockingHeart::new(Wire::default().publisher(), "a")?;
    assert_eq!(heart.beat().map_err(|err| err.kind()), Err(ErrorKind::InsideRuntime));
    Ok(())
}

#[test]
fn a_publisher_that_panics_closes_the_blocking_heart() -> Result<()> {
    let heart = BlockingHeart::new(publish_fn(|_: Message| panic!("on purpose")), "a")?;
    for _ in 0..2 {
        assert_eq!(heart.beat().map_err(|err| err.kind()), Err(ErrorKind::Closed));
    }
    Ok(())
}
