//! The monitor's skin over a scripted intake, in virtual time: what a broker does rarely, done on purpose.
use std::{sync::atomic::Ordering, time::Duration};

use futures_util::{FutureExt as _, Stream, stream};
use sinew_beat::{
    MonitorEvent, MonitorOptions, Process, ProcessStatus, Snapshot, State, Timestamp, Watch,
    WatchOptions,
};
use sinew_core::{
    Address, Backend, Capabilities, Error, ErrorKind, Event, Incoming, Message, Names, Pattern,
    Position, Registration, Result, Subscribe, Subscription, Wildcards,
};
use tokio::time::timeout;

use self::scripted::{Script, lock, scripted};

mod scripted;

fn message(process: &str, payload: &'static str) -> Message {
    Message::to(Address::from_wire(None, format!("heartbeat.{process}")), payload)
}

fn say(script: &Script, process: &str, payload: &'static str) {
    assert!(script.send(Ok(Event::Item(message(process, payload)))).is_ok(), "the intake is gone");
}

/// Lets virtual time pass, and everything happen that is due within it.
async fn pass(time: Duration) {
    let _ = timeout(time, std::future::pending::<()>()).await;
}

/// What the watch tells until it has nothing to tell for a second.
async fn told(watch: &mut Watch) -> Vec<MonitorEvent> {
    let mut events = Vec::new();
    while let Ok(Some(Ok(event))) = timeout(Duration::from_secs(1), watch.next()).await {
        events.push(event);
    }
    events
}

fn states(events: &[MonitorEvent]) -> Vec<State> {
    events.iter().filter_map(MonitorEvent::transition).map(|it| it.to).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn what_a_log_kept_meanwhile_is_as_old_as_its_broker_says() -> Result<()> {
    let (backend, script) = scripted();
    let watch = Watch::start(&backend, WatchOptions::default()).await?;
    let (table, clock) = (watch.table(), watch.clock());
    // The broker's clock is an hour behind.
    let stored = |process, payload, age: u64| {
        let at = clock.wall(clock.now()) - seconds(3600 + age);
        let position = Position::new("BEATS", 1).with_stored_at(at);
        script.send(Ok(Event::Item(message(process, payload).with_position(position)))).is_ok()
    };
    assert!(stored("a", "beat/5", 0));
    pass(seconds(100)).await;
    assert!(stored("a", "beat/5", 90) && stored("b", "beat/5", 30) && stored("c", "beat/60", 50));
    pass(seconds(1)).await;
    let state = |name| table.process(name).map(|it| it.state);
    assert_eq!((state("a"), state("b")), (Some(State::Down), None));
    assert_eq!((table.counts().beats, table.counts().stale), (2, 2));
    // Said 51 s ago, it is late in 10 s.
    let due = table.process("c").and_then(|it| it.deadline).map(|due| due.since(clock.now()));
    assert_eq!(due, Some(seconds(10)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn lateness_and_intervals_are_counted() -> Result<()> {
    let (backend, script) = scripted();
    let watch = Watch::start(&backend, WatchOptions::default()).await?;
    for _ in 0..4 {
        say(&script, "a", "beat/5");
        pass(seconds(2)).await;
    }
    // It looks at itself a second before, and is late by two.
    tokio::time::advance(seconds(3)).await;
    pass(seconds(1)).await;
    let (intervals, lag) = (watch.table().intervals(), watch.table().lag());
    assert_eq!((intervals.count(), intervals.sum()), (3, seconds(6)));
    assert!(lag.count() >= 8 && (seconds(2)..=seconds(4)).contains(&lag.sum()), "{lag:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_kept_whether_or_not_anybody_reads() -> Result<()> {
    let (backend, script) = scripted();
    let mut watch = Watch::start(&backend, WatchOptions::default()).await?;
    say(&script, "a", "beat/5");
    pass(seconds(100)).await;
    let status = watch.table().process("a").unwrap();
    assert_eq!(status.state, State::Down);
    assert_eq!(status.since.since(status.last_seen.unwrap()), seconds(16));
    assert_eq!(states(&told(&mut watch).await), [State::Up, State::Late, State::Down]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn nobody_is_judged_while_the_link_is_down() -> Result<()> {
    let (backend, script) = scripted();
    let mut watch = Watch::start(&backend, WatchOptions::default()).await?;
    say(&script, "a", "beat/5");
    script.send(Ok(Event::Down)).unwrap();
    pass(seconds(1000)).await;
    assert!(watch.table().is_blind());
    script.send(Ok(Event::Up { gap: true })).unwrap();
    pass(seconds(10)).await;
    let events = told(&mut watch).await;
    assert_eq!(states(&events), [State::Up, State::Late]);
    let sight = events.iter().filter(|it| it.transition().is_none()).collect::<Vec<_>>();
    assert!(
        matches!(*sight, [MonitorEvent::Blind { .. }, MonitorEvent::Sighted { .. }]),
        "{sight:?}"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn lost_messages_are_counted_and_blamed_on_nobody() -> Result<()> {
    let (backend, script) = scripted();
    let mut watch = Watch::start(&backend, WatchOptions::default()).await?;
    say(&script, "a", "beat/5");
    pass(seconds(5)).await;
    script.send(Ok(Event::Lost(3))).unwrap();
    pass(seconds(5)).await;
    assert_eq!(watch.table().process("a").unwrap().state, State::Up);
    assert_eq!(watch.table().counts().lost, 3);
    assert!(
        told(&mut watch).await.iter().any(|it| matches!(it, MonitorEvent::Gap { lost: 3, .. }))
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_ends_the_intake_is_told_last_and_blinds_the_monitor() -> Result<()> {
    let (backend, script) = scripted();
    let mut watch = Watch::start(&backend, WatchOptions::default()).await?;
    say(&script, "a", "beat/5");
    script.send(Err(Error::new(ErrorKind::Denied, "test"))).unwrap();
    assert!(matches!(watch.next().await, Some(Ok(MonitorEvent::Transition(_)))));
    assert!(matches!(watch.next().await, Some(Ok(MonitorEvent::Blind { .. }))));
    let err = watch.next().await.and_then(Result::err).map(|err| err.kind());
    assert_eq!(err, Some(ErrorKind::Denied));
    assert!(watch.next().await.is_none());
    pass(seconds(100)).await;
    assert_eq!(watch.table().process("a").unwrap().state, State::Up);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn dropping_the_watch_ends_its_task_and_its_intake() -> Result<()> {
    let (backend, script) = scripted();
    let watch = Watch::start(&backend, WatchOptions::default()).await?;
    let table = watch.table();
    say(&script, "a", "beat/5");
    pass(seconds(1)).await;
    drop(watch);
    assert!(timeout(seconds(1), script.closed()).await.is_ok());
    assert!(backend.stopped.load(Ordering::SeqCst));
    assert_eq!(table.processes().len(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_stood_still_moves_every_deadline_and_says_so() -> Result<()> {
    let (backend, script) = scripted();
    let mut watch = Watch::start(&backend, WatchOptions::default()).await?;
    say(&script, "a", "beat/5");
    pass(seconds(4)).await;
    // Nothing runs meanwhile, as in a process that is stopped; what was said waits for it.
    say(&script, "a", "beat/5");
    tokio::time::advance(seconds(60)).await;
    pass(seconds(5)).await;
    let events = told(&mut watch).await;
    let [up, MonitorEvent::Stalled { gap, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(up.transition().map(|it| it.to), Some(State::Up));
    assert!((seconds(60)..=seconds(61)).contains(gap), "{gap:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn whoever_operates_before_the_task_sees_that_it_stood_still_judges_nobody() -> Result<()> {
    let (backend, script) = scripted();
    let mut watch = Watch::start(&backend, WatchOptions::default()).await?;
    say(&script, "a", "beat/5");
    pass(seconds(4)).await;
    say(&script, "a", "beat/5");
    // Polled once, it moves the clock, and lets no task run.
    assert!(tokio::time::advance(seconds(60)).now_or_never().is_none());
    assert!(watch.table().reconfigure(MonitorOptions::default()));
    assert_eq!(watch.table().process("a").map(|it| it.state), Some(State::Up));
    let events = told(&mut watch).await;
    assert_eq!((events.len(), states(&events)), (2, vec![State::Up]), "{events:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_another_one_ended_and_calls_nobody_down() -> Result<()> {
    let (backend, script) = scripted();
    let watch = Watch::start(&backend, WatchOptions::default()).await?;
    let table = watch.table();
    for (name, said) in [("a", "beat/5"), ("b", "stop"), ("c", "degraded/60")] {
        say(&script, name, said);
    }
    pass(seconds(1)).await;
    let (before, since) = (table.processes(), table.clock().wall(table.processes()[0].since));
    let snapshot = Snapshot::decode(&table.snapshot().encode())?;
    drop(watch);

    // However long nobody watched: a has its fresh promise, and is judged by it.
    pass(seconds(1000)).await;
    let (backend, script) = scripted();
    let options = WatchOptions::default().with_snapshot(snapshot);
    let mut watch = Watch::start(&backend, options).await?;
    let table = watch.table();
    let states = |it: Vec<ProcessStatus>| it.iter().map(|it| it.state).collect::<Vec<_>>();
    assert_eq!(states(table.processes()), states(before));
    let back = table.clock().wall(table.processes()[0].since);
    let apart = back.duration_since(since).unwrap_or_else(|err| err.duration());
    assert!(apart < seconds(1), "{apart:?}");
    pass(seconds(7)).await;
    say(&script, "c", "degraded/60");
    pass(seconds(60)).await;
    let told: Vec<_> = told(&mut watch)
        .await
        .iter()
        .filter_map(|it| it.transition().map(|it| (it.process.to_string(), it.to)))
        .collect();
    assert_eq!(told, [("a".to_owned(), State::Late), ("a".to_owned(), State::Down)]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_process_is_paused_and_resumed_while_it_is_watched() -> Result<()> {
    let (backend, script) = scripted();
    let mut watch = Watch::start(&backend, WatchOptions::default()).await?;
    let table = watch.table();
    assert!(!table.pause("a"));
    say(&script, "a", "beat/5");
    pass(seconds(1)).await;
    assert!(table.pause("a"));
    pass(seconds(100)).await;
    assert!(table.resume("a"));
    pass(seconds(7)).await;
    let states: Vec<_> =
        told(&mut watch).await.iter().filter_map(|it| Some(it.transition()?.to)).collect();
    assert_eq!(states, [State::Up, State::Paused, State::Up, State::Late]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_the_truth_and_what_it_skipped() -> Result<()> {
    let (backend, script) = scripted();
    // It flaps, which would be told as well.
    let monitor = MonitorOptions::default().with_flapping(101, 101);
    let options = WatchOptions::default().with_monitor(monitor).with_unread(1);
    let mut watch = Watch::start(&backend, options).await?;
    for _ in 0..10 {
        say(&script, "a", "beat/5");
        say(&script, "a", "degraded/5");
    }
    pass(seconds(1)).await;
    let events = told(&mut watch).await;
    let Some(MonitorEvent::Transition(it)) = events.first() else { panic!("{events:?}") };
    assert_eq!((events.len(), it.from, it.to, it.skipped), (1, None, State::Degraded, 19));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_process_declared_later_is_waited_for() -> Result<()> {
    let (backend, _script) = scripted();
    let mut watch = Watch::start(&backend, WatchOptions::default()).await?;
    pass(seconds(10)).await;
    watch.table().declare(&Process::parse("a")?);
    pass(seconds(60)).await;
    assert_eq!(states(&told(&mut watch).await), [State::Expected, State::Down]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_beats_delays_no_deadline() -> Result<()> {
    struct Flood;
    impl Backend for Flood {
        fn capabilities(&self) -> Capabilities {
            scripted().0.capabilities
        }
    }
    impl Subscribe for Flood {
        async fn subscribe(&self, _: Subscription) -> Result<Incoming<Message>> {
            // Time passes with the messages only, and there is always one: the timer never has its turn.
            let events = stream::unfold(0, |nth| async move {
                let process = if nth == 0 { "a" } else { "b" };
                tokio::time::advance(Duration::from_millis(100)).await;
                (nth < 200).then(|| (Ok(Event::Item(message(process, "beat/5"))), nth + 1))
            });
            Ok(Incoming::new(events, || {}))
        }
    }
    let mut watch = Watch::start(&Flood, WatchOptions::default()).await?;
    let mut of_a = Vec::new();
    while let Some(event) = watch.next().await {
        if let MonitorEvent::Transition(it) = event?
            && it.process.as_str() == "a"
        {
            of_a.push((it.to, it.at));
        }
    }
    let heard = of_a.first().map_or(Timestamp::START, |(_, at)| *at);
    let late = (State::Late, heard.after(seconds(6)));
    assert_eq!(of_a, [(State::Up, heard), late, (State::Down, heard.after(seconds(16)))]);
    Ok(())
}

/// A backend whose intake is this stream.
struct Streaming<S>(fn() -> S);

impl<S> Backend for Streaming<S> {
    fn capabilities(&self) -> Capabilities {
        scripted().0.capabilities
    }
}

impl<S> Subscribe for Streaming<S>
where
    S: Stream<Item = Result<Event<Message>>> + Send + 'static,
{
    async fn subscribe(&self, _: Subscription) -> Result<Incoming<Message>> {
        Ok(Incoming::new((self.0)(), || {}))
    }
}

#[tokio::test]
async fn a_flood_without_end_leaves_others_their_turn() -> Result<()> {
    let flood = Streaming(|| stream::repeat_with(|| Ok(Event::Item(message("a", "beat/5")))));
    let mut watch = Watch::start(&flood, WatchOptions::default()).await?;
    // One thread runs all of this: it ends only if the task that is fed for ever gives way.
    assert_eq!(
        watch.next().await.and_then(Result::ok).map(|it| it.at() > Timestamp::START),
        Some(true)
    );
    let before = watch.table().counts().beats;
    tokio::task::yield_now().await;
    assert!(watch.table().counts().beats > before);
    Ok(())
}

#[tokio::test]
async fn a_stream_that_panics_ends_the_watch_with_an_error() -> Result<()> {
    let faulty = Streaming(|| stream::poll_fn(|_| panic!("a backend fails")));
    let mut watch = Watch::start(&faulty, WatchOptions::default()).await?;
    assert!(matches!(watch.next().await, Some(Ok(MonitorEvent::Blind { .. }))));
    let err = watch.next().await.and_then(Result::err).map(|err| err.kind());
    assert_eq!(err, Some(ErrorKind::Internal));
    assert!(watch.next().await.is_none());
    // What has ended stays so.
    watch.table().declare(&Process::parse("a")?);
    assert!(watch.next().await.is_none());
    assert!(watch.table().processes().is_empty());
    Ok(())
}

#[test]
fn a_runtime_that_is_shut_down_ends_the_watch_with_an_error() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (backend, _script) = scripted();
    let mut watch = runtime.block_on(Watch::start(&backend, WatchOptions::default()))?;
    drop(runtime);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut told = Vec::new();
    while let std::task::Poll::Ready(Some(event)) =
        std::pin::Pin::new(&mut watch).poll_next(&mut cx)
    {
        told.push(event.map_err(|err| err.kind()));
    }
    assert!(matches!(*told, [Ok(MonitorEvent::Blind { .. }), Err(ErrorKind::Closed)]), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_backend_that_cannot_serve_the_watch_is_refused_by_name() {
    let deaf = Capabilities::new("deaf");
    let exact = deaf.clone().with_registration(Registration::Confirmed);
    let prefix = exact.clone().with_wildcards(Wildcards::Prefix).with_names(Names::Prefixes);
    let refused = [
        (deaf, WatchOptions::default()),
        (exact.clone(), WatchOptions::default()),
        (exact, WatchOptions::default().with_processes("eu.*")),
        (prefix, WatchOptions::default().with_processes("eu.>")),
    ];
    for (capabilities, options) in refused {
        let (mut backend, _) = scripted();
        backend.capabilities = capabilities;
        let err = Watch::start(&backend, options).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unsupported);
        assert!(err.to_string().starts_with(backend.capabilities.backend), "{err}");
        assert!(lock(&backend.wanted).is_empty());
    }
}

#[tokio::test]
async fn each_backend_is_asked_in_its_own_words() -> Result<()> {
    let wanted = [
        (Wildcards::Tokens, None, Pattern::parse("heartbeat.>")?),
        (Wildcards::Full, Some("eu.*"), Pattern::parse("heartbeat.eu.*")?),
        (Wildcards::Prefix, None, Pattern::prefix("heartbeat.")),
        (Wildcards::Prefix, Some("billing"), Pattern::parse("heartbeat.billing")?),
        (Wildcards::None, Some("billing"), Pattern::parse("heartbeat.billing")?),
    ];
    for (wildcards, processes, pattern) in wanted {
        let (mut backend, _script) = scripted();
        backend.capabilities = backend.capabilities.with_wildcards(wildcards);
        let options = WatchOptions::default();
        let options = match processes {
            Some(processes) => options.with_processes(processes),
            None => options,
        };
        let _watch = Watch::start(&backend, options).await?;
        assert_eq!(*lock(&backend.wanted), [pattern]);
    }
    Ok(())
}

#[tokio::test]
async fn a_pattern_that_is_none_is_refused() {
    let (backend, _script) = scripted();
    let options = WatchOptions::default().with_processes("a..b");
    let err = Watch::start(&backend, options).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidPattern);
}

#[test]
fn a_watch_outside_of_a_runtime_is_a_typed_error() {
    let (backend, _script) = scripted();
    let start = std::pin::pin!(Watch::start(&backend, WatchOptions::default()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(err)) = start.poll(&mut cx) else { panic!("not refused") };
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
}
