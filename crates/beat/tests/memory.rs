//! Hearts and a watch over the memory backend, end to end, in virtual time.
use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use sinew_adapter_memory::{Memory, MemoryBroker};
use sinew_beat::{
    Heart, HeartOptions, Instance, MonitorEvent, Process, State, Watch, WatchOptions,
};
use sinew_core::{AnyPublisher, Publish, PublishExt, Result};
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

/// Lets virtual time pass, and everything happen that is due within it.
async fn pass(time: Duration) {
    let _ = timeout(time, std::future::pending::<()>()).await;
}

/// Beats once a second, so many times.
async fn beats(heart: &Heart<impl Publish>, times: u32) -> Result<()> {
    for _ in 0..times {
        heart.beat().await?;
        pass(SECOND).await;
    }
    Ok(())
}

/// Each process's states in the order in which they were told, until nothing is told for so long.
async fn told(watch: &mut Watch, quiet: Duration) -> Result<BTreeMap<String, Vec<State>>> {
    let mut states: BTreeMap<_, Vec<_>> = BTreeMap::new();
    while let Ok(Some(event)) = timeout(quiet, watch.next()).await {
        if let MonitorEvent::Transition(it) = event? {
            states.entry(it.process.to_string()).or_default().push(it.to);
        }
    }
    Ok(states)
}

#[tokio::test(start_paused = true)]
async fn a_second_instance_under_one_name_is_told_of_until_it_ends() -> Result<()> {
    let broker = MemoryBroker::new();
    let mut watch = Watch::start(&broker.connect(), WatchOptions::default()).await?;
    let heart = |instance| {
        let instance = Instance::parse(instance)?;
        HeartOptions::default().with_instance(instance).build(broker.connect(), "billing")
    };
    let (one, other) = (heart("pod-1")?, heart("pod-2")?);
    for _ in 0..3 {
        one.beat().await?;
        pass(SECOND).await;
        other.beat().await?;
        pass(SECOND).await;
    }
    other.stop().await?;
    one.beat().await?;
    let mut conflicts = Vec::new();
    while let Ok(Some(event)) = timeout(SECOND, watch.next()).await {
        if let MonitorEvent::Conflict { process, instances, on, .. } = event? {
            let (one, other) = (instances.one, instances.other);
            conflicts.push(format!("{process} {one} {other} {on}"));
        }
    }
    assert_eq!(conflicts, ["billing pod-1 pod-2 true", "billing pod-1 pod-2 false"]);
    assert_eq!((watch.table().counts().conflicts, watch.table().counts().missed), (1, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_fleet_lives_degrades_dies_and_ends() -> Result<()> {
    let broker = MemoryBroker::new();
    let options = WatchOptions::default().with_expected(Process::parse("eu.absent")?);
    let mut watch = Watch::start(&broker.connect(), options).await?;
    let heart = |process: &str| Heart::new(AnyPublisher::new(broker.connect()), process);

    let (well, degrades, dies, ends) =
        (heart("well")?, heart("eu.degrades")?, heart("dies")?, heart("ends")?);
    let fleet = async {
        tokio::try_join!(
            async {
                well.start().await?;
                beats(&well, 120).await
            },
            async {
                beats(&degrades, 10).await?;
                for _ in 0..10 {
                    degrades.degraded().await?;
                    pass(SECOND).await;
                }
                beats(&degrades, 100).await
            },
            async {
                beats(&dies, 10).await?;
                pass(50 * SECOND).await;
                beats(&dies, 60).await
            },
            async {
                beats(&ends, 10).await?;
                ends.stop().await.map(drop)
            },
        )
    };
    let (fleet, told) = tokio::join!(fleet, told(&mut watch, 100 * SECOND));
    fleet?;
    use State::{Degraded, Down, Expected, Late, Starting, Stopped, Up};
    let expected = [
        ("dies", vec![Up, Late, Down, Up, Late, Down]),
        ("ends", vec![Up, Stopped]),
        ("eu.absent", vec![Expected, Down]),
        ("eu.degrades", vec![Up, Degraded, Up, Late, Down]),
        ("well", vec![Starting, Up, Late, Down]),
    ];
    assert_eq!(told?, expected.map(|(process, states)| (process.to_owned(), states)).into());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_dies_blinds_the_monitor_and_kills_nobody() -> Result<()> {
    let broker = MemoryBroker::new();
    let mut watch = Watch::start(&broker.connect(), WatchOptions::default()).await?;
    let options = HeartOptions::default().with_period(10 * SECOND);
    let heart = options.build(broker.connect(), "a")?;
    heart.beat().await?;
    broker.kill();
    pass(100 * SECOND).await;
    assert!(heart.beat().await.is_err());
    broker.start();
    pass(9 * SECOND).await;
    heart.beat().await?;
    pass(SECOND).await;

    let mut told = Vec::new();
    while let Ok(Some(event)) = timeout(SECOND, watch.next()).await {
        told.push(match event? {
            MonitorEvent::Transition(it) => it.to.as_str(),
            MonitorEvent::Blind { .. } => "blind",
            MonitorEvent::Sighted { .. } => "sighted",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, ["up", "blind", "sighted"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_some_hears_no_others() -> Result<()> {
    let memory = Memory::new();
    let options = WatchOptions::default().with_processes("eu.*");
    let mut watch = Watch::start(&memory, options).await?;
    for process in ["eu.a", "us.b", "eu.c.d", "eu"] {
        Heart::new(memory.clone(), process)?.beat().await?;
    }
    let told = told(&mut watch, SECOND).await?;
    assert_eq!(told, [("eu.a".to_owned(), vec![State::Up])].into());
    Ok(())
}

proptest! {
    #[test]
    fn random_bytes_as_beats_are_counted_and_hide_no_beat(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let outcome: Result<_> = runtime.unwrap().block_on(async {
            let memory = Memory::new();
            let watch = Watch::start(&memory, WatchOptions::default()).await?;
            let sent = payloads.len() as u64;
            for payload in payloads {
                memory.send_to("heartbeat.hostile", payload).await?;
            }
            Heart::new(memory, "a")?.beat().await?;
            pass(SECOND).await;
            let counts = watch.table().counts();
            Ok((sent, counts, watch.table().process("a").map(|it| it.state)))
        });
        let (sent, counts, state) = outcome.unwrap();
        prop_assert_eq!(counts.beats + counts.malformed + counts.refused, sent + 1);
        prop_assert_eq!(state, Some(State::Up));
    }
}
