//! Silences: what operators do not want to be told for a while, who they are, and why; kept over a restart.
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sinew_beat::{Mute, MuteId};
use sinew_core::{ErrorKind, Pattern};

use crate::{
    commands::beat::config::MOST_SILENCES,
    output::printable,
    time::{parse_positive, parse_time, rfc3339},
};

/// Nobody needs a longer one, and one that never ends is forgotten.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// How long the name of who made it may be, and the reason.
const LONGEST_TEXT: usize = 1024;

/// A larger file is some other file.
const LARGEST: u64 = 4 * 1024 * 1024;

const VERSION: u32 = 1;

/// What somebody wants to be silent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
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
pub(super) struct Silence {
    /// Milliseconds since 1970 of when it was made, or more: no later silence has it, of a later run neither.
    pub(super) id: u64,
    pub(super) processes: String,
    #[serde(with = "moment")]
    pub(super) until: SystemTime,
    pub(super) author: String,
    pub(super) comment: String,
}

/// Why a silence is not made.
#[derive(Debug)]
pub(super) enum Refused {
    /// It makes no sense.
    Invalid(String),
    /// There are too many.
    TooMany,
}

/// All silences, by their ids.
#[derive(Debug, Default)]
pub(super) struct Silences {
    all: BTreeMap<u64, (MuteId, Silence)>,
    last: u64,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    version: u32,
    silences: Vec<Silence>,
}

impl Silences {
    /// Makes one, as `mute` has it.
    pub(super) fn make(
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
    pub(super) fn restore(
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
    pub(super) fn take(&mut self, id: u64) -> Option<MuteId> {
        self.all.remove(&id).map(|(mute, _)| mute)
    }

    pub(super) fn current(&self, now: SystemTime) -> Vec<Silence> {
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

/// Where the silences are kept of a monitor whose snapshot is at `snapshot`.
pub(super) fn beside(snapshot: &Path) -> PathBuf {
    let mut name = snapshot.as_os_str().to_owned();
    name.push(".silences");
    name.into()
}

/// Writes them: to a file beside it first, which then takes its place, so that a whole one is there at any moment.
pub(super) fn save(path: &Path, silences: Vec<Silence>) -> io::Result<()> {
    let text = serde_json::to_vec(&Kept { version: VERSION, silences })?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = File::create(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// Reads what [`save`] wrote; none where there is no file. What is no such file is an error of
/// [`io::ErrorKind::InvalidData`].
pub(super) fn load(path: &Path) -> io::Result<Vec<Silence>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let kept: Kept = serde_json::from_slice(&text)
        .map_err(|_| invalid("it is cut short, or no file of silences"))?;
    if kept.version != VERSION {
        return Err(invalid("another version wrote it"));
    }
    let shown = |it: Silence| Silence {
        author: printable(&it.author),
        comment: printable(&it.comment),
        ..it
    };
    Ok(kept.silences.into_iter().map(shown).collect())
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

/// A moment as RFC 3339.
mod moment {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        time: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text).ok_or_else(|| D::Error::custom("no moment"))
    }
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

    #[test]
    fn what_was_kept_is_read_and_a_torn_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = beside(&folder.path().join("beat.snapshot"));
        assert_eq!(load(&path).unwrap(), []);
        let mut silences = Silences::default();
        let all =
            vec![make(&mut silences, at(5000)).unwrap(), make(&mut silences, at(6000)).unwrap()];
        save(&path, all.clone()).unwrap();
        assert_eq!(load(&path).unwrap(), all);
        let whole = std::fs::read(&path).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(load(&path).unwrap_err().kind(), io::ErrorKind::InvalidData, "{end}");
        }
        let other = String::from_utf8(whole).unwrap().replace("\"version\":1", "\"version\":2");
        std::fs::write(&path, other).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("another version"));
    }
}
