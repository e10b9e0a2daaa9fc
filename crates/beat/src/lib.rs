//! Heartbeats over any broker: a heart that speaks beatit's convention, and the monitor it lacked.
