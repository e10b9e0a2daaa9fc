//! What the monitor does, in virtual time.
