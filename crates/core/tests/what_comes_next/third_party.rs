//! A backend from outside of this workspace: all it needs is public, and generic code takes it in any form.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sinew_core::{
    AnyBackend, AnyLink, AnyPublisher, Attempts, Backend, Capabilities, Confirm, ErrorKind, Event,
    Groups, Guarantee, HeaderCarriage, Incoming, Link, Message, Names, Need, Ordering, Overflows,
    Pending, Persistence, Position, PropertySet, Publish, PublishExt, QueueKinds, Receipt,
    Registration, Requests, Requeue, Result, Scopes, Settlement, StartPoints, Wildcards,
    publish_async_fn, publish_fn,
};

use crate::support::{Feed, now};

/// Known without a connection, so that tables and test lists need none.
const CAPABILITIES: Capabilities = Capabilities::new("theirs")
    .with_confirm(Confirm::Persisted)
    .with_registration(Registration::Confirmed)
    .with_delivery(Guarantee::AtLeastOnce)
    .with_settlement(Settlement::Each)
    .with_requeue(Requeue::Delayed)
    .with_attempts(Attempts::Counted)
    .with_ordering(Ordering::Total)
    .with_groups(Groups::Named)
    .with_wildcards(Wildcards::Full)
    .with_names(Names::Any)
    .with_scopes(Scopes::Native)
    .with_headers(HeaderCarriage::Typed)
    .with_persistence(Persistence::Disk)
    .with_starts(StartPoints::all())
    .with_queues(QueueKinds::all())
    .with_request(Requests::None)
    .with_properties(PropertySet::all())
    .with_overflow(Overflows::all())
    .with_max_payload(Some(1 << 20))
    .with_max_delay(Some(Duration::from_secs(3600)));

#[derive(Clone, Default)]
struct Theirs(Arc<AtomicU64>);

impl Backend for Theirs {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

impl Publish for Theirs {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        CAPABILITIES.check_message(&message)?;
        let offset = self.0.fetch_add(1, Relaxed);
        Ok(Pending::ready(Ok(Receipt::Persisted(Position::new("log", offset)))))
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl Link for Theirs {
    fn watch(&self) -> Incoming<()> {
        let feed = Feed::new();
        feed.push_event(Ok(Event::Up { gap: false }));
        feed.incoming()
    }

    async fn drain(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

/// A pattern's constructor: it says what it needs, once, before anything is sent.
async fn announce(publisher: &impl Publish) -> Result<Receipt> {
    publisher.capabilities().require(Need::Confirm(Confirm::Buffered), "use a broker")?;
    publisher.send_to("orders.created", "42").await
}

#[test]
fn generic_code_takes_a_backend_a_shared_one_an_erased_one_and_closures() {
    let theirs = Theirs::default();
    for offset in 0..3 {
        let receipt = match offset {
            0 => now(announce(&theirs)),
            1 => now(announce(&Arc::new(theirs.clone()))),
            _ => now(announce(&AnyPublisher::new(theirs.clone()))),
        };
        let persisted = Receipt::Persisted(Position::new("log", offset));
        assert_eq!(receipt.unwrap().unwrap(), persisted);
    }
    let sync = publish_fn(|_| Ok(()));
    assert_eq!(now(announce(&sync)).unwrap().unwrap(), Receipt::Buffered);
    let later = publish_async_fn(|message: Message| async move {
        drop(message);
        Ok(())
    });
    assert_eq!(now(announce(&later)).unwrap().unwrap(), Receipt::Buffered);
}

#[test]
fn a_contract_that_it_does_not_keep_is_a_typed_refusal() {
    let theirs = Theirs::default();
    let backend =
        AnyBackend::new(AnyLink::new(theirs.clone())).with_publisher(AnyPublisher::new(theirs));
    assert!(backend.publisher().is_ok());
    let refusals = [
        backend.requester().unwrap_err(),
        backend.subscriber().unwrap_err(),
        backend.consumer().unwrap_err(),
    ];
    for err in refusals {
        assert_eq!(err.kind(), ErrorKind::Unsupported);
        assert!(err.to_string().starts_with("theirs: "), "{err}");
    }
    assert_eq!(backend.capabilities(), CAPABILITIES);
}

#[test]
fn a_payload_beyond_the_limit_is_refused_and_was_not_sent() {
    let err = now(Theirs::default().send_to("a", vec![0; (1 << 20) + 1])).unwrap().unwrap_err();
    assert_eq!((err.kind(), err.sent()), (ErrorKind::TooLarge, sinew_core::Sent::No));
}
