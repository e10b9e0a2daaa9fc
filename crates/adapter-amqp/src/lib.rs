//! Sinew's contracts over AMQP 0-9-1: RabbitMQ, and what speaks like it.
#![doc = include_str!("../README.md")]

mod error;

pub use lapin;
