//! A named queue: what waits in it, who has what of it, and when what was handed back returns.
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    task::{Context, Waker},
    time::Duration,
};

use sinew_core::{Consumption, Lifetime, Message, Pattern, Queue, QueueStatus, Scope, Verdict};

use crate::{
    clock::{self, Instant},
    held::Held,
    options::Bounds,
    sync::{Mutex, lock},
    wait::{Wakers, register},
};

/// What a queue was declared with: a second declaration must say the same.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Declaration {
    pub(crate) scope: Option<Scope>,
    pub(crate) patterns: HashSet<Pattern>,
    pub(crate) lifetime: Lifetime,
}

impl Declaration {
    pub(crate) fn of(wanted: &Consumption) -> Self {
        Self {
            scope: wanted.scope.clone(),
            patterns: wanted.patterns.iter().cloned().collect(),
            lifetime: wanted.lifetime,
        }
    }
}

/// The messages of one queue.
///
/// Consumers pull: a message is nobody's until a consumer asks for it, so a slow one holds up what it has and no more.
/// Lock order: the broker's state, then a queue; who only takes or settles needs no other lock.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Its id in the index of bindings.
    pub(crate) id: u64,
    pub(crate) name: Queue,
    pub(crate) declaration: Declaration,
    bounds: Bounds,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Counts the times that the broker forgot everything: a verdict on an older delivery comes too late.
    epoch: u64,
    frozen: bool,
    arrivals: u64,
    bytes: usize,
    /// In order of arrival.
    ready: VecDeque<Queued>,
    delayed: BTreeMap<(Instant, u64), Queued>,
    /// By arrival.
    unsettled: HashMap<u64, Unsettled>,
    members: HashMap<u64, Member>,
    awaited: bool,
}

#[derive(Debug)]
struct Queued {
    arrival: u64,
    held: Held,
    deliveries: u32,
}

#[derive(Debug)]
struct Unsettled {
    queued: Queued,
    member: u64,
    connection: u64,
    /// Who wants to know when the broker takes it back.
    watching: Vec<Waker>,
}

#[derive(Debug)]
struct Member {
    prefetch: usize,
    exclusive: bool,
    in_flight: usize,
    waker: Option<Waker>,
}

/// Names one delivery: a message's arrival and which delivery of it, in one life of the broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tag {
    epoch: u64,
    arrival: u64,
    pub(crate) delivery: u32,
}

/// What a consumer that asks is given.
pub(crate) enum Take {
    Message(Tag, Message),
    /// Nothing yet; look again when woken, or then.
    Wait(Option<Instant>),
}

/// What the broker has to see to after a queue was changed.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// A publisher was waiting for room, and there is some.
    pub(crate) awaited: bool,
    /// Nobody needs the queue any more.
    pub(crate) unused: bool,
    /// The broker is frozen: its answer has to wait.
    pub(crate) frozen: bool,
    /// This many messages were too old.
    pub(crate) expired: u64,
}

impl Backlog {
    pub(crate) fn new(id: u64, name: Queue, declaration: Declaration, bounds: Bounds) -> Self {
        Self { id, name, declaration, bounds, inner: Mutex::default() }
    }

    /// Whether it has no consumer and nothing unsettled.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.inner).is_idle()
    }

    /// What waits in it, and for how many.
    pub(crate) fn status(&self) -> QueueStatus {
        let mut inner = lock(&self.inner);
        inner.return_due();
        let consumers = u32::try_from(inner.members.len()).unwrap_or(u32::MAX);
        QueueStatus::new()
            .with_messages(u64::try_from(inner.ready.len()).unwrap_or(u64::MAX))
            .with_consumers(consumers)
    }

    /// Whether it is to go with its last consumer, and that one has gone.
    pub(crate) fn is_unused(&self) -> bool {
        self.declaration.lifetime == Lifetime::UntilUnused && self.is_idle()
    }

    /// Whether a message of `bytes` fits; a `false` asks to be told when one may.
    pub(crate) fn await_room(&self, bytes: usize) -> bool {
        let mut inner = lock(&self.inner);
        let count = inner.ready.len() + inner.delayed.len() + inner.unsettled.len();
        let fits = self.bounds.fit(count, inner.bytes, bytes);
        inner.awaited |= !fits;
        fits
    }

    pub(crate) fn push(&self, held: Held, wakers: &mut Wakers) {
        let mut inner = lock(&self.inner);
        inner.bytes += held.len();
        inner.arrivals += 1;
        let arrival = inner.arrivals;
        inner.ready.push_back(Queued { arrival, held, deliveries: 0 });
        inner.wake_members(wakers);
    }

    /// Adds a consumer, unless one of the two wants to be alone.
    pub(crate) fn join(&self, member: u64, prefetch: u16, exclusive: bool) -> bool {
        let mut inner = lock(&self.inner);
        if inner.members.values().any(|other| exclusive || other.exclusive) {
            return false;
        }
        let prefetch = usize::from(prefetch.max(1));
        inner.members.insert(member, Member { prefetch, exclusive, in_flight: 0, waker: None });
        true
    }

    /// Takes a consumer out. What it has been given it may still settle.
    pub(crate) fn leave(&self, member: u64, wakers: &mut Wakers) -> Aftermath {
        let mut inner = lock(&self.inner);
        if let Some(member) = inner.members.remove(&member) {
            wakers.push(member.waker);
        }
        self.aftermath(&mut inner, false)
    }

    /// Gives `member` its next message, or has it woken.
    pub(crate) fn take(&self, member: u64, connection: u64, cx: &Context<'_>) -> (Take, Aftermath) {
        let mut replaced = Wakers::default();
        let mut inner = lock(&self.inner);
        let (take, expired) = inner.take(member, connection, cx, &mut replaced);
        let aftermath = Aftermath { expired, ..self.aftermath(&mut inner, expired > 0) };
        drop(inner);
        (take, aftermath)
    }

    /// Does with a delivery what `verdict` says; `None` when it was taken back before.
    pub(crate) fn settle(
        &self,
        tag: Tag,
        verdict: Verdict,
        wakers: &mut Wakers,
    ) -> Option<Aftermath> {
        let mut inner = lock(&self.inner);
        let unsettled = inner.take_unsettled(tag)?;
        inner.freed(unsettled.member, wakers);
        let freed = match verdict {
            Verdict::Requeue => {
                inner.return_now(unsettled.queued, wakers);
                false
            }
            Verdict::RequeueAfter(delay) => {
                inner.return_after(unsettled.queued, delay, wakers);
                false
            }
            _ => {
                inner.bytes -= unsettled.queued.held.len();
                true
            }
        };
        Some(self.aftermath(&mut inner, freed))
    }

    /// Whether the broker has taken this delivery back; otherwise the task is woken when it does.
    pub(crate) fn poll_revoked(&self, tag: Tag, cx: &Context<'_>) -> bool {
        let mut inner = lock(&self.inner);
        if inner.epoch != tag.epoch {
            return true;
        }
        let Some(unsettled) = inner.unsettled.get_mut(&tag.arrival) else { return false };
        if unsettled.queued.deliveries != tag.delivery {
            return false;
        }
        if !unsettled.watching.iter().any(|waker| waker.will_wake(cx.waker())) {
            unsettled.watching.push(cx.waker().clone());
        }
        false
    }

    /// How many deliveries of `connection` want a verdict.
    pub(crate) fn unsettled(&self, connection: u64) -> usize {
        let inner = lock(&self.inner);
        inner.unsettled.values().filter(|it| it.connection == connection).count()
    }

    /// Takes back what `connection` has not settled.
    pub(crate) fn revoke(&self, connection: u64, wakers: &mut Wakers) -> Aftermath {
        let mut inner = lock(&self.inner);
        let arrivals: Vec<_> = inner
            .unsettled
            .iter()
            .filter(|(_, it)| it.connection == connection)
            .map(|(arrival, _)| *arrival)
            .collect();
        for arrival in arrivals {
            if let Some(unsettled) = inner.unsettled.remove(&arrival) {
                unsettled.watching.into_iter().for_each(|waker| wakers.push(Some(waker)));
                inner.freed(unsettled.member, wakers);
                inner.return_now(unsettled.queued, wakers);
            }
        }
        self.aftermath(&mut inner, false)
    }

    /// Forgets everything but its consumers, as a broker does that was killed and had kept nothing. Whether there
    /// are any.
    pub(crate) fn forget(&self, wakers: &mut Wakers) -> bool {
        let mut inner = lock(&self.inner);
        let members = std::mem::take(&mut inner.members);
        let forgotten = Inner { epoch: inner.epoch + 1, frozen: true, members, ..Inner::default() };
        let forgotten = std::mem::replace(&mut *inner, forgotten);
        for member in inner.members.values_mut() {
            member.in_flight = 0;
        }
        for unsettled in forgotten.unsettled.into_values() {
            unsettled.watching.into_iter().for_each(|waker| wakers.push(Some(waker)));
        }
        !inner.members.is_empty()
    }

    /// Stops or resumes deliveries.
    pub(crate) fn freeze(&self, frozen: bool, wakers: &mut Wakers) {
        let mut inner = lock(&self.inner);
        inner.frozen = frozen;
        inner.wake_members(wakers);
    }

    fn aftermath(&self, inner: &mut Inner, freed: bool) -> Aftermath {
        Aftermath {
            awaited: freed && std::mem::take(&mut inner.awaited),
            unused: self.declaration.lifetime == Lifetime::UntilUnused && inner.is_idle(),
            frozen: inner.frozen,
            expired: 0,
        }
    }
}

impl Inner {
    fn is_idle(&self) -> bool {
        self.members.is_empty() && self.unsettled.is_empty()
    }

    fn take(
        &mut self,
        id: u64,
        connection: u64,
        cx: &Context<'_>,
        replaced: &mut Wakers,
    ) -> (Take, u64) {
        let mut expired = 0;
        self.return_due();
        let Some(member) = self.members.get_mut(&id) else { return (Take::Wait(None), 0) };
        if !self.frozen && member.in_flight < member.prefetch {
            while let Some(mut queued) = self.ready.pop_front() {
                if queued.held.is_expired() {
                    self.bytes -= queued.held.len();
                    expired += 1;
                    continue;
                }
                member.in_flight += 1;
                queued.deliveries = queued.deliveries.saturating_add(1);
                let tag =
                    Tag { epoch: self.epoch, arrival: queued.arrival, delivery: queued.deliveries };
                let message = queued.held.message().clone();
                let unsettled = Unsettled { queued, member: id, connection, watching: Vec::new() };
                self.unsettled.insert(tag.arrival, unsettled);
                return (Take::Message(tag, message), expired);
            }
        }
        register(&mut member.waker, cx, replaced);
        (Take::Wait(self.delayed.keys().next().map(|(due, _)| *due)), expired)
    }

    fn take_unsettled(&mut self, tag: Tag) -> Option<Unsettled> {
        let current = self.unsettled.get(&tag.arrival)?;
        if self.epoch != tag.epoch || current.queued.deliveries != tag.delivery {
            return None;
        }
        self.unsettled.remove(&tag.arrival)
    }

    /// A consumer has room for one more.
    fn freed(&mut self, member: u64, wakers: &mut Wakers) {
        if let Some(member) = self.members.get_mut(&member) {
            let was_full = member.in_flight >= member.prefetch;
            member.in_flight = member.in_flight.saturating_sub(1);
            if was_full {
                wakers.push(member.waker.take());
            }
        }
    }

    /// Puts a message back where it was.
    fn return_now(&mut self, queued: Queued, wakers: &mut Wakers) {
        let index = self.ready.partition_point(|other| other.arrival < queued.arrival);
        self.ready.insert(index, queued);
        self.wake_members(wakers);
    }

    fn return_after(&mut self, queued: Queued, delay: Duration, wakers: &mut Wakers) {
        match clock::now().checked_add(delay) {
            Some(due) => {
                self.delayed.insert((due, queued.arrival), queued);
                // Whoever waits has a new time to wait for.
                self.wake_members(wakers);
            }
            None => self.return_now(queued, wakers),
        }
    }

    fn return_due(&mut self) {
        if self.delayed.is_empty() {
            return;
        }
        let now = clock::now();
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            let queued = entry.remove();
            let index = self.ready.partition_point(|other| other.arrival < queued.arrival);
            self.ready.insert(index, queued);
        }
    }

    /// Wakes everyone that waits: one alone may be busy elsewhere, while another one sleeps.
    fn wake_members(&mut self, wakers: &mut Wakers) {
        for member in self.members.values_mut() {
            wakers.push(member.waker.take());
        }
    }
}
