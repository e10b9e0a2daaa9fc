//! All that the broker knows, under one lock: that makes one order of all messages for everyone.
use std::{collections::HashMap, sync::Arc};

use sinew_core::{Address, Message, Position, Queue, Receipt};

use crate::{
    dedup::Ids,
    error::MemoryError,
    held::Held,
    index::{Index, Route},
    intakes::{Intake, IntakeKind},
    log::Log,
    offer::Offer,
    options::MemoryOptions,
    queue::Backlog,
    reply,
    wait::{WaitList, Wakers},
};

/// The broker's own state. What it holds locks after it: see [`Mailbox`](crate::mailbox::Mailbox) and [`Backlog`].
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: MemoryOptions,
    /// Tells this broker from the others of the process.
    pub(crate) broker: u64,
    pub(crate) health: Health,
    pub(crate) log: Option<Log>,
    pub(crate) index: Index,
    pub(crate) queues: HashMap<Queue, Arc<Backlog>>,
    pub(crate) intakes: HashMap<u64, Intake>,
    /// Calls that wait for a thaw, for room, or for the end of a drain.
    pub(crate) waiting: WaitList,
    pub(crate) counts: Counts,
    ids: Option<Ids>,
    lives: u64,
    last_id: u64,
}

/// How the broker is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Health {
    Running,
    Frozen,
    Down,
}

/// Messages that were taken and went nowhere, each kind on its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) expired: u64,
    pub(crate) duplicates: u64,
}

/// What became of an attempt.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    Done(Result<T, MemoryError>),
    /// Not now: again when something has changed.
    Wait(Obstacle),
}

/// What an attempt waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Obstacle {
    Frozen,
    Full,
}

/// The broker's answer to a publish that reached it.
pub(crate) type Answer = Result<Receipt, MemoryError>;

impl State {
    pub(crate) fn new(options: MemoryOptions, broker: u64) -> Self {
        let mut state = Self {
            options,
            broker,
            health: Health::Running,
            log: None,
            index: Index::default(),
            queues: HashMap::new(),
            intakes: HashMap::new(),
            waiting: WaitList::default(),
            counts: Counts::default(),
            ids: None,
            lives: 0,
            last_id: 0,
        };
        state.begin_life();
        state
    }

    /// Starts with an empty log and no ids. The log of each life has a name of its own, so that a position from
    /// before is refused instead of meaning another message.
    pub(crate) fn begin_life(&mut self) {
        self.lives += 1;
        self.log = self.options.log.map(|bounds| Log::new(bounds, self.lives));
        self.ids = self.options.deduplication.map(Ids::new);
    }

    /// An id that nothing else of this broker has.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// What an attempt comes to before it starts, unless the broker runs.
    pub(crate) fn unready<T>(&self) -> Option<Attempt<T>> {
        match self.health {
            Health::Running => None,
            Health::Frozen => Some(Attempt::Wait(Obstacle::Frozen)),
            Health::Down => Some(Attempt::Done(Err(MemoryError::Down))),
        }
    }

    /// Takes the message out of `offer` and hands it to everyone who wants it, all or none: where one of them makes
    /// the publisher wait, nobody gets it yet.
    pub(crate) fn offer(&mut self, offer: &mut Offer, wakers: &mut Wakers) -> Attempt<Answer> {
        if let Some(unready) = self.unready() {
            return unready;
        }
        let Some(message) = offer.held.as_ref().map(Held::message) else {
            return Attempt::Done(Err(MemoryError::Closed));
        };
        if let Some(id) = id_of(message)
            && let Some(receipt) = self.ids.as_mut().and_then(|ids| ids.known(id))
        {
            self.counts.duplicates += 1;
            return Attempt::Done(Ok(Ok(receipt)));
        }
        if let Some(wanted) = offer.terms.as_ref().and_then(|terms| terms.end.as_ref())
            && let Err(err) = self.check_end(wanted)
        {
            return Attempt::Done(Ok(Err(err)));
        }
        let mut unremembered = Route::default();
        let route = match &message.address {
            Address::Subject(scope, subject) => {
                self.index.route(scope.as_ref(), subject).unwrap_or(&mut unremembered)
            }
            Address::Reply(reply_to) => {
                let Some(inbox) = reply::inbox(reply_to, self.broker) else {
                    return Attempt::Done(Ok(Err(MemoryError::ForeignReply)));
                };
                if let Some(Intake { mailbox, kind: IntakeKind::Inbox, .. }) =
                    self.intakes.get(&inbox)
                {
                    unremembered.copies.push(Arc::clone(mailbox));
                }
                &mut unremembered
            }
            Address::Foreign(scope, name) => {
                unremembered = self.index.route_foreign(scope.as_ref(), name);
                &mut unremembered
            }
            Address::Queue(name) => {
                unremembered = Route::straight_to(self.queues.get(name).cloned());
                &mut unremembered
            }
            _ => &mut unremembered,
        };
        if offer.terms.as_ref().is_some_and(|terms| terms.must_route) && route.copies_needed() == 0
        {
            return Attempt::Done(Ok(Err(MemoryError::Unroutable)));
        }
        if !route.await_room(message.payload.len()) {
            return Attempt::Wait(Obstacle::Full);
        }
        let is_logged = !matches!(message.address, Address::Reply(_));
        let Some(mut held) = offer.held.take() else {
            return Attempt::Done(Err(MemoryError::Closed));
        };
        let receipt = match self.log.as_mut().filter(|_| is_logged) {
            Some(log) => Receipt::Persisted(log.append(&mut held)),
            None => Receipt::Accepted,
        };
        if let Some(ids) = &mut self.ids
            && let Some(id) = id_of(held.message())
        {
            ids.remember(id, receipt.clone());
        }
        deliver(route, held, wakers);
        Attempt::Done(Ok(Ok(receipt)))
    }

    fn check_end(&self, wanted: &Position) -> Result<(), MemoryError> {
        match self.log.as_ref().map(Log::end) {
            Some(end) if end != *wanted => Err(MemoryError::WrongPosition {
                end: Box::new(end),
                wanted: Box::new(wanted.clone()),
            }),
            _ => Ok(()),
        }
    }
}

fn id_of(message: &Message) -> Option<&str> {
    message.properties()?.id.as_deref()
}

/// Hands out one copy each; the last one is the message itself.
fn deliver(route: &mut Route, held: Held, wakers: &mut Wakers) {
    let bytes = held.len();
    let mut left = route.copies_needed();
    let mut held = Some(held);
    let mut copy = || {
        left -= 1;
        if left == 0 { held.take() } else { held.clone() }
    };
    for mailbox in &route.copies {
        if let Some(held) = copy() {
            mailbox.push(held, wakers);
        }
    }
    for group in &mut route.groups {
        if let (Some(held), Some(member)) = (copy(), group.choose(bytes)) {
            member.push(held, wakers);
        }
    }
    for queue in &route.queues {
        if let Some(held) = copy() {
            queue.push(held, wakers);
        }
    }
}
