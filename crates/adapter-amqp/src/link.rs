//! The link: both connections seen as one, and how it ends.
use std::{sync::Arc, time::Duration};

use sinew_core::{Backend, Buffer, Capabilities, Error, ErrorKind, Event, Incoming, Link, Result};
use tokio::{sync::watch, time::timeout};

use crate::{
    Amqp,
    connect::Inner,
    control::{Control, Filler},
    error::Cause,
    supervisor::Line,
};

const DRAIN: &str = "amqp drain";

/// From the first handle to the end.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Open,
    /// Takes no new intake; a handler that finishes may still publish.
    Draining,
    Closed(Option<LeftOver>),
}

/// What a drain could not see to the end of.
#[derive(Clone, Debug)]
pub(crate) enum LeftOver {
    /// This many were not settled.
    Deliveries(usize),
    /// It ran out of time before all publishes were answered.
    Publishes,
    /// What became of a publish that nobody asked about.
    Failure(Cause),
}

impl Inner {
    /// Refuses new work from the first moment of a drain on.
    pub(crate) fn check_open(&self) -> Result<(), Cause> {
        match *self.phase.borrow() {
            Phase::Open => Ok(()),
            Phase::Draining | Phase::Closed(_) => Err(Cause::closed()),
        }
    }

    /// Refuses what is handed over after the end; a handler that finishes during a drain may still publish.
    pub(crate) fn check_publishing(&self) -> Result<(), Cause> {
        match *self.phase.borrow() {
            Phase::Open | Phase::Draining => Ok(()),
            Phase::Closed(_) => Err(Cause::closed()),
        }
    }

    /// Ends both connections. Everything here is bounded by `within`, and by the wait for a goodbye.
    async fn end(&self, within: Duration) {
        let mut unsettled = self.unsettled.subscribe();
        let finish = async {
            for intake in self.intakes() {
                intake.stop();
            }
            // The sender is ours.
            let _ = unsettled.wait_for(|left| *left == 0).await;
            self.flush_all().await
        };
        let left = match timeout(within, finish).await {
            Ok(Ok(())) => None,
            Ok(Err(cause)) => Some(LeftOver::Failure(cause)),
            Err(_) => Some(match *self.unsettled.borrow() {
                0 => LeftOver::Publishes,
                left => LeftOver::Deliveries(left),
            }),
        };
        for intake in self.intakes() {
            intake.end();
        }
        // Before anyone can know of the end: nothing is handed over after it.
        self.phase.send_replace(Phase::Closed(left));
        tokio::join!(self.consuming.close(), self.publishing.close());
    }

    /// How a drain went.
    fn outcome(&self) -> Result<()> {
        let late = |detail: String| Error::new(ErrorKind::Timeout, DRAIN).with_detail(detail);
        match &*self.phase.borrow() {
            Phase::Closed(Some(LeftOver::Deliveries(left))) => Err(late(format!(
                "{left} deliveries were not settled; they will be delivered again"
            ))),
            Phase::Closed(Some(LeftOver::Publishes)) => {
                Err(late("the broker did not confirm what was published last".to_owned()))
            }
            Phase::Closed(Some(LeftOver::Failure(cause))) => {
                Err(cause.clone().during(DRAIN).into())
            }
            _ => Ok(()),
        }
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
        let told = Filler::new(&control, "amqp link");
        let watcher = Watcher {
            publishing: self.inner.publishing.line.clone(),
            consuming: self.inner.consuming.line.clone(),
        };
        self.inner.handle.spawn(watcher.run(told));
        control.incoming()
    }

    async fn drain(&self, within: Duration) -> Result<()> {
        let first = self.inner.phase.send_if_modified(|phase| {
            let open = matches!(phase, Phase::Open);
            if open {
                *phase = Phase::Draining;
            }
            open
        });
        if first {
            let inner = Arc::clone(&self.inner);
            let ending = self.inner.handle.spawn(async move {
                inner.end(within).await;
                inner.ended.send_replace(true);
            });
            // A caller who goes away leaves it to end by itself; a runtime that is gone has ended everything.
            if ending.await.is_err() {
                self.inner.phase.send_replace(Phase::Closed(None));
                self.inner.ended.send_replace(true);
            }
        }
        let mut ended = self.inner.ended.subscribe();
        // The sender is ours.
        let _ = ended.wait_for(|ended| *ended).await;
        self.inner.outcome()
    }
}

struct Watcher {
    publishing: watch::Receiver<Line>,
    consuming: watch::Receiver<Line>,
}

impl Watcher {
    /// Tells of the link until it is closed, or nobody listens.
    async fn run(mut self, told: Filler<()>) {
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
