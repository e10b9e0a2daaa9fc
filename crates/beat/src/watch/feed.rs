//! The watch's task: it feeds the monitor, and beats for it.
use std::{ops::Deref, pin::pin, thread, time::Duration};

use sinew_core::{Error, ErrorKind, Event, Incoming, Message};
use tokio::{task::coop::consume_budget, time::Sleep};

use super::{By, WatchTable};
use crate::{Health, Progress, Timestamp, monitor::Heard, stats};

/// How often the task sees to it that it runs.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Feeds the monitor until the intake ends, and beats meanwhile, once there is a heart that is heard: for as long as this
/// task turns.
pub(super) async fn run(table: Fed, incoming: Incoming<Message>, timer: Sleep) {
    let progress = Progress::new();
    let mut feeding = pin!(feed(&table, incoming, timer, &progress));
    let Some(own) = &table.shared.own else { return feeding.await };
    tokio::select! {
        () = &mut feeding => return,
        () = own.begun.notified() => {}
    }
    // The start was said, and heard.
    let rhythm = own.heart.rhythm(&progress).begun();
    own.heart.beat_until(rhythm, &progress, || Health::Up, feeding).await;
}

async fn feed(
    table: &WatchTable,
    mut incoming: Incoming<Message>,
    timer: Sleep,
    progress: &Progress,
) {
    let clock = table.clock();
    let mut next = table.update(By::Task, |monitor, now, told| monitor.advance(now, told));
    let mut timer = std::pin::pin!(timer);
    loop {
        // An intake that always has something would never let others run, nor the task be aborted.
        consume_budget().await;
        progress.tick();
        let tick = clock.now().after(TICK);
        let due_at = next.map_or(tick, |at| at.min(tick));
        let due = clock.instant(due_at);
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        let event = tokio::select! {
            biased;
            event = incoming.next() => Some(event),
            () = table.shared.nudge.notified() => None,
            () = timer.as_mut() => None,
        };
        table.note_lag(due_at);
        // Whatever comes in lets the time pass, too, so a flood of beats delays no deadline.
        next = match event {
            Some(Some(Ok(event))) => table.take(event),
            Some(Some(Err(err))) => return table.end(Some(err)),
            Some(None) => return table.end(None),
            None => table.update(By::Task, |monitor, now, told| monitor.advance(now, told)),
        };
    }
}

impl WatchTable {
    /// Tells the monitor what came in.
    fn take(&self, event: Event<Message>) -> Option<Timestamp> {
        if let Event::Item(message) = event {
            return self.hear(&message);
        }
        self.update(By::Task, |monitor, now, told| match event {
            Event::Lost(lost) => monitor.lose(lost, now, told),
            Event::Down => monitor.link_down(now, told),
            Event::Up { .. } => monitor.link_up(now, told),
            _ => {}
        })
    }

    fn hear(&self, message: &Message) -> Option<Timestamp> {
        let clock = self.clock();
        let age = match message.position() {
            Some(_) => self.lock().ages.of(message, clock.now(), &clock),
            None => Duration::ZERO,
        };
        let mut heard = Heard::default();
        let next = self
            .update(By::Task, |monitor, now, told| heard = monitor.note(message, age, now, told));
        stats::heard(heard);
        if let Some(own) = &self.shared.own {
            own.note(&message.address);
        }
        next
    }

    /// Notes how late it is for what was due at `due`, if it was.
    fn note_lag(&self, due: Timestamp) {
        let now = self.clock().now();
        if now >= due {
            let late = now.since(due);
            self.lock().lag.note(late);
            stats::lag(late);
        }
    }
}

/// The table in the hands of its task: however the task ends, the reader is told.
pub(super) struct Fed(pub(super) WatchTable);

impl Deref for Fed {
    type Target = WatchTable;

    fn deref(&self) -> &WatchTable {
        &self.0
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        let (kind, detail) = match thread::panicking() {
            true => (ErrorKind::Internal, "the backend panicked"),
            false => (ErrorKind::Closed, "its runtime was shut down"),
        };
        self.0.end(Some(Error::new(kind, "beat watch").with_detail(detail)));
        if let Some(own) = &self.0.shared.own {
            own.end();
        }
    }
}
