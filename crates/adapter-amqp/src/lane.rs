//! A channel that publishes to one exchange: what goes wrong there costs no other exchange's messages.
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicUsize},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use lapin::types::ShortString;
use tokio::{
    sync::oneshot,
    task::coop::unconstrained,
    time::{Instant, Interval, MissedTickBehavior, interval, timeout},
};

use crate::{
    connect::Inner,
    error::Cause,
    publish::Place,
    returns::Returned,
    session::Session,
    table::{Answer, Known, Swept, Table, Verdict},
    wire::{Outbound, Wire},
};

/// How often overdue answers are given up: deadlines are kept to this.
const SWEEP: Duration = Duration::from_millis(100);

/// One channel and the task that reads its confirms. It ends with the last handle, once all is confirmed.
#[derive(Debug)]
pub(crate) struct Lane {
    generation: u64,
    shared: Arc<Shared>,
}

/// What publishers and the reader share.
#[derive(Debug)]
struct Shared {
    wire: Arc<Wire>,
    answer_timeout: Duration,
    inner: Weak<Inner>,
    overdue: Arc<AtomicUsize>,
    table: Mutex<Table>,
}

impl Lane {
    pub(crate) async fn open(
        inner: &Arc<Inner>,
        session: &Session,
        exchange: &str,
    ) -> Result<Arc<Self>, Cause> {
        let wire = Wire::open(session).await?;
        let declares = inner.settings.exchange(exchange).declare;
        let shared = Arc::new(Shared {
            answer_timeout: inner.settings.answer_timeout,
            inner: Arc::downgrade(inner),
            overdue: inner.publishes.overdue(),
            table: Mutex::new(Table::new(Arc::clone(&wire), inner.publishes.unread(), declares)),
            wire,
        });
        inner.handle.spawn(Reader(Arc::clone(&shared)).run());
        Ok(Arc::new(Self { generation: session.generation(), shared }))
    }

    /// Whether a message can be handed over to it.
    pub(crate) fn is_open(&self, session: &Session) -> bool {
        self.generation == session.generation() && self.shared.wire.is_open()
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.table().is_empty()
    }

    /// Hands a message to the client. When this ends well, the client has it; the outcome comes `until` then, or as late
    /// as any answer.
    pub(crate) fn publish(
        &self,
        outbound: Box<Outbound>,
        place: Place,
        until: Option<Instant>,
    ) -> Result<Outcome, Cause> {
        let routed = outbound.mandatory.then(|| Returned {
            id: outbound.properties.message_id().as_ref().map_or("", ShortString::as_str).into(),
            key: outbound.key.as_str().into(),
        });
        let (answer, outcome) = oneshot::channel();
        let deadline = Instant::now() + self.shared.answer_timeout;
        let deadline = until.map_or(deadline, |until| until.min(deadline));
        let size = outbound.payload.len();
        let known = Known { routed, answer: Some(answer), deadline, size, number: 0, place };
        let launched = self.shared.turn(|table| table.launch(outbound, known));
        launched.map(|()| Outcome(outcome)).map_err(|unlaunched| unlaunched.cause)
    }

    /// Ends when all that was handed over before is answered, which takes as long as an answer may at most.
    pub(crate) fn flushed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, flushed) = oneshot::channel();
        self.shared.turn(|table| table.flush(done));
        // It fails when the reader is gone, and everything is answered.
        async move { drop(flushed.await) }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.table().release();
    }
}

/// What the broker will say of a message. A failure that nobody looks at is told by the next flush.
#[derive(Debug)]
pub(crate) struct Outcome(oneshot::Receiver<Answer>);

impl Future for Outcome {
    type Output = Result<(), Cause>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Not a matter of the caller's fair share: an answer that is there is there at the first look.
        let answer = Pin::new(&mut unconstrained(&mut self.0)).poll(cx);
        answer.map(|answer| match answer {
            Ok(answer) => answer.map_err(|failure| failure.cause),
            // A lane that ended without an answer has lost its link.
            Err(_) => Err(Cause::broke()),
        })
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // What is sent from now on is kept by whoever sends it.
        self.0.close();
        if let Ok(Err(failure)) = self.0.try_recv() {
            failure.keep();
        }
    }
}

impl Shared {
    /// Whether the channel is to be given up for what is overdue on it.
    fn is_clogged(&self) -> bool {
        self.wire.is_open() && self.inner.upgrade().is_some_and(|it| it.publishes.is_clogged())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something, and settles all that has landed until then.
    fn turn<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table();
        let done = act(&mut table);
        let mut verdicts = table.settle();
        let mut flushed = table.flushed();
        drop(table);
        if !verdicts.is_empty() {
            let failed: Vec<_> = verdicts.drain(..).filter_map(Verdict::tell).collect();
            let mut table = self.table();
            failed.into_iter().for_each(|number| table.answered(number));
            flushed.extend(table.flushed());
            table.refill(verdicts);
        }
        for flush in flushed {
            // Whoever flushed may have gone away.
            let _ = flush.send(());
        }
        done
    }
}

/// The task that reads the confirms of one channel.
struct Reader(Arc<Shared>);

/// What the reader is to do next.
enum Turn {
    Unclog,
    End,
}

impl Reader {
    async fn run(self) {
        let mut tick = interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The end of a channel that is given up, which may be slow, too.
        let mut unclogging: Option<BoxFuture<'static, ()>> = None;
        poll_fn(|cx| {
            loop {
                if let Some(closing) = &mut unclogging
                    && closing.as_mut().poll(cx).is_ready()
                {
                    unclogging = None;
                }
                match ready!(self.poll_turn(cx, &mut tick, unclogging.is_some())) {
                    Turn::Unclog => {
                        let wire = Arc::clone(&self.0.wire);
                        unclogging = Some(Box::pin(unclog(wire, self.0.answer_timeout)));
                    }
                    Turn::End => return Poll::Ready(()),
                }
            }
        })
        .await;
        if let Some(closing) = unclogging {
            closing.await;
        }
    }

    fn poll_turn(
        &self,
        cx: &mut Context<'_>,
        tick: &mut Interval,
        is_unclogging: bool,
    ) -> Poll<Turn> {
        let shared = &self.0;
        loop {
            let is_swept = shared.turn(|table| table.read_by(cx.waker()));
            if is_swept && tick.poll_tick(cx).is_pending() {
                return Poll::Pending;
            }
            match shared.turn(|table| table.sweep(&shared.overdue)) {
                Swept::Busy { is_overdue: true } if !is_unclogging && shared.is_clogged() => {
                    return Poll::Ready(Turn::Unclog);
                }
                Swept::Busy { .. } => {}
                Swept::Idle => return Poll::Pending,
                Swept::Done => return Poll::Ready(Turn::End),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let gone = self.0.table().end();
        // Now that the lock is free.
        drop(gone);
    }
}

/// Gives up a channel: a broker that never confirms, as one whose queue has lost its majority, would take every place.
async fn unclog(wire: Arc<Wire>, within: Duration) {
    tracing::warn!("the broker does not confirm what is published; the channel is given up");
    // Where this is not answered either, the heartbeats will tell.
    drop(timeout(within, wire.channel().close(200, "OK".into())).await);
}
