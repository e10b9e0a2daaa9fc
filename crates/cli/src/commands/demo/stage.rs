//! The stage: runs the services of the demo as tasks with real hearts, and lets their fates befall them.
use std::time::Duration;

use sinew_beat::{Heart, HeartOptions};
use sinew_core::{AnyPublisher, Result};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::cast::{CAST, Fate, LENGTH, Role, script};

/// What each beat of the demo promises: short, so that there is something to see.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// How often a work loop turns; its heart sends once a second all the same.
const TURN: Duration = Duration::from_millis(100);

/// Something that really happened, for the audience to hold against what the monitor says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Happening {
    /// An index into [`CAST`].
    pub(super) whom: usize,
    pub(super) what: Fate,
}

/// A service that runs.
struct Service {
    mood: watch::Sender<Mood>,
    task: JoinHandle<()>,
}

/// What its work loop does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Well,
    Unwell,
    Hung,
    Leaving,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Plays until it is dropped.
pub(super) async fn play(publisher: AnyPublisher, audience: mpsc::Sender<Happening>) {
    let mut running: [Option<Service>; CAST.len()] = std::array::from_fn(|_| None);
    let mut curtain = Instant::now();
    loop {
        for (at, whom, what) in script() {
            sleep_until(curtain + at).await;
            let (Some(role), Some(slot)) = (CAST.get(whom), running.get_mut(whom)) else {
                continue;
            };
            if befall(role, slot, what, &publisher)
                && audience.send(Happening { whom, what }).await.is_err()
            {
                return;
            }
        }
        curtain += LENGTH;
    }
}

/// Lets `what` happen; tells whether it did, as nobody who runs is started.
fn befall(
    role: &'static Role,
    slot: &mut Option<Service>,
    what: Fate,
    publisher: &AnyPublisher,
) -> bool {
    let mood = match what {
        Fate::Start if slot.is_some() => return false,
        Fate::Start => {
            let (mood, moods) = watch::channel(Mood::Well);
            let task = tokio::spawn(live(role, publisher.clone(), moods));
            *slot = Some(Service { mood, task });
            return true;
        }
        // Dropping a service ends it in the middle of whatever it does.
        Fate::Kill => return slot.take().is_some(),
        Fate::Stop => {
            let Some(service) = slot.take() else { return false };
            service.mood.send_replace(Mood::Leaving);
            tokio::spawn(async move {
                let mut service = service;
                // It says its stop and ends; one that takes too long is killed.
                let _ = tokio::time::timeout(PERIOD, &mut service.task).await;
            });
            return true;
        }
        Fate::Degrade => Mood::Unwell,
        Fate::Recover => Mood::Well,
        Fate::Hang => Mood::Hung,
    };
    slot.as_ref().is_some_and(|service| {
        service.mood.send_replace(mood);
        true
    })
}

/// The life of a service: a heart, and a loop that does the work and beats.
async fn live(role: &'static Role, publisher: AnyPublisher, mut moods: watch::Receiver<Mood>) {
    // The memory broker takes every beat; if it ever does not, the monitor will show it.
    let _ = work(role, publisher, &mut moods).await;
}

async fn work(
    role: &'static Role,
    publisher: AnyPublisher,
    moods: &mut watch::Receiver<Mood>,
) -> Result<()> {
    let options = HeartOptions::default().with_warmup(role.warmup()).with_period(PERIOD);
    let heart: Heart<AnyPublisher> = options.build(publisher, role.name)?;
    heart.start().await?;
    sleep(role.warmup()).await;
    loop {
        let mood = *moods.borrow_and_update();
        match mood {
            Mood::Well => heart.beat().await?,
            Mood::Unwell => heart.degraded().await?,
            Mood::Leaving => return heart.stop().await.map(|_| ()),
            Mood::Hung => {
                // Nothing moves until the mood does.
                if moods.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        sleep(TURN).await;
    }
}
