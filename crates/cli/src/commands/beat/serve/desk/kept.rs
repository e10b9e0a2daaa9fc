//! What of the desk outlives a restart, in a file: the silences, and what people were told.
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use sinew_beat::{Condition, Process, State, ToldIncident};

use super::silences::Silence;
use crate::output::printable;

/// A larger file is some other file: this is room for 100,000 processes with the longest of names.
const LARGEST: u64 = 128 * 1024 * 1024;

const VERSION: u32 = 1;

/// What is kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Kept {
    version: u32,
    pub(crate) silences: Vec<Silence>,
    told: Vec<Told>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Told {
    /// Empty, where it is about the monitor itself.
    process: String,
    state: String,
    key: String,
    #[serde(with = "moment")]
    since: SystemTime,
}

impl Default for Kept {
    fn default() -> Self {
        Self::new(Vec::new(), &[])
    }
}

impl Kept {
    pub(crate) fn new(silences: Vec<Silence>, told: &[ToldIncident]) -> Self {
        let told = told.iter().map(|it| Told {
            process: it.process.as_ref().map_or("", Process::as_str).to_owned(),
            state: it.condition.as_str().to_owned(),
            key: it.key.as_str().to_owned(),
            since: it.since,
        });
        Self { version: VERSION, silences, told: told.collect() }
    }

    /// What people were told; what makes no sense of it was never told.
    pub(crate) fn told(&self) -> impl Iterator<Item = ToldIncident> {
        self.told.iter().filter_map(|it| {
            let process = match it.process.as_str() {
                "" => None,
                name => Some(Process::parse(name).ok()?),
            };
            let states = State::ALL.iter().copied().map(Condition::State);
            let condition = [Condition::Blind, Condition::Flapping, Condition::Conflict]
                .into_iter()
                .chain(states)
                .find(|condition| condition.as_str() == it.state)?;
            Some(ToldIncident::new(process, condition, &it.key, it.since))
        })
    }

    /// Forgets what people were told, as where nobody knows what became of it: nothing is told to be over that may not be.
    pub(crate) fn forget_told(&mut self) {
        self.told.clear();
    }

    /// Writes it: to a file beside it first, which then takes its place, so that a whole one is there at any moment.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        // The new name is on the disk once its folder is.
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    /// Reads what [`save`](Self::save) wrote; nothing where there is no file. What is no such file is an error of
    /// [`io::ErrorKind::InvalidData`].
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(err) => return Err(err),
        };
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        if file.metadata()?.len() > LARGEST {
            return Err(invalid("it is larger than 128 MiB"));
        }
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text)?;
        let mut kept: Self = serde_json::from_slice(&text)
            .map_err(|_| invalid("it is cut short, or no file of ours"))?;
        if kept.version != VERSION {
            return Err(invalid("another version wrote it"));
        }
        for it in &mut kept.silences {
            it.processes = printable(&it.processes);
            it.author = printable(&it.author);
            it.comment = printable(&it.comment);
        }
        Ok(kept)
    }
}

/// Where it is kept of a monitor whose snapshot is at `snapshot`.
pub(crate) fn beside(snapshot: &Path) -> PathBuf {
    let mut name = snapshot.as_os_str().to_owned();
    name.push(".alerts");
    name.into()
}

/// A moment as RFC 3339.
pub(crate) mod moment {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::time::{parse_time, rfc3339};

    pub(crate) fn serialize<S: Serializer>(
        time: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text).ok_or_else(|| D::Error::custom("no moment"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn kept() -> Kept {
        let process = Process::parse("eu.a").ok();
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(61_250);
        let told = ToldIncident::new(process, Condition::State(State::Down), "eu.a/down/60", since);
        let silence = Silence {
            id: 7,
            processes: "eu.>".to_owned(),
            until: since,
            author: "ann".to_owned(),
            comment: "why".to_owned(),
        };
        Kept::new(vec![silence], &[told])
    }

    #[test]
    fn what_was_kept_is_read_and_a_torn_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = beside(&folder.path().join("beat.snapshot"));
        assert_eq!(Kept::load(&path).unwrap(), Kept::default());
        kept().save(&path).unwrap();
        let read = Kept::load(&path).unwrap();
        assert_eq!(read, kept());
        assert_eq!(read.told().next().unwrap().key.as_str(), "eu.a/down/60");
        let whole = std::fs::read(&path).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let torn = Kept::load(&path).unwrap_err();
            assert_eq!(torn.kind(), io::ErrorKind::InvalidData, "{end}");
        }
        let other = String::from_utf8(whole).unwrap().replace("\"version\":1", "\"version\":2");
        std::fs::write(&path, other).unwrap();
        assert!(Kept::load(&path).unwrap_err().to_string().contains("another version"));
    }

    #[test]
    fn what_was_told_of_flapping_and_of_the_monitor_itself_is_read_too() {
        let since = SystemTime::UNIX_EPOCH;
        let told = [
            ToldIncident::new(None, Condition::Blind, "monitor/blind/0", since),
            ToldIncident::new(Process::parse("a").ok(), Condition::Flapping, "a/flapping/0", since),
        ];
        let kept = Kept::new(Vec::new(), &told);
        assert_eq!(kept.told().collect::<Vec<_>>(), told);
    }

    #[test]
    fn what_makes_no_sense_was_never_told() {
        let mut kept = kept();
        kept.told[0].state = "dwon".to_owned();
        assert_eq!(kept.told().count(), 0);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_and_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beat.snapshot.alerts");
        kept().save(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(LARGEST + 1).unwrap();
        let refused = Kept::load(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert!(refused.to_string().contains("larger than"), "{refused}");
    }
}
