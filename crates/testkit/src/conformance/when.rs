//! The conditions under which behaviours apply.
use sinew_core::{
    Capabilities, Confirm, Groups, HeaderCarriage, Names, Ordering, Overflow, Overflows,
    Persistence, Property, QueueAddressing, QueueKind, Registration, Requests, Requeue, Scopes,
    Settlement, StartPoint, Wildcards,
};

pub(super) fn always(_: &Capabilities) -> bool {
    true
}

pub(super) fn publishes(it: &Capabilities) -> bool {
    it.confirm > Confirm::None
}

/// Unsettled intake: whoever has it has at least one way to overflow.
pub(super) fn subscribes(it: &Capabilities) -> bool {
    it.registration > Registration::None && it.overflow != Overflows::NONE
}

pub(super) fn consumes(it: &Capabilities) -> bool {
    it.settlement > Settlement::None
}

/// What is sent can be seen to arrive.
pub(super) fn carries(it: &Capabilities) -> bool {
    publishes(it) && (subscribes(it) || consumes(it))
}

pub(super) fn publishes_and_subscribes(it: &Capabilities) -> bool {
    publishes(it) && subscribes(it)
}

pub(super) fn publishes_and_consumes(it: &Capabilities) -> bool {
    publishes(it) && consumes(it)
}

pub(super) fn settles_each(it: &Capabilities) -> bool {
    publishes_and_consumes(it) && it.settlement == Settlement::Each
}

pub(super) fn settles_cumulatively(it: &Capabilities) -> bool {
    publishes_and_consumes(it) && it.settlement == Settlement::Cumulative
}

pub(super) fn requeues(it: &Capabilities) -> bool {
    publishes_and_consumes(it) && it.requeue >= Requeue::Immediate
}

pub(super) fn delays(it: &Capabilities) -> bool {
    requeues(it) && it.requeue >= Requeue::Delayed
}

pub(super) fn has_durable_queues(it: &Capabilities) -> bool {
    publishes_and_consumes(it) && it.queues.has(QueueKind::Durable)
}

pub(super) fn addresses_queues(it: &Capabilities) -> bool {
    publishes_and_consumes(it) && it.queue_addressing >= QueueAddressing::ByName
}

pub(super) fn addresses_no_queues(it: &Capabilities) -> bool {
    publishes(it) && it.queue_addressing == QueueAddressing::None
}

pub(super) fn answers(it: &Capabilities) -> bool {
    publishes_and_subscribes(it) && it.request > Requests::None
}

pub(super) fn groups(it: &Capabilities) -> bool {
    publishes_and_subscribes(it) && it.groups >= Groups::Named
}

pub(super) fn orders(it: &Capabilities) -> bool {
    carries(it) && it.ordering > Ordering::None
}

pub(super) fn starts(it: &Capabilities, point: StartPoint) -> bool {
    carries(it) && it.starts.has(point)
}

pub(super) fn overflows(it: &Capabilities, overflow: Overflow) -> bool {
    publishes_and_subscribes(it) && it.overflow.has(overflow)
}

pub(super) fn carries_property(it: &Capabilities, property: Property) -> bool {
    carries(it) && it.properties.has(property)
}

pub(super) fn carries_typed_headers(it: &Capabilities) -> bool {
    carries(it) && it.headers >= HeaderCarriage::Framed
}

pub(super) fn carries_text_headers(it: &Capabilities) -> bool {
    carries(it) && it.headers == HeaderCarriage::Text
}

pub(super) fn carries_headers(it: &Capabilities) -> bool {
    carries(it) && it.headers > HeaderCarriage::None
}

pub(super) fn takes_tokens(it: &Capabilities) -> bool {
    carries(it) && it.wildcards >= Wildcards::Tokens
}

pub(super) fn takes_foreign_names(it: &Capabilities) -> bool {
    carries(it) && it.names >= Names::Text
}

pub(super) fn takes_prefixes(it: &Capabilities) -> bool {
    carries(it) && it.names >= Names::Prefixes && it.wildcards >= Wildcards::Prefix
}

pub(super) fn has_scopes(it: &Capabilities) -> bool {
    carries(it) && it.scopes > Scopes::None
}

pub(super) fn keeps_what_it_confirms(it: &Capabilities) -> bool {
    has_durable_queues(it)
        && it.persistence >= Persistence::Disk
        && it.confirm >= Confirm::Persisted
}
