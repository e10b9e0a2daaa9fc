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

    /// Takes back [`WatchTable::declare`], as [`Monitor::undeclare`](crate::Monitor::undeclare) has it. Whether it was
    /// declared and the watch goes on.
    #[must_use = "nobody may be called so"]
    pub fn undeclare(&self, name: &str) -> bool {
        self.operate(|monitor, now, told| monitor.undeclare(name, now, told))
    }
}
