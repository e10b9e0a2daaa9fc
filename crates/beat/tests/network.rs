//! A heart and a monitor with a bad network between them, in virtual time: losses, duplicates, delays that reorder,
//! link cuts and crashes.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proptest::prelude::*;
use sinew_beat::{
    Beat, Heart, HeartOptions, MIN_INTERVAL, Monitor, MonitorEvent, MonitorOptions, Reason, State,
    Timestamp,
};
use sinew_core::{Error, ErrorKind, Message, Result, publish_fn};

type Told = Vec<MonitorEvent>;

/// What the process does after it waited for `gap` thousandths of its period, and what the network makes of it.
#[derive(Clone, Debug)]
struct Step {
    gap: u32,
    degraded: bool,
    fate: Fate,
}

/// Delays are in thousandths of a quarter of the period.
#[derive(Clone, Debug)]
enum Fate {
    Arrives { delay: u32 },
    Doubled { delay: u32, again: u32 },
    Lost,
    LostAndTold { delay: u32 },
}

#[derive(Clone, Debug)]
struct Cut {
    from_ms: u64,
    lasts_ms: u64,
}

/// What the monitor is told, and when.
#[derive(Clone, Debug)]
enum Input {
    Message(Message),
    Lost,
    Down,
    Up,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        4 => (0..=1000_u32).prop_map(|delay| Fate::Arrives { delay }),
        2 => (0..=1000_u32, 0..=1000_u32).prop_map(|(delay, again)| Fate::Doubled { delay, again }),
        1 => Just(Fate::Lost),
        1 => (0..=1000_u32).prop_map(|delay| Fate::LostAndTold { delay }),
    ];
    (1..=1000_u32, any::<bool>(), fate).prop_map(|(gap, degraded, fate)| Step {
        gap,
        degraded,
        fate,
    })
}

/// One or no cut in each stretch of time, so that they do not overlap.
fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    proptest::collection::vec((any::<bool>(), 0..20_000_u64, 1..20_000_u64), 0..6).prop_map(
        |cuts| {
            let nth = (0..).zip(cuts).filter(|(_, (happens, ..))| *happens);
            nth.map(|(nth, (_, offset, lasts_ms))| Cut { from_ms: nth * 40_000 + offset, lasts_ms })
                .collect()
        },
    )
}

/// Lets a real heart run through the steps, and tells what it published and when.
fn publish(
    steps: &[Step],
    period: Duration,
    stops: bool,
) -> Result<Vec<(Timestamp, Message, Fate)>> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let wire = Arc::clone(&sent);
    let heart: Heart<_> = HeartOptions::default()
        .with_period(period)
        .with_min_interval(period.min(MIN_INTERVAL))
        .build(
            publish_fn(move |message: Message| {
                wire.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                Ok(())
            }),
            "a",
        )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|err| Error::new(ErrorKind::Internal, "start runtime").with_source(err))?;
    runtime.block_on(async {
        let mut now = Timestamp::START;
        let mut published = Vec::new();
        let mut collect = |now, fate: &Fate| {
            let messages: Vec<_> =
                sent.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
            published.extend(messages.into_iter().map(|message| (now, message, fate.clone())));
        };
        heart.start().await?;
        collect(now, &Fate::Arrives { delay: 0 });
        for Step { gap, degraded, fate } in steps {
            let gap = period * *gap / 1000;
            tokio::time::advance(gap).await;
            now = now.after(gap);
            // A process that is not well says so as well as that it lives, as beatit's users do.
            if *degraded {
                heart.degraded().await?;
                collect(now, fate);
            }
            heart.beat().await?;
            collect(now, fate);
        }
        if stops {
            heart.stop().await?;
            collect(now, &Fate::Arrives { delay: 0 });
        }
        Ok(published)
    })
}

/// Turns what was published into what a monitor is told, in the order of time.
fn carry(
    published: Vec<(Timestamp, Message, Fate)>,
    cuts: &[Cut],
    period: Duration,
) -> Vec<(Timestamp, Input)> {
    let ms = |ms| Timestamp::from_start(Duration::from_millis(ms));
    let cut_off =
        |at| cuts.iter().any(|cut| ms(cut.from_ms) <= at && at < ms(cut.from_ms + cut.lasts_ms));
    let delayed = |at: Timestamp, delay: u32| at.after(period / 4 * delay / 1000);
    let mut told = Vec::new();
    let mut lost_before = false;
    for (at, message, fate) in published {
        // More than one untold loss in a row is a broken promise, as far as a monitor can see.
        let fate = match fate {
            Fate::Lost if lost_before => Fate::Arrives { delay: 0 },
            fate => fate,
        };
        lost_before = matches!(fate, Fate::Lost);
        let arrives = Input::Message(message);
        match fate {
            Fate::Arrives { delay } => told.push((delayed(at, delay), arrives)),
            Fate::Doubled { delay, again } => {
                told.push((delayed(at, delay), arrives.clone()));
                told.push((delayed(at, again), arrives));
            }
            Fate::Lost => {}
            Fate::LostAndTold { delay } => told.push((delayed(at, delay), Input::Lost)),
        }
    }
    told.retain(|(at, _)| !cut_off(*at));
    for cut in cuts {
        told.push((ms(cut.from_ms), Input::Down));
        told.push((ms(cut.from_ms + cut.lasts_ms), Input::Up));
    }
    told.sort_by_key(|(at, _)| *at);
    told
}

fn feed(monitor: &mut Monitor, input: &Input, now: Timestamp, told: &mut Told) {
    match input {
        Input::Message(message) => monitor.hear(message, now, told),
        Input::Lost => monitor.lose(1, now, told),
        Input::Down => monitor.link_down(now, told),
        Input::Up => monitor.link_up(now, told),
    }
}

/// Each transition goes on from the one before, in the order of time, for a reason that leads there, and none
/// happens by time while the monitor is blind.
fn assert_legal(told: &Told) {
    let mut state = None;
    let mut last = Timestamp::START;
    let mut blind = false;
    for event in told {
        assert!(event.at() >= last, "{told:#?}");
        last = event.at();
        let it = match event {
            MonitorEvent::Blind { .. } => {
                assert!(!std::mem::replace(&mut blind, true));
                continue;
            }
            MonitorEvent::Sighted { .. } => {
                assert!(std::mem::replace(&mut blind, false));
                continue;
            }
            MonitorEvent::Transition(it) => it,
            _ => continue,
        };
        assert_eq!(it.from, state, "{told:#?}");
        assert_ne!(it.from, Some(it.to), "{told:#?}");
        let legal = match it.reason {
            Reason::Start => it.to == State::Starting,
            Reason::Beat => it.to == State::Up,
            Reason::Degraded => it.to == State::Degraded,
            Reason::Stop => it.to == State::Stopped,
            Reason::Overdue => it.to == State::Late && state.is_some_and(State::is_alive) && !blind,
            Reason::Silent => it.to == State::Down && state == Some(State::Late) && !blind,
            _ => false,
        };
        assert!(legal, "{told:#?}");
        state = Some(it.to);
    }
}

fn last_step(steps: &[Step], period: Duration) -> Timestamp {
    steps.iter().fold(Timestamp::START, |at, step| at.after(period * step.gap / 1000))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whoever_keeps_its_promise_is_never_down_and_whoever_ends_is_judged_at_its_deadline(
        steps in proptest::collection::vec(step(), 1..60),
        cuts in cuts(),
        period_ms in 2000..10_000_u64,
        stops in any::<bool>(),
    ) {
        let period = Duration::from_millis(period_ms);
        let inputs = carry(publish(&steps, period, stops).unwrap(), &cuts, period);
        let mut monitor = Monitor::new(MonitorOptions::default());
        let mut told = Told::new();
        // The last beat that arrived, and the last reason for a fresh promise.
        let (mut heard, mut fresh) = (None, Timestamp::START);
        for (at, input) in &inputs {
            feed(&mut monitor, input, *at, &mut told);
            match input {
                Input::Message(message) => heard = Some((Beat::parse(&message.payload).unwrap(), *at)),
                Input::Lost | Input::Up => fresh = *at,
                Input::Down => {}
            }
        }
        while let Some(due) = monitor.next_deadline() {
            monitor.advance(due, &mut told);
        }
        assert_legal(&told);

        let alive_until = last_step(&steps, period);
        let transitions = || told.iter().filter_map(MonitorEvent::transition);
        let wronged = transitions().find(|it| it.to == State::Down && it.at <= alive_until);
        prop_assert!(wronged.is_none(), "{told:#?}");

        let last = transitions().next_back().map(|it| (it.to, it.at));
        match heard {
            None => prop_assert_eq!(last, None),
            Some((Beat::Stop, at)) => prop_assert_eq!(last, Some((State::Stopped, at))),
            Some((beat, at)) if at >= fresh => {
                let due = at.after(beat.promise().unwrap() * 3).after(Duration::from_secs(1));
                prop_assert_eq!(last, Some((State::Down, due)));
            }
            Some(_) => prop_assert_eq!(last.map(|(to, _)| to), Some(State::Down)),
        }
    }

    /// Whatever the period, down to none: the second that a heart may suppress is the grace that a monitor grants.
    #[test]
    fn without_a_network_whoever_keeps_its_promise_is_never_late(
        gaps in proptest::collection::vec((1..=1000_u32, any::<bool>()), 1..60),
        period_ms in 0..4000_u64,
    ) {
        let period = Duration::from_millis(period_ms);
        let fate = Fate::Arrives { delay: 0 };
        let step = |(gap, degraded)| Step { gap, degraded, fate: fate.clone() };
        let steps: Vec<_> = gaps.into_iter().map(step).collect();
        let mut monitor = Monitor::new(MonitorOptions::default());
        let mut told = Told::new();
        for (at, message, _) in publish(&steps, period, false).unwrap() {
            monitor.hear(&message, at, &mut told);
        }
        prop_assert!(told.iter().filter_map(MonitorEvent::transition).all(|it| it.to != State::Late), "{told:#?}");
    }
}
