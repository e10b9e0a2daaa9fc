//! Silences and maintenance windows: what operators do not want to be told, and when.
use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sinew_core::{Address, Error, ErrorKind, Pattern, Result};

use super::inhibit::first_token;

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const LONGEST_TEXT: usize = 1024;

/// A day of the week, in UTC.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a week has seven days")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

/// Tells a mute from the others; what [`Alerts::mute`](super::Alerts::mute) gave for it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MuteId(u64);

impl MuteId {
    /// The id as a number, as a list shows it.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The id that a list showed.
    #[must_use]
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for MuteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A silence or a maintenance window: the alerts of which names are held back, and when.
///
/// The pattern is matched with the names of processes as subjects, and with the name of the monitor itself, so `>`
/// mutes everything. A name that is no subject is matched by [`Pattern::exact`], [`Pattern::prefix`] and `#`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mute {
    pattern: Pattern,
    when: When,
    author: Box<str>,
    comment: Box<str>,
}

/// When a mute is in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    /// Until then, from when it was made on.
    Until(SystemTime),
    /// From then, and until then.
    Window(SystemTime, SystemTime),
    /// On each of the days, a bit each from Monday on: from so long after midnight UTC on, for so long.
    Weekly(u8, Duration, Duration),
}

impl Mute {
    /// A silence: from now on, until an instant.
    #[must_use]
    pub fn silence(pattern: Pattern, until: SystemTime) -> Self {
        Self::new(pattern, When::Until(until))
    }

    /// A maintenance window: from an instant on until another, which is no part of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when it ends before it begins.
    pub fn maintenance(pattern: Pattern, from: SystemTime, until: SystemTime) -> Result<Self> {
        if until <= from {
            return Err(invalid("a maintenance window ends after it begins"));
        }
        Ok(Self::new(pattern, When::Window(from, until)))
    }

    /// A maintenance window on each of `days`: from `start` after midnight UTC on, for `length`, beyond midnight where
    /// it is long enough.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when there are no days, when `start` is not within a day, or when `length` is zero
    /// or more than a week.
    pub fn weekly(
        pattern: Pattern,
        days: impl IntoIterator<Item = Weekday>,
        start: Duration,
        length: Duration,
    ) -> Result<Self> {
        let days = days.into_iter().fold(0, |days, day| days | 1 << (day as u8));
        if days == 0 {
            return Err(invalid("a weekly window needs a day"));
        }
        if start >= DAY {
            return Err(invalid("a weekly window starts within 24 h after midnight"));
        }
        if length.is_zero() || length > WEEK {
            return Err(invalid("a weekly window lasts up to 7 days"));
        }
        Ok(Self::new(pattern, When::Weekly(days, start, length)))
    }

    fn new(pattern: Pattern, when: When) -> Self {
        Self { pattern, when, author: Box::default(), comment: Box::default() }
    }

    /// Who made it. Default: empty.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when it is longer than 1,024 bytes.
    pub fn with_author(mut self, author: &str) -> Result<Self> {
        self.author = text(author)?;
        Ok(self)
    }

    /// Why. Default: empty.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when it is longer than 1,024 bytes.
    pub fn with_comment(mut self, comment: &str) -> Result<Self> {
        self.comment = text(comment)?;
        Ok(self)
    }

    /// Whose alerts it holds back.
    #[must_use]
    pub const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Who made it.
    #[must_use]
    pub fn author(&self) -> &str {
        &self.author
    }

    /// Why.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Whether it is a maintenance window rather than a silence.
    #[must_use]
    pub const fn is_maintenance(&self) -> bool {
        !matches!(self.when, When::Until(_))
    }

    /// Whether it is in force at `wall`.
    #[must_use]
    pub fn is_active(&self, wall: SystemTime) -> bool {
        match self.when {
            When::Until(until) => wall < until,
            When::Window(from, until) => from <= wall && wall < until,
            When::Weekly(..) => {
                self.weekly_windows(wall).any(|(from, until)| from <= wall && wall < until)
            }
        }
    }

    /// When it ends next, be it in force at `wall` or later; none when it is over for good.
    #[must_use]
    pub fn next_end(&self, wall: SystemTime) -> Option<SystemTime> {
        match self.when {
            When::Until(until) | When::Window(_, until) => {
                Some(until).filter(|until| wall < *until)
            }
            When::Weekly(..) => self
                .weekly_windows(wall)
                .map(|(_, until)| until)
                .filter(|until| wall < *until)
                .min(),
        }
    }

    pub(super) fn matches(&self, address: &Address) -> bool {
        self.pattern.matches_address(address)
    }

    /// The windows of two weeks, that before `wall` and that after it; none if they are no weekly ones.
    fn weekly_windows(&self, wall: SystemTime) -> impl Iterator<Item = (SystemTime, SystemTime)> {
        let today = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY.as_secs();
        let (days, start, length) = match self.when {
            When::Weekly(days, start, length) => (days, start, length),
            _ => (0, Duration::ZERO, Duration::ZERO),
        };
        (today.saturating_sub(7)..=today.saturating_add(7))
            // The first day of 1970 was a Thursday.
            .filter(move |day| days & (1 << ((day + 3) % 7)) != 0)
            .filter_map(move |day| {
                let midnight = Duration::from_secs(day.checked_mul(DAY.as_secs())?);
                let from = UNIX_EPOCH.checked_add(midnight)?.checked_add(start)?;
                Some((from, from.checked_add(length)?))
            })
    }
}

fn text(text: &str) -> Result<Box<str>> {
    if text.len() > LONGEST_TEXT {
        return Err(invalid("a mute's author and comment are up to 1,024 bytes each"));
    }
    Ok(text.into())
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOptions, "make mute").with_detail(detail)
}

/// The mutes that are not over yet.
#[derive(Debug, Default)]
pub(super) struct Mutes {
    all: Vec<Entry>,
    made: u64,
}

#[derive(Debug)]
struct Entry {
    id: MuteId,
    mute: Mute,
    /// The token that all names start with which it matches, if there is one: most mutes are ruled out by it.
    first: Option<Box<str>>,
}

impl Mutes {
    pub(super) fn add(&mut self, mute: Mute) -> MuteId {
        self.made += 1;
        let id = MuteId(self.made);
        let first = first_token(&mute.pattern);
        self.all.push(Entry { id, mute, first });
        id
    }

    pub(super) fn remove(&mut self, id: MuteId) -> bool {
        let before = self.all.len();
        self.all.retain(|it| it.id != id);
        self.all.len() < before
    }

    /// Drops what is over.
    pub(super) fn sweep(&mut self, wall: SystemTime) {
        self.all.retain(|it| it.mute.next_end(wall).is_some());
    }

    /// When the next one ends.
    pub(super) fn next_end(&self, wall: SystemTime) -> Option<SystemTime> {
        self.all.iter().filter_map(|it| it.mute.next_end(wall)).min()
    }

    /// One that holds back what is told of `address`.
    pub(super) fn find(&self, address: &Address, wall: SystemTime) -> Option<&Mute> {
        let first = address.subject().and_then(|subject| subject.tokens().next());
        let may_match = |it: &&Entry| it.first.as_deref().is_none_or(|it| Some(it) == first);
        let mut candidates = self.all.iter().filter(may_match).map(|it| &it.mute);
        candidates.find(|mute| mute.matches(address) && mute.is_active(wall))
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (MuteId, &Mute)> {
        self.all.iter().map(|it| (it.id, &it.mute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn everyone() -> Pattern {
        Pattern::parse(">").unwrap()
    }

    /// So many days after Monday, the 5th of January 1970, and so many hours.
    fn monday(days: u32, hours: u32) -> SystemTime {
        UNIX_EPOCH + DAY * (4 + days) + HOUR * hours
    }

    #[test]
    fn a_weekly_window_is_in_force_on_its_days_and_beyond_midnight() {
        let days = [Weekday::Monday, Weekday::Saturday];
        let mute = Mute::weekly(everyone(), days, HOUR * 22, HOUR * 4).unwrap();
        for (days, hours, active) in [
            (0, 21, false),
            (0, 22, true),
            (1, 1, true),
            (1, 2, false),
            (1, 22, false),
            (5, 23, true),
            (6, 1, true),
            (6, 2, false),
            (7, 22, true),
            (7000, 23, true),
        ] {
            assert_eq!(mute.is_active(monday(days, hours)), active, "{days} {hours}");
        }
        assert_eq!(mute.next_end(monday(0, 0)), Some(monday(1, 2)));
        assert_eq!(mute.next_end(monday(1, 2)), Some(monday(6, 2)));
        assert!(mute.is_maintenance());
    }

    #[test]
    fn a_window_of_a_week_never_ends_and_is_looked_at_once_a_week() {
        let mute = Mute::weekly(everyone(), [Weekday::Sunday], Duration::ZERO, WEEK).unwrap();
        assert!((0..14).all(|day| mute.is_active(monday(day, 5))));
        assert_eq!(mute.next_end(monday(7, 0)), Some(monday(13, 0)));
    }

    #[test]
    fn a_window_ends_at_the_instant_that_it_names() {
        let mute = Mute::maintenance(everyone(), monday(0, 1), monday(0, 2)).unwrap();
        let active =
            [(0, 0), (0, 1), (0, 2)].map(|(days, hours)| mute.is_active(monday(days, hours)));
        assert_eq!(active, [false, true, false]);
        assert_eq!(mute.next_end(monday(0, 0)), Some(monday(0, 2)));
        assert_eq!(mute.next_end(monday(0, 2)), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let weekly = |days: &[Weekday], start, length| {
            Mute::weekly(everyone(), days.iter().copied(), start, length)
        };
        for refused in [
            weekly(&[], HOUR, HOUR),
            weekly(&[Weekday::Friday], DAY, HOUR),
            weekly(&[Weekday::Friday], HOUR, Duration::ZERO),
            weekly(&[Weekday::Friday], HOUR, WEEK + HOUR),
            Mute::maintenance(everyone(), monday(1, 0), monday(1, 0)),
            Mute::silence(everyone(), monday(1, 0)).with_comment(&"x".repeat(1025)),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidOptions);
        }
    }

    #[test]
    fn a_wall_clock_before_1970_and_far_after_it_breaks_nothing() {
        let mute = Mute::weekly(everyone(), [Weekday::Friday], HOUR, HOUR).unwrap();
        let far = UNIX_EPOCH + Duration::from_secs(u64::MAX >> 2);
        for wall in [UNIX_EPOCH - DAY, UNIX_EPOCH, far] {
            let _: (bool, Option<SystemTime>) = (mute.is_active(wall), mute.next_end(wall));
        }
    }
}
