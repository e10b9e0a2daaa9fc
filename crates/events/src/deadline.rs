//! The end of a wait that its caller chose, however long.
use std::time::Duration;

use tokio::time::Instant;

/// Longer than anybody waits; no clock's end is as near.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// `within` from now, ten years at most.
pub(crate) fn deadline(within: Duration) -> Instant {
    Instant::now() + within.min(FOREVER)
}
