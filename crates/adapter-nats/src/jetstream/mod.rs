//! The JetStream door: one stream of a server, published to, read and consumed from.
use std::{fmt, sync::Arc, time::Duration};

use async_nats::jetstream::stream::StorageType;
use sinew_core::{
    AnyBackend, AnyConsumer, AnyLink, AnyPublisher, AnySubscriber, Attempts, Backend, Capabilities,
    Confirm, Error, ErrorKind, Guarantee, HeaderCarriage, Incoming, Link, Ordering, Overflow,
    Overflows, Persistence, Property, PropertySet, QueueKind, QueueKinds, Registration, Requeue,
    Result, Scopes, Settlement, StartPoint, StartPoints, Wildcards,
};

use crate::{Nats, error::Cause};

mod api;
mod check;
mod consume;
mod options;
mod publish;
mod pull;
mod run;
mod settle;
mod subscribe;

pub use options::JetStreamOptions;
pub(crate) use publish::receipt;

use api::Api;

/// One JetStream stream over one connection: publish with persisted receipts, read from any position, consume with
/// acks.
///
/// Cloning shares the connection; so does [`JetStream::nats`].
#[derive(Clone)]
pub struct JetStream {
    nats: Nats,
    stream: Arc<Stream>,
}

struct Stream {
    /// As positions have it.
    name: Arc<str>,
    options: JetStreamOptions,
    api: Api,
    capabilities: Capabilities,
}

const PROPERTIES: &[Property] = &[
    Property::Id,
    Property::Deduplication,
    Property::CorrelationId,
    Property::ContentType,
    Property::ContentEncoding,
    Property::ExpectedPosition,
];
const PROPERTIES_AND_TTL: &[Property] = &[
    Property::Id,
    Property::Deduplication,
    Property::CorrelationId,
    Property::ContentType,
    Property::ContentEncoding,
    Property::ExpectedPosition,
    Property::Ttl,
];

impl JetStream {
    /// What JetStream does, known without a connection, of a stream that is kept in files.
    ///
    /// A connected handle also knows the largest payload, whether the stream is in memory only, and whether it takes
    /// times to live.
    pub const CAPABILITIES: Capabilities = Capabilities::new("nats jetstream")
        .with_confirm(Confirm::Persisted)
        .with_registration(Registration::Confirmed)
        .with_delivery(Guarantee::AtLeastOnce)
        .with_settlement(Settlement::Each)
        .with_requeue(Requeue::Delayed)
        .with_attempts(Attempts::Counted)
        .with_ordering(Ordering::Total)
        .with_wildcards(Wildcards::Tokens)
        .with_scopes(Scopes::Prefix)
        .with_headers(HeaderCarriage::Text)
        .with_persistence(Persistence::Disk)
        .with_starts(StartPoints::of(&[
            StartPoint::Earliest,
            StartPoint::Latest,
            StartPoint::Offset,
            StartPoint::Time,
        ]))
        .with_queues(QueueKinds::of(&[QueueKind::Durable, QueueKind::UntilUnused]))
        .with_properties(PropertySet::of(PROPERTIES))
        .with_overflow(Overflows::of(&[
            Overflow::Block,
            Overflow::DropNewest,
            Overflow::DropOldest,
            Overflow::Fail,
        ]));

    async fn open(options: JetStreamOptions, nats: Nats) -> Result<Self> {
        let name = options.stream.clone();
        let failed =
            |cause: Cause| Error::from(cause.during("nats jetstream open").on(name.clone()));
        if name.is_empty()
            || name.contains(['.', '*', '>', '/', '\\'])
            || name.contains(char::is_whitespace)
        {
            return Err(failed(Cause::plain(
                ErrorKind::InvalidOptions,
                "a stream's name holds no dot, wildcard, slash or white space",
            )));
        }
        if !nats.inner.client.is_server_compatible(2, 10, 0) {
            return Err(failed(Cause::plain(
                ErrorKind::Unsupported,
                "nats-server 2.10 or later is needed: earlier ones ignore some of what a consumer asks",
            )));
        }
        let api = Api::new(options.domain.as_deref());
        let info = match &options.create {
            Some(config) => {
                let mut config = config.clone();
                config.name.clone_from(&name);
                api.create_stream(&nats.inner, &config).await
            }
            None => api.stream_info(&nats.inner, &name).await,
        };
        let config = info.map_err(failed)?.config;
        let mut capabilities = Self::CAPABILITIES.with_max_payload(nats.capabilities().max_payload);
        if config.storage == StorageType::Memory {
            capabilities = capabilities.with_persistence(Persistence::Memory);
        }
        if config.allow_message_ttl {
            capabilities = capabilities.with_properties(PropertySet::of(PROPERTIES_AND_TTL));
        }
        let stream = Stream { name: name.into(), options, api, capabilities };
        Ok(Self { nats, stream: Arc::new(stream) })
    }

    /// Core NATS over the same connection.
    #[must_use]
    pub fn nats(&self) -> &Nats {
        &self.nats
    }

    /// This handle with its type erased.
    #[must_use]
    pub fn into_any(self) -> AnyBackend {
        AnyBackend::new(AnyLink::new(self.clone()))
            .with_publisher(AnyPublisher::new(self.clone()))
            .with_subscriber(AnySubscriber::new(self.clone()))
            .with_consumer(AnyConsumer::new(self))
    }
}

impl Link for JetStream {
    fn watch(&self) -> Incoming<()> {
        self.nats.watch()
    }

    fn drain(&self, within: Duration) -> impl Future<Output = Result<()>> + Send {
        self.nats.drain(within)
    }
}

impl Backend for JetStream {
    fn capabilities(&self) -> Capabilities {
        self.stream.capabilities.clone()
    }
}

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("stream", &self.stream.name)
            .field("nats", &self.nats)
            .finish()
    }
}
