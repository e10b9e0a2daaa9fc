//! What a monitor thinks of processes, told on a bus.
use sinew_core::{Message, Publish, PublishExt as _, Receipt, Result, Subject};

use super::unix;
use crate::{Clock, Transition};

const PREFIX: &str = "liveness.";

/// Tells each transition on `liveness.<process>`, through any backend that can publish.
///
/// The payload is the state and when it began, in seconds since 1970 UTC by the monitor's clock: `down/1767225600.250`.
/// It is text as beatit's is, so that whoever reads heartbeats can read it, and it is true however late it is read.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sinew_core::Result<()> {
/// use sinew_adapter_memory::Memory;
/// use sinew_beat::{MonitorEvent, Republish, Watch, WatchOptions};
///
/// let broker = Memory::new();
/// let mut watch = Watch::start(&broker, WatchOptions::default()).await?;
/// let republish = Republish::new(broker.clone(), watch.clock());
/// # let heart = sinew_beat::Heart::new(broker.clone(), "billing")?;
/// # heart.beat().await?;
/// while let Some(event) = watch.next().await {
///     if let MonitorEvent::Transition(transition) = event? {
///         republish.publish(&transition).await?;
///     }
/// #   break;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Republish<P> {
    publisher: P,
    clock: Clock,
}

impl<P: Publish> Republish<P> {
    /// Tells through `publisher`; `clock` is that of the [`Watch`](crate::Watch) which tells the transitions.
    #[must_use]
    pub const fn new(publisher: P, clock: Clock) -> Self {
        Self { publisher, clock }
    }

    /// Tells one transition.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`](sinew_core::ErrorKind::InvalidSubject) when the process's name makes no subject, and
    /// what [`PublishExt::send`](sinew_core::PublishExt::send) has.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call may or may not tell the transition. It has no deadline of its own.
    pub async fn publish(&self, transition: &Transition) -> Result<Receipt> {
        let subject = Subject::parse(&format!("{PREFIX}{}", transition.process))?;
        let payload = format!("{}/{}", transition.to, unix(&self.clock, transition.at));
        self.publisher.send(Message::new(subject, payload)).await
    }
}
