//! Needs: what a caller cannot do without, held against what a backend promises.
use std::fmt;

use crate::{
    Attempts, Capabilities, Confirm, Error, ErrorKind, Groups, Guarantee, HeaderCarriage, Names,
    Ordering, Overflow, Persistence, Property, QueueAddressing, QueueKind, Registration, Requests,
    Requeue, Result, Scopes, Settlement, StartPoint, Wildcards,
};

/// Something that a pattern cannot do without. Where capabilities are ordered, "at least".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Need {
    /// A publish whose answer says at least this; anything above [`Confirm::None`] means "can publish".
    Confirm(Confirm),
    /// An intake, registered at least so; anything above [`Registration::None`] means "can take in".
    Registration(Registration),
    /// Delivery at least so often.
    Delivery(Guarantee),
    /// Settled intake, at least so fine.
    Settlement(Settlement),
    /// Handing deliveries back.
    Requeue(Requeue),
    /// Knowing of earlier deliveries.
    Attempts(Attempts),
    /// Order.
    Ordering(Ordering),
    /// Sharing copies.
    Groups(Groups),
    /// Patterns.
    Wildcards(Wildcards),
    /// Names.
    Names(Names),
    /// Scopes.
    Scopes(Scopes),
    /// Headers.
    Headers(HeaderCarriage),
    /// Keeping messages.
    Persistence(Persistence),
    /// An intake that starts there.
    Start(StartPoint),
    /// A queue of that kind.
    Queue(QueueKind),
    /// Publishing straight to a queue.
    QueueAddressing(QueueAddressing),
    /// Requests.
    Request(Requests),
    /// A property that travels.
    Property(Property),
    /// A full buffer that does this.
    Overflow(Overflow),
    /// Payloads of this many bytes.
    Payload(usize),
}

impl Capabilities {
    /// Refuses, unless the backend has what `need` says. `substitute` tells the user what to do instead.
    ///
    /// Patterns call it where they are built, adapters where they are asked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] ([`ErrorKind::TooLarge`] for a payload), naming the capability, the backend and
    /// the substitute.
    // Every caller names its need, so what is left of this where it is called is one comparison.
    #[inline(always)]
    pub fn require(&self, need: Need, substitute: &str) -> Result<()> {
        let lacks = match need {
            Need::Confirm(it) => at_least("publish confirmation", it, self.confirm),
            Need::Registration(it) => at_least("registration", it, self.registration),
            Need::Delivery(it) => at_least("delivery", it, self.delivery),
            Need::Settlement(it) => at_least("settlement", it, self.settlement),
            Need::Requeue(it) => at_least("requeue", it, self.requeue),
            Need::Attempts(it) => at_least("attempts", it, self.attempts),
            Need::Ordering(it) => at_least("ordering", it, self.ordering),
            Need::Groups(it) => at_least("groups", it, self.groups),
            Need::Wildcards(it) => at_least("wildcards", it, self.wildcards),
            Need::Names(it) => at_least("names", it, self.names),
            Need::Scopes(it) => at_least("scopes", it, self.scopes),
            Need::Headers(it) => at_least("headers", it, self.headers),
            Need::QueueAddressing(it) => at_least("queue addressing", it, self.queue_addressing),
            Need::Persistence(it) => at_least("persistence", it, self.persistence),
            Need::Request(it) => at_least("requests", it, self.request),
            Need::Start(it) => one_of("start", it, self.starts.has(it), self.starts),
            Need::Queue(it) => one_of("queue", it, self.queues.has(it), self.queues),
            Need::Property(it) => one_of("property", it, self.properties.has(it), self.properties),
            Need::Overflow(it) => one_of("overflow", it, self.overflow.has(it), self.overflow),
            Need::Payload(bytes) => match self.max_payload {
                Some(max) if bytes > max => {
                    return Err(too_large(self.backend, bytes, max, substitute));
                }
                _ => None,
            },
        };
        match lacks {
            None => Ok(()),
            Some(lack) => Err(unsupported(self.backend, &lack, substitute)),
        }
    }
}

/// What is missing, in words; nothing is written where nothing is.
#[inline]
fn at_least<T: Ord + fmt::Display>(what: &str, wanted: T, has: T) -> Option<String> {
    one_of(what, &wanted, has >= wanted, &has)
}

#[inline]
fn one_of(
    what: &str,
    wanted: impl fmt::Display,
    is_met: bool,
    has: impl fmt::Display,
) -> Option<String> {
    if is_met { None } else { Some(lack(what, &wanted, &has)) }
}

#[cold]
fn lack(what: &str, wanted: &dyn fmt::Display, has: &dyn fmt::Display) -> String {
    format!("{what} `{wanted}` is needed, it has {has}")
}

#[cold]
fn unsupported(backend: &'static str, lack: &str, substitute: &str) -> Error {
    Error::new(ErrorKind::Unsupported, backend).with_detail(format!("{lack}; {substitute}"))
}

#[cold]
fn too_large(backend: &'static str, bytes: usize, max: usize, substitute: &str) -> Error {
    Error::new(ErrorKind::TooLarge, backend)
        .with_detail(format!("{bytes} bytes, at most {max} fit; {substitute}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StartPoints;

    #[test]
    fn a_refusal_names_capability_backend_and_substitute() {
        let err = Capabilities::new("zmq")
            .require(Need::Request(Requests::Replies), "use nats")
            .unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unsupported);
        assert_eq!(
            err.to_string(),
            "zmq: not supported: requests `replies` is needed, it has none; use nats"
        );
    }

    #[test]
    fn a_refusal_says_what_there_is_instead() {
        let able = Capabilities::new("x")
            .with_starts(StartPoints::of(&[StartPoint::Earliest, StartPoint::Offset]));
        let err = able.require(Need::Start(StartPoint::Time), "start at an offset").unwrap_err();
        assert_eq!(
            err.detail(),
            Some("start `time` is needed, it has earliest, offset; start at an offset")
        );
    }
}
