//! Where notifications go: each output has a queue of its own, and none waits for another.
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sinew_beat::{Clock, CommandOptions, CommandOutput, Notification, WebhookOutput};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    commands::beat::config::{CommandConfig, Config, WebhookConfig},
    exit::Failure,
    output::Output,
};

/// How long an output that a new file has no more may take with what waits for it.
const LEAVE: Duration = Duration::from_secs(30);

/// How much longer than its limit an output may take to say what it lost.
const SLACK: Duration = Duration::from_millis(100);

/// The outputs of one file.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    commands: Vec<(CommandConfig, CommandOutput)>,
    webhooks: Webhooks,
    /// Those of an earlier file, which finish what waits for them. Each tells how many notifications it lost.
    leaving: JoinSet<u64>,
    /// What those lost that have left.
    lost: u64,
}

pub(crate) type Webhooks = Vec<(WebhookConfig, WebhookOutput)>;

/// What became of what was handed to one output.
#[derive(Debug)]
pub(crate) struct OutputCounts {
    pub(crate) name: String,
    pub(crate) results: Vec<(&'static str, u64)>,
    /// Notifications that it has not delivered yet, nor given up.
    pub(crate) waiting: u64,
    /// Alerts that wait beyond those.
    pub(crate) kept: u64,
}

/// How often it is said that a command fails.
const SAID: Duration = Duration::from_secs(60);

/// What `config` says, and a word on a run that fails, once in a while.
fn command(config: &CommandConfig, output: Output) -> CommandOptions {
    let silent_until = Mutex::new(None::<Instant>);
    config.options().with_on_failure(move |failure| {
        let now = Instant::now();
        let mut silent_until = silent_until.lock().unwrap_or_else(PoisonError::into_inner);
        if silent_until.is_some_and(|until| now < until) {
            output.detail(failure.error);
        } else {
            *silent_until = Some(now + SAID);
            output.remark(failure.error);
        }
    })
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

    /// Those of a new file, of which `started` are. One that is as it was goes on with what waits for it; to those that
    /// are new `open` is told. How many were refused.
    pub(crate) fn replace(
        &mut self,
        config: &Config,
        started: Webhooks,
        clock: Clock,
        output: Output,
        open: &[Notification],
    ) -> u64 {
        self.reap();
        let mut refused = 0;
        let mut told = |sent: sinew_core::Result<()>| refused += u64::from(sent.is_err());
        let mut old = std::mem::take(&mut self.commands);
        for config in &config.commands {
            let kept = take(&mut old, config);
            self.commands.push(kept.unwrap_or_else(|| {
                let output = CommandOutput::start(command(config, output), clock);
                open.iter().for_each(|it| told(output.send(it.clone())));
                (config.clone(), output)
            }));
        }
        for (_, output) in old {
            self.leaving.spawn(async move {
                let left = output.finish(LEAVE).await;
                left.waiting + left.kept
            });
        }
        let mut old = std::mem::take(&mut self.webhooks);
        for (_, output) in &started {
            open.iter().for_each(|it| told(output.send(it.clone())));
        }
        old.extend(started);
        self.webhooks = config.webhooks.iter().filter_map(|it| take(&mut old, it)).collect();
        for (_, output) in old {
            self.leaving.spawn(async move {
                let left = output.finish(LEAVE).await;
                left.waiting + left.kept
            });
        }
        refused
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
                waiting: counts.waiting,
                kept: counts.kept,
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
                waiting: counts.waiting,
                kept: counts.kept,
            }
        });
        commands.chain(webhooks).collect()
    }

    /// How many notifications, and alerts kept beyond them, no output has delivered, or given up, yet; one that is leaving
    /// counts as one.
    pub(crate) fn waiting(&mut self) -> u64 {
        self.reap();
        let outputs = self.counts().into_iter().map(|it| it.waiting + it.kept);
        outputs.sum::<u64>() + self.leaving.len() as u64
    }

    fn reap(&mut self) {
        while let Some(left) = self.leaving.try_join_next() {
            self.lost += left.unwrap_or(1);
        }
    }

    /// Lets what waits be told, all at once, for no longer than `limit`. How many were not, and are lost: one at least
    /// of an output that had longer to leave.
    pub(crate) async fn finish(mut self, limit: Duration) -> u64 {
        for (_, output) in self.commands.drain(..) {
            self.leaving.spawn(async move {
                let left = output.finish(limit).await;
                left.waiting + left.kept
            });
        }
        for (_, output) in self.webhooks.drain(..) {
            self.leaving.spawn(async move {
                let left = output.finish(limit).await;
                left.waiting + left.kept
            });
        }
        let all = async {
            while let Some(left) = self.leaving.join_next().await {
                self.lost += left.unwrap_or(1);
            }
        };
        let _late = tokio::time::timeout(limit + SLACK, all).await;
        self.lost + self.leaving.len() as u64
    }
}

fn take<C: PartialEq, O>(all: &mut Vec<(C, O)>, wanted: &C) -> Option<(C, O)> {
    let at = all.iter().position(|(it, _)| it == wanted)?;
    Some(all.swap_remove(at))
}
