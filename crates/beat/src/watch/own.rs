//! The watch's own heart: from when it is heard on, silence means something.
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use sinew_core::{Address, AnyPublisher, Error, ErrorKind, Publish as _, Result};
use tokio::{sync::Notify, time::timeout};

use super::{By, WatchTable};
use crate::{Heart, Process};

/// How long a start is waited for until it is said again.
const AGAIN: Duration = Duration::from_secs(1);

/// The watch's own heart, and what relies on it.
pub(super) struct Own {
    pub(super) heart: Arc<Heart<AnyPublisher>>,
    /// What holds once it is heard: how long a silence blinds, and a stillness is a stall.
    pub(super) blind_after: Option<Duration>,
    pub(super) stall_after: Duration,
    is_heard: AtomicBool,
    /// It was heard, or there is nobody left who could hear it.
    came: Notify,
    /// Its start was heard: now it beats.
    pub(super) begun: Notify,
}

impl Own {
    pub(super) fn new(
        heart: Arc<Heart<AnyPublisher>>,
        blind_after: Option<Duration>,
        stall_after: Duration,
    ) -> Self {
        let (came, begun) = (Notify::new(), Notify::new());
        Self { heart, blind_after, stall_after, is_heard: AtomicBool::new(false), came, begun }
    }

    pub(super) fn is_heard(&self) -> bool {
        self.is_heard.load(SeqCst)
    }

    /// Notes who was heard.
    pub(super) fn note(&self, address: &Address) {
        if !self.is_heard() && Process::text_in(address) == Some(self.heart.process().as_str()) {
            self.came.notify_waiters();
        }
    }

    /// Nothing will be heard any more.
    pub(super) fn end(&self) {
        self.came.notify_waiters();
    }
}

impl WatchTable {
    /// Says `start` for the watch's [heart](super::WatchOptions::with_heart) until the watch hears that itself; from then
    /// on it beats, and its silence blinds the watch. It does nothing where that is so already.
    ///
    /// [`Watch::start`](crate::Watch::start) does it, unless the heart
    /// [begins later](super::WatchOptions::with_heart_later): then it may be tried as often as it takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] where the watch has no heart, [`ErrorKind::Closed`] where it has ended; what
    /// [`Heart::send`] and the publisher's flush have; and [`ErrorKind::Timeout`] when the start does not come back
    /// within [`HeartOptions::with_timeout`](crate::HeartOptions::with_timeout).
    ///
    /// # Cancel safety
    ///
    /// A dropped call may have said `start`; nothing relies on it.
    pub async fn begin_heart(&self) -> Result<()> {
        let failed = |kind| Error::new(kind, "beat watch");
        let Some(own) = &self.shared.own else {
            return Err(failed(ErrorKind::InvalidOptions)
                .with_detail("it has no heart; give it one with WatchOptions::with_heart_later"));
        };
        let heart = &own.heart;
        let failed = |kind| failed(kind).with_subject(heart.subject().as_str());
        let limit = heart.options().timeout();
        let saying = async {
            while !own.is_heard() {
                let mut came = pin!(own.came.notified());
                came.as_mut().enable();
                if self.lock().end.is_some() {
                    return Err(failed(ErrorKind::Closed).with_detail("the intake ended"));
                }
                heart.start().await?;
                // Where a broker answers a publish late or never, it tells here what it refused.
                heart.publisher().flush().await?;
                if timeout(AGAIN, came).await.is_ok() && self.lock().end.is_none() {
                    self.rely(own);
                }
            }
            Ok(())
        };
        timeout(limit, saying).await.unwrap_or_else(|_| {
            Err(failed(ErrorKind::Timeout).with_detail(format!(
                "its own start did not come back within {limit:?}; does its heart publish to the broker that it watches?"
            )))
        })
    }

    /// Whether the watch has a [heart](super::WatchOptions::with_heart) whose start it has heard, so that a broker that
    /// hangs blinds it.
    #[must_use]
    pub fn hears_itself(&self) -> bool {
        self.shared.own.as_ref().is_some_and(Own::is_heard)
    }

    fn rely(&self, own: &Own) {
        if own.is_heard.swap(true, SeqCst) {
            return;
        }
        self.lock().stall_after = own.stall_after;
        self.update(By::Operator, |monitor, now, told| monitor.rely(own.blind_after, now, told));
        self.shared.nudge.notify_one();
        own.begun.notify_one();
    }
}
