//! Verdicts: handed over at once, sent in as few frames as say the same, refused when the channel is gone.
use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicRejectOptions},
    types::ShortString,
};
use sinew_core::{Attempt, Error, ErrorKind, Message, Pending, Sent, Settle, Verdict};
use tokio::{
    sync::{
        mpsc::{OwnedPermit, Receiver},
        oneshot, watch,
    },
    time::sleep,
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
/// How long a delivery that was to be delayed, and could not be parked, is held before it goes back: at once, it would go
/// round as fast as broker and network can.
const HELD: Duration = Duration::from_secs(5);

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
            // Its reader, who would be told, may be gone.
            () = self.session.closed(&self.channel) => {}
        }
    }
}

/// One verdict on its way to the broker.
#[derive(Debug)]
pub(crate) struct Command {
    tag: u64,
    verdict: Verdict,
    message: Message,
    attempt: Attempt,
    answer: oneshot::Sender<Result<(), Error>>,
    unsettled: Unsettled,
}

impl Command {
    fn answer(self, outcome: Result<(), Cause>) {
        // Whoever settled may not wait for it.
        let _ = self.answer.send(outcome.map_err(error));
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
    pub(crate) attempt: Attempt,
    pub(crate) unsettled: Unsettled,
}

impl Settle for Settler {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        let Self { room, tag, fence, message, attempt, unsettled } = *self;
        if !fence.stands() {
            return Pending::ready(Err(error(revoked())));
        }
        let (answer, outcome) = oneshot::channel();
        room.send(Command { tag, verdict, message, attempt, answer, unsettled });
        Pending::later(async move {
            match outcome.await {
                Ok(outcome) => outcome,
                Err(_) => Err(error(revoked())),
            }
        })
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        Box::pin(Arc::clone(&self.fence).fell())
    }
}

const fn revoked() -> Cause {
    Cause::plain(ErrorKind::Revoked, "the broker delivers it again, perhaps it has")
}

/// What became of a verdict that could not be sent. One that the client refuses never leaves, and its channel is gone;
/// one that it has taken may still leave, however long that takes.
fn fate(cause: Cause) -> Cause {
    match cause {
        Cause::Client { .. } => revoked(),
        open => open,
    }
}

fn error(cause: Cause) -> Error {
    cause.during(OPERATION).into()
}

/// Sends the verdicts on what came by one channel, until the last of it is settled or the fence falls; then it closes
/// the channel.
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
        self.settle().await;
        // Whoever settles now is told at once that it is too late.
        let Self { commands, fence, .. } = self;
        drop(commands);
        let _ = fence.session.ask(fence.channel.close(200, "OK".into())).await;
    }

    async fn settle(&mut self) {
        let mut acks = Acks::default();
        let mut delayed: FuturesUnordered<Delayed> = FuturesUnordered::new();
        let mut batch = Vec::with_capacity(BATCH);
        let mut acked = Vec::new();
        let mut fell = pin!(Arc::clone(&self.fence).fell());
        let mut open = true;
        while open || !delayed.is_empty() {
            tokio::select! {
                // Not with the last delivery: as long as the channel is open, the broker gives nobody what came by it.
                () = &mut fell => return,
                count = self.commands.recv_many(&mut batch, BATCH), if open => open = count > 0,
                Some((command, outcome)) = delayed.next(), if !delayed.is_empty() => match outcome {
                    // Published a second time it is safe, and only then the first is let go of.
                    Ok(()) => {
                        acks.ack(command.tag);
                        acked.push(command);
                    }
                    // It could not be parked, so it goes back.
                    Err(cause) => self.reject(&mut acks, command, true, Err(cause)).await,
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
                            let Command { message, attempt, .. } = &command;
                            let parked = delay::park(&inner, &queue, message, *attempt, wait).await;
                            if parked.is_err() {
                                sleep(wait.min(HELD)).await;
                            }
                            (command, parked)
                        }));
                    }
                    Verdict::Requeue | Verdict::RequeueAfter(_) => {
                        self.reject(&mut acks, command, true, Ok(())).await;
                    }
                    Verdict::Discard => self.reject(&mut acks, command, false, Ok(())).await,
                    _ => {
                        let unknown =
                            Cause::plain(ErrorKind::Unsupported, "it is requeued instead");
                        self.reject(&mut acks, command, true, Err(unknown)).await;
                    }
                }
            }
            self.acknowledge(&mut acks, &mut acked).await;
        }
    }

    async fn acknowledge(&self, acks: &mut Acks, acked: &mut Vec<Command>) {
        let (mut outcome, mut left) = (Ok(()), false);
        for Ack { tag, multiple } in acks.take() {
            let ack = self.fence.channel.basic_ack(tag, BasicAckOptions { multiple });
            match self.sent(ack).await {
                Ok(()) => left = true,
                // One of these frames has left, and any of the verdicts with it.
                Err(cause) if left => outcome = outcome.and(Err(cause.with_sent(Sent::Maybe))),
                Err(cause) => outcome = outcome.and(Err(cause)),
            }
        }
        for command in acked.drain(..) {
            command.answer(outcome.clone());
        }
    }

    /// Gives a delivery back, or up, and answers: with `verdict`, if that could be sent.
    async fn reject(
        &self,
        acks: &mut Acks,
        command: Command,
        requeue: bool,
        verdict: Result<(), Cause>,
    ) {
        let reject = self.fence.channel.basic_reject(command.tag, BasicRejectOptions { requeue });
        let outcome = self.sent(reject).await;
        acks.told(command.tag);
        command.answer(outcome.and(verdict));
    }

    /// Waits until a verdict is on the wire.
    async fn sent(
        &self,
        verdict: impl Future<Output = lapin::Result<()>> + Send,
    ) -> Result<(), Cause> {
        if !self.fence.stands() {
            return Err(revoked());
        }
        self.fence.session.ask(verdict).await.map_err(fate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_is_slow_to_leave_may_still_settle_and_one_without_a_channel_never_does() {
        let told = |cause| {
            let told = error(fate(cause));
            (told.kind(), told.sent())
        };
        assert_eq!(told(Cause::late()), (ErrorKind::Timeout, Sent::Maybe));
        assert_eq!(told(Cause::broke()), (ErrorKind::Disconnected, Sent::Maybe));
        let refused = lapin::ErrorKind::InvalidChannelState(lapin::ChannelState::Closed, "closed");
        assert_eq!(told(Cause::from(lapin::Error::from(refused))), (ErrorKind::Revoked, Sent::No));
    }
}
