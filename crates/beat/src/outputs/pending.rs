//! What an output has not delivered: the notifications in its queue and, alert by alert, what found no room there.
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sinew_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::worker::Worker;
use crate::{Alert, AlertKey, AlertKind, Clock, Notification, Timestamp};

/// How many alerts are kept, and as many again of those that say that something is over: as many as there are incidents.
const MOST: usize = 100_000;

/// Of how many alerts those of one group are looked for.
const LOOK: usize = 1000;

/// The front of an output: it takes notifications, and hands them to the task that delivers them.
#[derive(Debug)]
pub(super) struct Outbox {
    worker: Worker<(Timestamp, Notification)>,
    shelf: Arc<Mutex<Shelf>>,
    clock: Clock,
}

/// The back of it, from which that task takes them.
#[derive(Debug)]
pub(super) struct Pending {
    queue: mpsc::Receiver<(Timestamp, Notification)>,
    shelf: Arc<Mutex<Shelf>>,
    clock: Clock,
}

#[derive(Debug)]
struct Shelf {
    /// Notifications in the queue, and the one under way.
    waiting: u64,
    /// Alerts that were one too many.
    refused: u64,
    /// What found no room in the queue. All of it is newer than what is there.
    kept: Keyed,
    /// What the receiver did not take, unless something newer was said of it since.
    owed: Keyed,
    /// Whether the receiver took what it was sent last.
    is_well: bool,
    /// How many alerts a notification holds.
    max_alerts: usize,
}

/// How much waits, and how much was too much.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) waiting: u64,
    pub(super) kept: u64,
    pub(super) refused: u64,
}

impl Outbox {
    /// Starts the task. Like [`tokio::spawn`] it panics outside of a tokio runtime.
    pub(super) fn start<F>(capacity: usize, clock: Clock, work: impl FnOnce(Pending) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shelf = Arc::new(Mutex::new(Shelf {
            waiting: 0,
            refused: 0,
            kept: Keyed::default(),
            owed: Keyed::default(),
            is_well: true,
            max_alerts: 1,
        }));
        let behind = Arc::clone(&shelf);
        let start = |queue| work(Pending { queue, shelf: behind, clock });
        Self { worker: Worker::start(capacity, start), shelf, clock }
    }

    /// Hands in a notification. Its alerts are kept one by one where the queue has no room, or where others are kept
    /// already, so that nothing newer overtakes them.
    pub(super) fn send(&self, notification: Notification, operation: &'static str) -> Result<()> {
        let mut shelf = lock(&self.shelf);
        shelf.max_alerts = notification.max_alerts;
        if self.worker.is_closed() || (shelf.kept.is_empty() && self.worker.has_room()) {
            self.worker.send((self.clock.now(), notification), operation)?;
            shelf.waiting += 1;
            return Ok(());
        }
        let Notification { group, alerts, .. } = notification;
        let too_many = alerts.into_iter().filter_map(|it| shelf.kept.put(&group, it)).count();
        shelf.refused += too_many as u64;
        match too_many {
            0 => Ok(()),
            _ => Err(Error::new(ErrorKind::Overloaded, operation)
                .with_detail("too many alerts wait to be told")),
        }
    }

    pub(super) fn held(&self) -> Held {
        let shelf = lock(&self.shelf);
        let Shelf { waiting, refused, ref kept, .. } = *shelf;
        Held { waiting, kept: kept.alerts.len() as u64, refused }
    }

    /// Takes no more, and lets what waits be worked off for no longer than `limit`.
    pub(super) async fn finish(&mut self, limit: Duration) {
        self.worker.finish(limit).await;
    }
}

impl Pending {
    /// The next one, and since when it waits; none when there will be no more. What was kept waits from now on.
    ///
    /// Cancel safe. Each is to be followed by [`end`](Self::end).
    pub(super) async fn next(&mut self) -> Option<(Timestamp, Notification)> {
        if let Some(ready) = self.ready() {
            return Some(ready);
        }
        let (since, notification) = self.queue.recv().await?;
        Some((since, lock(&self.shelf).settle(notification)))
    }

    /// What is there: the oldest first, and what the receiver did not take when nothing else is.
    fn ready(&mut self) -> Option<(Timestamp, Notification)> {
        // Held meanwhile, so that nothing is kept that is older than what the queue gets.
        let mut shelf = lock(&self.shelf);
        if let Ok((since, notification)) = self.queue.try_recv() {
            return Some((since, shelf.settle(notification)));
        }
        let most = shelf.max_alerts;
        let notification = match shelf.kept.take(most) {
            Some(kept) => shelf.settle(kept),
            None if shelf.is_well => shelf.owed.take(most)?,
            None => return None,
        };
        shelf.waiting += 1;
        Some((self.clock.now(), notification))
    }

    /// The one under way is so no more.
    pub(super) fn end(&self) {
        let mut shelf = lock(&self.shelf);
        shelf.waiting = shelf.waiting.saturating_sub(1);
    }

    /// The receiver took it: so it may take what it did not take before.
    #[cfg(feature = "webhook")]
    pub(super) fn taken(&self) {
        lock(&self.shelf).is_well = true;
        self.end();
    }

    /// The receiver did not take it: it is told again when it has taken another one, unless something newer is then.
    #[cfg(feature = "webhook")]
    pub(super) fn given_up(&self, notification: Notification) {
        let mut shelf = lock(&self.shelf);
        shelf.is_well = false;
        let Notification { group, alerts, .. } = notification;
        let too_many = alerts.into_iter().filter_map(|it| shelf.owed.put(&group, it)).count();
        shelf.refused += too_many as u64;
        drop(shelf);
        self.end();
    }
}

impl Shelf {
    /// Makes good what the receiver did not take of the same incidents.
    fn settle(&mut self, mut notification: Notification) -> Notification {
        if !self.owed.is_empty() {
            let alerts = std::mem::take(&mut notification.alerts);
            let alerts = alerts.into_iter().map(|later| match self.owed.remove(&later.key) {
                Some(earlier) => join(earlier, later),
                None => later,
            });
            notification.alerts = alerts.collect();
        }
        notification
    }
}

/// Alerts by key, in the order in which their keys came.
#[derive(Debug, Default)]
struct Keyed {
    next: u64,
    places: HashMap<AlertKey, u64>,
    alerts: BTreeMap<u64, (Option<Box<str>>, Alert)>,
}

impl Keyed {
    fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }

    /// Takes one in, in place of an earlier one of its incident; gives it back where it is one too many.
    ///
    /// There is more room for what says that something is over: else a receiver could have it open for ever.
    fn put(&mut self, group: &Option<Box<str>>, alert: Alert) -> Option<Alert> {
        let most = if alert.kind == AlertKind::Resolved { 2 * MOST } else { MOST };
        let is_full = self.alerts.len() >= most;
        let known = self.places.get(&alert.key).and_then(|place| self.alerts.get_mut(place));
        if let Some((_, earlier)) = known {
            *earlier = join(earlier.clone(), alert);
            return None;
        }
        if is_full {
            return Some(alert);
        }
        self.places.insert(alert.key.clone(), self.next);
        self.alerts.insert(self.next, (group.clone(), alert));
        self.next += 1;
        None
    }

    fn remove(&mut self, key: &AlertKey) -> Option<Alert> {
        let place = self.places.remove(key)?;
        self.alerts.remove(&place).map(|(_, alert)| alert)
    }

    /// The first ones, as a notification: of their groups that of the first.
    fn take(&mut self, most: usize) -> Option<Notification> {
        let (_, (group, first)) = self.alerts.first_key_value()?;
        let (group, is_own) = (group.clone(), first.process.is_none());
        let is_alike =
            |it: &(Option<Box<str>>, Alert)| it.0 == group && it.1.process.is_none() == is_own;
        let look = self.alerts.iter().take(LOOK.max(most));
        let places: Vec<_> =
            look.filter(|(_, it)| is_alike(it)).map(|(place, _)| *place).take(most).collect();
        let taken = places.iter().filter_map(|place| self.alerts.remove(place));
        let alerts: Vec<_> = taken.map(|(_, alert)| alert).collect();
        for alert in &alerts {
            self.places.remove(&alert.key);
        }
        Some(Notification { group, alerts, max_alerts: most })
    }
}

/// What to say instead of both, as nobody was told the earlier one.
fn join(earlier: Alert, later: Alert) -> Alert {
    match (earlier.kind, later.kind) {
        (AlertKind::Firing, AlertKind::Changed) => Alert { kind: AlertKind::Firing, ..later },
        (AlertKind::Firing | AlertKind::Changed, AlertKind::Renotify) => earlier,
        _ => later,
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Condition, State, ToldIncident};

    fn alert(name: &str, kind: AlertKind) -> Alert {
        let told =
            ToldIncident::new(None, Condition::Blind, name, std::time::SystemTime::UNIX_EPOCH);
        Alert {
            key: told.key,
            kind,
            process: None,
            condition: Condition::State(State::Down),
            state: None,
            previous: None,
            reason: None,
            instances: None,
            since: Timestamp::START,
            at: Timestamp::START,
        }
    }

    fn said(notification: Option<Notification>) -> Vec<String> {
        let alerts = notification.into_iter().flat_map(|it| it.alerts);
        alerts.map(|it| format!("{} {}", it.kind, it.key)).collect()
    }

    #[test]
    fn of_an_incident_the_latest_is_kept_at_the_place_of_the_first() {
        let mut keyed = Keyed::default();
        for (name, kind) in [
            ("a", AlertKind::Firing),
            ("b", AlertKind::Firing),
            ("a", AlertKind::Resolved),
            ("c", AlertKind::Firing),
            ("c", AlertKind::Changed),
            ("b", AlertKind::Renotify),
            ("d", AlertKind::Renotify),
        ] {
            assert!(keyed.put(&None, alert(name, kind)).is_none());
        }
        assert_eq!(said(keyed.take(2)), ["resolved a", "firing b"]);
        assert_eq!(said(keyed.take(2)), ["firing c", "renotify d"]);
        assert!(keyed.take(2).is_none() && keyed.places.is_empty());
    }

    #[cfg(feature = "webhook")]
    #[tokio::test]
    async fn what_was_given_up_is_told_after_the_next_that_is_taken_unless_something_newer_was() {
        let (give, got) = tokio::sync::oneshot::channel();
        let work = |pending| async move { drop(give.send(pending)) };
        let outbox = Outbox::start(1, Clock::start(), work);
        let mut pending: Pending = got.await.unwrap();
        let send = |name, kind| {
            let alerts = vec![alert(name, kind)];
            outbox.send(Notification { group: None, alerts, max_alerts: 100 }, "tell").unwrap();
        };
        for name in ["a", "b"] {
            send(name, AlertKind::Firing);
            let (_, lost) = pending.next().await.unwrap();
            pending.given_up(lost);
        }
        assert!(pending.ready().is_none(), "the receiver has taken nothing since");
        for (name, kind) in
            [("c", AlertKind::Firing), ("d", AlertKind::Firing), ("a", AlertKind::Resolved)]
        {
            send(name, kind);
        }
        let mut told = Vec::new();
        while let Some((_, notification)) = pending.ready() {
            told.push(said(Some(notification)));
            pending.taken();
        }
        assert_eq!(told, [vec!["firing c"], vec!["firing d", "resolved a"], vec!["firing b"]]);
        let Held { waiting, kept, refused } = outbox.held();
        assert_eq!((waiting, kept, refused), (0, 0, 0));
    }

    #[test]
    fn a_group_is_told_by_itself() {
        let mut keyed = Keyed::default();
        for (name, group) in [("a", "eu"), ("b", "us"), ("c", "eu")] {
            let _room = keyed.put(&Some(group.into()), alert(name, AlertKind::Firing));
        }
        assert_eq!(said(keyed.take(9)), ["firing a", "firing c"]);
        assert_eq!(said(keyed.take(9)), ["firing b"]);
    }

    #[test]
    fn the_end_of_something_finds_room_where_a_beginning_finds_none() {
        let mut keyed = Keyed::default();
        for n in 0..MOST {
            assert!(keyed.put(&None, alert(&n.to_string(), AlertKind::Firing)).is_none());
        }
        assert!(keyed.put(&None, alert("new", AlertKind::Firing)).is_some());
        assert!(keyed.put(&None, alert("old", AlertKind::Resolved)).is_none());
        assert!(keyed.put(&None, alert("0", AlertKind::Changed)).is_none());
    }
}
