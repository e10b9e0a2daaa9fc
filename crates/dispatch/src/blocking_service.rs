//! A served agent in the hands of code without a runtime.
use std::{fmt, sync::Arc, time::Duration};

use sinew_core::{Result, Subject};

use crate::{AgentId, Service, ServiceCounts, background::Background};

/// A [`Service`] in blocking calls: an agent that is asked over a broker. Dropping it ends it for asks that are sent
/// later; those that have come are answered as long as the dispatcher, or a clone of it, is there.
#[must_use = "dropping it ends the service"]
pub struct BlockingService {
    service: Service,
    background: Arc<Background>,
}

impl BlockingService {
    pub(crate) fn new(service: Service, background: &Arc<Background>) -> Self {
        Self { service, background: Arc::clone(background) }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Subject {
        self.service.topic()
    }

    /// The agent's name.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        self.service.agent()
    }

    /// As [`Service::counts`].
    #[must_use]
    pub fn counts(&self) -> ServiceCounts {
        self.service.counts()
    }

    /// As [`Service::ended`].
    ///
    /// # Errors
    ///
    /// As [`Service::ended`]; [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread of a
    /// runtime.
    pub fn ended(&mut self) -> Result<()> {
        self.background.wait(self.service.ended())?
    }

    /// As [`Service::drained`].
    ///
    /// # Errors
    ///
    /// As [`Service::drained`]; [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime) on a thread of a
    /// runtime, and then the service has ended.
    pub fn drained(self, within: Duration) -> Result<()> {
        self.background.wait(self.service.drained(within))?
    }
}

impl fmt::Debug for BlockingService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockingService").field(&self.service).finish()
    }
}
