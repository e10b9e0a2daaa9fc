//! A monitor that ends, and another one that goes on.
use super::{Monitor, MonitorOptions, flaps::Findings, instances::Spoke, roster::Entry};
use crate::{Clock, Snapshot, State, Timestamp, snapshot::Saved};

impl Monitor {
    /// What it knows of everyone.
    pub(crate) fn snapshot(&self, clock: &Clock) -> Snapshot {
        let saved = |(id, entry): (u32, &Entry)| Saved {
            process: entry.process.clone(),
            state: entry.state,
            said: entry.said,
            since: clock.wall(self.roster.since(id)),
            last_seen: entry.last_seen.map(|at| clock.wall(at)),
            promise: entry.promise.into(),
            recovered: entry.recovered,
            is_declared: entry.is_declared,
            is_flapping: entry.findings.is_flapping(),
            found: entry.findings.last(),
            changes: entry.findings.changes(),
            conflict: self.instances.conflict(id).cloned(),
        };
        Snapshot::new(clock.wall(clock.now()), self.roster.iter().map(saved).collect())
    }

    /// A monitor that knows what another one knew: whoever was alive, late or expected has one fresh promise from now on,
    /// so that nobody is called down for what nobody heard. What does not fit into
    /// [`MonitorOptions::with_max_processes`] is refused and counted.
    pub(crate) fn restore(options: MonitorOptions, snapshot: &Snapshot, clock: &Clock) -> Self {
        let mut monitor = Self::new(options);
        monitor.now = clock.now();
        monitor.sight.hear(monitor.now);
        // A wall clock that was set back would have it happen later than now.
        let stamp = |wall| Timestamp::min(clock.stamp(wall), monitor.now);
        let mut entries: Vec<_> = snapshot
            .processes
            .iter()
            .map(|saved| {
                let rule = monitor.options.rules.find(saved.process.as_str());
                let is_expected = saved.said == State::Expected;
                let learning = monitor.options.rules.get(rule).learning;
                let entry = Entry {
                    process: saved.process.clone(),
                    state: saved.state,
                    said: saved.said,
                    last_seen: saved.last_seen.map(stamp),
                    basis: monitor.now,
                    promise: if is_expected { learning } else { saved.promise }.into(),
                    armed: None,
                    recovered: saved.recovered,
                    findings: Findings::restored(saved.changes, saved.found, saved.is_flapping),
                    rule,
                    is_declared: saved.is_declared,
                };
                (entry, stamp(saved.since), saved.conflict.as_ref())
            })
            .collect();
        let (known, mut room) = (entries.len(), monitor.options.max_processes);
        entries.retain(|(entry, ..)| {
            let fits = entry.is_declared || room > 0;
            room = room.saturating_sub(usize::from(!entry.is_declared));
            fits
        });
        monitor.counts.refused += (known - entries.len()) as u64;
        for (entry, since, conflict) in entries {
            let spoke = Spoke { at: entry.basis, promise: Some(entry.promise) };
            // A snapshot that names one twice is of nobody's making; the first one counts.
            if monitor.roster.id(entry.process.as_str()).is_none()
                && let Some(id) = monitor.roster.insert(entry, since)
            {
                monitor.arm(id);
                if let Some(pair) = conflict {
                    monitor.instances.restore(id, pair, spoke);
                }
            }
        }
        monitor
    }
}
