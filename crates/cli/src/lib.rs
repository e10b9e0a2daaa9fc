//! The sinew command: every messaging pattern from a terminal.
