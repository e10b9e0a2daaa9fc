//! A channel that publishes to one exchange, with confirms: what goes wrong there costs no other exchange's messages.
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    Channel, Confirmation,
    message::BasicReturnMessage,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use sinew_core::{ErrorKind, Sent};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    connect::Inner,
    error::Cause,
    publish::Outbound,
    returns::{Returned, Returns},
    session::Session,
};

/// How often overdue answers are given up: deadlines are kept to this.
const SWEEP: Duration = Duration::from_millis(100);
/// How many confirms are looked at in one turn.
const BATCH: usize = 256;

/// Whether the broker has taken a message, or why not.
pub(crate) type Answer = Result<(), Cause>;

/// One channel and the task that reads its confirms. It ends with the last handle.
#[derive(Debug)]
pub(crate) struct Lane {
    generation: u64,
    channel: Channel,
    confirms: Sender<InFlight>,
}

/// A message that the client has, until the broker has confirmed it.
struct InFlight {
    confirmed: Confirmed,
    /// Set where it must be routed.
    routed: Option<Returned>,
    answer: oneshot::Sender<Answer>,
    place: OwnedSemaphorePermit,
}

/// All the way from the client's hands to the broker's answer.
type Confirmed = BoxFuture<'static, lapin::Result<Confirmation>>;

impl Lane {
    pub(crate) async fn open(
        inner: &Arc<Inner>,
        session: &Session,
        exchange: ShortString,
    ) -> Result<Arc<Self>, Cause> {
        let channel = session.channel().await?;
        session.ask(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        // As many as there are places, so that there is always room.
        let (confirms, in_flight) = mpsc::channel(inner.settings.confirm_window);
        let reader = Reader {
            channel: channel.clone(),
            exchange,
            in_flight,
            answer_timeout: inner.settings.answer_timeout,
            confirmed: FuturesUnordered::new(),
            waiting: BTreeMap::new(),
            next: 0,
            returns: Returns::default(),
            inner: Arc::downgrade(inner),
        };
        inner.handle.spawn(reader.run());
        Ok(Arc::new(Self { generation: session.generation(), channel, confirms }))
    }

    /// Whether a message can be handed over to it.
    pub(crate) fn is_open(&self, session: &Session) -> bool {
        self.generation == session.generation() && self.channel.status().connected()
    }

    /// Hands a message to the client. When this ends well, the client has it; the answer comes later.
    pub(crate) fn publish(
        &self,
        outbound: Outbound,
        place: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Answer>, Cause> {
        let Outbound { exchange, key, mandatory, properties, payload } = outbound;
        let routed = mandatory.then(|| Returned {
            id: properties.message_id().as_ref().map_or("", ShortString::as_str).into(),
            key: key.as_str().into(),
        });
        let channel = self.channel.clone();
        let mut confirmed: Confirmed = Box::pin(async move {
            let options = BasicPublishOptions { mandatory, immediate: false };
            channel.basic_publish(exchange, key, options, &payload, properties).await?.await
        });
        // The first look hands it over; it need not be on the wire before the next one is. Whoever waits looks again.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(outcome) = confirmed.as_mut().poll(&mut nobody) {
            confirmed = Box::pin(std::future::ready(Ok(outcome?)));
        }
        let (answer, outcome) = oneshot::channel();
        let in_flight = InFlight { confirmed, routed, answer, place };
        // There is room for as many as there are places, and the task lives as long as this.
        self.confirms.try_send(in_flight).map_err(|_| Cause::broke())?;
        Ok(outcome)
    }
}

/// Reads the confirms of one channel.
struct Reader {
    channel: Channel,
    exchange: ShortString,
    in_flight: Receiver<InFlight>,
    answer_timeout: Duration,
    confirmed: FuturesUnordered<Numbered>,
    /// Who waits, in the order of their deadlines.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    returns: Returns,
    inner: Weak<Inner>,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    routed: Option<Returned>,
    deadline: Instant,
}

/// What was confirmed, and the place that it held.
struct Numbered {
    number: u64,
    confirmed: Confirmed,
    place: Option<OwnedSemaphorePermit>,
}

impl Future for Numbered {
    type Output = (u64, lapin::Result<Confirmation>, Option<OwnedSemaphorePermit>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.confirmed.as_mut().poll(cx).map(|outcome| (this.number, outcome, this.place.take()))
    }
}

impl Reader {
    async fn run(mut self) {
        let mut tick = interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut open = true;
        while open || !self.confirmed.is_empty() {
            tokio::select! {
                count = self.in_flight.recv_many(&mut batch, BATCH), if open => {
                    open = count > 0;
                    batch.drain(..).for_each(|it| self.add(it));
                }
                Some(done) = self.confirmed.next(), if !self.confirmed.is_empty() => {
                    self.settle(done);
                }
                _ = tick.tick() => self.sweep(),
            }
        }
    }

    fn add(&mut self, in_flight: InFlight) {
        let InFlight { confirmed, routed, answer, place } = in_flight;
        let number = self.next;
        self.next += 1;
        let deadline = Instant::now() + self.answer_timeout;
        self.waiting.insert(number, Waiting { answer, routed, deadline });
        self.confirmed.push(Numbered { number, confirmed, place: Some(place) });
    }

    /// Settles `first` and all that is there with it.
    ///
    /// The client completes the confirms of one frame one after the other, and gives the returned messages to any of
    /// them: so a message that must be routed waits until all of them are read.
    fn settle(&mut self, first: <Numbered as Future>::Output) {
        let mut routed = Vec::new();
        let mut next = Some(first);
        loop {
            while let Some((number, outcome, place)) = next {
                self.note(number, outcome, &mut routed);
                drop(place);
                next = self.confirmed.next().now_or_never().flatten();
            }
            if routed.is_empty() {
                return;
            }
            // The lock that this takes is held until the last confirm of a frame is completed.
            drop(self.channel.wait_for_confirms().now_or_never());
            while let Ok(in_flight) = self.in_flight.try_recv() {
                self.add(in_flight);
            }
            next = self.confirmed.next().now_or_never().flatten();
            if next.is_none() {
                break;
            }
        }
        for (waiting, message) in routed {
            let outcome = if self.returns.take(&message) { Err(unroutable()) } else { Ok(()) };
            self.answer(waiting, outcome);
        }
    }

    fn note(
        &mut self,
        number: u64,
        outcome: lapin::Result<Confirmation>,
        routed: &mut Vec<(oneshot::Sender<Answer>, Returned)>,
    ) {
        let waiting = self.waiting.remove(&number);
        let answer = match outcome {
            Ok(Confirmation::Ack(returned)) => {
                self.note_returned(returned);
                Ok(())
            }
            Ok(Confirmation::Nack(returned)) => {
                self.note_returned(returned);
                Err(refused())
            }
            Ok(Confirmation::NotRequested) => Err(Cause::broke()),
            Err(err) => Err(Cause::after_sending(err)),
        };
        if answer.as_ref().is_err_and(|cause| cause.kind() == ErrorKind::NotFound) {
            self.forget_exchange();
        }
        let Some(Waiting { answer: asker, routed: message, .. }) = waiting else { return };
        match (message, answer) {
            (Some(message), Ok(())) => routed.push((asker, message)),
            (_, answer) => self.answer(asker, answer),
        }
    }

    fn note_returned(&mut self, returned: Option<BasicReturnMessage>) {
        let Some(returned) = returned else { return };
        let id = returned.properties.message_id().as_ref().map_or("", ShortString::as_str).into();
        self.returns.note(Returned { id, key: returned.routing_key.as_str().into() });
    }

    /// Gives up what is overdue; its place is taken until the client has done with it.
    fn sweep(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.waiting.first_entry()
            && entry.get().deadline <= now
        {
            let Waiting { answer, .. } = entry.remove();
            self.answer(answer, Err(Cause::late()));
        }
    }

    /// Tells whoever published; a failure that nobody hears is kept for the next flush.
    fn answer(&self, asker: oneshot::Sender<Answer>, answer: Answer) {
        if let Err(Err(cause)) = asker.send(answer)
            && let Some(inner) = self.inner.upgrade()
        {
            inner.publishes.keep_unread(cause);
        }
    }

    fn forget_exchange(&self) {
        if let Some(inner) = self.inner.upgrade() {
            let exchange = self.exchange.clone();
            let handle = inner.handle.clone();
            handle.spawn(async move { inner.forget_exchange(&exchange).await });
        }
    }
}

const fn unroutable() -> Cause {
    Cause::Plain {
        kind: ErrorKind::Unroutable,
        detail: "the broker returned it: no queue is bound for it",
        sent: Sent::No,
    }
}

const fn refused() -> Cause {
    Cause::Plain {
        kind: ErrorKind::Overloaded,
        detail: "the broker refused it; a queue that takes no more has it not, another one may",
        sent: Sent::Maybe,
    }
}
