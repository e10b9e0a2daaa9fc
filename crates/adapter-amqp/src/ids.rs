//! Ids that nobody else gives: of messages that must be known again, and of requests.
use std::sync::atomic::{AtomicU64, Ordering};

use crate::queues;

/// What one link counts with.
#[derive(Debug)]
pub(crate) struct Ids {
    /// 128 random bits: no other link has them.
    origin: String,
    next: AtomicU64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self { origin: queues::random(), next: AtomicU64::new(0) }
    }

    /// A number that this link has not used.
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A number as the whole world knows it.
    pub(crate) fn text(&self, number: u64) -> String {
        format!("{}-{number}", self.origin)
    }

    /// The number in an id of ours.
    pub(crate) fn number(&self, text: &str) -> Option<u64> {
        text.strip_prefix(&*self.origin)?.strip_prefix('-')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_known_again_by_its_own_link_alone() {
        let (ours, theirs) = (Ids::new(), Ids::new());
        let (first, second) = (ours.next(), ours.next());
        assert_ne!(first, second);
        assert_eq!(ours.number(&ours.text(second)), Some(second));
        assert_eq!(theirs.number(&ours.text(second)), None);
        assert_eq!(ours.number("7"), None);
    }
}
