//! Nothing but the project's front page, so that what it shows is compiled and run as a test. The programs are in
//! `examples/`.
#![doc = include_str!("../../README.md")]

/// The page for those who come from nameko, whose program is compiled.
#[doc = include_str!("../../docs/from-nameko.md")]
pub mod from_nameko {}
