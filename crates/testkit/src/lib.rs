//! The behaviour suite that every Sinew adapter passes, and the harness that runs real brokers.
