//! SIGHUP: the file is read anew. A bad one changes nothing.
use std::{collections::HashSet, path::PathBuf, sync::Arc};

use sinew_beat::{Process, WatchTable};
use tokio::task::spawn_blocking;

use super::{
    board::Board,
    desk::{Desk, outputs::Webhooks},
    upkeep::Upkeep,
};
use crate::{
    commands::beat::{
        config::{self, Config},
        hears_expected,
        own_heart::OwnHeart,
    },
    exit::Failure,
    output::Output,
};

/// What a new file is applied to.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    /// The file of the start, and of it what only a restart changes.
    pub(super) file: Config,
    /// Whom the command line expects.
    pub(super) expect: Vec<Process>,
    pub(super) heart: OwnHeart,
    /// Who is watched.
    pub(super) pattern: Option<String>,
    pub(super) table: WatchTable,
    pub(super) board: Arc<Board>,
    pub(super) desk: Arc<Desk>,
    pub(super) upkeep: Arc<Upkeep>,
    pub(super) output: Output,
}

/// An ear for SIGHUP. It is there from the start on: a signal that nobody hears would end us.
#[cfg(unix)]
pub(super) struct Hangups(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangups {
    pub(super) fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};

        let failed = |err| {
            Failure::new(crate::exit::Status::Fault, "cannot listen to signals").with_source(err)
        };
        signal(SignalKind::hangup()).map(Self).map_err(failed)
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// There is no such signal here.
#[cfg(not(unix))]
pub(super) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    #[expect(clippy::unnecessary_wraps, reason = "its twin can fail")]
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

/// Expects these, and nobody else: not who was expected by an earlier file, or run.
pub(super) fn expect<'a>(table: &WatchTable, expected: impl Iterator<Item = &'a Process>) {
    let expected: HashSet<_> = expected.collect();
    for it in table.processes() {
        if it.is_declared && !expected.contains(&it.process) {
            // Somebody else was quicker, or the watch has ended.
            let _declared = table.undeclare(it.process.as_str());
        }
    }
    expected.into_iter().for_each(|process| table.declare(process));
}

impl Reloader {
    /// Reads the file anew with each signal, for ever.
    pub(super) async fn run(self, mut hangups: Hangups) {
        loop {
            hangups.next().await;
            self.reload().await;
        }
    }

    async fn reload(&self) {
        let path = self.path.clone();
        let Ok(read) = spawn_blocking(move || Config::load(&path)).await else { return };
        let read = match read {
            Ok(file) => match self.check(&file) {
                Ok(()) => self.desk.prepare(&file).await.map(|webhooks| (file, webhooks)),
                Err(failure) => Err(failure),
            },
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

    /// The pattern and the heart in force are those of the start.
    fn check(&self, file: &Config) -> Result<(), Failure> {
        let expected = file.expected.iter().filter(|it| !self.heart.is(it, &self.file.heart));
        hears_expected(self.pattern.as_deref(), expected)
            .map_err(|failure| file.blame(config::EXPECTED, failure))
    }

    fn apply(&self, file: &Config, webhooks: Webhooks) {
        // What must not be told is known before the monitor finds more to tell.
        self.desk.reconfigure(file, webhooks, &self.table.processes());
        self.board.hold(file.max_processes + self.expect.len() + file.expected.len());
        // Where the watch has ended, so does the command.
        let _goes_on = self.table.reconfigure(file.monitor.clone());
        expect(&self.table, self.expect.iter().chain(&file.expected));
        file.doubts.iter().for_each(|doubt| self.output.remark(doubt));
        let fixed = self.file.fixed(file);
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
