//! Other options for a watch that goes on.
use super::WatchTable;
use crate::MonitorOptions;

impl WatchTable {
    /// Goes on with other options, as [`Monitor::reconfigure`](crate::Monitor::reconfigure) has it. Whether the watch
    /// goes on at all.
    #[must_use = "the watch may have ended"]
    pub fn reconfigure(&self, options: MonitorOptions) -> bool {
        self.operate(|monitor, now, told| {
            monitor.reconfigure(options, now, told);
            true
        })
    }
}
