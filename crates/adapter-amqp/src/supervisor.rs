//! Keeps one connection: makes it, watches it, and makes it again.
use std::{sync::Arc, time::Duration};

use sinew_core::{ErrorKind, Sent};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    backoff::{self, Backoff},
    connect::Dial,
    error::Cause,
    session::Session,
};

/// How often in a row, and for the patience of the link, a broker that took us before must refuse us before we believe
/// it. One that starts up, whose users are elsewhere, or whose certificate is being changed, refuses for a while those
/// whom it will take.
const REFUSALS: u32 = 3;
/// How long a connection must have lived to count as a success.
const LIVED: Duration = Duration::from_secs(5);

/// How a connection stands.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    Up(Arc<Session>),
    /// It is being made again.
    Down,
    /// The broker refuses us for good.
    Failed(Cause),
    Closed,
}

impl Line {
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }

    /// Whether it will never be up again.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Closed)
    }

    /// The live session, or why there is none.
    pub(crate) fn session(&self) -> Result<Arc<Session>, Cause> {
        match self {
            Self::Up(session) if session.is_over() => Err(Cause::down()),
            Self::Up(session) => Ok(Arc::clone(session)),
            Self::Down => Err(Cause::down()),
            Self::Failed(cause) => Err(cause.clone().with_sent(Sent::No)),
            Self::Closed => Err(Cause::closed()),
        }
    }
}

/// How a connection is kept.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) answer_timeout: Duration,
    /// The longest wait between two attempts.
    pub(crate) reconnect_wait: Duration,
    /// How long a broker may refuse a link that it took before.
    pub(crate) patience: Duration,
    /// Told by each supervisor of the link that the broker is there again.
    pub(crate) back: Arc<Notify>,
}

/// One connection that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) line: watch::Receiver<Line>,
    /// Set when it is to end; dropped, it ends as well.
    stop: Arc<watch::Sender<bool>>,
}

impl Kept {
    /// Keeps what `dial` makes, starting with `session`.
    pub(crate) fn start(
        dial: Arc<dyn Dial>,
        role: &'static str,
        session: Arc<Session>,
        terms: Terms,
        handle: &Handle,
    ) -> Self {
        let (line, seen) = watch::channel(Line::Up(Arc::clone(&session)));
        let (stop, stopped) = watch::channel(false);
        let supervisor = Supervisor { dial, role, line, stopped, terms, handle: handle.clone() };
        handle.spawn(supervisor.run(session));
        Self { line: seen, stop: Arc::new(stop) }
    }

    /// The live session, or why there is none.
    pub(crate) fn session(&self) -> Result<Arc<Session>, Cause> {
        self.line.borrow().session()
    }

    /// Whether there is one.
    pub(crate) fn is_up(&self) -> bool {
        self.line.borrow().is_up()
    }

    /// Keeps it for as long as what this gives is kept.
    pub(crate) fn hold(&self) -> impl Send + 'static {
        Arc::clone(&self.stop)
    }

    /// Ends it, and waits until it has.
    pub(crate) async fn close(&self) {
        self.stop.send_replace(true);
        // It fails when the supervisor is gone, which is as good.
        let _ = self.line.clone().wait_for(Line::is_final).await;
    }
}

struct Supervisor {
    dial: Arc<dyn Dial>,
    role: &'static str,
    line: watch::Sender<Line>,
    stopped: watch::Receiver<bool>,
    terms: Terms,
    handle: Handle,
}

impl Supervisor {
    async fn run(mut self, mut session: Arc<Session>) {
        let mut backoff = Backoff::new(self.terms.reconnect_wait);
        loop {
            let since = Instant::now();
            tokio::select! {
                biased;
                () = stop(&mut self.stopped) => {
                    session.close().await;
                    self.line.send_replace(Line::Closed);
                    return;
                }
                cause = session.over() => {
                    tracing::warn!(connection = self.role, error = %cause.describe(), "the link is down");
                    // Not the broker's doing: what we were given is not to be used so.
                    if cause.kind() == ErrorKind::InvalidOptions {
                        self.line.send_replace(Line::Failed(cause));
                        return session.quell().await;
                    }
                }
            }
            if since.elapsed() >= LIVED {
                backoff.reset();
            }
            self.line.send_replace(Line::Down);
            let generation = session.generation() + 1;
            // One that was given may be made again by its client, whatever it says of its end.
            let given = self.dial.is_spent().then(|| Arc::clone(&session));
            // Its thread ends, its socket closes.
            drop(session);
            session = match self.again(&mut backoff, generation).await {
                Ok(session) => session,
                Err(end) => {
                    self.line.send_replace(end);
                    if let Some(given) = given {
                        given.quell().await;
                    }
                    return;
                }
            };
            self.terms.back.notify_waiters();
            tracing::info!(connection = self.role, generation, "the link is up");
            self.line.send_replace(Line::Up(Arc::clone(&session)));
        }
    }

    /// Tries until there is a connection, or there will be none.
    async fn again(
        &mut self,
        backoff: &mut Backoff,
        generation: u64,
    ) -> Result<Arc<Session>, Line> {
        let (mut refusals, mut since) = (0, Instant::now());
        loop {
            let attempt = async {
                // Where one connection is taken, the other one will be; but not at once: of two that fall as soon as they are
                // taken, each would call the other without a rest.
                let back = self.terms.back.notified();
                let wait = backoff.wait();
                let rest = wait.min(backoff::FIRST);
                sleep(rest).await;
                let _ = timeout(wait - rest, back).await;
                self.dial.dial().await
            };
            let made = tokio::select! {
                biased;
                () = stop(&mut self.stopped) => return Err(Line::Closed),
                made = attempt => made,
            };
            match made {
                Ok(connection) => {
                    return Ok(Session::new(
                        connection,
                        generation,
                        self.terms.answer_timeout,
                        &self.handle,
                    ));
                }
                Err(cause) if cause.is_lasting() => {
                    refusals += 1;
                    if refusals == 1 {
                        since = Instant::now();
                    }
                    let is_believed =
                        refusals >= REFUSALS && since.elapsed() >= self.terms.patience;
                    if is_believed || self.dial.is_spent() {
                        tracing::error!(connection = self.role, error = %cause.describe(), "the broker refuses us; the link is given up");
                        return Err(Line::Failed(cause));
                    }
                    tracing::warn!(connection = self.role, error = %cause.describe(), "the broker refuses us for now");
                }
                Err(cause) => {
                    refusals = 0;
                    tracing::debug!(connection = self.role, error = %cause.describe(), "not connected yet");
                }
            }
        }
    }
}

/// Ends when it is to stop, or nobody is left who could say so.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
