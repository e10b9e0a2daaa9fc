//! What outlives a restart: what the monitor knows, the silences, and what people were told.
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sinew_beat::{Snapshot, WatchTable};
use sinew_core::ErrorKind;
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{
    desk::{
        Desk,
        kept::{self, Kept},
    },
    upkeep::Upkeep,
};
use crate::{
    exit::{Failure, plain},
    output::Output,
};

/// How soon what people were told is kept: what is told again after a crash is told under another key.
const SOON: Duration = Duration::from_secs(1);

/// Writes both files, one at a time.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    snapshot: PathBuf,
    alerts: PathBuf,
    every: Duration,
    table: WatchTable,
    desk: Arc<Desk>,
    upkeep: Arc<Upkeep>,
    output: Output,
    /// What was written last beside the snapshot. Held while a file is written: two at once would write the same file.
    written: Arc<Mutex<Option<Kept>>>,
}

/// Refuses at the start what no file can be written to, ever: a folder, or a place in one that is not there.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    // That of a bare name is here, and is said to be nothing.
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let why = match folder {
        _ if path.is_dir() => "it is a folder; name a file in it".to_owned(),
        Some(folder) if !folder.is_dir() => format!("there is no folder {}", folder.display()),
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("cannot keep a snapshot at {}: {why}", path.display())))
}

/// What an earlier run knew; none, with a word on why, when it cannot be had. Nobody is called down for that: who is
/// not heard of yet is not known.
pub(super) fn load(path: &Path, output: Output) -> Option<Snapshot> {
    match Snapshot::load(path) {
        Ok(snapshot) => Some(snapshot),
        Err(err) if err.kind() == ErrorKind::NotFound => None,
        Err(err) => {
            let why = Failure::from(err).message.unwrap_or_default();
            output.remark(format_args!("{why}; starting without it{}", aside(path)));
            None
        }
    }
}

/// Moves a file away that we cannot read and would write over: it may be somebody else's.
fn aside(path: &Path) -> String {
    let mut name = path.as_os_str().to_owned();
    name.push(".bad");
    let to = PathBuf::from(name);
    match std::fs::rename(path, &to) {
        Ok(()) => format!(", it is now {}", to.display()),
        Err(_) => String::new(),
    }
}

/// The silences of an earlier run, and what people were told; nothing, with a word on why, when it cannot be had.
pub(super) fn load_kept(snapshot: &Path, output: Output) -> Kept {
    let path = kept::beside(snapshot);
    Kept::load(&path).unwrap_or_else(|err| {
        let (moved, path, why) = (aside(&path), path.display(), plain(&err));
        output.remark(format_args!("cannot read {path}: {why}; no silence is kept{moved}"));
        Kept::default()
    })
}

impl Keeper {
    pub(super) fn new(
        snapshot: PathBuf,
        every: Duration,
        table: WatchTable,
        desk: Arc<Desk>,
        upkeep: Arc<Upkeep>,
        output: Output,
    ) -> Self {
        let (alerts, written) = (kept::beside(&snapshot), Arc::default());
        Self { snapshot, alerts, every, table, desk, upkeep, output, written }
    }

    /// Writes both again and again, for ever: in their time, and soon after people were told something. Both then, as
    /// what was told is held against what is known.
    pub(super) async fn run(self) {
        let [mut turns, mut looks] = [self.every, SOON].map(interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                _ = looks.tick() => if !self.desk.has_news() { continue },
            }
            self.save().await;
        }
    }

    /// Writes both. A failure is told once, until it goes well again.
    pub(super) async fn save(&self) {
        // What was told first: one that is down, and told meanwhile, is told again rather than never.
        let alerts = self.save_alerts().await;
        let _writing = self.written.lock().await;
        let (table, path) = (self.table.clone(), self.snapshot.clone());
        let Ok(saved) = spawn_blocking(move || table.snapshot().save(path)).await else { return };
        let is_news = self.upkeep.snapshot.note(saved.is_ok() && alerts.is_ok());
        let why = match (saved, alerts) {
            (Err(err), _) => Failure::from(err).message.unwrap_or_default(),
            (_, Err(err)) => format!("cannot write {}: {}", self.alerts.display(), plain(&err)),
            (Ok(()), Ok(())) => return,
        };
        if is_news {
            self.output.remark(format_args!("{why}; trying again"));
        }
    }

    /// Writes the silences and what people were told, where that has changed.
    pub(super) async fn save_alerts(&self) -> io::Result<()> {
        let mut written = self.written.lock().await;
        // Taken while nobody else writes, so that the newest is written last.
        let kept = self.desk.kept();
        if written.as_ref() == Some(&kept) {
            return Ok(());
        }
        *written = None;
        let path = self.alerts.clone();
        let writing = spawn_blocking(move || kept.save(&path).map(|()| kept)).await;
        *written = Some(writing.map_err(io::Error::other).flatten()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Chatter;

    #[test]
    fn a_file_of_somebody_elses_is_moved_and_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beat.snapshot");
        let output = Output::new(false, Chatter::Quiet);
        assert!(load(&path, output).is_none());
        std::fs::write(&path, "a letter").unwrap();
        assert!(load(&path, output).is_none());
        assert!(!path.exists());
        let kept = std::fs::read_to_string(folder.path().join("beat.snapshot.bad")).unwrap();
        assert_eq!(kept, "a letter");
    }
}
