//! The contract of the connection under the others.
use std::{fmt, sync::Arc, time::Duration};

use crate::{Backend, BoxFuture, Capabilities, Incoming, Result};

/// The connection under the other contracts: its state, and the way to end it.
///
/// Clones share it. Dropping one never ends it for the others; dropping the last handle and intake ends it at once,
/// without what a drain waits for.
pub trait Link: Backend {
    /// Yields [`Event::Down`](crate::Event::Down) and [`Event::Up`](crate::Event::Up) as they happen, starting with
    /// the state of now; `None` after a drain. A watcher that is slow sees the latest state, not every one.
    fn watch(&self) -> Incoming<()>;

    /// Ends the connection for every clone, and takes `within` at most: stops every intake (what was received is
    /// still yielded), waits until each delivery handed out is settled, flushes, closes. From its first moment on
    /// new intakes are refused as [`ErrorKind::Closed`](crate::ErrorKind::Closed); publishes still pass until the
    /// deliveries are settled, so that their handlers can finish. Draining again waits for the same end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) when `within` ran out: the connection is closed all the
    /// same, and the detail says what was left.
    ///
    /// # Cancel safety
    ///
    /// A dropped call goes on draining in the background.
    fn drain(&self, within: Duration) -> impl Future<Output = Result<()>> + Send;
}

impl<L: Link> Link for Arc<L> {
    fn watch(&self) -> Incoming<()> {
        (**self).watch()
    }

    fn drain(&self, within: Duration) -> impl Future<Output = Result<()>> + Send {
        (**self).drain(within)
    }
}

/// Any link, its type erased. Cloning shares it.
#[derive(Clone)]
pub struct AnyLink(Arc<dyn LinkDyn>);

trait LinkDyn: Backend {
    fn watch_dyn(&self) -> Incoming<()>;
    fn drain_dyn(&self, within: Duration) -> BoxFuture<'_, Result<()>>;
}

impl<L: Link> LinkDyn for L {
    fn watch_dyn(&self) -> Incoming<()> {
        self.watch()
    }

    fn drain_dyn(&self, within: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.drain(within))
    }
}

impl AnyLink {
    /// Erases `link`.
    #[must_use]
    pub fn new(link: impl Link + 'static) -> Self {
        Self(Arc::new(link))
    }
}

impl Link for AnyLink {
    fn watch(&self) -> Incoming<()> {
        self.0.watch_dyn()
    }

    fn drain(&self, within: Duration) -> impl Future<Output = Result<()>> + Send {
        self.0.drain_dyn(within)
    }
}

impl Backend for AnyLink {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

impl fmt::Debug for AnyLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyLink({})", self.0.capabilities().backend)
    }
}
