//! Agents of this process: who they are, and how one of their calls runs.
mod registration;
mod registry;
mod run;

pub use registration::Registered;
pub(crate) use registry::{Entries, Entry, Registry};
pub(crate) use run::{admit, run};
