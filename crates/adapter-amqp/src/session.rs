//! One live connection, and what is known of it.
use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use lapin::{Channel, Connection, Event};
use sinew_core::ErrorKind;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    dial::{self, Dialed},
    error::Cause,
};

/// How often a connection is looked at when the client says nothing about it.
const LOOK: Duration = Duration::from_millis(250);
/// How long a connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a connection that is made again without our doing is waited for, to be closed.
const QUELL: Duration = Duration::from_secs(600);

/// A connection from its login to its end. Whatever was asked on it ends with it.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    line: Option<dial::Line>,
    /// Counts the connections of one supervisor, from 1.
    generation: u64,
    answer_timeout: Duration,
    end: watch::Sender<Option<Cause>>,
    blocked: watch::Sender<bool>,
    /// Told whenever the broker has closed a channel.
    falls: watch::Sender<()>,
    since: Instant,
}

impl Session {
    pub(crate) fn new(
        dialed: Dialed,
        generation: u64,
        answer_timeout: Duration,
        handle: &Handle,
    ) -> Arc<Self> {
        let Dialed { connection, line } = dialed;
        let events = connection.events_listener();
        let session = Arc::new(Self {
            connection,
            line,
            generation,
            answer_timeout,
            end: watch::Sender::new(None),
            blocked: watch::Sender::new(false),
            falls: watch::Sender::new(()),
            since: Instant::now(),
        });
        handle.spawn(listen(Arc::downgrade(&session), events));
        session
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The largest frame that both sides take, in bytes.
    pub(crate) fn frame_max(&self) -> u32 {
        self.connection.configuration().frame_max()
    }

    /// Opens a channel.
    pub(crate) async fn channel(&self) -> Result<Channel, Cause> {
        self.ask(self.connection.create_channel()).await
    }

    /// Awaits the broker's answer, for as long as one may take.
    pub(crate) async fn ask<T>(
        &self,
        question: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Cause> {
        let mut end = self.end.subscribe();
        tokio::select! {
            biased;
            answer = timeout(self.answer_timeout, question) => match answer {
                Ok(answer) => answer.map_err(Cause::from),
                Err(_) => Err(Cause::late()),
            },
            _ = end.wait_for(Option::is_some) => Err(Cause::broke()),
        }
    }

    /// Ends with the session, and says why it did.
    ///
    /// Cancel safe.
    pub(crate) async fn over(&self) -> Cause {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await.map(|cause| cause.clone()) {
            Ok(Some(cause)) => cause,
            _ => Cause::broke(),
        }
    }

    /// Whether nothing can be asked on it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.end.borrow().is_some() || !self.connection.status().connected()
    }

    /// Whether the broker takes no publishes for now, as one whose memory or disk is short does.
    pub(crate) fn is_blocked(&self) -> bool {
        *self.blocked.borrow()
    }

    /// Ends when the broker takes publishes again, or the session is over.
    ///
    /// Cancel safe.
    pub(crate) async fn unblocked(&self) {
        let mut blocked = self.blocked.subscribe();
        tokio::select! {
            // It fails with the session alone.
            _ = blocked.wait_for(|blocked| !blocked) => {}
            _ = self.over() => {}
        }
    }

    /// Ends when the broker has closed a channel of this session.
    ///
    /// Cancel safe.
    pub(crate) async fn closed(&self, channel: &Channel) {
        let mut falls = self.falls.subscribe();
        while channel.status().connected() {
            // It fails with the session alone.
            if falls.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends it, politely if the broker lets us.
    pub(crate) async fn close(&self) {
        let farewell = self.connection.close(200, "OK".into());
        if let Ok(Err(err)) = timeout(FAREWELL, farewell).await {
            tracing::debug!(%err, "the connection ended before it was closed");
        }
        self.finish(Cause::closed());
    }

    /// Ends one that its client makes again, which can be closed no sooner than it is there, and may break as it is
    /// closed, to be made once more.
    pub(crate) async fn quell(&self) {
        let ended = async {
            let mut look = interval(LOOK);
            // Between a break and what follows it says neither.
            let mut looks_ended = 0;
            while looks_ended < 2 {
                look.tick().await;
                if self.is_made_again() {
                    looks_ended = 0;
                } else if self.connection.status().connected() {
                    looks_ended = 0;
                    drop(timeout(FAREWELL, self.connection.close(200, "OK".into())).await);
                } else {
                    looks_ended += 1;
                }
            }
        };
        if timeout(QUELL, ended).await.is_err() {
            tracing::warn!(
                "the connection that we were given is still made again; close it where it was made"
            );
        }
        self.finish(Cause::closed());
    }

    /// The first end counts. Whoever still holds the session, such as a handler at work, holds no socket with it.
    fn finish(&self, cause: Cause) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(cause);
            first
        });
        if let Some(line) = &self.line {
            line.cut();
        }
    }

    /// Whether the client is at it; for us it does not.
    fn is_made_again(&self) -> bool {
        let status = self.connection.status();
        status.reconnecting() || status.connecting()
    }

    fn hear(&self, event: Event) {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(reason, "the broker takes no publishes for now");
                self.blocked.send_replace(true);
            }
            Event::ConnectionUnblocked => {
                tracing::info!("the broker takes publishes again");
                self.blocked.send_replace(false);
            }
            Event::Error(_) if self.is_made_again() => self.finish(recovers()),
            Event::Error(err) if !self.connection.status().connected() => self.finish(err.into()),
            // The end of a channel is told in the same way.
            Event::Error(_) => {
                self.falls.send_replace(());
            }
            // It was made again between two looks. That it was made at all may be told late.
            Event::Connected if self.line.is_none() && self.since.elapsed() >= LOOK => {
                self.finish(recovers());
            }
            _ => {}
        }
    }
}

fn recovers() -> Cause {
    Cause::options("the connection was given to us with auto-recovery; give one without it")
}

/// Notes what the client says of the connection. It may say nothing of its end, so that is looked at, too.
async fn listen(
    session: std::sync::Weak<Session>,
    events: impl futures_core::Stream<Item = Event> + Send + 'static,
) {
    let mut events = pin!(events);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = look.tick() => None,
        };
        let Some(session) = session.upgrade() else { return };
        match event {
            Some(event) => session.hear(event),
            None if session.is_made_again() => session.finish(recovers()),
            None if !session.connection.status().connected() => {
                session.finish(Cause::plain(ErrorKind::Disconnected, "the link broke"))
            }
            None => {}
        }
        if session.end.borrow().is_some() {
            return;
        }
    }
}
