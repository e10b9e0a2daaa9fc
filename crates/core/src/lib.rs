//! The contracts that Sinew's messaging patterns and broker adapters meet at.
