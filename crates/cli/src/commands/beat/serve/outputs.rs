//! Where notifications go: each output has a queue of its own, and none waits for another.
use std::time::Duration;

use sinew_beat::{Clock, CommandOutput, Notification};
use tokio::task::JoinSet;

use crate::commands::beat::config::CommandConfig;

/// How long an output that a new file has no more may take with what waits for it.
const LEAVE: Duration = Duration::from_secs(30);

/// The outputs of one file.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    commands: Vec<(CommandConfig, CommandOutput)>,
    /// Those of an earlier file, which finish what waits for them.
    leaving: JoinSet<()>,
}

/// What became of what was handed to one output.
#[derive(Debug)]
pub(super) struct OutputCounts {
    pub(super) name: String,
    pub(super) results: Vec<(&'static str, u64)>,
}

impl Outputs {
    pub(super) fn start(commands: &[CommandConfig], clock: Clock) -> Self {
        let mut outputs = Self::default();
        outputs.replace(commands, clock);
        outputs
    }

    /// Those of a new file. One that is as it was goes on with what waits for it.
    pub(super) fn replace(&mut self, commands: &[CommandConfig], clock: Clock) {
        while self.leaving.try_join_next().is_some() {}
        let mut old = std::mem::take(&mut self.commands);
        for config in commands {
            let same = old.iter().position(|(it, _)| it == config);
            let kept = same.map(|at| old.swap_remove(at));
            self.commands.push(kept.unwrap_or_else(|| {
                (config.clone(), CommandOutput::start(config.options(), clock))
            }));
        }
        for (_, output) in old {
            self.leaving.spawn(async move {
                output.finish(LEAVE).await;
            });
        }
    }

    /// Hands it to each; how many refused it.
    pub(super) fn send(&self, notification: &Notification) -> u64 {
        let sent = self.commands.iter().map(|(_, it)| it.send(notification.clone()));
        sent.map(|it| u64::from(it.is_err())).sum()
    }

    pub(super) fn counts(&self) -> Vec<OutputCounts> {
        let commands = (1..).zip(&self.commands).map(|(number, (_, it))| {
            let counts = it.counts();
            OutputCounts {
                name: format!("command-{number}"),
                results: vec![
                    ("succeeded", counts.succeeded),
                    ("failed", counts.failed),
                    ("timed_out", counts.timed_out),
                    ("refused", counts.refused),
                ],
            }
        });
        commands.collect()
    }

    /// Lets what waits be told, all at once, for no longer than `limit`; what is not told then is lost.
    pub(super) async fn finish(mut self, limit: Duration) {
        for (_, output) in self.commands.drain(..) {
            self.leaving.spawn(async move {
                output.finish(limit).await;
            });
        }
        let all = async { while self.leaving.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(limit, all).await;
    }
}
