//! One URL to a messaging backend, its broker picked by scheme.
