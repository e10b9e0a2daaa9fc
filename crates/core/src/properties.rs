//! Properties: what a message may say about itself beside its headers.
use std::time::{Duration, SystemTime};

use crate::{Position, Property};

/// What a message says about itself, each where it wants to.
///
/// A backend that cannot carry one refuses the message; which it carries is in
/// [`Capabilities::properties`](crate::Capabilities). Set them with the `with_*` methods of
/// [`Message`](crate::Message).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Properties {
    /// The message's own id. Where the backend de-duplicates, a second one within its window is dropped.
    pub id: Option<String>,
    /// What this message answers or belongs to.
    pub correlation_id: Option<String>,
    /// Media type of the payload: `application/json`.
    pub content_type: Option<String>,
    /// How the payload is compressed: `gzip`.
    pub content_encoding: Option<String>,
    /// What kind of message it is, in its application's words: AMQP's `type`.
    pub message_type: Option<String>,
    /// The application that made it.
    pub app_id: Option<String>,
    /// The user who published it. RabbitMQ takes no other than the one who is logged in.
    pub user_id: Option<String>,
    /// Messages of one key keep their order, and on a log share a partition.
    pub key: Option<bytes::Bytes>,
    /// How long the message is worth delivering.
    pub ttl: Option<Duration>,
    /// 0 (last) to 9 (first).
    pub priority: Option<u8>,
    /// When the publisher made it, by its own clock.
    pub timestamp: Option<SystemTime>,
    /// Fail the publish when no queue takes the message.
    pub must_route: bool,
    /// Fail the publish unless the log's last message is this one.
    pub expected_position: Option<Position>,
    /// Whether the message outlives the broker; the backend's own default when unset.
    pub durable: Option<bool>,
}

impl Properties {
    /// Those that are set.
    pub fn set(&self) -> impl Iterator<Item = Property> {
        [
            (self.id.is_some(), Property::Id),
            (self.correlation_id.is_some(), Property::CorrelationId),
            (self.content_type.is_some(), Property::ContentType),
            (self.content_encoding.is_some(), Property::ContentEncoding),
            (self.message_type.is_some(), Property::Type),
            (self.app_id.is_some(), Property::AppId),
            (self.user_id.is_some(), Property::UserId),
            (self.key.is_some(), Property::Key),
            (self.ttl.is_some(), Property::Ttl),
            (self.priority.is_some(), Property::Priority),
            (self.timestamp.is_some(), Property::Timestamp),
            (self.must_route, Property::MustRoute),
            (self.expected_position.is_some(), Property::ExpectedPosition),
            (self.durable.is_some(), Property::Durable),
        ]
        .into_iter()
        .filter_map(|(is_set, property)| is_set.then_some(property))
    }
}
