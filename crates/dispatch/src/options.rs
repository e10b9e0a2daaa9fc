//! What holds for every ask of a dispatcher.
use std::time::Duration;

/// What holds for every ask of a dispatcher, unless it says otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DispatcherOptions {
    pub(crate) deadline: Duration,
    pub(crate) max_pending: usize,
    pub(crate) max_replies: usize,
    pub(crate) max_reply_bytes: usize,
}

impl Default for DispatcherOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            max_pending: 131_072,
            max_replies: 65_536,
            max_reply_bytes: 64 << 20,
        }
    }
}

impl DispatcherOptions {
    /// The longest deadline that an ask may have.
    pub const MAX_DEADLINE: Duration = Duration::from_secs(7 * 86_400);

    /// How long an ask takes at most. At most [`DispatcherOptions::MAX_DEADLINE`]. Default: 5 s, as in ate-dispatcher.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many asks may be under way at once; one more is refused. Default: 131,072.
    #[must_use]
    pub const fn with_max_pending(mut self, max_pending: usize) -> Self {
        self.max_pending = max_pending;
        self
    }

    /// How many replies one ask takes, failures included; then it ends. Default: 65,536.
    #[must_use]
    pub const fn with_max_replies(mut self, max_replies: usize) -> Self {
        self.max_replies = max_replies;
        self
    }

    /// How many bytes of payload the replies of one ask may have together; one that does not fit any more counts as
    /// failed, and is told without its payload. Default: 64 MiB.
    #[must_use]
    pub const fn with_max_reply_bytes(mut self, max_reply_bytes: usize) -> Self {
        self.max_reply_bytes = max_reply_bytes;
        self
    }
}
