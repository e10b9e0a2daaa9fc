//! What outlives a restart: what the monitor knows, the silences, and what people were told.
use std::{
    fs::{File, TryLockError},
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
    board::Board,
    desk::{
        Desk,
        kept::{self, Kept},
    },
    upkeep::Upkeep,
};
use crate::{
    exit::{Failure, Status, plain},
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
    board: Arc<Board>,
    desk: Arc<Desk>,
    upkeep: Arc<Upkeep>,
    output: Output,
    /// What was written last beside the snapshot. Held while a file is written, by who writes it: two at once would write
    /// the same file, and who asked for it may have hung up meanwhile.
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

/// A hold on the files of one monitor. It ends with the process at the latest, however that ends.
#[derive(Debug)]
#[must_use = "dropping it lets others write the files"]
pub(super) struct Hold {
    _locks: Vec<File>,
}

/// Takes hold of the snapshot at `path` and of what is kept beside it, by locks on files beside them, as they are
/// themselves replaced. An error where another process has it. A disk that cannot lock is said, and gone on with.
pub(super) fn hold(path: &Path, output: Output) -> Result<Hold, Failure> {
    let mut locks = Vec::new();
    for file in [path.to_owned(), kept::beside(path)] {
        let mut name = file.into_os_string();
        name.push(".lock");
        let name = PathBuf::from(name);
        let opened = File::options().create(true).append(true).open(&name);
        match opened.map_err(TryLockError::Error).and_then(|it| it.try_lock().map(|()| it)) {
            Ok(lock) => locks.push(lock),
            Err(TryLockError::WouldBlock) => {
                let (path, name) = (path.display(), name.display());
                let why = format!(
                    "cannot keep a snapshot at {path}: another process does, and holds {name}; end it, or name another file"
                );
                return Err(Failure::new(Status::Disk, why));
            }
            Err(TryLockError::Error(err)) => {
                let (name, why) = (name.display(), plain(&err));
                output.remark(format_args!(
                    "cannot lock {name}: {why}; going on, and no other monitor may keep its snapshot there"
                ));
            }
        }
    }
    Ok(Hold { _locks: locks })
}

/// What an earlier run knew; none where there is no file, and, with a word on why, where it is none of ours. Nobody is
/// called down for that: who is not heard of yet is not known. An error where it may be ours and cannot be read.
pub(super) fn load(path: &Path, output: Output) -> Result<Option<Snapshot>, Failure> {
    let err = match Snapshot::load(path) {
        Ok(snapshot) => return Ok(Some(snapshot)),
        Err(err) => err,
    };
    match err.kind() {
        ErrorKind::NotFound => Ok(None),
        ErrorKind::InvalidPayload | ErrorKind::Unsupported => {
            let why = Failure::from(err).message.unwrap_or_default();
            output.remark(format_args!("{why}; starting without it{}", aside(path)));
            Ok(None)
        }
        _ => {
            let mut failure = Failure::from(err);
            failure.status = Status::Disk;
            Err(failure)
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

/// The silences of an earlier run, and what people were told; nothing, with a word on why, where the file is none of
/// ours. An error where it may be ours and cannot be read.
pub(super) fn load_kept(snapshot: &Path, output: Output) -> Result<Kept, Failure> {
    let path = kept::beside(snapshot);
    match Kept::load(&path) {
        Err(err) if err.kind() == io::ErrorKind::InvalidData => {
            let (moved, path, why) = (aside(&path), path.display(), plain(&err));
            output.remark(format_args!("cannot read {path}: {why}; no silence is kept{moved}"));
            Ok(Kept::default())
        }
        loaded => loaded.map_err(|err| Failure::file("read", path.display(), err)),
    }
}

impl Keeper {
    pub(super) fn new(
        snapshot: PathBuf,
        every: Duration,
        (table, board): (WatchTable, Arc<Board>),
        desk: Arc<Desk>,
        upkeep: Arc<Upkeep>,
        output: Output,
    ) -> Self {
        let (alerts, written) = (kept::beside(&snapshot), Arc::default());
        Self { snapshot, alerts, every, table, board, desk, upkeep, output, written }
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

    /// Writes both; whether it could. A failure is told once, until it goes well again.
    pub(super) async fn save(&self) -> bool {
        // What was told first: one that is down, and told meanwhile, is told again rather than never.
        let alerts = self.save_alerts().await;
        let writing = Arc::clone(&self.written).lock_owned().await;
        let (table, path) = (self.table.clone(), self.snapshot.clone());
        let board = Arc::clone(&self.board);
        let saving = spawn_blocking(move || {
            let saved = table.snapshot().with_attached(board.kept()).save(path);
            drop(writing);
            saved
        });
        let Ok(saved) = saving.await else { return false };
        let is_news = self.upkeep.snapshot.note(saved.is_ok() && alerts.is_ok());
        let why = match (saved, alerts) {
            (Err(err), _) => Failure::from(err).message.unwrap_or_default(),
            (_, Err(err)) => format!("cannot write {}: {}", self.alerts.display(), plain(&err)),
            (Ok(()), Ok(())) => return true,
        };
        if is_news {
            self.output.remark(format_args!("{why}; trying again"));
        }
        false
    }

    /// Writes the silences and what people were told, where that has changed.
    pub(super) async fn save_alerts(&self) -> io::Result<()> {
        let mut written = Arc::clone(&self.written).lock_owned().await;
        // Taken while nobody else writes, so that the newest is written last.
        let kept = self.desk.kept();
        if written.as_ref() == Some(&kept) {
            return Ok(());
        }
        let path = self.alerts.clone();
        let writing = spawn_blocking(move || {
            *written = None;
            kept.save(&path)?;
            *written = Some(kept);
            Ok(())
        });
        writing.await.map_err(io::Error::other).flatten()
    }
}

#[cfg(test)]
mod tests {
    use sinew_beat::{Watch, WatchOptions};
    use tokio::time::timeout;

    use super::*;
    use crate::{commands::beat::config::Config, output::Chatter};

    /// A keeper of files in `folder`, and the watch that it needs.
    async fn keeper(folder: &Path) -> (Keeper, Watch) {
        let backend = sinew_connect::connect("memory:keeper").await.unwrap();
        let options = WatchOptions::default();
        let watch = Watch::start(&backend.subscriber().unwrap(), options).await.unwrap();
        let config = Config::parse("", Path::new("sinew.toml")).unwrap();
        let output = Output::new(false, Chatter::Quiet);
        let desk = Arc::new(Desk::new(&config, watch.clock(), output, None, Vec::new()));
        let (path, every) = (folder.join("beat.snapshot"), Duration::from_secs(3600));
        let upkeep = Arc::default();
        let board = Arc::new(Board::new(watch.table(), 10, &[]));
        (Keeper::new(path, every, (watch.table(), board), desk, upkeep, output), watch)
    }

    #[tokio::test]
    async fn who_hangs_up_lets_nobody_else_write_before_the_disk_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let (keeper, _watch) = keeper(folder.path()).await;
        // Writing to a pipe takes until somebody reads it.
        let disk = folder.path().join("beat.snapshot.alerts.new");
        let made = std::process::Command::new("mkfifo").arg(&disk).status().unwrap();
        assert!(made.success());
        let asking = keeper.clone();
        let asked = tokio::spawn(async move { asking.save_alerts().await });
        while keeper.written.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        let is_held = keeper.written.try_lock().is_err();
        let read = spawn_blocking(move || std::fs::read(disk));
        assert!(!read.await.unwrap().unwrap().is_empty());
        assert!(is_held, "somebody else could have written");
        drop(timeout(Duration::from_secs(20), keeper.written.lock()).await.unwrap());
    }

    #[test]
    fn the_files_of_one_monitor_are_nobody_elses_while_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let (path, output) = (folder.path().join("snapshot"), Output::new(false, Chatter::Quiet));
        let held = hold(&path, output).unwrap();
        for theirs in [path.clone(), kept::beside(&path)] {
            let refused = hold(&theirs, output).unwrap_err();
            assert_eq!(refused.status, Status::Disk);
            let said = refused.message.unwrap();
            let wanted = format!("cannot keep a snapshot at {}: another process", theirs.display());
            assert!(said.starts_with(&wanted) && said.contains(".lock"), "{said}");
        }
        let _other = hold(&folder.path().join("other"), output).unwrap();
        drop(held);
        let _again = hold(&path, output).unwrap();
        // One that cannot be locked is gone on with: writing it will say more.
        let _nowhere = hold(&folder.path().join("none/snapshot"), output).unwrap();
    }

    #[test]
    fn a_file_of_somebody_elses_is_moved_and_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beat.snapshot");
        let output = Output::new(false, Chatter::Quiet);
        assert!(load(&path, output).unwrap().is_none());
        std::fs::write(&path, "a letter").unwrap();
        assert!(load(&path, output).unwrap().is_none());
        assert!(!path.exists());
        let kept = std::fs::read_to_string(folder.path().join("beat.snapshot.bad")).unwrap();
        assert_eq!(kept, "a letter");
    }

    #[test]
    fn a_file_that_the_disk_does_not_give_is_neither_moved_nor_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beat.snapshot");
        let output = Output::new(false, Chatter::Quiet);
        let mut refused = Vec::new();
        for it in [path.clone(), kept::beside(&path)] {
            // A link to itself cannot be read by anybody, root neither.
            std::os::unix::fs::symlink(&it, &it).unwrap();
            refused.extend(load(&path, output).err());
            refused.extend(load_kept(&path, output).err());
            assert!(it.is_symlink());
            std::fs::remove_file(&it).unwrap();
        }
        assert_eq!(refused.len(), 2);
        for it in refused {
            assert_eq!(it.status, Status::Disk);
            let said = it.message.unwrap();
            assert!(said.contains("beat.snapshot") && !said.contains('\n'), "{said}");
        }
    }
}
