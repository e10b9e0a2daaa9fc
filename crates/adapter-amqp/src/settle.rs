//! Verdicts: handed over at once, sent in as few frames as say the same, refused when the channel is gone.
use std::sync::Arc;

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions},
    types::ShortString,
};
use sinew_core::{Error, ErrorKind, Message, Pending, Settle, Verdict};
use tokio::sync::{
    mpsc::{OwnedPermit, Receiver},
    oneshot, watch,
};

use crate::{
    acks::{Ack, Acks},
    connect::Inner,
    control::Unsettled,
    delay,
    error::Cause,
    session::Session,
};

const OPERATION: &str = "amqp settle";
/// How many verdicts are looked at in one turn.
const BATCH: usize = 256;

/// What the deliveries of one channel have in common: when it falls, the broker has taken them back.
#[derive(Debug)]
pub(crate) struct Fence {
    session: Arc<Session>,
    channel: Channel,
    fallen: watch::Sender<bool>,
}

impl Fence {
    pub(crate) fn new(session: Arc<Session>, channel: Channel) -> Arc<Self> {
        Arc::new(Self { session, channel, fallen: watch::Sender::new(false) })
    }

    /// The channel is gone.
    pub(crate) fn fall(&self) {
        self.fallen.send_replace(true);
    }

    fn stands(&self) -> bool {
        !*self.fallen.borrow() && !self.session.is_over() && self.channel.status().connected()
    }

    async fn fell(self: Arc<Self>) {
        let mut fallen = self.fallen.subscribe();
        tokio::select! {
            // The sender is ours.
            _ = fallen.wait_for(|fallen| *fallen) => {}
            _ = self.session.over() => {}
        }
    }
}

/// One verdict on its way to the broker.
#[derive(Debug)]
pub(crate) struct Command {
    tag: u64,
    verdict: Verdict,
    message: Message,
    answer: oneshot::Sender<Result<(), Error>>,
    unsettled: Unsettled,
}

impl Command {
    fn answer(self, outcome: Result<(), Error>) {
        // Whoever settled may not wait for it.
        let _ = self.answer.send(outcome);
        drop(self.unsettled);
    }
}

/// The adapter's side of one delivery.
pub(crate) struct Settler {
    pub(crate) room: OwnedPermit<Command>,
    pub(crate) tag: u64,
    pub(crate) fence: Arc<Fence>,
    /// What a delayed requeue publishes.
    pub(crate) message: Message,
    pub(crate) unsettled: Unsettled,
}

impl Settle for Settler {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        let Self { room, tag, fence, message, unsettled } = *self;
        if !fence.stands() {
            return Pending::ready(Err(revoked()));
        }
        let (answer, outcome) = oneshot::channel();
        room.send(Command { tag, verdict, message, answer, unsettled });
        Pending::later(async move {
            match outcome.await {
                Ok(outcome) => outcome,
                Err(_) => Err(revoked()),
            }
        })
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        Box::pin(Arc::clone(&self.fence).fell())
    }
}

fn revoked() -> Error {
    Error::new(ErrorKind::Revoked, OPERATION)
        .with_detail("the broker delivers it again, perhaps it has")
}

/// Sends the verdicts on what came by one channel, until the last of it is settled; then it closes the channel.
pub(crate) struct Settlements {
    pub(crate) commands: Receiver<Command>,
    pub(crate) fence: Arc<Fence>,
    pub(crate) queue: ShortString,
    pub(crate) inner: Arc<Inner>,
}

/// A delivery whose copy is on its way to a delay queue.
type Delayed = BoxFuture<'static, (Command, Result<(), Cause>)>;

impl Settlements {
    pub(crate) async fn run(mut self) {
        let mut acks = Acks::default();
        let mut delayed: FuturesUnordered<Delayed> = FuturesUnordered::new();
        let mut batch = Vec::with_capacity(BATCH);
        let mut acked = Vec::new();
        let mut open = true;
        while open || !delayed.is_empty() {
            tokio::select! {
                count = self.commands.recv_many(&mut batch, BATCH), if open => open = count > 0,
                Some((command, outcome)) = delayed.next(), if !delayed.is_empty() => match outcome {
                    // Published a second time it is safe, and only then the first is let go of.
                    Ok(()) => {
                        acks.ack(command.tag);
                        acked.push(command);
                    }
                    Err(cause) => self.give_back(&mut acks, command, &cause).await,
                },
            }
            for command in batch.drain(..) {
                match command.verdict {
                    Verdict::Ack => {
                        acks.ack(command.tag);
                        acked.push(command);
                    }
                    Verdict::RequeueAfter(wait) if !wait.is_zero() => {
                        let inner = Arc::clone(&self.inner);
                        let queue = self.queue.clone();
                        delayed.push(Box::pin(async move {
                            let parked = delay::park(&inner, &queue, &command.message, wait).await;
                            (command, parked)
                        }));
                    }
                    Verdict::Requeue | Verdict::RequeueAfter(_) => {
                        let outcome = self.requeue(command.tag).await;
                        acks.told(command.tag);
                        command.answer(outcome);
                    }
                    Verdict::Discard => {
                        let reject = BasicRejectOptions { requeue: false };
                        let sent = self.fence.channel.basic_reject(command.tag, reject);
                        let outcome = self.sent(sent).await;
                        acks.told(command.tag);
                        command.answer(outcome);
                    }
                    _ => {
                        let outcome = self.requeue(command.tag).await;
                        acks.told(command.tag);
                        command.answer(
                            outcome.and(Err(Error::new(ErrorKind::Unsupported, OPERATION))),
                        );
                    }
                }
            }
            self.acknowledge(&mut acks, &mut acked).await;
        }
        let close = self.fence.channel.close(200, "OK".into());
        let _ = self.fence.session.ask(close).await;
    }

    async fn acknowledge(&self, acks: &mut Acks, acked: &mut Vec<Command>) {
        let mut outcome = Ok(());
        for Ack { tag, multiple } in acks.take() {
            let ack = self.fence.channel.basic_ack(tag, BasicAckOptions { multiple });
            outcome = outcome.and(self.sent(ack).await);
        }
        let is_sent = outcome.is_ok();
        for command in acked.drain(..) {
            command.answer(if is_sent { Ok(()) } else { Err(revoked()) });
        }
    }

    async fn requeue(&self, tag: u64) -> Result<(), Error> {
        let nack = BasicNackOptions { multiple: false, requeue: true };
        self.sent(self.fence.channel.basic_nack(tag, nack)).await
    }

    /// It could not be parked, so it goes back at once.
    async fn give_back(&self, acks: &mut Acks, command: Command, cause: &Cause) {
        let outcome = self.requeue(command.tag).await;
        acks.told(command.tag);
        command.answer(outcome.and(Err(cause.clone().during(OPERATION).into())));
    }

    /// Waits until a verdict is on the wire; where it cannot be sent, the broker has taken the delivery back.
    async fn sent(
        &self,
        verdict: impl Future<Output = lapin::Result<()>> + Send,
    ) -> Result<(), Error> {
        if !self.fence.stands() {
            return Err(revoked());
        }
        self.fence.session.ask(verdict).await.map_err(|_| revoked())
    }
}
