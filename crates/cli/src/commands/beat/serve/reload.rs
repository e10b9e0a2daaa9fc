//! SIGHUP: the file is read anew. A bad one changes nothing.
use std::{path::PathBuf, sync::Arc};

use sinew_beat::WatchTable;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{board::Board, desk::Desk, outputs::Webhooks, upkeep::Upkeep};
use crate::{commands::beat::config::Config, exit::Failure, output::Output};

/// What a new file is applied to.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    /// The file of the start, and of it what only a restart changes.
    pub(super) file: Config,
    pub(super) table: WatchTable,
    pub(super) board: Arc<Board>,
    pub(super) desk: Arc<Desk>,
    pub(super) upkeep: Arc<Upkeep>,
    pub(super) output: Output,
}

impl Reloader {
    /// Listens to SIGHUP from now on.
    #[cfg(unix)]
    pub(super) fn start(self) -> Result<JoinHandle<()>, Failure> {
        use tokio::signal::unix::{SignalKind, signal};

        use crate::exit::Status;
        let mut hangups = signal(SignalKind::hangup()).map_err(|err| {
            Failure::new(Status::Fault, "cannot listen to signals").with_source(err)
        })?;
        Ok(tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                self.reload().await;
            }
        }))
    }

    /// There is no such signal here.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "its twin can fail")]
    pub(super) fn start(self) -> Result<JoinHandle<()>, Failure> {
        Ok(tokio::spawn(async {}))
    }

    #[cfg_attr(not(unix), expect(dead_code, reason = "nothing asks for it there"))]
    async fn reload(&self) {
        let path = self.path.clone();
        let Ok(read) = spawn_blocking(move || Config::load(&path)).await else { return };
        let read = match read {
            Ok(file) => self.desk.prepare(&file).await.map(|webhooks| (file, webhooks)),
            Err(failure) => Err(failure),
        };
        self.upkeep.reload.note(read.is_ok());
        match read {
            Ok((file, webhooks)) => self.apply(&file, webhooks),
            Err(failure) => {
                let why = failure.message.unwrap_or_default();
                self.output.remark(format_args!("{why}; all stays as it was"));
            }
        }
    }

    fn apply(&self, file: &Config, webhooks: Webhooks) {
        // What must not be told is known before the monitor finds more to tell.
        self.desk.reconfigure(file, webhooks);
        self.board.hold(file.max_processes);
        // Where the watch has ended, so does the command.
        let _goes_on = self.table.reconfigure(file.monitor.clone());
        file.expected.iter().for_each(|process| self.table.declare(process));

        let mut fixed = self.file.fixed(file);
        if self.file.expected.iter().any(|it| !file.expected.contains(it)) {
            fixed.push("expected (without who was)");
        }
        let path = self.path.display();
        match fixed.as_slice() {
            [] => self.output.remark(format_args!("{path} was read anew")),
            keys => {
                let keys = keys.join(", ");
                self.output
                    .remark(format_args!("{path} was read anew; only a restart changes: {keys}"));
            }
        }
    }
}
