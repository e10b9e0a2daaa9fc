//! A watch with a heart of its own, over the memory backend and in virtual time.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sinew_adapter_memory::{Memory, MemoryBroker};
use sinew_beat::{
    BlindCause, Health, Heart, HeartOptions, MonitorEvent, Progress, State, Watch, WatchOptions,
};
use sinew_core::{
    AnyPublisher, Error, ErrorKind, Message, Publish, PublishExt as _, Result, publish_async_fn,
};
use tokio::time::{Instant, interval, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// Lets virtual time pass, and everything happen that is due within it.
async fn pass(time: Duration) {
    let _ = timeout(time, std::future::pending::<()>()).await;
}

fn heart(publisher: impl Publish + 'static) -> Result<Heart<AnyPublisher>> {
    HeartOptions::default().with_period(2 * SECOND).build(AnyPublisher::new(publisher), "monitor")
}

async fn watch(broker: &MemoryBroker, options: WatchOptions) -> Result<Watch> {
    let options = options.with_heart(heart(broker.connect())?);
    Watch::start(&broker.connect(), options).await
}

/// What is told within this time.
async fn told(watch: &mut Watch, time: Duration) -> Result<Vec<MonitorEvent>> {
    let end = Instant::now() + time;
    let mut told = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout_at(end, watch.next()).await {
        told.push(event?);
    }
    Ok(told)
}

fn states(told: &[MonitorEvent], name: &str) -> Vec<State> {
    let transitions = told.iter().filter_map(MonitorEvent::transition);
    transitions.filter(|it| it.process.as_str() == name).map(|it| it.to).collect()
}

/// Beats for ever through `memory`, with a period of 2 s.
async fn beat(memory: Memory, name: &'static str) -> Result<()> {
    let heart: Heart<_> = HeartOptions::default().with_period(2 * SECOND).build(memory, name)?;
    let progress = Progress::new();
    let work = async {
        let mut turns = interval(SECOND / 10);
        loop {
            turns.tick().await;
            progress.tick();
        }
    };
    heart.run(&progress, || Health::Up, work).await.1.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_watch_hears_itself_before_it_starts_and_others_hear_when_it_stops() -> Result<()> {
    let broker = MemoryBroker::new();
    let mut other = Watch::start(&broker.connect(), WatchOptions::default()).await?;
    let watch = watch(&broker, WatchOptions::default()).await?;
    let table = watch.table();
    assert_eq!(table.process("monitor").map(|it| it.state), Some(State::Starting));
    pass(60 * SECOND).await;
    assert_eq!(table.process("monitor").map(|it| it.state), Some(State::Up));
    let counts = table.heart_counts().unwrap();
    assert!((58..=62).contains(&counts.sent) && counts.failed == 0, "{counts:?}");

    watch.stop().await?;
    assert!(!table.is_blind());
    let told = told(&mut other, 60 * SECOND).await?;
    assert_eq!(states(&told, "monitor"), [State::Starting, State::Up, State::Stopped]);
    assert_eq!(told.len(), 3, "{told:#?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_vanishes_is_down_for_others() -> Result<()> {
    let broker = MemoryBroker::new();
    let mut other = Watch::start(&broker.connect(), WatchOptions::default()).await?;
    let watch = watch(&broker, WatchOptions::default()).await?;
    pass(10 * SECOND).await;
    drop(watch);
    let told = told(&mut other, 10 * SECOND).await?;
    let wanted = [State::Starting, State::Up, State::Late, State::Down];
    assert_eq!(states(&told, "monitor"), wanted);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_heart_just_ends() -> Result<()> {
    let broker = MemoryBroker::new();
    let watch = Watch::start(&broker.connect(), WatchOptions::default()).await?;
    assert_eq!(watch.table().heart_counts(), None);
    watch.stop().await
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_frozen_blinds_once_and_nobody_is_late() -> Result<()> {
    let broker = MemoryBroker::new();
    let mut watch = watch(&broker, WatchOptions::default()).await?;
    let mut fleet = tokio::task::JoinSet::new();
    for name in ["a", "b", "c"] {
        fleet.spawn(beat(broker.connect(), name));
    }
    told(&mut watch, 10 * SECOND).await?;
    let frozen = watch.clock().now();
    broker.freeze();
    let blind = told(&mut watch, 30 * SECOND).await?;
    let [MonitorEvent::Blind { cause: BlindCause::Silent, at, .. }] = blind[..] else {
        panic!("{blind:#?}")
    };
    assert!(at <= frozen && frozen.since(at) < SECOND);
    assert!(watch.table().heart_counts().unwrap().failed > 0);
    broker.thaw();
    let after = told(&mut watch, 60 * SECOND).await?;
    assert!(matches!(after[..], [MonitorEvent::Sighted { .. }]), "{after:#?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_over_others_hears_itself_too() -> Result<()> {
    let broker = MemoryBroker::new();
    let mut watch = watch(&broker, WatchOptions::default().with_processes("eu.>")).await?;
    let memory = broker.connect();
    for name in ["heartbeat.eu.a", "heartbeat.us.a"] {
        memory.send_to(name, "beat/1000").await?;
    }
    let told = told(&mut watch, 60 * SECOND).await?;
    assert_eq!(states(&told, "monitor"), [State::Starting, State::Up]);
    assert_eq!((states(&told, "eu.a").len(), states(&told, "us.a").len()), (1, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_heart_that_publishes_elsewhere_is_refused_at_the_start() -> Result<()> {
    let broker = MemoryBroker::new();
    let elsewhere = heart(MemoryBroker::new().connect())?;
    let options = WatchOptions::default().with_heart(elsewhere);
    let begin = Instant::now();
    let err = Watch::start(&broker.connect(), options).await.unwrap_err();
    assert_eq!((err.kind(), err.subject()), (ErrorKind::Timeout, Some("heartbeat.monitor")));
    assert_eq!(begin.elapsed(), 5 * SECOND);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_heart_that_may_not_publish_is_refused_at_the_start() -> Result<()> {
    let broker = MemoryBroker::new();
    let denied = publish_async_fn(async |_: Message| Err(Error::new(ErrorKind::Denied, "test")));
    let options = WatchOptions::default().with_heart(heart(denied)?);
    let err = Watch::start(&broker.connect(), options).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Denied);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_heart_that_begins_later_is_relied_on_once_it_is_heard_and_not_before() -> Result<()> {
    let broker = MemoryBroker::new();
    let mut other = Watch::start(&broker.connect(), WatchOptions::default()).await?;
    let options = WatchOptions::default().with_heart_later(heart(broker.connect())?);
    let mut watch = Watch::start(&broker.connect(), options).await?;
    let table = watch.table();
    let fleet = tokio::spawn(beat(broker.connect(), "a"));
    pass(10 * SECOND).await;
    broker.freeze();
    for _ in 0..2 {
        assert_eq!(table.begin_heart().await.unwrap_err().kind(), ErrorKind::Timeout);
        assert!(!table.hears_itself());
    }
    // It is a watch without a heart so far.
    let alone = told(&mut watch, SECOND).await?;
    assert_eq!(states(&alone, "a").last(), Some(&State::Down));
    assert!(!table.is_blind());

    broker.thaw();
    table.begin_heart().await?;
    assert!(table.hears_itself());
    let both = told(&mut watch, 10 * SECOND).await?;
    assert_eq!(states(&both, "monitor").last(), Some(&State::Up));
    let sent = table.heart_counts().unwrap().sent;
    table.begin_heart().await?;
    assert_eq!(table.heart_counts().unwrap().sent, sent, "it was heard already");

    broker.freeze();
    let frozen = told(&mut watch, 30 * SECOND).await?;
    assert!(matches!(frozen[..], [MonitorEvent::Blind { .. }]), "{frozen:#?}");
    broker.thaw();
    told(&mut watch, 10 * SECOND).await?;
    fleet.abort();
    watch.stop().await?;
    assert_eq!(states(&told(&mut other, SECOND).await?, "monitor").last(), Some(&State::Stopped));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_heart_that_never_began_says_nothing_at_the_end() -> Result<()> {
    let broker = MemoryBroker::new();
    let mut other = Watch::start(&broker.connect(), WatchOptions::default()).await?;
    let options = WatchOptions::default().with_heart_later(heart(broker.connect())?);
    let watch = Watch::start(&broker.connect(), options).await?;
    let table = watch.table();
    watch.stop().await?;
    assert!(told(&mut other, 5 * SECOND).await?.is_empty());
    assert_eq!(table.begin_heart().await.unwrap_err().kind(), ErrorKind::Closed);

    let watch = Watch::start(&broker.connect(), WatchOptions::default()).await?;
    let err = watch.table().begin_heart().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_whose_heart_fails_counts_it_and_is_late_by_itself() -> Result<()> {
    let broker = MemoryBroker::new();
    let fails = Arc::new(AtomicBool::new(false));
    let (memory, is_failing) = (broker.connect(), Arc::clone(&fails));
    let faulty = publish_async_fn(move |message: Message| {
        let (memory, is_failing) = (memory.clone(), Arc::clone(&is_failing));
        async move {
            match is_failing.load(Ordering::SeqCst) {
                true => Err(Error::new(ErrorKind::Unreachable, "test")),
                false => memory.send(message).await.map(drop),
            }
        }
    });
    let options = WatchOptions::default().with_heart(heart(faulty)?);
    let mut watch = Watch::start(&broker.connect(), options).await?;
    let other = tokio::spawn(beat(broker.connect(), "a"));
    told(&mut watch, 10 * SECOND).await?;
    fails.store(true, Ordering::SeqCst);
    // The link carries others' beats, so it is the heart that is silent.
    let alone = told(&mut watch, 20 * SECOND).await?;
    assert_eq!(states(&alone, "monitor"), [State::Late, State::Down]);
    assert_eq!(alone.len(), 2, "{alone:#?}");
    assert!(watch.table().heart_counts().unwrap().failed > 10);

    other.abort();
    let nobody = told(&mut watch, 60 * SECOND).await?;
    assert!(matches!(nobody[..], [MonitorEvent::Blind { .. }]), "{nobody:#?}");
    fails.store(false, Ordering::SeqCst);
    let both = told(&mut watch, 7 * SECOND).await?;
    assert!(matches!(both[0], MonitorEvent::Sighted { .. }), "{both:#?}");
    assert_eq!(
        (states(&both, "monitor"), states(&both, "a")),
        (vec![State::Up], vec![State::Late])
    );
    Ok(())
}
