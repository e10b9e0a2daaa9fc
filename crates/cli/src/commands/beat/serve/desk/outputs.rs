//! Where notifications go: each output has a queue of its own, and none waits for another.
use std::time::Duration;

use sinew_beat::{Clock, CommandOutput, Notification, WebhookOutput};
use tokio::task::JoinSet;

use crate::{
    commands::beat::config::{CommandConfig, Config, WebhookConfig},
    exit::Failure,
    output::Output,
};

/// How long an output that a new file has no more may take with what waits for it.
const LEAVE: Duration = Duration::from_secs(30);

/// The outputs of one file.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    commands: Vec<(CommandConfig, CommandOutput)>,
    webhooks: Webhooks,
    /// Those of an earlier file, which finish what waits for them.
    leaving: JoinSet<()>,
}

pub(crate) type Webhooks = Vec<(WebhookConfig, WebhookOutput)>;

/// What became of what was handed to one output.
#[derive(Debug)]
pub(crate) struct OutputCounts {
    pub(crate) name: String,
    pub(crate) results: Vec<(&'static str, u64)>,
}

/// Starts those of `wanted`, which connects to nothing yet.
pub(crate) async fn start(
    wanted: Vec<WebhookConfig>,
    clock: Clock,
    output: Output,
) -> Result<Webhooks, Failure> {
    let mut started = Vec::new();
    for config in wanted {
        let options = config.options()?.with_on_failure(move |failure| {
            match (failure.retry_in, failure.attempts) {
                (None, _) => output.remark(format_args!("{}; given up", failure.error)),
                (Some(_), 1) => output.remark(format_args!("{}; trying again", failure.error)),
                _ => output.detail(failure.error),
            }
        });
        started.push((config, WebhookOutput::start(options, clock).await?));
    }
    Ok(started)
}

impl Outputs {
    /// Those of `config` that are to be started before [`replace`](Self::replace).
    pub(crate) fn missing(&self, config: &Config) -> Vec<WebhookConfig> {
        let is_there = |it: &&WebhookConfig| self.webhooks.iter().any(|(known, _)| known == *it);
        config.webhooks.iter().filter(|it| !is_there(it)).cloned().collect()
    }

    /// Those of a new file, of which `started` are. One that is as it was goes on with what waits for it.
    pub(crate) fn replace(&mut self, config: &Config, started: Webhooks, clock: Clock) {
        while self.leaving.try_join_next().is_some() {}
        let mut old = std::mem::take(&mut self.commands);
        for config in &config.commands {
            let kept = take(&mut old, config);
            self.commands.push(kept.unwrap_or_else(|| {
                (config.clone(), CommandOutput::start(config.options(), clock))
            }));
        }
        for (_, output) in old {
            self.leaving.spawn(async move {
                let _counts = output.finish(LEAVE).await;
            });
        }
        let mut old = std::mem::take(&mut self.webhooks);
        old.extend(started);
        self.webhooks = config.webhooks.iter().filter_map(|it| take(&mut old, it)).collect();
        for (_, output) in old {
            self.leaving.spawn(async move {
                let _counts = output.finish(LEAVE).await;
            });
        }
    }

    /// Hands it to each; how many refused it.
    pub(crate) fn send(&self, notification: &Notification) -> u64 {
        let commands = self.commands.iter().map(|(_, it)| it.send(notification.clone()));
        let webhooks = self.webhooks.iter().map(|(_, it)| it.send(notification.clone()));
        commands.chain(webhooks).map(|it| u64::from(it.is_err())).sum()
    }

    pub(crate) fn counts(&self) -> Vec<OutputCounts> {
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
        let webhooks = (1..).zip(&self.webhooks).map(|(number, (_, it))| {
            let counts = it.counts();
            OutputCounts {
                name: format!("webhook-{number}"),
                results: vec![
                    ("sent", counts.sent),
                    ("retried", counts.retried),
                    ("given_up", counts.given_up),
                    ("refused", counts.refused),
                ],
            }
        });
        commands.chain(webhooks).collect()
    }

    /// Lets what waits be told, all at once, for no longer than `limit`; what is not told then is lost.
    pub(crate) async fn finish(mut self, limit: Duration) {
        for (_, output) in self.commands.drain(..) {
            self.leaving.spawn(async move {
                let _counts = output.finish(limit).await;
            });
        }
        for (_, output) in self.webhooks.drain(..) {
            self.leaving.spawn(async move {
                let _counts = output.finish(limit).await;
            });
        }
        let all = async { while self.leaving.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(limit, all).await;
    }
}

fn take<C: PartialEq, O>(all: &mut Vec<(C, O)>, wanted: &C) -> Option<(C, O)> {
    let at = all.iter().position(|(it, _)| it == wanted)?;
    Some(all.swap_remove(at))
}
