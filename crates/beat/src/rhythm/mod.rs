//! When a run beats, and what it says: without clock, socket or task.
use std::time::Duration;

use tokio::time::Instant;

use crate::{Beat, Health, Pulse};

/// What a run does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Say this, then tell [`Rhythm::said`].
    Say(Beat),
    /// Ask the check, and tell [`Rhythm::checked`] when it has answered.
    Ask,
    /// Drop the check that is asked: it took too long.
    Abandon,
    /// Nothing until then, unless the check answers.
    Wait(Instant),
}

/// Decides for one run.
///
/// The check is asked beside the beats and not before each, so that a slow one delays none: a beat says what the check
/// said last, and a change is said at once.
#[derive(Debug)]
pub(crate) struct Rhythm {
    warmup: Duration,
    period: Duration,
    interval: Duration,
    /// How soon it tries again, or looks again for progress.
    retry: Duration,
    /// Whether the start was tried.
    tried: bool,
    /// Whether anything was said.
    begun: bool,
    /// The count of ticks that was last told of by a beat.
    told_ticks: u64,
    /// The count of ticks that the beat under way tells of.
    saying_ticks: u64,
    /// What was last said, where that is known.
    told: Option<Health>,
    /// What the check said last.
    health: Option<Health>,
    asked: Option<Instant>,
    next_ask: Instant,
    /// When what was said is to be said again.
    next_beat: Instant,
    /// No earlier is anything said.
    next_try: Instant,
}

impl Rhythm {
    /// Begins at `now`, when so many ticks have been counted that tell nothing of this run.
    pub(crate) fn new(
        (warmup, period, interval): (Duration, Duration, Duration),
        ticks: u64,
        now: Instant,
    ) -> Self {
        let interval = interval.max(SHORTEST);
        Self {
            warmup,
            period,
            interval,
            retry: (interval / 4).clamp(SHORTEST, RETRY),
            tried: false,
            begun: false,
            told_ticks: ticks,
            saying_ticks: ticks,
            told: None,
            health: None,
            asked: None,
            next_ask: now,
            next_beat: now,
            next_try: now,
        }
    }

    /// As if it had said `start` already.
    pub(crate) fn begun(self) -> Self {
        Self { tried: true, begun: true, ..self }
    }

    /// What to do at `now`, when so many ticks have been counted.
    pub(crate) fn turn(&mut self, ticks: u64, now: Instant) -> Turn {
        if !self.tried {
            self.tried = true;
            return Turn::Say(Beat::Start { warmup: self.warmup });
        }
        let asked_until = self.asked.map(|asked| after(asked, self.interval));
        if asked_until.is_some_and(|until| until <= now) {
            self.checked(Health::Degraded);
            return Turn::Abandon;
        }
        if self.asked.is_none() && self.next_ask <= now {
            self.asked = Some(now);
            self.next_ask = after(now, self.interval);
            return Turn::Ask;
        }
        let ask = asked_until.unwrap_or(self.next_ask);
        match self.due() {
            Some(due) if due <= now => {}
            Some(due) => return Turn::Wait(ask.min(due)),
            // What there is to be said is said once the check has answered, or has had its time.
            None => return Turn::Wait(ask),
        }
        self.saying_ticks = ticks;
        match self.health {
            // Better than a start that failed.
            Some(health) if ticks != self.told_ticks => Turn::Say(self.beat(health)),
            _ if !self.begun => Turn::Say(Beat::Start { warmup: self.warmup }),
            _ => {
                self.next_try = after(now, self.retry);
                Turn::Wait(ask.min(self.next_try))
            }
        }
    }

    /// From when on something is to be said, if the work gets on.
    fn due(&self) -> Option<Instant> {
        match self.health {
            None if self.begun => None,
            // The same again.
            Some(_) if self.told == self.health => Some(self.next_try.max(self.next_beat)),
            _ => Some(self.next_try),
        }
    }

    /// The check answered.
    pub(crate) fn checked(&mut self, health: Health) {
        self.asked = None;
        self.health = Some(health);
    }

    /// What became of `beat`, which was decided on at `then` and is over at `now`; none if it failed.
    pub(crate) fn said(&mut self, beat: Beat, outcome: Option<Pulse>, then: Instant, now: Instant) {
        self.next_try = after(now, self.retry);
        match outcome {
            Some(Pulse::Sent) => self.begun = true,
            Some(Pulse::Suppressed) => return,
            None => {
                // It may have arrived all the same.
                self.told = None;
                return;
            }
        }
        let told = match beat {
            Beat::Beat { .. } => Health::Up,
            Beat::Degraded { .. } => Health::Degraded,
            Beat::Start { .. } | Beat::Stop => return,
        };
        self.told = Some(told);
        self.told_ticks = self.saying_ticks;
        // From when it was said: what was missed meanwhile is not made up for.
        self.next_beat = after(then, self.interval);
        self.next_try = then;
    }

    fn beat(&self, health: Health) -> Beat {
        let period = self.period;
        match health {
            Health::Up => Beat::Beat { period },
            Health::Degraded => Beat::Degraded { period },
        }
    }
}

/// How soon it looks again at most: what fails may work then, and one look costs next to nothing.
const RETRY: Duration = Duration::from_secs(1);

/// A heart of no period at all still lets others run.
const SHORTEST: Duration = Duration::from_millis(1);

fn after(instant: Instant, wait: Duration) -> Instant {
    // Some 30 years where it overflows, as tokio itself has it.
    let far = Duration::from_secs(86_400 * 365 * 30);
    instant.checked_add(wait).unwrap_or_else(|| instant + far)
}

#[cfg(test)]
mod tests;
