//! Capabilities: what a backend can do, as data that survives erasure, and the refusals drawn from it.
mod check;
mod levels;
mod need;
mod sets;

use std::time::Duration;

pub use levels::{
    Attempts, Confirm, Groups, Guarantee, HeaderCarriage, Names, Ordering, Persistence,
    QueueAddressing, Registration, Requests, Requeue, Scopes, Settlement, Wildcards,
};
pub use need::Need;
pub use sets::{
    Overflow, Overflows, Property, PropertySet, QueueKind, QueueKinds, StartPoint, StartPoints,
};

/// What a backend promises. One record per backend; every option that it cannot honour is refused, never ignored.
///
/// It starts from [`Capabilities::new`], which promises nothing, and is built up with the `with_*` setters, so that
/// third parties can. Enums are ordered from less to more: compare them, or let [`Capabilities::require`] do it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name as users know it: `nats`, `nats jetstream`, `memory`.
    pub backend: &'static str,
    /// What a publish's answer means.
    pub confirm: Confirm,
    /// Whether a finished `subscribe` or `consume` is known to the broker.
    pub registration: Registration,
    /// How often a subscriber sees a message.
    pub delivery: Guarantee,
    /// How deliveries are settled.
    pub settlement: Settlement,
    /// Whether a delivery can be handed back, and when it returns.
    pub requeue: Requeue,
    /// What a delivery knows of earlier ones.
    pub attempts: Attempts,
    /// What order a subscriber sees.
    pub ordering: Ordering,
    /// Whether subscribers can share one copy.
    pub groups: Groups,
    /// Which patterns an intake takes.
    pub wildcards: Wildcards,
    /// Which names can be published under and bound to.
    pub names: Names,
    /// Whether subjects can live in scopes.
    pub scopes: Scopes,
    /// How headers travel.
    pub headers: HeaderCarriage,
    /// What outlives what.
    pub persistence: Persistence,
    /// Where an intake may start.
    pub starts: StartPoints,
    /// Which queue lifetimes there are.
    pub queues: QueueKinds,
    /// Whether a message can be published straight to a queue.
    pub queue_addressing: QueueAddressing,
    /// Whether requests can be made.
    pub request: Requests,
    /// Which properties travel.
    pub properties: PropertySet,
    /// What happens to a consumer that is too slow.
    pub overflow: Overflows,
    /// The largest payload in bytes, where known.
    pub max_payload: Option<usize>,
    /// The longest delay that `RequeueAfter` takes, where bounded.
    pub max_delay: Option<Duration>,
}

impl Capabilities {
    /// Promises nothing, under `backend`'s name.
    #[must_use]
    pub const fn new(backend: &'static str) -> Self {
        Self {
            backend,
            confirm: Confirm::None,
            registration: Registration::None,
            delivery: Guarantee::AtMostOnce,
            settlement: Settlement::None,
            requeue: Requeue::None,
            attempts: Attempts::Unknown,
            ordering: Ordering::None,
            groups: Groups::None,
            wildcards: Wildcards::None,
            names: Names::Subjects,
            scopes: Scopes::None,
            headers: HeaderCarriage::None,
            persistence: Persistence::None,
            starts: StartPoints::NONE,
            queues: QueueKinds::NONE,
            queue_addressing: QueueAddressing::None,
            request: Requests::None,
            properties: PropertySet::NONE,
            overflow: Overflows::NONE,
            max_payload: None,
            max_delay: None,
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $setter:ident($field:ident: $ty:ty)),+ $(,)?) => {
        impl Capabilities {
            $(
                $(#[$doc])*
                #[must_use]
                pub const fn $setter(mut self, $field: $ty) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}
setters! {
    /// Default: [`Confirm::None`].
    with_confirm(confirm: Confirm),
    /// Default: [`Registration::None`].
    with_registration(registration: Registration),
    /// Default: [`Guarantee::AtMostOnce`].
    with_delivery(delivery: Guarantee),
    /// Default: [`Settlement::None`].
    with_settlement(settlement: Settlement),
    /// Default: [`Requeue::None`].
    with_requeue(requeue: Requeue),
    /// Default: [`Attempts::Unknown`].
    with_attempts(attempts: Attempts),
    /// Default: [`Ordering::None`].
    with_ordering(ordering: Ordering),
    /// Default: [`Groups::None`].
    with_groups(groups: Groups),
    /// Default: [`Wildcards::None`].
    with_wildcards(wildcards: Wildcards),
    /// Default: [`Names::Subjects`].
    with_names(names: Names),
    /// Default: [`Scopes::None`].
    with_scopes(scopes: Scopes),
    /// Default: [`HeaderCarriage::None`].
    with_headers(headers: HeaderCarriage),
    /// Default: [`Persistence::None`].
    with_persistence(persistence: Persistence),
    /// Default: empty.
    with_starts(starts: StartPoints),
    /// Default: empty.
    with_queues(queues: QueueKinds),
    /// Default: [`QueueAddressing::None`].
    with_queue_addressing(queue_addressing: QueueAddressing),
    /// Default: [`Requests::None`].
    with_request(request: Requests),
    /// Default: empty.
    with_properties(properties: PropertySet),
    /// Default: empty.
    with_overflow(overflow: Overflows),
    /// In bytes. Default: unknown.
    with_max_payload(max_payload: Option<usize>),
    /// Default: unbounded.
    with_max_delay(max_delay: Option<Duration>),
}
