//! What a world comes to: what hearts publish in it, and what a monitor hears and suffers.
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sinew_beat::{HeartOptions, MIN_INTERVAL};
use sinew_core::{Error, ErrorKind, Message, Result, publish_fn};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

use super::{Fate, Figures, Incident, Life, Step};

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn runtime() -> Result<Runtime> {
    let started = Builder::new_current_thread().enable_time().start_paused(true).build();
    started.map_err(|err| Error::new(ErrorKind::Internal, "start runtime").with_source(err))
}

/// What the watch is told or suffers, and when.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Message(Message),
    Lost,
    Down,
    Up,
    /// It does not run for so long, and what comes meanwhile waits for it.
    Stall {
        lasts: Duration,
        waiting: Vec<Self>,
    },
    /// What it knows is kept.
    Snapshot,
    /// It ends, and another one goes on later: with what was kept, or with nothing.
    Restart {
        outage: Duration,
        learns: bool,
    },
    /// Who of the members is not judged, and is again.
    Pause(usize),
    Resume(usize),
    Reload(Figures),
}

/// A process that keeps its promise from the one instant to the other.
pub(crate) struct Alive {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// When what was published, and what becomes of it.
type Published = Vec<(Duration, Message, Fate)>;

/// Lets real hearts live, one after the other, and tells what they published and when.
pub(crate) fn publish(
    name: &str,
    period: Duration,
    lives: &[Life],
) -> Result<(Published, Vec<Alive>)> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    runtime()?.block_on(async {
        let began = Instant::now();
        let (mut published, mut alive) = (Vec::new(), Vec::new());
        for Life { pause, steps, stops } in lives {
            tokio::time::advance(*pause).await;
            let from = began.elapsed();
            let wire = Arc::clone(&sent);
            let heart = HeartOptions::default()
                .with_period(period)
                .with_min_interval(period.min(MIN_INTERVAL))
                .build(
                    publish_fn(move |message: Message| {
                        lock(&wire).push(message);
                        Ok(())
                    }),
                    name,
                )?;
            let mut collect = |fate: &Fate| {
                let sent = mem::take(&mut *lock(&sent)).into_iter();
                published.extend(sent.map(|message| (began.elapsed(), message, fate.clone())));
            };
            heart.start().await?;
            collect(&Fate::Arrives { delay: 0 });
            for Step { gap, degraded, fate } in steps {
                tokio::time::advance(period * *gap / 1000).await;
                // A process that is not well says so as well as that it lives, as beatit's users do.
                if *degraded {
                    heart.degraded().await?;
                    collect(fate);
                }
                heart.beat().await?;
                collect(fate);
            }
            alive.push(Alive { from, until: began.elapsed() });
            if *stops {
                heart.stop().await?;
                collect(&Fate::Arrives { delay: 0 });
            }
        }
        Ok((published, alive))
    })
}

/// What the network makes of it. More than one untold loss in a row is a broken promise, as far as a monitor can see.
pub(crate) fn carry(published: Published, period: Duration) -> Vec<(Duration, Input)> {
    let mut told = Vec::new();
    let mut lost_before = false;
    for (at, message, fate) in published {
        let fate = match fate {
            Fate::Lost if lost_before => Fate::Arrives { delay: 0 },
            fate => fate,
        };
        lost_before = matches!(fate, Fate::Lost);
        let delayed = |delay: u32| at + period / 4 * delay / 1000;
        let arrives = Input::Message(message);
        match fate {
            Fate::Arrives { delay } => told.push((delayed(delay), arrives)),
            Fate::Doubled { delay, again } => {
                told.push((delayed(delay), arrives.clone()));
                told.push((delayed(again), arrives));
            }
            Fate::Lost => {}
            Fate::LostAndTold { delay } => told.push((delayed(delay), Input::Lost)),
        }
    }
    told
}

/// What happens to the monitor, and who is not heard for it.
pub(crate) fn befall(inputs: &mut Vec<(Duration, Input)>, incidents: &[(Duration, Incident)]) {
    inputs.sort_by_key(|(at, _)| *at);
    for &(at, incident) in incidents {
        let deaf = match incident {
            Incident::Cut { lasts } => lasts,
            Incident::Restart { outage, .. } => outage,
            Incident::Stall { .. } | Incident::Pause { .. } | Incident::Reload { .. } => {
                Duration::ZERO
            }
        };
        inputs.retain(|(heard, _)| !(at..at + deaf).contains(heard));
        match incident {
            Incident::Cut { lasts } => {
                inputs.extend([(at, Input::Down), (at + lasts, Input::Up)]);
            }
            Incident::Stall { lasts } => {
                let come = |(heard, _): &mut (Duration, Input)| (at..at + lasts).contains(heard);
                let waiting = inputs.extract_if(.., come).map(|(_, input)| input).collect();
                inputs.push((at, Input::Stall { lasts, waiting }));
            }
            Incident::Pause { nth, lasts } => {
                inputs.extend([(at, Input::Pause(nth)), (at + lasts, Input::Resume(nth))]);
            }
            Incident::Reload { patience } => inputs.push((at, Input::Reload(patience))),
            Incident::Restart { outage, kept_before } => {
                inputs
                    .extend(kept_before.map(|before| (at.saturating_sub(before), Input::Snapshot)));
                inputs.push((at, Input::Restart { outage, learns: kept_before.is_none() }));
            }
        }
    }
    inputs.sort_by_key(|(at, _)| *at);
}
