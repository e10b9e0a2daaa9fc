//! Intakes coming and going: subscriptions, replays, inboxes, consumers and their queues, watchers of the link.
use std::sync::Arc;

use sinew_core::{Buffer, Consumption, Event, Queue, Start, Subscription};

use crate::{
    error::MemoryError,
    index::Target,
    log::{Replayed, Wanted},
    mailbox::{Mailbox, Reader},
    queue::{Aftermath, Backlog, Declaration},
    state::{Health, State},
    wait::Wakers,
};

/// One intake, watchers of the link included.
#[derive(Debug)]
pub(crate) struct Intake {
    connection: u64,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) kind: IntakeKind,
}

#[derive(Debug)]
pub(crate) enum IntakeKind {
    Subscription {
        wanted: Wanted,
        group: Option<Queue>,
    },
    Consumer(Arc<Backlog>),
    /// The replies to one request; its id is the reply address.
    Inbox,
    Watcher,
}

/// An intake as its reader holds it.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) id: u64,
    pub(crate) reader: Reader,
}

impl State {
    pub(crate) fn subscribe(
        &mut self,
        connection: u64,
        subscription: &Subscription,
    ) -> Result<Registered, MemoryError> {
        let wanted = Wanted::of(subscription);
        let group = subscription.group.clone();
        let id = self.next_id();
        match (&subscription.start, &mut self.log) {
            (Start::New, _) | (_, None) => {}
            (start, Some(log)) if group.is_none() => log.start(id, start, wanted.clone())?,
            _ => return Err(MemoryError::GroupStart),
        }
        let kind = IntakeKind::Subscription { wanted, group };
        let registered = self.register(id, connection, subscription.buffer, kind);
        if subscription.start == Start::New {
            self.go_live(id);
        }
        Ok(registered)
    }

    pub(crate) fn open_inbox(&mut self, connection: u64) -> Registered {
        let id = self.next_id();
        self.register(id, connection, Buffer::default(), IntakeKind::Inbox)
    }

    /// Watches the link, starting with how it is; a closed one has nothing to say.
    pub(crate) fn watch(
        &mut self,
        connection: u64,
        is_open: bool,
        wakers: &mut Wakers,
    ) -> Registered {
        let id = self.next_id();
        let watcher = self.register(id, connection, Buffer::default(), IntakeKind::Watcher);
        let state = match self.health {
            Health::Down => Event::Down,
            Health::Running | Health::Frozen => Event::Up { gap: false },
        };
        if !is_open {
            self.remove(id, wakers);
        } else if let Some(intake) = self.intakes.get(&id) {
            intake.mailbox.signal(state, wakers);
        }
        watcher
    }

    pub(crate) fn consume(
        &mut self,
        connection: u64,
        wanted: &Consumption,
    ) -> Result<(Registered, Arc<Backlog>), MemoryError> {
        let queue = self.declare(wanted)?;
        let id = self.next_id();
        if !queue.join(id, wanted.prefetch, wanted.exclusive) {
            return Err(MemoryError::QueueTaken(wanted.queue.clone()));
        }
        let kind = IntakeKind::Consumer(Arc::clone(&queue));
        Ok((self.register(id, connection, Buffer::default(), kind), queue))
    }

    /// The queue, which is made where it is not there.
    pub(crate) fn declare(&mut self, wanted: &Consumption) -> Result<Arc<Backlog>, MemoryError> {
        let declaration = Declaration::of(wanted);
        match self.queues.get(&wanted.queue) {
            Some(queue) if queue.declaration == declaration => Ok(Arc::clone(queue)),
            Some(_) => Err(MemoryError::QueueDiffers(wanted.queue.clone())),
            None => self.make_queue(declaration, wanted),
        }
    }

    fn make_queue(
        &mut self,
        declaration: Declaration,
        wanted: &Consumption,
    ) -> Result<Arc<Backlog>, MemoryError> {
        let Consumption { queue: name, scope, patterns, start, .. } = wanted;
        let past = match &self.log {
            Some(log) if *start != Start::New => {
                log.copy(start, &Wanted { scope: scope.clone(), patterns: patterns.clone() })?
            }
            _ => Vec::new(),
        };
        let id = self.next_id();
        let queue = Arc::new(Backlog::new(id, name.clone(), declaration, self.options.queue));
        for held in past {
            queue.push(held, &mut Wakers::default());
        }
        self.index.insert(id, scope.as_ref(), patterns, Target::Queue(Arc::clone(&queue)));
        self.queues.insert(name.clone(), Arc::clone(&queue));
        Ok(queue)
    }

    fn register(
        &mut self,
        id: u64,
        connection: u64,
        buffer: Buffer,
        kind: IntakeKind,
    ) -> Registered {
        let mailbox = Arc::new(Mailbox::new(buffer));
        self.intakes.insert(id, Intake { connection, mailbox: Arc::clone(&mailbox), kind });
        Registered { id, reader: Reader::new(mailbox) }
    }

    /// Has the subscription `id` sent what is published from now on.
    pub(crate) fn go_live(&mut self, id: u64) {
        let Some(Intake { mailbox, kind: IntakeKind::Subscription { wanted, group }, .. }) =
            self.intakes.get(&id)
        else {
            return;
        };
        let mailbox = Arc::clone(mailbox);
        let target = match group {
            Some(group) => Target::Member(group.clone(), mailbox),
            None => Target::Copy(mailbox),
        };
        self.index.insert(id, wanted.scope.as_ref(), &wanted.patterns, target);
    }

    /// The next event of a replay. With its end the intake goes live, under the same lock: nothing comes between. Where
    /// a kill has ended it, the intake is live already.
    pub(crate) fn replay(&mut self, id: u64) -> Replayed {
        let next = self.log.as_mut().and_then(|log| log.replay(id));
        if matches!(next, Some(Replayed::End)) {
            self.go_live(id);
        }
        next.unwrap_or(Replayed::End)
    }

    /// Stops the intake `id`. What comes back is to be dropped with no lock held.
    pub(crate) fn remove(&mut self, id: u64, wakers: &mut Wakers) -> Option<Intake> {
        let intake = self.intakes.remove(&id)?;
        if intake.mailbox.stop(wakers) {
            self.waiting.drain(wakers);
        }
        match &intake.kind {
            IntakeKind::Subscription { wanted, .. } => {
                self.index.remove(id, wanted.scope.as_ref(), &wanted.patterns);
                if let Some(log) = &mut self.log {
                    log.stop(id);
                }
            }
            IntakeKind::Consumer(queue) => {
                let aftermath = queue.leave(id, wakers);
                self.see_to(queue, &aftermath, wakers);
            }
            IntakeKind::Inbox | IntakeKind::Watcher => {}
        }
        Some(intake)
    }

    /// Stops the intakes of `connection`; its watchers only `with_watchers`.
    pub(crate) fn remove_all(
        &mut self,
        connection: u64,
        with_watchers: bool,
        wakers: &mut Wakers,
    ) -> Vec<Intake> {
        let ids: Vec<_> = self
            .intakes
            .iter()
            .filter(|(_, intake)| intake.connection == connection)
            .filter(|(_, intake)| with_watchers || !matches!(intake.kind, IntakeKind::Watcher))
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter().filter_map(|id| self.remove(id, wakers)).collect()
    }

    /// Does what a change of `queue` asks for.
    pub(crate) fn see_to(
        &mut self,
        queue: &Arc<Backlog>,
        aftermath: &Aftermath,
        wakers: &mut Wakers,
    ) {
        self.counts.expired += aftermath.expired;
        if aftermath.awaited {
            self.waiting.drain(wakers);
        }
        // Asked again: a consumer may have joined, which takes the lock that is held here.
        if aftermath.unused && queue.is_unused() {
            self.delete(queue, wakers);
        }
    }

    /// Deletes `queue` with all that is in it.
    pub(crate) fn delete(&mut self, queue: &Arc<Backlog>, wakers: &mut Wakers) {
        if self.queues.get(&queue.name).is_some_and(|known| known.id == queue.id) {
            self.queues.remove(&queue.name);
            let Declaration { scope, patterns, .. } = &queue.declaration;
            self.index.remove(queue.id, scope.as_ref(), patterns);
            self.waiting.drain(wakers);
        }
    }

    /// Takes back every delivery that `connection` has not settled.
    pub(crate) fn revoke(&mut self, connection: u64, wakers: &mut Wakers) {
        let queues: Vec<_> = self.queues.values().cloned().collect();
        for queue in queues {
            let aftermath = queue.revoke(connection, wakers);
            self.see_to(&queue, &aftermath, wakers);
        }
    }

    /// How many deliveries of `connection` want a verdict.
    pub(crate) fn unsettled(&self, connection: u64) -> usize {
        self.queues.values().map(|queue| queue.unsettled(connection)).sum()
    }
}
