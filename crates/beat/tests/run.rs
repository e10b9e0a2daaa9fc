//! Runs of a heart: beats for progress, a stop at the end, in virtual time; and the blocking ones.
use std::{
    future::{pending, ready},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use futures_executor::block_on;
use futures_util::FutureExt;
use sinew_beat::{
    Health, Heart, HeartOptions, MonitorEvent, OnChange, Progress, Pulse, State, Watch,
    WatchOptions,
};
use sinew_core::{
    Backend, Capabilities, Confirm, Error, ErrorKind, Message, Pending, Publish, Receipt, Result,
    publish_fn,
};
use tokio::{
    sync::oneshot,
    time::{Instant, advance, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

/// What was published and when, in milliseconds since the begin; how many publishes fail from now on.
#[derive(Clone)]
struct Wire {
    begin: Instant,
    sent: Arc<Mutex<Vec<(u128, String)>>>,
    failures: Arc<AtomicU32>,
}

impl Wire {
    fn new() -> Self {
        Self { begin: Instant::now(), sent: Arc::default(), failures: Arc::default() }
    }

    fn publisher(&self) -> impl Publish + use<> {
        let Self { begin, sent, failures } = self.clone();
        publish_fn(move |message: Message| {
            let fails =
                failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
            if fails.is_ok() {
                return Err(Error::new(ErrorKind::Disconnected, "test publish"));
            }
            let text = message.payload.escape_ascii().to_string();
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.push((begin.elapsed().as_millis(), text));
            Ok(())
        })
    }

    fn sent(&self) -> Vec<(u128, String)> {
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn said(&self) -> Vec<String> {
        self.sent().into_iter().map(|(_, text)| text).collect()
    }
}

fn at(ms: u128, said: &str) -> (u128, String) {
    (ms, said.to_owned())
}

/// Lets virtual time pass.
async fn pass(time: Duration) {
    let _ = timeout(time, pending::<()>()).await;
}

/// Work that gets on every so often, until its time is over.
async fn work(progress: &Progress, every: Duration, turns: u32) {
    for _ in 0..turns {
        pass(every).await;
        progress.tick();
    }
}

#[tokio::test(start_paused = true)]
async fn it_starts_beats_while_the_work_gets_on_and_stops() -> Result<()> {
    let wire = Wire::new();
    let heart = HeartOptions::default().with_period(4 * SECOND).build(wire.publisher(), "a")?;
    let progress = Progress::new();
    let until = async {
        work(&progress, SECOND / 10, 62).await;
        "done"
    };
    let (output, stopped) = heart.run(&progress, || Health::Up, until).await;
    assert_eq!((output, stopped?), ("done", Pulse::Sent));
    let said = [
        at(0, "start/60"),
        at(500, "beat/4"),
        at(2500, "beat/4"),
        at(4500, "beat/4"),
        at(6200, "stop"),
    ];
    assert_eq!(wire.sent(), said);
    assert_eq!(heart.counts().sent, 5);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn work_that_is_stuck_is_called_late_and_down_though_its_runtime_lives() -> Result<()> {
    let memory = sinew_adapter_memory::Memory::new();
    let mut watch = Watch::start(&memory, WatchOptions::default()).await?;
    let heart = HeartOptions::default().with_warmup(10 * SECOND).build(memory, "a")?;
    let progress = Progress::new();
    let until = async {
        work(&progress, SECOND, 10).await;
        // Something waits for ever, while the timers of this runtime run on.
        pass(100 * SECOND).await;
        work(&progress, SECOND, 3).await;
    };
    heart.run(&progress, || Health::Up, until).await.1?;
    let mut states = Vec::new();
    while let Ok(Some(event)) = timeout(SECOND, watch.next()).await {
        if let MonitorEvent::Transition(it) = event? {
            states.push(it.to);
        }
    }
    use State::{Down, Late, Starting, Stopped, Up};
    assert_eq!(states, [Starting, Up, Late, Down, Up, Stopped]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_failed_publish_costs_no_beat_and_many_end_no_run() -> Result<()> {
    let wire = Wire::new();
    let heart = HeartOptions::default().with_period(4 * SECOND).build(wire.publisher(), "a")?;
    let progress = Progress::new();
    let until = async {
        work(&progress, SECOND / 10, 20).await;
        wire.failures.store(1, Ordering::SeqCst);
        work(&progress, SECOND / 10, 20).await;
        wire.failures.store(30, Ordering::SeqCst);
        work(&progress, SECOND / 10, 200).await;
    };
    heart.run(&progress, || Health::Up, until).await.1?;
    let sent = wire.sent();
    let said = [at(0, "start/60"), at(500, "beat/4"), at(3000, "beat/4"), at(20_000, "beat/4")];
    assert_eq!(sent[..4], said);
    assert_eq!(sent.last(), Some(&at(24_000, "stop")));
    assert_eq!(heart.counts().failed, 31);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_check_says_which_beat_whether_it_is_async_or_not() -> Result<()> {
    let wire = Wire::new();
    let options = HeartOptions::default().with_period(4 * SECOND).with_on_change(OnChange::Send);
    let heart = options.build(wire.publisher(), "a")?;
    let progress = Progress::new();
    let mut asked = 0;
    let check = || {
        asked += 1;
        if asked % 2 == 0 { Health::Degraded } else { Health::Up }
    };
    heart.run(&progress, check, work(&progress, SECOND / 10, 45)).await.1?;
    let said = ["start/60", "beat/4", "degraded/4", "beat/4", "stop"];
    assert_eq!(wire.said(), said);

    let check = async || {
        pass(SECOND).await;
        Health::Degraded
    };
    heart.run(&progress, check, work(&progress, SECOND / 10, 35)).await.1?;
    assert_eq!(wire.said(), ["start/60", "degraded/4", "degraded/4", "stop"]);

    // One that never answers says that something is wrong.
    heart.run(&progress, pending::<Health>, work(&progress, SECOND / 10, 45)).await.1?;
    assert_eq!(wire.said(), ["start/60", "degraded/4", "degraded/4", "stop"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_says_no_stop_and_neither_does_a_panic() -> Result<()> {
    let wire = Wire::new();
    let heart = Heart::new(wire.publisher(), "a")?;
    let progress = Progress::new();
    progress.tick();
    let run = heart.run(&progress, || Health::Up, pending::<()>());
    assert!(timeout(SECOND, run).await.is_err());
    assert_eq!(wire.said(), ["start/60"]);

    let run = heart.run(&progress, || -> Health { panic!("on purpose") }, pending::<()>());
    assert!(AssertUnwindSafe(run).catch_unwind().await.is_err());
    assert_eq!(wire.said(), ["start/60"]);

    let run = heart.run(&progress, || Health::Up, async { panic!("on purpose") });
    assert!(AssertUnwindSafe(run).catch_unwind().await.is_err());
    assert_eq!(wire.said(), ["start/60"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn intervals_that_were_missed_are_not_made_up_for() -> Result<()> {
    let wire = Wire::new();
    let heart = Heart::new(wire.publisher(), "a")?;
    let progress = Progress::new();
    let until = async {
        work(&progress, SECOND / 10, 10).await;
        // The runtime stands still, as on a suspended machine.
        advance(3600 * SECOND).await;
        work(&progress, SECOND / 10, 20).await;
    };
    heart.run(&progress, || Health::Up, until).await.1?;
    assert_eq!(wire.said(), ["start/60", "beat/5", "beat/5", "stop"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_fails_is_tried_again_within_its_time() -> Result<()> {
    let wire = Wire::new();
    let heart = Heart::new(wire.publisher(), "a")?;
    let ended = async || {
        let begin = Instant::now();
        let (_, stopped) = heart.run(&Progress::new(), || Health::Up, ready(())).await;
        (begin.elapsed(), stopped.map_err(|err| err.kind()))
    };
    wire.failures.store(3, Ordering::SeqCst);
    // The start fails once, the stop twice.
    assert_eq!(ended().await, (SECOND / 5, Ok(Pulse::Sent)));
    wire.failures.store(u32::MAX, Ordering::SeqCst);
    let (took, stopped) = ended().await;
    assert_eq!(stopped, Err(ErrorKind::Disconnected));
    assert!(took > 4 * SECOND && took <= 5 * SECOND, "{took:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_stop_of_a_stuck_broker_takes_no_longer_than_the_timeout() -> Result<()> {
    struct Stuck;
    impl Backend for Stuck {
        fn capabilities(&self) -> Capabilities {
            Capabilities::new("stuck").with_confirm(Confirm::Buffered)
        }
    }
    impl Publish for Stuck {
        async fn publish(&self, _: Message) -> Result<Pending<Receipt>> {
            pending().await
        }
        async fn flush(&self) -> Result<()> {
            pending().await
        }
    }
    let heart = Heart::new(Stuck, "a")?;
    let begin = Instant::now();
    let (_, stopped) = heart.run(&Progress::new(), || Health::Up, pass(SECOND)).await;
    assert_eq!(stopped.map_err(|err| err.kind()), Err(ErrorKind::Timeout));
    // The start under way was dropped with the work's end.
    assert_eq!(begin.elapsed(), 6 * SECOND);
    assert_eq!(heart.counts().failed, 2);
    Ok(())
}

#[test]
fn a_run_interval_beyond_its_bounds_is_refused() {
    for interval in [Duration::ZERO, SECOND / 2, 6 * SECOND] {
        let options = HeartOptions::default().with_run_interval(interval);
        let err = options.build(publish_fn(|_: Message| Ok(())), "a").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    }
}

/// What a heart says, as it says it.
fn told() -> (impl Publish, Receiver<String>) {
    let (tell, told) = channel();
    let publisher = publish_fn(move |message: Message| {
        let _ = tell.send(message.payload.escape_ascii().to_string());
        Ok(())
    });
    (publisher, told)
}

/// Beats ten times a second, so that real time suffices.
fn quick() -> HeartOptions {
    HeartOptions::default().with_period(SECOND / 10).with_min_interval(SECOND / 20)
}

/// Gets on until all of these were said.
fn hear(told: &Receiver<String>, progress: &Progress, said: &[&str]) {
    for said in said {
        progress.tick();
        assert_eq!(told.recv_timeout(60 * SECOND).as_deref(), Ok(*said));
    }
}

#[tokio::test(start_paused = true)]
async fn it_can_be_spawned_and_ended_by_a_channel() -> Result<()> {
    let wire = Wire::new();
    let heart = Heart::new(wire.publisher(), "a")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let check = async || {
        pass(SECOND / 10).await;
        Health::Up
    };
    let progress = Progress::new();
    let watched = progress.clone();
    let run = tokio::spawn(async move { heart.run(&watched, check, stopped).await.1 });
    work(&progress, SECOND / 2, 4).await;
    drop(stop);
    assert!(matches!(run.await, Ok(Ok(Pulse::Sent))));
    assert_eq!(wire.said(), ["start/60", "beat/5", "stop"]);
    Ok(())
}

#[test]
fn it_runs_outside_of_any_runtime() -> Result<()> {
    let (publisher, told) = told();
    let heart = quick().build(publisher, "a")?;
    let progress = Progress::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let watched = progress.clone();
    let run = thread::spawn(move || block_on(heart.run(&watched, || Health::Up, stopped)).1);
    hear(&told, &progress, &["start/60", "beat/0.1", "beat/0.1"]);
    drop(stop);
    assert!(matches!(run.join(), Ok(Ok(Pulse::Sent))));
    assert_eq!(told.iter().last().as_deref(), Some("stop"));
    Ok(())
}

#[test]
fn a_blocking_run_beats_on_a_thread_of_its_own_until_it_is_stopped() -> Result<()> {
    let (publisher, told) = told();
    let heart = quick().build_blocking(publisher, "a")?;
    let progress = Progress::new();
    let mut run = heart.run(&progress, || Health::Degraded)?;
    hear(&told, &progress, &["start/60", "degraded/0.1", "degraded/0.1"]);
    assert_eq!(run.stop()?, Pulse::Sent);
    assert_eq!(run.stop().map_err(|err| err.kind()), Err(ErrorKind::Closed));
    assert!(heart.counts().sent >= 4);
    drop(heart);
    assert_eq!(told.iter().last().as_deref(), Some("stop"));
    Ok(())
}

#[test]
fn a_dropped_blocking_run_says_no_stop_and_neither_does_a_panic() -> Result<()> {
    let (publisher, told) = told();
    let heart = quick().build_blocking(publisher, "a")?;
    let progress = Progress::new();
    let run = heart.run(&progress, || Health::Up)?;
    hear(&told, &progress, &["start/60", "beat/0.1"]);
    drop(run);
    let mut run = heart.run(&progress, || panic!("on purpose"))?;
    drop(heart);
    // The channel ends with both threads.
    assert!(told.iter().all(|said| said != "stop"));
    assert_eq!(run.stop().map_err(|err| err.kind()), Err(ErrorKind::Closed));
    Ok(())
}

#[tokio::test]
async fn a_blocking_run_is_not_stopped_inside_of_a_runtime() -> Result<()> {
    let (publisher, _told) = told();
    let heart = quick().build_blocking(publisher, "a")?;
    let mut run = heart.run(&Progress::new(), || Health::Up)?;
    assert_eq!(run.stop().map_err(|err| err.kind()), Err(ErrorKind::InsideRuntime));
    let stopped = thread::spawn(move || run.stop()).join();
    assert!(matches!(stopped, Ok(Ok(Pulse::Sent))));
    Ok(())
}
