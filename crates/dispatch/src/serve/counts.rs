//! What became of the asks that came to an agent.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident = $label:literal),+ $(,)?) => {
        /// What became of the asks that came to a served agent over the broker, since it is served.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct ServiceCounts {
            $($(#[$doc])* pub $field: u64,)+
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $($field: AtomicU64,)+
        }

        impl Counts {
            pub(crate) fn read(&self) -> ServiceCounts {
                ServiceCounts { $($field: self.$field.load(Relaxed),)+ }
            }

            $(pub(crate) fn $field(&self, more: u64) {
                self.$field.fetch_add(more, Relaxed);
                metrics::counter!("dispatch_served_total", "outcome" => $label).increment(more);
            })+
        }
    };
}
counts! {
    /// Answered well.
    ok = "ok",
    /// Answered with an error.
    failed = "failed",
    /// Refused, as the agent had as much to do as it may.
    busy = "busy",
    /// Not begun, as its time was over.
    expired = "expired",
    /// Given up, begun or not: it was taken back, or its time was over while it ran.
    cancelled = "cancelled",
    /// A second copy of one that was worked on.
    duplicate = "duplicate",
    /// For another agent alone.
    for_another = "for_another",
    /// Answered, but the answer could not be published.
    unsent = "unsent",
    /// Lost on its way in, an ask or what called one off: the buffer was full.
    lost = "lost",
}
