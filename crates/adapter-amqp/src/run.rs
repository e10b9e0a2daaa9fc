//! The task of an intake: it reads one channel, and opens another one when that is gone.
use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{message::Delivery, options::BasicCancelOptions};
use sinew_core::{ErrorKind, Event, Incoming};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    backoff::Backoff,
    connect::Inner,
    control::{Control, Filler, Intake, Unsettled},
    error::Cause,
    session::Session,
    supervisor::Line,
    tap::Tap,
};

/// How long what was sent before a goodbye may take to come.
const LEAVE: Duration = Duration::from_secs(1);

/// What becomes of the messages, and where they come from.
pub(crate) trait Source: Send + 'static {
    /// What the intake yields.
    type Item: Send + 'static;
    /// The verb, as errors name it.
    const OPERATION: &'static str;

    /// Opens a channel, declares, and consumes. `again` when it is not for the first time.
    fn join(
        &mut self,
        session: &Arc<Session>,
        again: bool,
    ) -> impl Future<Output = Result<Tap, Cause>> + Send;

    /// Whether there is room for a message.
    fn has_room(&self) -> bool;

    /// Ends when there may be room again.
    fn room(&self) -> impl Future<Output = ()> + Send;

    /// Takes a message in.
    fn take(&mut self, tap: &Tap, message: Delivery) -> impl Future<Output = ()> + Send;

    /// Has nothing more to take for now.
    fn rest(&mut self, tap: &Tap) -> impl Future<Output = ()> + Send;

    /// The channel is gone, and with it every delivery that is not settled.
    fn lose(&mut self);

    /// No message will come of the channel any more.
    fn leave(&mut self, tap: Tap) -> impl Future<Output = ()> + Send;
}

/// Runs a source until it is stopped, or cannot go on.
struct Runner<S: Source> {
    source: S,
    control: Filler<S::Item>,
    inner: Arc<Inner>,
    line: watch::Receiver<Line>,
    /// A drain waits for what is on its way to us.
    _running: Unsettled,
}

/// Starts to run `source`, which has joined; dropping what this gives stops it.
pub(crate) fn start<S: Source>(
    inner: &Arc<Inner>,
    source: S,
    control: Arc<Control<S::Item>>,
    tap: Tap,
) -> Incoming<S::Item> {
    let runner = Runner {
        source,
        control: Filler::new(&control, S::OPERATION),
        inner: Arc::clone(inner),
        line: inner.consuming.line.clone(),
        _running: Unsettled::new(&inner.unsettled),
    };
    let intake: Arc<dyn Intake> = Arc::clone(&control) as _;
    inner.register(Arc::downgrade(&intake));
    if inner.check_open().is_err() {
        // A drain that began meanwhile may have told all that it found before us.
        intake.stop();
    }
    inner.handle.spawn(runner.run(tap));
    control.incoming()
}

enum Turn {
    Go,
    /// The channel is gone: why, where the broker said so.
    Rejoin(Option<Cause>),
    End,
}

impl<S: Source> Runner<S> {
    async fn run(mut self, mut tap: Tap) {
        let failure = loop {
            let turn = self.turn(&mut tap).await;
            match turn {
                Turn::Go => {}
                Turn::End => break None,
                Turn::Rejoin(cause) => {
                    self.source.lose();
                    if let Some(cause) = cause {
                        tracing::debug!(error = %cause.describe(), "a channel is gone");
                    }
                    // What is told depends on what was missed; a break of the link is told at once.
                    if tap.session.is_over() {
                        self.control.buffer.tell(Event::Down);
                    }
                    self.source.leave(tap).await;
                    match self.rejoin().await {
                        Ok(fresh) => tap = fresh,
                        Err(failure) => return self.end(failure),
                    }
                }
            }
            if !self.control.buffer.is_open() {
                break None;
            }
        };
        self.finish(tap).await;
        self.end(failure);
    }

    async fn turn(&mut self, tap: &mut Tap) -> Turn {
        // There may always be a message more.
        if self.control.is_stopped() {
            return Turn::End;
        }
        let has_room = self.source.has_room();
        // Looked at first: whoever waits for more may have to say so before there is more.
        let ready = has_room.then(|| tap.consumer.next().now_or_never());
        if let Some(Some(next)) = ready {
            return self.hear(tap, next).await;
        }
        self.source.rest(tap).await;
        tokio::select! {
            biased;
            () = self.control.stopped() => Turn::End,
            () = over(&mut self.line) => Turn::Rejoin(None),
            next = tap.consumer.next(), if has_room => self.hear(tap, next).await,
            () = self.source.room(), if !has_room => Turn::Go,
            // Without room nobody reads what the channel says of its end.
            cause = tap.session.over(), if !has_room => Turn::Rejoin(Some(cause)),
        }
    }

    async fn hear(&mut self, tap: &Tap, next: Option<lapin::Result<Delivery>>) -> Turn {
        match next {
            Some(Ok(message)) => {
                self.source.take(tap, message).await;
                Turn::Go
            }
            // Nothing follows an error, though the stream may not say so.
            Some(Err(err)) => Turn::Rejoin(Some(err.into())),
            // The broker cancelled it: its queue is gone.
            None => Turn::Rejoin(None),
        }
    }

    /// Tries until there is a channel again. An error ends the intake.
    async fn rejoin(&mut self) -> Result<Tap, Option<Cause>> {
        let since = Instant::now();
        let mut backoff = Backoff::new(self.inner.settings.reconnect_wait);
        loop {
            let lines = [self.inner.publishing.line.clone(), self.line.clone()];
            let session = tokio::select! {
                biased;
                () = self.control.stopped() => return Err(None),
                session = live(lines) => session?,
            };
            match self.source.join(&session, true).await {
                Ok(tap) => {
                    // A queue that was lost with the link up is a gap as well.
                    self.control.buffer.tell(Event::Down);
                    self.control.buffer.tell(Event::Up { gap: tap.gap });
                    return Ok(tap);
                }
                // That says nothing about the next link.
                Err(_) if session.is_over() => backoff.reset(),
                Err(cause) if self.is_passing(&cause, since) => {
                    tracing::warn!(intake = S::OPERATION, error = %cause.describe(), "the broker does not take us back yet");
                }
                Err(cause) => return Err(Some(cause)),
            }
            tokio::select! {
                () = self.control.stopped() => return Err(None),
                () = sleep(backoff.wait()) => {}
            }
        }
    }

    /// Whether the broker may answer otherwise in a moment. What the connection that we lost held alone is held until
    /// the broker misses its heartbeats; what is assumed may be made again by its owner, who comes back as we do.
    fn is_passing(&self, cause: &Cause, since: Instant) -> bool {
        match cause.kind() {
            ErrorKind::Conflict | ErrorKind::NotFound => {
                since.elapsed() < self.inner.settings.patience()
            }
            _ => !cause.is_lasting(),
        }
    }

    /// What is on its way still comes.
    async fn finish(&mut self, mut tap: Tap) {
        let cancel =
            tap.channel.basic_cancel(tap.consumer.tag(), BasicCancelOptions { nowait: false });
        // It fails with the connection, which is as good.
        if tap.session.ask(cancel).await.is_ok() {
            while let Ok(Some(Ok(message))) = timeout(LEAVE, tap.consumer.next()).await {
                self.source.take(&tap, message).await;
            }
        }
        self.source.rest(&tap).await;
        self.source.leave(tap).await;
    }

    fn end(self, failure: Option<Cause>) {
        self.control.buffer.end(failure.map(|cause| cause.during(S::OPERATION).into()));
    }
}

/// A live session, once the whole link is up: whoever hears of it may answer, which takes the other connection. An
/// error when there will be none.
async fn live(mut lines: [watch::Receiver<Line>; 2]) -> Result<Arc<Session>, Option<Cause>> {
    loop {
        let mut kept = true;
        for line in &mut lines {
            // It fails with the supervisor, who says why before it goes if it can.
            let _ = line.wait_for(|line| line.is_final() || line.session().is_ok()).await;
            kept &= line.has_changed().is_ok();
        }
        let [publishing, consuming] = [&lines[0], &lines[1]].map(|line| line.borrow().clone());
        match (publishing, consuming) {
            (Line::Failed(cause), _) | (_, Line::Failed(cause)) => return Err(Some(cause)),
            (Line::Closed, _) | (_, Line::Closed) => return Err(None),
            // Nobody makes the connection again, nor says why.
            _ if !kept => return Err(Some(Cause::gone())),
            (Line::Up(_), Line::Up(session)) if !session.is_over() => return Ok(session),
            _ => {}
        }
    }
}

/// Ends when the connection will never be up again.
async fn over(line: &mut watch::Receiver<Line>) {
    // It fails with the supervisor, which is as good.
    let _ = line.wait_for(Line::is_final).await;
}
