//! Files that may break a rule, each with its reason. An exception that is no longer needed is itself a finding.

/// A file and why it may.
pub(super) type Exception = (&'static str, &'static str);

/// Files longer than the limit.
pub(super) const LONG_FILES: &[Exception] = &[];

/// Tests that sleep.
pub(super) const SLEEPING_TESTS: &[Exception] = &[];
