//! How much of the last hour, day and week a process was up: buckets of a fixed number, whatever happens.
pub(super) mod kept;

use std::time::{SystemTime, UNIX_EPOCH};

use sinew_beat::State;

/// Whether time counts, and for what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It was heard of, or nobody has called it down yet: starting, up, degraded, late.
    Up,
    /// It was down.
    Down,
    /// Nobody can say, or nobody asks: expected, stopped on purpose, paused; and whoever it is while the monitor is
    /// blind or stands still.
    Unjudged,
}

impl Verdict {
    pub(super) const fn of(state: State) -> Self {
        match state {
            State::Starting | State::Up | State::Degraded | State::Late => Self::Up,
            State::Down => Self::Down,
            _ => Self::Unjudged,
        }
    }
}

/// The share of the judged time in which a process was up, 0 to 1; none where no time was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shares {
    pub(super) hour: Option<f64>,
    pub(super) day: Option<f64>,
    pub(super) week: Option<f64>,
}

/// The uptime of one process. It reads no clock, and is told in the order of time: in milliseconds since 1970, so that it
/// can outlive the monitor.
///
/// A window ends now and begins with a bucket, so it is up to one bucket longer than it says: 1 min for the hour, 30 min
/// for the day, 3 h for the week. It is exact to 1, 30 and 180 ms. 24 bytes for a process whose verdict never changed,
/// and 704 more for any other.
#[derive(Debug)]
pub(super) struct Uptime {
    verdict: Verdict,
    /// Since when, in milliseconds.
    since: u64,
    past: Option<Box<Past>>,
}

/// What was before `since`. The units are such that each bucket holds [`BUCKET`] of them.
#[derive(Debug)]
struct Past {
    hour: Ring<61, 1>,
    day: Ring<49, 30>,
    week: Ring<57, 180>,
}

/// Units in a bucket.
const BUCKET: u64 = 60_000;

/// The last `N` buckets, in units of `UNIT` milliseconds.
#[derive(Debug)]
struct Ring<const N: usize, const UNIT: u64> {
    /// The number of the newest bucket.
    newest: u64,
    up: [u16; N],
    down: [u16; N],
}

impl Uptime {
    pub(super) fn new(verdict: Verdict, now: u64) -> Self {
        Self { verdict, since: now, past: None }
    }

    /// Goes on as `verdict` at `now`, after an earlier run that looked last at `taken`.
    pub(super) fn resume(&mut self, taken: u64, verdict: Verdict, now: u64) {
        self.change(Verdict::Unjudged, taken);
        self.change(verdict, now);
    }

    /// From `at` on it is `verdict`. What lies before the change before it counts as that.
    pub(super) fn change(&mut self, verdict: Verdict, at: u64) {
        let at = at.max(self.since);
        if verdict == self.verdict {
            return;
        }
        if self.verdict != Verdict::Unjudged && at > self.since {
            let past = self.past.get_or_insert_with(Box::default);
            past.hour.add(self.since, at, self.verdict);
            past.day.add(self.since, at, self.verdict);
            past.week.add(self.since, at, self.verdict);
        }
        (self.verdict, self.since) = (verdict, at);
    }

    pub(super) fn shares(&self, now: u64) -> Shares {
        let stretch = (self.since, now.max(self.since), self.verdict);
        let past = self.past.as_deref();
        Shares {
            hour: Ring::share(past.map(|it| &it.hour), stretch),
            day: Ring::share(past.map(|it| &it.day), stretch),
            week: Ring::share(past.map(|it| &it.week), stretch),
        }
    }
}

impl Default for Past {
    fn default() -> Self {
        Self { hour: Ring::new(), day: Ring::new(), week: Ring::new() }
    }
}

impl<const N: usize, const UNIT: u64> Ring<N, UNIT> {
    const fn new() -> Self {
        Self { newest: 0, up: [0; N], down: [0; N] }
    }

    /// The oldest bucket of the window that ends in bucket `last`.
    const fn oldest(last: u64) -> u64 {
        last.saturating_sub(N as u64 - 1)
    }

    /// Adds the time from `from` to `to`, both in milliseconds, none of it added before.
    fn add(&mut self, from: u64, to: u64, verdict: Verdict) {
        // The difference of two roundings: stretches that meet add up to the whole.
        let (from, to) = (from / UNIT, to / UNIT);
        let last = to / BUCKET;
        for number in (from / BUCKET).max(Self::oldest(last))..=last {
            self.reach(number);
            let begin = from.max(number * BUCKET);
            let units = to.min((number + 1) * BUCKET).saturating_sub(begin);
            let buckets = match verdict {
                Verdict::Up => &mut self.up,
                Verdict::Down => &mut self.down,
                Verdict::Unjudged => return,
            };
            if let Some(bucket) = buckets.get_mut(slot::<N>(number)) {
                *bucket = bucket.saturating_add(u16::try_from(units).unwrap_or(u16::MAX));
            }
        }
    }

    /// Makes `number` the newest bucket, unless one is newer; those in between are empty.
    fn reach(&mut self, number: u64) {
        for empty in (self.newest + 1).max(Self::oldest(number))..=number {
            for buckets in [&mut self.up, &mut self.down] {
                if let Some(bucket) = buckets.get_mut(slot::<N>(empty)) {
                    *bucket = 0;
                }
            }
        }
        self.newest = self.newest.max(number);
    }

    /// How much of the window was up: what was added, and the stretch that has not ended.
    fn share(past: Option<&Self>, stretch: (u64, u64, Verdict)) -> Option<f64> {
        let (up, down) = Self::sums(past, stretch);
        let all = up + down;
        // Below 2^53, so that both are exact.
        #[expect(clippy::cast_precision_loss, reason = "a week has 604,800,000 ms")]
        (all > 0).then(|| up as f64 / all as f64)
    }

    /// Units up and down in the window.
    fn sums(past: Option<&Self>, (since, now, verdict): (u64, u64, Verdict)) -> (u64, u64) {
        let (since, now) = (since / UNIT, now / UNIT);
        let begin = Self::oldest(now / BUCKET);
        let (mut up, mut down) = (0, 0);
        if let Some(past) = past {
            for number in begin.max(Self::oldest(past.newest))..=past.newest {
                let of =
                    |buckets: &[u16; N]| u64::from(*buckets.get(slot::<N>(number)).unwrap_or(&0));
                up += of(&past.up);
                down += of(&past.down);
            }
        }
        let current = now.saturating_sub(since.max(begin * BUCKET));
        match verdict {
            Verdict::Up => up += current,
            Verdict::Down => down += current,
            Verdict::Unjudged => {}
        }
        (up, down)
    }
}

/// Where bucket `number` is kept.
fn slot<const N: usize>(number: u64) -> usize {
    usize::try_from(number % N as u64).unwrap_or(0)
}

/// No moment is later, so that nothing overflows: some year after 10,000.
const LATEST: u64 = 1 << 48;

/// Milliseconds since 1970; nothing before that.
pub(super) fn millis(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).map_or(LATEST, |it| it.min(LATEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    #[test]
    fn a_process_that_was_always_up_has_all_of_it() {
        let uptime = Uptime::new(Verdict::Up, 0);
        let all = Shares { hour: Some(1.0), day: Some(1.0), week: Some(1.0) };
        assert_eq!(uptime.shares(1000), all);
        assert_eq!(uptime.shares(400 * 24 * HOUR), all);
        assert!(uptime.past.is_none());
    }

    #[test]
    fn what_nobody_judged_has_no_share() {
        let mut uptime = Uptime::new(Verdict::Unjudged, 0);
        assert_eq!(uptime.shares(HOUR), Shares::default());
        uptime.change(Verdict::Up, HOUR);
        uptime.change(Verdict::Unjudged, HOUR + 1000);
        assert_eq!(uptime.shares(2 * HOUR - MINUTE).hour, Some(1.0));
        assert_eq!(uptime.shares(3 * HOUR).hour, None);
        assert_eq!(uptime.shares(3 * HOUR).day, Some(1.0));
    }

    #[test]
    fn a_minute_down_is_a_minute_of_each_window() {
        let mut uptime = Uptime::new(Verdict::Up, 0);
        uptime.change(Verdict::Down, 30 * MINUTE);
        uptime.change(Verdict::Up, 31 * MINUTE);
        let shares = uptime.shares(50 * MINUTE);
        assert_eq!(shares.hour, Some(49.0 / 50.0));
        assert!((shares.week.unwrap() - 0.98).abs() < 1e-4, "units of 180 ms: {shares:?}");
        let later = uptime.shares(10 * HOUR);
        assert_eq!(later.hour, Some(1.0));
        assert_eq!(later.day, Some(599.0 / 600.0));
    }

    #[test]
    fn a_stretch_longer_than_the_ring_fills_it_once() {
        let mut uptime = Uptime::new(Verdict::Down, 0);
        uptime.change(Verdict::Up, 1000 * HOUR);
        let shares = uptime.shares(1000 * HOUR);
        assert_eq!(shares, Shares { hour: Some(0.0), day: Some(0.0), week: Some(0.0) });
        let shares = uptime.shares(1001 * HOUR + MINUTE);
        assert_eq!(shares.hour, Some(1.0));
    }

    #[test]
    fn a_process_takes_no_more_than_it_says() {
        assert_eq!(size_of::<Uptime>(), 24);
        assert!(size_of::<Past>() <= 704, "{}", size_of::<Past>());
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Verdict::Up), Just(Verdict::Down), Just(Verdict::Unjudged)]
    }

    /// The time of `wanted` in the window, each millisecond of which is looked up in the whole history.
    fn by_hand(stretches: &[(u64, u64, Verdict)], now: u64, wanted: Verdict) -> u64 {
        let begin = (now / MINUTE).saturating_sub(60) * MINUTE;
        let its = stretches.iter().filter(|(.., verdict)| *verdict == wanted);
        its.map(|(from, to, _)| to.min(&now).saturating_sub(*from.max(&begin))).sum()
    }

    proptest! {
        #[test]
        fn the_hour_is_exact_to_the_millisecond(
            start in 0..HOUR,
            changes in prop::collection::vec((verdict(), 0..40 * MINUTE), 0..40),
            rest in 0..3 * HOUR,
        ) {
            let mut uptime = Uptime::new(Verdict::Unjudged, start);
            let (mut now, mut last) = (start, Verdict::Unjudged);
            let mut stretches = Vec::new();
            for (verdict, wait) in changes {
                stretches.push((now, now + wait, last));
                now += wait;
                uptime.change(verdict, now);
                last = verdict;
            }
            stretches.push((now, now + rest, last));
            now += rest;
            let past = uptime.past.as_deref().map(|it| &it.hour);
            let sums = Ring::sums(past, (uptime.since, now, uptime.verdict));
            let by_hand = |wanted| by_hand(&stretches, now, wanted);
            prop_assert_eq!(sums, (by_hand(Verdict::Up), by_hand(Verdict::Down)));
        }

        #[test]
        fn a_share_is_a_share_whatever_the_order(
            changes in prop::collection::vec((verdict(), 0..=LATEST), 0..40),
            now in 0..=LATEST,
        ) {
            let mut uptime = Uptime::new(Verdict::Up, 0);
            for (verdict, millis) in changes {
                uptime.change(verdict, millis);
            }
            let Shares { hour, day, week } = uptime.shares(now);
            for share in [hour, day, week].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&share));
            }
        }
    }
}
