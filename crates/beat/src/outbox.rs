//! What a monitor has told and nobody has read yet: bounded, and nothing in it is lost silently.
use std::collections::{HashMap, VecDeque};

use crate::{MonitorEvent, Process, Transition};

/// Holds events for a reader that may be slow.
///
/// As long as fewer than `capacity` wait, each transition waits for itself. From then on a process's transitions
/// run together into the one that waits already, which then leads from where the reader left off to what is true
/// now, and counts what it skipped. Gaps, malformed and refused beats always run together, so that a flood of them
/// pushes nothing else. So at most `capacity`, one per process and one of each other kind wait.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<MonitorEvent>,
    /// How many were taken before the first that waits.
    taken: u64,
    /// Where the latest event of each key waits, counted from the first one ever.
    latest: HashMap<Key, u64>,
    capacity: usize,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Key {
    Process(Process),
    Flapping(Process),
    Conflict(Process),
    Sight,
    Stalled,
    Gap,
    Malformed,
    Refused,
}

impl Key {
    fn of(event: &MonitorEvent) -> Self {
        match event {
            MonitorEvent::Transition(transition) => Self::Process(transition.process.clone()),
            MonitorEvent::Forgotten { process, .. } => Self::Process(process.clone()),
            MonitorEvent::Flapping { process, .. } => Self::Flapping(process.clone()),
            MonitorEvent::Conflict { process, .. } => Self::Conflict(process.clone()),
            MonitorEvent::Stalled { .. } => Self::Stalled,
            MonitorEvent::Blind { .. } | MonitorEvent::Sighted { .. } => Self::Sight,
            MonitorEvent::Gap { .. } => Self::Gap,
            MonitorEvent::Malformed { .. } => Self::Malformed,
            MonitorEvent::Refused { .. } => Self::Refused,
        }
    }

    fn is_each_for_itself(&self) -> bool {
        matches!(self, Self::Process(_) | Self::Flapping(_) | Self::Conflict(_) | Self::Sight)
    }
}

impl Outbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), taken: 0, latest: HashMap::new(), capacity }
    }

    /// Takes the oldest event.
    pub(crate) fn take(&mut self) -> Option<MonitorEvent> {
        let event = self.waiting.pop_front()?;
        let key = Key::of(&event);
        if self.latest.get(&key) == Some(&self.taken) {
            self.latest.remove(&key);
        }
        self.taken += 1;
        Some(event)
    }

    fn put(&mut self, event: MonitorEvent) {
        let key = Key::of(&event);
        if self.waiting.len() >= self.capacity || !key.is_each_for_itself() {
            let index = self.latest.get(&key).and_then(|at| usize::try_from(at - self.taken).ok());
            if let Some(earlier) = index.and_then(|index| self.waiting.get_mut(index)) {
                merge(earlier, event);
                return;
            }
        }
        self.latest.insert(key, self.taken + self.waiting.len() as u64);
        self.waiting.push_back(event);
    }
}

impl Extend<MonitorEvent> for Outbox {
    fn extend<I: IntoIterator<Item = MonitorEvent>>(&mut self, events: I) {
        events.into_iter().for_each(|event| self.put(event));
    }
}

/// Makes `later` of `earlier`, keeping where it came from and how much it stands for.
fn merge(earlier: &mut MonitorEvent, mut later: MonitorEvent) {
    use MonitorEvent::{Blind, Forgotten, Gap, Malformed, Refused, Sighted, Stalled};
    match (&*earlier, &mut later) {
        (MonitorEvent::Transition(before), MonitorEvent::Transition(after)) => {
            let Transition { from, skipped, .. } = before;
            (after.from, after.skipped) = (*from, skipped + after.skipped + 1);
        }
        (
            Blind { skipped: before, .. } | Sighted { skipped: before, .. },
            Blind { skipped, .. },
        )
        | (
            Blind { skipped: before, .. } | Sighted { skipped: before, .. },
            Sighted { skipped, .. },
        ) => {
            *skipped += before + 1;
        }
        // The reader knows it as what it was when it was told last.
        (MonitorEvent::Transition(before), Forgotten { was, .. }) => {
            *was = before.from.unwrap_or(*was);
        }
        (Forgotten { was, .. }, MonitorEvent::Transition(after)) => {
            (after.from, after.skipped) = (Some(*was), after.skipped + 1);
        }
        (Stalled { gap: before, .. }, Stalled { gap, .. }) => *gap = gap.saturating_add(*before),
        (Gap { lost: before, .. }, Gap { lost, .. }) => *lost = lost.saturating_add(*before),
        (Malformed { count: before, .. }, Malformed { count, .. })
        | (Refused { count: before, .. }, Refused { count, .. }) => *count += before,
        // Only events of one key are merged.
        _ => {}
    }
    *earlier = later;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlindCause, Reason, State, Timestamp};

    fn became(name: &str, from: State, to: State) -> MonitorEvent {
        MonitorEvent::Transition(Transition {
            process: Process::parse(name).unwrap(),
            from: Some(from),
            to,
            at: Timestamp::START,
            reason: Reason::Beat,
            skipped: 0,
        })
    }

    fn drain(outbox: &mut Outbox) -> Vec<MonitorEvent> {
        std::iter::from_fn(|| outbox.take()).collect()
    }

    #[test]
    fn events_leave_in_the_order_in_which_they_came() {
        let mut outbox = Outbox::new(8);
        let events = [
            became("a", State::Up, State::Late),
            became("b", State::Up, State::Late),
            became("a", State::Late, State::Up),
        ];
        outbox.extend(events.clone());
        assert_eq!(drain(&mut outbox), events);
        assert!(outbox.latest.is_empty());
    }

    #[test]
    fn a_slow_reader_is_led_to_what_is_true_now_and_told_what_it_skipped() {
        let mut outbox = Outbox::new(2);
        outbox.extend([
            became("a", State::Up, State::Late),
            became("b", State::Up, State::Late),
            became("a", State::Late, State::Down),
            became("c", State::Up, State::Late),
            became("a", State::Down, State::Up),
            became("c", State::Late, State::Up),
        ]);
        let told: Vec<_> = drain(&mut outbox)
            .iter()
            .filter_map(MonitorEvent::transition)
            .map(|it| (it.process.to_string(), it.from.unwrap(), it.to, it.skipped))
            .collect();
        let expected = [
            ("a", State::Up, State::Up, 2),
            ("b", State::Up, State::Late, 0),
            ("c", State::Up, State::Up, 1),
        ];
        assert_eq!(told, expected.map(|(name, from, to, n)| (name.to_owned(), from, to, n)));
    }

    #[test]
    fn a_flood_of_malformed_beats_takes_one_place() {
        let mut outbox = Outbox::new(2);
        for nth in 0..1000 {
            outbox.extend([MonitorEvent::Malformed {
                name: format!("heartbeat.{nth}").into(),
                reason: crate::Malformed::NotANumber,
                count: 1,
                at: Timestamp::START,
            }]);
        }
        outbox.extend([became("a", State::Up, State::Late), became("a", State::Late, State::Up)]);
        let told = drain(&mut outbox);
        assert_eq!(told.len(), 2);
        let Some(MonitorEvent::Malformed { name, count, .. }) = told.first() else {
            panic!("{told:?}")
        };
        assert_eq!((&**name, *count), ("heartbeat.999", 1000));
    }

    #[test]
    fn a_flapping_link_takes_one_place_once_full() {
        let mut outbox = Outbox::new(0);
        let at = Timestamp::START;
        for _ in 0..50 {
            outbox.extend([
                MonitorEvent::Blind { at, cause: BlindCause::LinkDown, skipped: 0 },
                MonitorEvent::Sighted { at, skipped: 0 },
            ]);
        }
        assert_eq!(drain(&mut outbox), [MonitorEvent::Sighted { at, skipped: 99 }]);
    }
}
