//! A broker-less backend: no headers, no acknowledgements, topics of any bytes, prefixes instead of wildcards.
use std::sync::Mutex;

use bytes::Bytes;
use sinew_core::{
    Address, Backend, Capabilities, Confirm, ErrorKind, Event, Incoming, Message, Names, Overflow,
    Overflows, Pattern, Pending, Publish, PublishExt, Receipt, Registration, Result, Scope,
    Subscribe, Subscription, Wildcards,
};

use crate::support::{Feed, lock, now, subject};

const ZMQ: Capabilities = Capabilities::new("zmq")
    .with_confirm(Confirm::Buffered)
    .with_registration(Registration::Eventual)
    .with_wildcards(Wildcards::Prefix)
    .with_names(Names::Prefixes)
    .with_overflow(Overflows::of(&[Overflow::DropNewest]));

/// One PUB and its SUBs in one: topic frame, payload frame, and a filter at the subscriber.
#[derive(Default)]
struct Zmq(Mutex<Vec<(Vec<Pattern>, Feed<Message>)>>);

impl Backend for Zmq {
    fn capabilities(&self) -> Capabilities {
        ZMQ
    }
}

impl Publish for Zmq {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        ZMQ.check_message(&message)?;
        let topic = match &message.address {
            Address::Subject(_, subject) => Bytes::copy_from_slice(subject.as_bytes()),
            Address::Foreign(_, topic) => topic.clone(),
            other => return Err(sinew_core::Error::new(ErrorKind::Unsupported, other.to_string())),
        };
        let arrived = Message::to(Address::from_wire(None, topic), message.payload);
        for (patterns, feed) in &*lock(&self.0) {
            if patterns.iter().any(|pattern| pattern.matches_address(&arrived.address)) {
                feed.push(arrived.clone());
            }
        }
        Ok(Pending::ready(Ok(Receipt::Buffered)))
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl Subscribe for Zmq {
    async fn subscribe(&self, wanted: Subscription) -> Result<Incoming<Message>> {
        ZMQ.check_subscription(&wanted)?;
        let feed = Feed::new();
        lock(&self.0).push((wanted.patterns, feed.clone()));
        Ok(feed.incoming())
    }
}

#[test]
fn a_binary_topic_is_published_wanted_by_prefix_and_delivered_as_it_is() {
    let zmq = Zmq::default();
    let wanted = Subscription::new(Pattern::prefix(&b"\x01\xff"[..]))
        .and(Pattern::exact(&b""[..]))
        .and(subject("heartbeat.billing").unwrap());
    let mut incoming = now(zmq.subscribe(wanted)).unwrap().unwrap();

    let binary = Address::Foreign(None, Bytes::from_static(b"\x01\xff\0rest"));
    let empty = Address::Foreign(None, Bytes::new());
    let beat = Address::Subject(None, subject("heartbeat.billing").unwrap());
    let unwanted = Address::Foreign(None, Bytes::from_static(b"\x01"));
    for address in [&binary, &unwanted, &empty, &beat] {
        let sent = now(zmq.send(Message::to(address.clone(), &b"\x80"[..]))).unwrap();
        assert_eq!(sent.unwrap(), Receipt::Buffered);
    }
    for address in [binary, empty, beat] {
        let event = now(incoming.next()).unwrap().unwrap().unwrap();
        assert_eq!(event, Event::Item(Message::to(address, &b"\x80"[..])));
    }
}

#[test]
fn what_has_no_place_on_the_wire_is_refused_before_it_is_sent() {
    let zmq = Zmq::default();
    let plain = || Message::new(subject("a").unwrap(), "");
    let refused = [
        plain().with_header("a", "b").unwrap(),
        plain().with_id("7"),
        plain().with_scope(Scope::parse("s").unwrap()),
    ];
    for message in refused {
        let err = now(zmq.send(message)).unwrap().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn a_wildcard_that_the_socket_has_not_is_refused() {
    let zmq = Zmq::default();
    for pattern in ["a.*", "a.>", "#"] {
        let wanted = Subscription::new(Pattern::parse(pattern).unwrap());
        let err = now(zmq.subscribe(wanted)).unwrap().unwrap_err();
        assert_eq!((err.kind(), err.subject()), (ErrorKind::Unsupported, Some(pattern)));
    }
}
