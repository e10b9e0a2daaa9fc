//! Silences: what operators do not want to be told for a while, who they are, and why.
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sinew_beat::{Mute, MuteId};
use sinew_core::{ErrorKind, Pattern};

use super::kept;
use crate::{
    commands::beat::config::MOST_SILENCES,
    output::printable,
    time::{parse_positive, parse_time},
};

/// Nobody needs a longer one, and one that never ends is forgotten.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// How long the name of who made it may be, and the reason.
const LONGEST_TEXT: usize = 1024;

/// What somebody wants to be silent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Whose alerts: a pattern of names.
    processes: String,
    /// For how long: `2h`. Either this or `until`.
    #[serde(rename = "for")]
    span: Option<String>,
    /// Until when: RFC 3339.
    until: Option<String>,
    author: String,
    comment: String,
}

/// One silence.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Silence {
    /// Milliseconds since 1970 of when it was made, or more: no later silence has it, of a later run neither.
    pub(crate) id: u64,
    pub(crate) processes: String,
    #[serde(with = "kept::moment")]
    pub(crate) until: SystemTime,
    pub(crate) author: String,
    pub(crate) comment: String,
}

/// Why a silence is not made.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It makes no sense.
    Invalid(String),
    /// There are too many.
    TooMany,
}

/// All silences, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Silences {
    all: BTreeMap<u64, (MuteId, Silence)>,
    last: u64,
}

impl Silences {
    /// Makes one, as `mute` has it.
    pub(crate) fn make(
        &mut self,
        wanted: Wanted,
        now: SystemTime,
        mute: impl FnOnce(Mute) -> sinew_core::Result<MuteId>,
    ) -> Result<Silence, Refused> {
        let id = millis(now).max(self.last + 1);
        let silence = wanted.check(id, now).map_err(Refused::Invalid)?;
        self.sweep(now);
        self.restore(silence, mute)
    }

    /// Makes one that was made before.
    pub(crate) fn restore(
        &mut self,
        silence: Silence,
        mute: impl FnOnce(Mute) -> sinew_core::Result<MuteId>,
    ) -> Result<Silence, Refused> {
        if self.all.len() >= MOST_SILENCES {
            return Err(Refused::TooMany);
        }
        let made = silence.mute().and_then(mute).map_err(|err| match err.kind() {
            ErrorKind::Overloaded => Refused::TooMany,
            _ => Refused::Invalid(err.to_string()),
        })?;
        self.last = self.last.max(silence.id);
        self.all.insert(silence.id, (made, silence.clone()));
        Ok(silence)
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, id: u64) -> Option<MuteId> {
        self.all.remove(&id).map(|(mute, _)| mute)
    }

    pub(crate) fn current(&self, now: SystemTime) -> Vec<Silence> {
        let all = self.all.values().map(|(_, silence)| silence);
        all.filter(|it| now < it.until).cloned().collect()
    }

    fn sweep(&mut self, now: SystemTime) {
        self.all.retain(|_, (_, silence)| now < silence.until);
    }
}

impl Wanted {
    fn check(self, id: u64, now: SystemTime) -> Result<Silence, String> {
        let Self { processes, span, until, author, comment } = self;
        Pattern::parse(&processes).map_err(|err| format!("processes: {err}"))?;
        let until = match (span, until) {
            (Some(span), None) => {
                let span = parse_positive(&span).map_err(|why| format!("for: {why}"))?;
                now.checked_add(span).ok_or("for: too long")?
            }
            (None, Some(until)) => parse_time(&until)
                .ok_or("until: a moment is wanted, such as 2026-03-01T12:00:00Z")?,
            _ => return Err("either `for` or `until`: \"for\": \"2h\"".to_owned()),
        };
        match until.duration_since(now) {
            Ok(span) if span > LONGEST => {
                return Err("a silence lasts up to 366 days".to_owned());
            }
            Ok(span) if !span.is_zero() => {}
            _ => return Err("until: it is over already".to_owned()),
        }
        for (key, text) in [("processes", &processes), ("author", &author), ("comment", &comment)] {
            if printable(text) != *text {
                return Err(format!("{key}: it holds characters that are not seen"));
            }
            if text.trim().is_empty() {
                return Err(format!("{key}: say who and why: it is read at night by others"));
            }
            if text.len() > LONGEST_TEXT {
                return Err(format!("{key}: longer than {LONGEST_TEXT} bytes"));
            }
        }
        Ok(Silence { id, processes, until, author, comment })
    }
}

impl Silence {
    fn mute(&self) -> sinew_core::Result<Mute> {
        let mute = Mute::silence(Pattern::parse(&self.processes)?, self.until);
        mute.with_author(&self.author)?.with_comment(&self.comment)
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(processes: &str) -> Wanted {
        Wanted {
            processes: processes.to_owned(),
            span: Some("1h".to_owned()),
            until: None,
            author: "ann".to_owned(),
            comment: "why".to_owned(),
        }
    }

    fn make(silences: &mut Silences, now: SystemTime) -> Result<Silence, Refused> {
        silences.make(wanted("eu.>"), now, |_| Ok(MuteId::from_u64(7)))
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn no_two_have_the_same_number_not_even_of_two_runs() {
        let mut silences = Silences::default();
        let first = make(&mut silences, at(5000)).unwrap();
        let second = make(&mut silences, at(5000)).unwrap();
        // The wall's clock was set back.
        let third = make(&mut silences, at(1)).unwrap();
        assert_eq!([first.id, second.id, third.id], [5000, 5001, 5002]);
        let mut next_run = Silences::default();
        next_run.restore(third, |_| Ok(MuteId::from_u64(1))).unwrap();
        assert_eq!(make(&mut next_run, at(1)).unwrap().id, 5003);
    }

    #[test]
    fn what_is_over_takes_no_place() {
        let mut silences = Silences::default();
        for _ in 0..MOST_SILENCES {
            make(&mut silences, at(0)).unwrap();
        }
        assert!(matches!(make(&mut silences, at(1)), Err(Refused::TooMany)));
        assert!(make(&mut silences, at(2 * 3_600_000)).is_ok());
        assert_eq!(silences.current(at(2 * 3_600_000)).len(), 1);
    }
}
