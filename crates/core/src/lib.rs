#![doc = include_str!("../README.md")]

mod backend;
mod capability;
mod consume;
mod delivery;
mod error;
mod event_queue;
mod headers;
mod incoming;
mod intake;
mod intake_buffer;
mod intake_queue;
mod link;
mod message;
mod name;
mod pattern;
mod payload;
mod pending;
mod properties;
mod publish;
mod request;
mod subject;
mod subscribe;

pub use backend::{AnyBackend, Backend, BoxFuture};
pub use capability::{
    Attempts, Capabilities, Confirm, Groups, Guarantee, HeaderCarriage, Names, Need, Ordering,
    Overflow, Overflows, Persistence, Property, PropertySet, QueueAddressing, QueueKind,
    QueueKinds, Registration, Requests, Requeue, Scopes, Settlement, StartPoint, StartPoints,
    Wildcards,
};
pub use consume::{AnyConsumer, Consume, QueueStatus};
pub use delivery::{Attempt, Delivery, Settle, Verdict};
pub use error::{Error, ErrorKind, Result, Sent};
pub use event_queue::EventQueue;
pub use headers::{Headers, Value};
pub use incoming::{Event, Incoming};
pub use intake::{Buffer, Consumption, Lifetime, Start, Subscription};
pub use intake_buffer::{IntakeBuffer, IntakeReader};
pub use intake_queue::IntakeQueue;
pub use link::{AnyLink, Link};
pub use message::{Address, Message, ReplyTo};
pub use name::{Queue, Scope, decode_name, encode_name};
pub use pattern::{Pattern, PatternKind, PatternToken};
pub use payload::{FromPayload, IntoPayload};
pub use pending::{Pending, Position, Receipt};
pub use properties::Properties;
pub use publish::{
    AnyPublisher, Publish, PublishAsyncFn, PublishExt, PublishFn, publish_async_fn, publish_fn,
};
pub use request::{AnyRequester, Request};
pub use subject::{MAX_NAME_LEN, Subject, ToSubject};
pub use subscribe::{AnySubscriber, Subscribe};
