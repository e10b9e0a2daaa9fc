//! The machine, in a time of its own.
