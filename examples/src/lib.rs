//! Nothing but the project's front page, so that what it shows is compiled and run as a test. The programs are in
//! `examples/`.
#![doc = include_str!("../../README.md")]
