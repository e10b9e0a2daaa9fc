//! The link: both connections seen as one, and how it ends.
use std::{sync::Arc, time::Duration};

use sinew_core::{Backend, Buffer, Capabilities, Error, ErrorKind, Event, Incoming, Link, Result};
use tokio::{sync::watch, time::timeout};

use crate::{Amqp, connect::Inner, control::Control, error::Cause, supervisor::Line};

/// From the first handle to the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Open,
    /// Takes no new intake, and no message.
    Draining,
    Closed {
        in_time: bool,
    },
}

impl Inner {
    /// Refuses new work from the first moment of a drain on.
    pub(crate) fn check_open(&self) -> Result<(), Cause> {
        match *self.phase.borrow() {
            Phase::Open => Ok(()),
            Phase::Draining | Phase::Closed { .. } => Err(Cause::closed()),
        }
    }

    /// Refuses what is handed over after the end; a handler that finishes during a drain may still publish.
    pub(crate) fn check_publishing(&self) -> Result<(), Cause> {
        match *self.phase.borrow() {
            Phase::Open | Phase::Draining => Ok(()),
            Phase::Closed { .. } => Err(Cause::closed()),
        }
    }

    /// Ends both connections. Everything here is bounded by `within`, and by the wait for a goodbye.
    async fn end(&self, within: Duration) {
        let finish = async {
            for intake in self.intakes() {
                intake.stop();
            }
            self.unsettled.subscribe().wait_for(|left| *left == 0).await.is_ok()
                && self.flush_all().await.is_ok()
        };
        let in_time = timeout(within, finish).await.unwrap_or(false);
        for intake in self.intakes() {
            intake.end();
        }
        // Before anyone can know of the end: nothing is handed over after it.
        self.phase.send_replace(Phase::Closed { in_time });
        tokio::join!(self.consuming.close(), self.publishing.close());
        self.ended.send_replace(true);
    }

    /// What a drain that ran out of time left behind.
    fn left_over(&self) -> Error {
        let left = *self.unsettled.borrow();
        Error::new(ErrorKind::Timeout, "amqp drain").with_detail(if left > 0 {
            format!("{left} deliveries were not settled; they will be delivered again")
        } else {
            "the broker did not confirm what was published last".to_owned()
        })
    }
}

/// What watchers have been told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Told {
    up: bool,
    generations: (u64, u64),
}

impl Told {
    fn of(publishing: &Line, consuming: &Line) -> Self {
        let generation = |line: &Line| match line {
            Line::Up(session) => session.generation(),
            _ => 0,
        };
        Self {
            up: publishing.is_up() && consuming.is_up(),
            generations: (generation(publishing), generation(consuming)),
        }
    }

    /// What to say about the change from `earlier`. A break that was over before anyone looked is told as well.
    fn since(self, earlier: Self) -> impl Iterator<Item = Event<()>> {
        let changed = self.generations != earlier.generations;
        let broke = earlier.up && (!self.up || changed);
        let rose = self.up && (!earlier.up || changed);
        [broke.then_some(Event::Down), rose.then_some(Event::Up { gap: true })]
            .into_iter()
            .flatten()
    }
}

impl Link for Amqp {
    fn watch(&self) -> Incoming<()> {
        let control = Control::new(Buffer::default());
        let told = Arc::clone(&control);
        let watcher = Watcher {
            publishing: self.inner.publishing.line.clone(),
            consuming: self.inner.consuming.line.clone(),
        };
        self.inner.handle.spawn(watcher.run(told));
        control.incoming()
    }

    async fn drain(&self, within: Duration) -> Result<()> {
        let first = self.inner.phase.send_if_modified(|phase| {
            let open = *phase == Phase::Open;
            if open {
                *phase = Phase::Draining;
            }
            open
        });
        if first {
            let inner = Arc::clone(&self.inner);
            self.inner.handle.spawn(async move { inner.end(within).await });
        }
        let mut ended = self.inner.ended.subscribe();
        // The sender is ours.
        let _ = ended.wait_for(|ended| *ended).await;
        match *self.inner.phase.borrow() {
            Phase::Closed { in_time: false } => Err(self.inner.left_over()),
            _ => Ok(()),
        }
    }
}

struct Watcher {
    publishing: watch::Receiver<Line>,
    consuming: watch::Receiver<Line>,
}

impl Watcher {
    /// Tells of the link until it is closed, or nobody listens.
    async fn run(mut self, told: Arc<Control<()>>) {
        let mut seen = self.look();
        let is_final = |watcher: &Self| {
            watcher.publishing.borrow().is_final() || watcher.consuming.borrow().is_final()
        };
        told.buffer.tell(if seen.up { Event::Up { gap: false } } else { Event::Down });
        loop {
            if let Some(failure) = self.failure() {
                told.buffer.tell(Event::Down);
                return told.buffer.end(Some(failure));
            }
            if is_final(&self) {
                return told.buffer.end(None);
            }
            let changed = tokio::select! {
                () = told.stopped() => break,
                changed = self.publishing.changed() => changed,
                changed = self.consuming.changed() => changed,
            };
            if changed.is_err() {
                break;
            }
            let now = self.look();
            now.since(seen).for_each(|event| told.buffer.tell(event));
            seen = now;
        }
        told.buffer.end(None);
    }

    fn look(&mut self) -> Told {
        Told::of(&self.publishing.borrow_and_update(), &self.consuming.borrow_and_update())
    }

    /// Why the broker will never take us again.
    fn failure(&self) -> Option<Error> {
        [&self.publishing, &self.consuming].into_iter().find_map(|line| match &*line.borrow() {
            Line::Failed(cause) => Some(cause.clone().during("amqp link").into()),
            _ => None,
        })
    }
}

impl Backend for Amqp {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities.clone()
    }
}
