//! Other options for a monitor that works: who is judged by others has one fresh promise.
use super::{Monitor, MonitorEvent, MonitorOptions};
use crate::{State, Timestamp};

impl Monitor {
    /// Goes on with other options, as after a file was read anew.
    ///
    /// What was due by `now` was due by the old ones. Whoever is judged with another
    /// [`Patience`](crate::Patience) from now on has one fresh promise, by the new one: however much tighter that is,
    /// nobody is late or down at once for what was in time until now. Nobody's state changes by it; who is late stays
    /// late until heard of. Everybody else's deadlines stay where they are.
    ///
    /// Thresholds of flapping hold from the next finding on. A lower
    /// [`with_max_processes`](MonitorOptions::with_max_processes) keeps everyone who is known, and refuses the next;
    /// a shorter [`with_reap_after`](MonitorOptions::with_reap_after) counts from when they fell silent, and so may
    /// forget some at once.
    pub fn reconfigure(
        &mut self,
        options: MonitorOptions,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.advance(now, told);
        let old = std::mem::replace(&mut self.options, options);
        let awake = self.awake();
        for id in self.roster.ids() {
            let Some(entry) = self.roster.get_mut(id) else { continue };
            let before = *old.rules.get(entry.rule);
            entry.rule = self.options.rules.find(entry.process.as_str());
            let patience = *self.options.rules.get(entry.rule);
            if patience != before {
                if entry.said == State::Expected {
                    entry.promise = patience.learning.into();
                }
                // Who is down or stopped waits to be forgotten at most, and that counts from their last promise.
                if !matches!(entry.state, State::Down | State::Stopped) {
                    entry.basis = awake;
                }
            }
            self.arm(id);
        }
    }

    /// Takes back [`Monitor::declare`]: the process called `name` may be forgotten from now on, and is at once when it was
    /// never heard of. Whether it was declared.
    pub fn undeclare(
        &mut self,
        name: &str,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) -> bool {
        self.advance(now, told);
        let Some(id) = self.roster.id(name) else { return false };
        let Some(entry) = self.roster.get(id).filter(|it| it.is_declared) else { return false };
        let is_seen = entry.last_seen.is_some();
        self.roster.declare(id, false);
        if !is_seen {
            self.forget(id, self.now, told);
        } else {
            self.arm(id);
        }
        true
    }
}
