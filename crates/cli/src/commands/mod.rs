//! One module per command: its arguments, and what it does.
pub(crate) mod backends;
pub(crate) mod beat;
pub(crate) mod completions;
pub(crate) mod consume;
pub(crate) mod demo;
pub(crate) mod dispatch;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod man;
pub(crate) mod publish;
pub(crate) mod request;
pub(crate) mod subscribe;
