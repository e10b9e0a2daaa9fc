//! A behaviour: one promise of the contracts, and the code that holds a backend to it.
use std::fmt;

use sinew_core::{BoxFuture, Capabilities};

use super::{Context, Outcome};
use crate::Fault;

/// One promise of the contracts, and the code that holds a backend to it.
#[derive(Clone, Copy)]
pub struct Behaviour {
    pub(super) topic: &'static str,
    pub(super) name: &'static str,
    pub(super) applies: fn(&Capabilities) -> bool,
    pub(super) alone: bool,
    pub(super) faults: &'static [Fault],
    pub(super) run: for<'a> fn(&'a Context) -> BoxFuture<'a, Outcome>,
}

impl Behaviour {
    /// The topic that it belongs to: `settlement`.
    #[must_use]
    pub const fn topic(&self) -> &'static str {
        self.topic
    }

    /// The promise in a few words: `a_dropped_delivery_comes_back`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether a backend of these capabilities is held to it. Of each pair of a promise and its refusal, one does.
    #[must_use]
    pub fn applies_to(&self, capabilities: &Capabilities) -> bool {
        (self.applies)(capabilities)
    }

    /// Whether it wants a broker of its own: it injects faults, or looks at more than its own subjects.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.alone
    }

    /// The faults that it injects.
    #[must_use]
    pub const fn faults(&self) -> &'static [Fault] {
        self.faults
    }

    /// Holds the backend that `context` leads to, to this promise.
    ///
    /// # Errors
    ///
    /// A [`Failure`](super::Failure) that says what was promised and what was seen.
    ///
    /// # Cancel safety
    ///
    /// Safe; queues that it made on the broker are left there.
    #[must_use = "it does nothing until it is awaited"]
    pub fn run<'a>(&self, context: &'a Context) -> BoxFuture<'a, Outcome> {
        (self.run)(context)
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Behaviour({self})")
    }
}

/// Topic and name: `settlement::a_dropped_delivery_comes_back`.
impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.topic, self.name)
    }
}

/// The list of a topic's behaviours: for each, the capabilities that it wants, then the function of that name.
macro_rules! behaviours {
    (@list $topic:literal, $alone:literal, $faults:expr; $($applies:expr => $name:ident,)+) => {
        pub(super) const ALL: &[$crate::conformance::Behaviour] = &[$(
            $crate::conformance::Behaviour {
                topic: $topic,
                name: stringify!($name),
                applies: $applies,
                alone: $alone,
                faults: $faults,
                run: {
                    fn run(
                        context: &$crate::conformance::Context,
                    ) -> sinew_core::BoxFuture<'_, $crate::conformance::Outcome> {
                        Box::pin($name(context))
                    }
                    run
                },
            },
        )+];
    };
    ($topic:literal, with $faults:expr; $($list:tt)+) => {
        behaviours! { @list $topic, true, $faults; $($list)+ }
    };
    ($topic:literal, alone; $($list:tt)+) => {
        behaviours! { @list $topic, true, &[]; $($list)+ }
    };
    ($topic:literal; $($list:tt)+) => {
        behaviours! { @list $topic, false, &[]; $($list)+ }
    };
}
pub(super) use behaviours;
