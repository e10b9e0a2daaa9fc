//! A snapshot in a file.
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use sinew_core::{Error, ErrorKind, Result};

use super::Snapshot;

impl Snapshot {
    /// Writes it to `path`: to a file beside it first (`PATH.new`), which then takes its place. Whenever the process or
    /// the machine ends, the old one or the new one is there, whole. It blocks for as long as the disk takes.
    ///
    /// One writer a path: two at once would write the same file beside it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`], with the operating system's error as its source, when the disk or the folder does not
    /// take it; the old one is still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        write(path, &self.encode()).map_err(|err| {
            Error::new(ErrorKind::Internal, "write snapshot")
                .with_subject(path.display().to_string())
                .with_source(err)
        })
    }

    /// Reads what [`Snapshot::save`] wrote. It blocks for as long as the disk takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is no such file, [`ErrorKind::Internal`] when it cannot be read, and what
    /// [`Snapshot::decode`] has.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|err| {
            let kind = match err.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Internal,
            };
            Error::new(kind, "read snapshot")
                .with_subject(path.display().to_string())
                .with_source(err)
        })?;
        Self::decode(&bytes).map_err(|err| err.with_subject(path.display().to_string()))
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The new name is on the disk once its folder is.
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.map_or_else(|| PathBuf::from("."), PathBuf::from))?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    PathBuf::from(name)
}
