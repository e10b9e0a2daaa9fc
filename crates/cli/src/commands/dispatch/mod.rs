//! `sinew ask`, `serve` and `agents`: agents from a terminal.
pub(crate) mod agents;
pub(crate) mod answers;
pub(crate) mod ask;
pub(crate) mod serve;
