//! Why something is not told, and how often that was so.
use std::collections::BTreeMap;

use super::AlertKind;

/// Why something is not told now.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum MuteCause {
    /// The monitor hears nothing, and tells nothing but that.
    Blind,
    /// An operator silenced it.
    Silence,
    /// A maintenance window is in force.
    Maintenance,
    /// Something that it depends on is down.
    Inhibition,
    /// The process goes back and forth.
    Flapping,
}

impl MuteCause {
    /// The cause in lower case, as texts and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Silence => "silence",
            Self::Maintenance => "maintenance",
            Self::Inhibition => "inhibition",
            Self::Flapping => "flapping",
        }
    }
}

/// What [`Alerts`](super::Alerts) have counted since their start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct AlertCounts {
    /// Notifications given out.
    pub notifications: u64,
    /// Alerts told, by kind.
    pub told: BTreeMap<AlertKind, u64>,
    /// Alerts held back, by the first cause that was found. What is still so when the cause ends is told then.
    pub held: BTreeMap<MuteCause, u64>,
    /// Incidents that were one too many, and never told.
    pub refused: u64,
}
