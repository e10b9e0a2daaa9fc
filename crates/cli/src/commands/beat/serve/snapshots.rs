//! What outlives a restart: what the monitor knows, and the silences.
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

use super::{desk::Desk, silences, upkeep::Upkeep};
use crate::{
    exit::{Failure, plain},
    output::Output,
};

/// Writes both, one at a time.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    snapshot: PathBuf,
    silences: PathBuf,
    every: Duration,
    table: WatchTable,
    desk: Arc<Desk>,
    upkeep: Arc<Upkeep>,
    output: Output,
    /// Held while a file is written: two at once would write the same file beside it.
    writing: Arc<Mutex<()>>,
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

impl Keeper {
    /// A keeper of files at `snapshot` and beside it. The silences of an earlier run are made again.
    pub(super) fn start(
        snapshot: PathBuf,
        every: Duration,
        table: WatchTable,
        desk: Arc<Desk>,
        upkeep: Arc<Upkeep>,
        output: Output,
    ) -> Self {
        let silences = silences::beside(&snapshot);
        match silences::load(&silences) {
            Ok(all) => desk.restore(all),
            Err(err) => {
                let (path, why) = (silences.display(), plain(&err));
                let moved = aside(&silences);
                output.remark(format_args!("cannot read {path}: {why}; nothing is silent{moved}"));
            }
        }
        let writing = Arc::default();
        Self { snapshot, silences, every, table, desk, upkeep, output, writing }
    }

    /// Writes the snapshot again and again, for ever.
    pub(super) async fn run(self) {
        let mut turns = interval(self.every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.save().await;
        }
    }

    /// Writes the snapshot. A failure is told once, until it goes well again.
    pub(super) async fn save(&self) {
        let _writing = self.writing.lock().await;
        let (table, path) = (self.table.clone(), self.snapshot.clone());
        let Ok(saved) = spawn_blocking(move || table.snapshot().save(path)).await else { return };
        let is_news = self.upkeep.snapshot.note(saved.is_ok());
        match saved {
            Err(err) if is_news => {
                let why = Failure::from(err).message.unwrap_or_default();
                self.output.remark(format_args!("{why}; trying again"));
            }
            _ => {}
        }
    }

    /// Writes the silences; whether that went well. It is told if not.
    pub(super) async fn save_silences(&self) -> bool {
        let _writing = self.writing.lock().await;
        // Taken while nobody else writes, so that the newest are written last.
        let (all, path) = (self.desk.silences(), self.silences.clone());
        let writing = spawn_blocking(move || silences::save(&path, all)).await;
        match writing.map_err(io::Error::other).flatten() {
            Ok(()) => true,
            Err(err) => {
                let (path, why) = (self.silences.display(), plain(&err));
                self.output
                    .remark(format_args!("cannot write {path}: {why}; a restart forgets silences"));
                false
            }
        }
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
