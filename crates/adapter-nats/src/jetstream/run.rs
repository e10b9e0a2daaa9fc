//! The task of an intake that asks a consumer for messages, be it a queue's member or a reader.
use std::{sync::Arc, time::Duration};

use async_nats::Message as WireMessage;
use sinew_core::{ErrorKind, Event};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::pull::{Heard, Place, Pull};
use crate::{
    connect::Inner,
    control::{Control, Unsettled},
    error::Cause,
    link::View,
};

/// How long a consumer must have been silent before we leave, so that nothing is on its way.
const QUIET: Duration = Duration::from_millis(30);
/// How long to wait before JetStream is asked again after it could not answer.
const RETRY: Duration = Duration::from_millis(200);
/// How long the client may take to let go of a subscription.
const LEAVE: Duration = Duration::from_secs(1);

/// What becomes of the messages, and where they come from.
pub(crate) trait Source: Send + 'static {
    /// What the intake yields.
    type Item: Send + 'static;
    /// The verb, as errors name it.
    const OPERATION: &'static str;

    /// Makes the consumer or checks it, and starts to ask it. Says whether messages may be missing since the last
    /// one.
    fn join(&mut self) -> impl Future<Output = Result<(Pull, bool), Cause>> + Send;

    /// Asks for as much as there is room for.
    fn ask(&mut self, pull: &mut Pull) -> impl Future<Output = Result<(), Cause>> + Send;

    /// Ends when there may be more room than at the last ask.
    fn room(&self) -> impl Future<Output = ()> + Send;

    /// Takes a message in. `false` when the one before it never came.
    fn take(&mut self, message: WireMessage, place: Place) -> impl Future<Output = bool> + Send;

    /// The next message is larger than what was asked for.
    fn too_large(&mut self) {}

    /// Says goodbye.
    fn leave(&mut self) -> impl Future<Output = ()> + Send;

    /// Whether messages are settled: then those on their way are waited for, as others would get them only late, and
    /// those held are let go of with the link, as they come again.
    const SETTLED: bool;
}

/// Runs a source until it is stopped, or cannot go on.
pub(crate) struct Runner<S: Source> {
    pub(crate) source: S,
    pub(crate) control: Arc<Control<S::Item>>,
    pub(crate) inner: Arc<Inner>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) seen: View,
    /// A drain waits for what is on its way to us.
    pub(crate) running: Unsettled,
}

enum Turn {
    Go,
    /// The consumer may be gone, or has lost our place.
    Rejoin,
    End(Option<Cause>),
}

impl<S: Source> Runner<S> {
    pub(crate) async fn run(mut self, mut pull: Pull) {
        let failure = loop {
            if self.seen.up {
                // Where it cannot be sent, the link is about to say why.
                let _ = self.source.ask(&mut pull).await;
            }
            let mut turn = tokio::select! {
                biased;
                () = self.control.stopped() => Turn::End(None),
                changed = self.view.changed() => self.follow(changed.is_ok()),
                heard = pull.hear() => self.hear(heard).await,
                () = self.source.room() => Turn::Go,
            };
            if !self.control.buffer.is_open() {
                turn = Turn::End(None);
            }
            match turn {
                Turn::Go => {}
                Turn::Rejoin => match self.rejoin().await {
                    Ok(Some(fresh)) => pull = fresh,
                    Ok(None) => pull.forget(),
                    Err(failure) => break failure,
                },
                Turn::End(failure) => break failure,
            }
        };
        self.finish(pull, failure).await;
    }

    /// Says that the link is down; that it is up is said once the consumer is known to be there.
    fn follow(&mut self, open: bool) -> Turn {
        let now = *self.view.borrow_and_update();
        if !open || now.is_closed() {
            return Turn::End(None);
        }
        if self.seen.up && (!now.up || now.generation != self.seen.generation) {
            if S::SETTLED {
                self.control.buffer.discard();
            }
            self.control.buffer.tell(Event::Down);
            self.seen.up = false;
        }
        if now.up && !self.seen.up { Turn::Rejoin } else { Turn::Go }
    }

    async fn hear(&mut self, heard: Heard) -> Turn {
        match heard {
            Heard::Message(message, place) => {
                if self.source.take(message, place).await {
                    Turn::Go
                } else {
                    Turn::Rejoin
                }
            }
            Heard::Nothing => Turn::Go,
            Heard::TooLarge => {
                self.source.too_large();
                Turn::Go
            }
            Heard::Doubt => Turn::Rejoin,
            Heard::Refused(cause) => Turn::End(Some(cause)),
            Heard::Closed => Turn::End(None),
        }
    }

    /// Tries until the consumer is there. `None` when the link went down again meanwhile.
    async fn rejoin(&mut self) -> Result<Option<Pull>, Option<Cause>> {
        loop {
            // Not marked as seen: what it says of the link is for the loop to tell.
            let view = *self.view.borrow();
            if view.is_closed() {
                return Err(None);
            }
            if !view.up {
                return Ok(None);
            }
            match self.source.join().await {
                Ok((pull, gap)) => {
                    if gap || !self.seen.up {
                        self.control.buffer.tell(Event::Up { gap });
                    }
                    self.seen = view;
                    return Ok(Some(pull));
                }
                Err(cause) if is_passing(&cause) => {
                    tracing::debug!(%cause, "JetStream does not answer yet");
                }
                Err(cause) => return Err(Some(cause)),
            }
            tokio::select! {
                () = self.control.stopped() => return Err(None),
                () = sleep(RETRY) => {}
            }
        }
    }

    /// What is on its way still comes: nobody else gets it before the wait for its ack is over.
    async fn finish(mut self, mut pull: Pull, failure: Option<Cause>) {
        while S::SETTLED && pull.asked() > 0 && self.inner.connection().0 {
            match timeout(QUIET, pull.hear()).await {
                Ok(Heard::Message(message, place)) => {
                    self.source.take(message, place).await;
                }
                Ok(Heard::Closed) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let _ = timeout(LEAVE, pull.drain()).await;
        while let Ok(heard) = timeout(LEAVE, pull.hear()).await {
            match heard {
                Heard::Message(message, place) => {
                    self.source.take(message, place).await;
                }
                Heard::Closed => break,
                _ => {}
            }
        }
        self.source.leave().await;
        self.control.buffer.end(failure.map(|cause| cause.during(S::OPERATION).into()));
        drop(self.running);
    }
}

/// Whether JetStream may answer otherwise in a moment: it starts up, elects a leader, or the link broke again.
fn is_passing(cause: &Cause) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::Timeout
            | ErrorKind::Disconnected
            | ErrorKind::Overloaded
            | ErrorKind::Unsupported
    )
}
