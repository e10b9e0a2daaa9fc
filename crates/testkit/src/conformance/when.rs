//! The conditions under which behaviours apply.
use sinew_core::{
    Capabilities, Confirm, HeaderCarriage, Ordering, Overflows, Persistence, QueueKind,
    Registration, Requests, Requeue, Settlement, StartPoint, StartPoints, Wildcards,
};

/// Unsettled intake: whoever has it has at least one way to overflow.
pub(super) fn subscribes(it: &Capabilities) -> bool {
    it.registration > Registration::None && it.overflow != Overflows::NONE
}
