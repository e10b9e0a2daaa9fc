//! Who of many handlers has an event.
use std::fmt;

use sinew_core::{Error, ErrorKind, Queue, Result};

use crate::names::{self, HandlerName, Source};

/// Who has each event, where there are several services and several instances of each.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the kinds are nameko's, and a match over them is to be whole"
)]
pub enum HandlerKind {
    /// One instance of each service: queue `evt-{source}-{type}--{service}.{method}`.
    #[default]
    ServicePool,
    /// One instance of one service, whichever: queue `evt-{source}-{type}`.
    ///
    /// The queue is named after the event alone, so all singleton handlers of an event share it.
    Singleton,
    /// Every instance: queue `evt-{source}-{type}--{service}.{method}-{identifier}`.
    Broadcast,
}

impl HandlerKind {
    /// The queue of a handler of this kind. `identifier` tells the instances of a broadcast apart; the other kinds take
    /// no notice of it.
    ///
    /// Names are not escaped, because nameko does not: two events may meet in one queue (`a-b` and `c`, `a` and `b-c`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] when the queue's name is longer than 255 bytes or holds a control character,
    /// [`ErrorKind::InvalidOptions`] for a broadcast without an identifier.
    pub fn queue(
        self,
        source: &Source,
        event_type: &str,
        handler: &HandlerName,
        identifier: Option<&str>,
    ) -> Result<Queue> {
        let name = match (self, identifier) {
            (Self::ServicePool, _) => format!("evt-{source}-{event_type}--{handler}"),
            (Self::Singleton, _) => format!("evt-{source}-{event_type}"),
            (Self::Broadcast, Some(identifier)) => {
                names::check("parse broadcast identifier", identifier)?;
                format!("evt-{source}-{event_type}--{handler}-{identifier}")
            }
            (Self::Broadcast, None) => {
                return Err(Error::new(ErrorKind::InvalidOptions, "name queue")
                    .with_subject(handler.as_str())
                    .with_detail("a broadcast needs an identifier for each instance"));
            }
        };
        Queue::parse(&name)
    }

    /// As nameko calls it: `service_pool`, `singleton`, `broadcast`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServicePool => "service_pool",
            Self::Singleton => "singleton",
            Self::Broadcast => "broadcast",
        }
    }
}

impl fmt::Display for HandlerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(kind: HandlerKind, event_type: &str, identifier: Option<&str>) -> Result<Queue> {
        let handler = HandlerName::new("billing", "on_created").unwrap();
        kind.queue(&Source::parse("orders").unwrap(), event_type, &handler, identifier)
    }

    #[test]
    fn queues_are_called_as_nameko_calls_them() {
        let name = |kind, event_type| queue(kind, event_type, Some("h7")).unwrap();
        for (kind, event_type, expected) in [
            (HandlerKind::ServicePool, "created", "evt-orders-created--billing.on_created"),
            (HandlerKind::Singleton, "created", "evt-orders-created"),
            (HandlerKind::Broadcast, "created", "evt-orders-created--billing.on_created-h7"),
            (HandlerKind::ServicePool, "a.#", "evt-orders-a.#--billing.on_created"),
            (HandlerKind::ServicePool, "", "evt-orders---billing.on_created"),
            (HandlerKind::Singleton, "order created", "evt-orders-order created"),
        ] {
            assert_eq!(name(kind, event_type).as_str(), expected);
        }
    }

    #[test]
    fn a_broadcast_without_an_identifier_has_no_queue() {
        let kind = |identifier| queue(HandlerKind::Broadcast, "a", identifier).unwrap_err().kind();
        assert_eq!(kind(None), ErrorKind::InvalidOptions);
        assert_eq!(kind(Some("")), ErrorKind::InvalidName);
    }

    #[test]
    fn a_name_too_long_for_a_queue_is_refused() {
        let err = queue(HandlerKind::ServicePool, &"t".repeat(250), None).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidName);
    }
}
