//! Sinew's contracts over NATS: core subjects and JetStream.
