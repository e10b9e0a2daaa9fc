//! The face in ate-dispatcher's shape: its own tests, its README, and what is mended.
mod faults;
mod original;
mod readme;
mod support;
