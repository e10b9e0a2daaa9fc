//! What a monitor can see: a link that is down, or silent, and a process that stood still.
use std::time::Duration;

use super::{Monitor, MonitorEvent, event::BlindCause, intake::Stall, tell};
use crate::Timestamp;

/// How long what was held up may take to come through, once something does.
const SETTLE: Duration = Duration::from_millis(500);

/// Up to when the link is known to have carried what was said.
///
/// Where something must be heard every so often, a deadline is judged once something was heard at it or later, and once
/// more [`SETTLE`] after that: nobody is judged for a silence of everybody's, nor by the first thing heard after it,
/// behind which their own beats may wait.
#[derive(Debug)]
pub(super) struct Sight {
    /// None: a link is sound unless it is said to be down.
    blind_after: Option<Duration>,
    is_link_down: bool,
    is_silent: bool,
    /// When anything was heard last; these three of the monitor's waking time.
    heard: Timestamp,
    /// Something was heard then, and is to be borne out.
    noted: Timestamp,
    /// Something was heard then, and was borne out.
    proven: Timestamp,
}

impl Sight {
    pub(super) fn new(blind_after: Option<Duration>) -> Self {
        Self {
            blind_after: blind_after.map(settled),
            is_link_down: false,
            is_silent: false,
            heard: Timestamp::START,
            noted: Timestamp::START,
            proven: Timestamp::START,
        }
    }

    pub(super) fn is_blind(&self) -> bool {
        self.is_link_down || self.is_silent
    }

    /// Whether a link counts as sound only as far as something was heard.
    pub(super) fn needs_proof(&self) -> bool {
        self.blind_after.is_some()
    }

    /// Deadlines up to then are judged at `now`; none while blind.
    pub(super) fn horizon(&self, now: Timestamp) -> Option<Timestamp> {
        let horizon = if self.needs_proof() { self.proven } else { now };
        (!self.is_blind()).then_some(horizon)
    }

    /// When it is blind, unless something is heard.
    pub(super) fn blind_at(&self) -> Option<Timestamp> {
        self.blind_after.filter(|_| !self.is_blind()).map(|wait| self.heard.after(wait))
    }

    /// Notes that something is heard.
    pub(super) fn hear(&mut self, now: Timestamp) {
        self.heard = now;
        if now.since(self.noted) >= SETTLE {
            (self.proven, self.noted) = (self.noted, now);
        }
    }
}

/// Sooner nothing could be borne out.
fn settled(blind_after: Duration) -> Duration {
    blind_after.max(SETTLE * 2)
}

impl Monitor {
    /// Relies on hearing something every so often from now on, when something was heard. What was due by now was due
    /// without it.
    pub(crate) fn rely(
        &mut self,
        blind_after: Option<Duration>,
        now: Timestamp,
        told: &mut impl Extend<MonitorEvent>,
    ) {
        self.advance(now, told);
        if self.sight.needs_proof() {
            return;
        }
        let heard = self.awake();
        let sight = &mut self.sight;
        sight.blind_after = blind_after.map(settled);
        (sight.heard, sight.noted, sight.proven) = (heard, heard, heard);
    }

    /// Learns that messages were lost on their way in. Beats may be among them, so whoever runs on a promise gets it
    /// afresh from now on: a monitor that cannot keep up reports deaths late rather than inventing them.
    pub fn lose(&mut self, lost: u64, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        // Deadlines that passed since the last call may have passed for this.
        self.now = self.now.max(now);
        self.counts.lost = self.counts.lost.saturating_add(lost);
        self.listen(told);
        self.fresh = self.awake();
        tell(told, MonitorEvent::Gap { lost, at: self.now });
    }

    /// Learns that the link is down: every deadline is frozen. Told once.
    pub fn link_down(&mut self, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        self.now = self.now.max(now);
        self.miss(told);
        if !self.is_blind() {
            let cause = BlindCause::LinkDown;
            tell(told, MonitorEvent::Blind { at: self.now, cause, skipped: 0 });
        }
        self.sight.is_link_down = true;
    }

    /// Learns that the link is up again: whoever runs on a promise gets it afresh from now on. Told once.
    pub fn link_up(&mut self, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        self.now = self.now.max(now);
        self.miss(told);
        let was_blind = self.is_blind();
        self.sight.is_link_down = false;
        self.sight.is_silent = false;
        self.sight.hear(self.awake());
        self.fresh = self.awake();
        if was_blind {
            tell(told, MonitorEvent::Sighted { at: self.now, skipped: 0 });
        }
    }

    /// Learns that it did not run for the `gap` before `now`, as after a SIGSTOP, or starved of its processor: what it was
    /// to hear meanwhile still waits for it, so every deadline moves later by as much.
    pub fn stalled(&mut self, gap: Duration, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        let gap = gap.min(now.since(self.now));
        self.now = self.now.max(now);
        self.asleep = self.asleep.saturating_add(gap);
        self.last_stall = Stall { gap, end: self.now };
        tell(told, MonitorEvent::Stalled { gap, at: self.now });
    }

    /// Whether it judges nobody, as the link is down or silent.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.sight.is_blind()
    }

    /// Something is heard at `now`, whatever it is.
    pub(super) fn attend(&mut self, now: Timestamp, told: &mut impl Extend<MonitorEvent>) {
        self.advance(now, told);
        if self.sight.needs_proof() {
            self.listen(told);
            self.judge(told);
        }
    }

    fn listen(&mut self, told: &mut impl Extend<MonitorEvent>) {
        self.miss(told);
        self.sight.hear(self.awake());
        if std::mem::take(&mut self.sight.is_silent) && !self.is_blind() {
            self.fresh = self.awake();
            tell(told, MonitorEvent::Sighted { at: self.now, skipped: 0 });
        }
    }

    /// Goes blind if it has heard nothing for so long.
    pub(super) fn miss(&mut self, told: &mut impl Extend<MonitorEvent>) {
        if self.sight.blind_at().is_some_and(|at| at <= self.awake()) {
            self.sight.is_silent = true;
            let (at, cause) = (self.sight.heard.after(self.asleep), BlindCause::Silent);
            tell(told, MonitorEvent::Blind { at, cause, skipped: 0 });
        }
    }
}
