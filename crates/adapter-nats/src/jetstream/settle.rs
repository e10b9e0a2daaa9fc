//! Verdicts: handed over at once, confirmed by the server, refused when the lease is over.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_nats::Subject as Wire;
use bytes::Bytes;
use sinew_core::{BoxFuture, Error, ErrorKind, Pending, Settle, Verdict};
use tokio::{
    sync::{
        Notify,
        mpsc::{OwnedPermit, Receiver},
        oneshot, watch,
    },
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    connect::Inner,
    control::Unsettled,
    error::Cause,
    link::View,
    mux::{Answer, Question},
};

const OPERATION: &str = "nats jetstream settle";
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");
const REQUEUE: Bytes = Bytes::from_static(b"-NAK");

/// One verdict on its way to the server.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) payload: Bytes,
    pub(crate) reply: Wire,
    pub(crate) lease: Arc<Lease>,
}

/// How long a delivery is ours, by our own clock.
///
/// The server asks nobody whether an ack is stale: one for a delivery that it has given to someone else would settle
/// theirs. So the lease ends here first.
#[derive(Debug)]
pub(crate) struct Lease {
    state: Mutex<State>,
    /// Where the server takes verdicts on it.
    to: Wire,
    revoked: Notify,
}

#[derive(Debug)]
struct State {
    until: Instant,
    /// Settled, or taken back.
    over: bool,
    taken_back: bool,
}

impl Lease {
    pub(crate) fn new(to: Wire, length: Duration) -> Arc<Self> {
        let state = State { until: Instant::now() + length, over: false, taken_back: false };
        Arc::new(Self { state: Mutex::new(state), to, revoked: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it for a verdict; `false` when it was over.
    fn settle(&self) -> bool {
        let mut state = self.lock();
        !std::mem::replace(&mut state.over, true) && state.until > Instant::now()
    }

    /// Takes the delivery back, unless it is settled.
    fn revoke(&self) -> bool {
        let mut state = self.lock();
        if std::mem::replace(&mut state.over, true) {
            return false;
        }
        state.taken_back = true;
        drop(state);
        self.revoked.notify_waiters();
        true
    }

    /// Whether the server may still hold it for us.
    fn is_held(&self) -> bool {
        self.lock().until > Instant::now()
    }

    async fn over(self: Arc<Self>) {
        loop {
            let revoked = self.revoked.notified();
            if self.lock().taken_back {
                return;
            }
            revoked.await;
        }
    }
}

/// The leases of one queue's member.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Vec<Weak<Lease>>>);

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Lease>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, lease: &Arc<Lease>) {
        let mut leases = self.lock();
        // Most are settled long before the next renewal looks at them.
        if leases.len() == leases.capacity() {
            leases.retain(|lease| lease.strong_count() > 0);
        }
        leases.push(Arc::downgrade(lease));
    }

    /// The link or the queue is gone, and with it every delivery that is not settled. Gives them.
    pub(crate) fn revoke_all(&self) -> Vec<Arc<Lease>> {
        let leases = std::mem::take(&mut *self.lock());
        leases.iter().filter_map(Weak::upgrade).filter(|lease| lease.revoke()).collect()
    }

    /// Takes back what has run out, and gives what is due for renewal.
    fn sweep(&self, length: Duration) -> Vec<Arc<Lease>> {
        let now = Instant::now();
        let mut due = Vec::new();
        self.lock().retain(|lease| {
            let Some(lease) = lease.upgrade() else { return false };
            let (until, over) = {
                let state = lease.lock();
                (state.until, state.over)
            };
            if over {
                return false;
            }
            if until <= now {
                lease.revoke();
                return false;
            }
            if until - now < length * 2 / 3 {
                due.push(lease);
            }
            true
        });
        due
    }
}

/// The adapter's side of one delivery.
pub(crate) struct Settler {
    pub(crate) room: OwnedPermit<Command>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) unsettled: Unsettled,
    pub(crate) inner: Arc<Inner>,
    /// Told when no verdict will take the room.
    pub(crate) freed: Arc<Notify>,
}

impl Settle for Settler {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        let Self { room, lease, unsettled, inner, freed } = *self;
        let payload = match verdict {
            Verdict::Ack => Bytes::from_static(b"+ACK"),
            Verdict::Requeue => REQUEUE,
            Verdict::RequeueAfter(delay) if delay.is_zero() => REQUEUE,
            Verdict::RequeueAfter(delay) => {
                // The server counts nanoseconds in 64 bits with a sign: 292 years.
                let nanos = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
                Bytes::from(format!("-NAK {{\"delay\":{nanos}}}"))
            }
            Verdict::Discard => Bytes::from_static(b"+TERM"),
            _ => return Pending::ready(Err(Error::new(ErrorKind::Unsupported, OPERATION))),
        };
        if !lease.settle() {
            drop(room);
            freed.notify_one();
            return Pending::ready(Err(revoked()));
        }
        let (question, answer) = Question::new(inner.answer_timeout, inner.generation());
        let ticket = inner.mux.once(question.holding(unsettled));
        let reply = ticket.wire();
        ticket.keep();
        room.send(Command { payload, reply, lease });
        Pending::later(confirmed(answer))
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        Box::pin(Arc::clone(&self.lease).over())
    }
}

async fn confirmed(answer: oneshot::Receiver<Answer>) -> Result<(), Error> {
    match answer.await {
        Ok(Ok(_)) => Ok(()),
        // Nobody listens for verdicts on a consumer that is gone.
        Ok(Err(cause)) if cause.kind() == ErrorKind::NoResponders => Err(revoked()),
        Ok(Err(cause)) => Err(cause.during(OPERATION).into()),
        Err(_) => Err(Cause::cut_off().during(OPERATION).into()),
    }
}

fn revoked() -> Error {
    Error::new(ErrorKind::Revoked, OPERATION)
        .with_detail("the server delivers it again, perhaps it has")
}

/// Sends the verdicts of one member of a queue, and signs of life for what is being worked on, until the last of its
/// deliveries is settled.
pub(crate) struct Settlements {
    pub(crate) commands: Receiver<Command>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) inner: Arc<Inner>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) ack_wait: Duration,
    /// Told when a verdict has made room.
    pub(crate) freed: Arc<Notify>,
}

/// A sign of life that waits for its confirmation.
struct Renewal {
    answer: oneshot::Receiver<Answer>,
    sent: Instant,
    leases: Vec<Arc<Lease>>,
}

impl Settlements {
    pub(crate) async fn run(mut self) {
        let mut tick = interval(self.ack_wait / 6);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Option<Command> = None;
        let mut renewal: Option<Renewal> = None;
        let mut lost = Vec::new();
        let mut seen = *self.view.borrow_and_update();
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv(), if waiting.is_none() => match command {
                    Some(command) => {
                        self.freed.notify_one();
                        waiting = self.send(command).await;
                    }
                    None => break,
                },
                changed = self.view.changed() => {
                    let view = *self.view.borrow_and_update();
                    if changed.is_err() || view.is_closed() {
                        break;
                    }
                    if seen.up && (!view.up || view.generation != seen.generation) {
                        lost = self.leases.revoke_all();
                    }
                    seen = view;
                    if view.up {
                        self.give_back(std::mem::take(&mut lost)).await;
                        if let Some(command) = waiting.take() {
                            waiting = self.send(command).await;
                        }
                    }
                }
                extended = renewed(&mut renewal) => {
                    if let Some(Renewal { sent, leases, .. }) = renewal.take() && extended {
                        let until = sent + lease_length(self.ack_wait);
                        leases.iter().for_each(|lease| lease.lock().until = until);
                    }
                }
                _ = tick.tick() => {
                    let due = self.leases.sweep(lease_length(self.ack_wait));
                    if renewal.is_none() {
                        renewal = self.renew(due).await;
                    }
                }
            }
        }
        self.leases.revoke_all();
    }

    /// Sends a verdict; gives it back where it must wait for the link.
    async fn send(&self, command: Command) -> Option<Command> {
        if !command.lease.is_held() {
            return None;
        }
        let Command { payload, reply, lease } = &command;
        let (to, reply) = (lease.to.clone(), Some(reply.clone()));
        match self.inner.send(to, payload.clone(), reply).await {
            Err(cause) if cause.kind() == ErrorKind::Disconnected => Some(command),
            // Whoever settled is told by the answer that does not come.
            _ => None,
        }
    }

    /// What the link took from us goes to others now, not when the server has waited for us in vain.
    async fn give_back(&self, lost: Vec<Arc<Lease>>) {
        for lease in lost.iter().filter(|lease| lease.is_held()) {
            // Where it cannot be sent, the server waits after all.
            let _ = self.inner.send(lease.to.clone(), REQUEUE, None).await;
        }
    }

    /// Gives a sign of life for each; the confirmation of the last one stands for all.
    async fn renew(&self, leases: Vec<Arc<Lease>>) -> Option<Renewal> {
        let sent = Instant::now();
        let (last, others) = leases.split_last()?;
        for lease in others {
            self.inner.send(lease.to.clone(), IN_PROGRESS, None).await.ok()?;
        }
        let (question, answer) = Question::new(self.inner.answer_timeout, self.inner.generation());
        let ticket = self.inner.mux.once(question);
        self.inner.send(last.to.clone(), IN_PROGRESS, Some(ticket.wire())).await.ok()?;
        ticket.keep();
        Some(Renewal { answer, sent, leases })
    }
}

/// What of the server's wait is ours to use: it began before we knew of the delivery.
pub(crate) fn lease_length(ack_wait: Duration) -> Duration {
    ack_wait - ack_wait / 10
}

async fn renewed(renewal: &mut Option<Renewal>) -> bool {
    match renewal {
        Some(renewal) => matches!((&mut renewal.answer).await, Ok(Ok(_))),
        None => std::future::pending().await,
    }
}
