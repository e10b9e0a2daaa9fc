//! Where notifications go: each output has a queue of its own, and none waits for another.
use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sinew_beat::{Clock, CommandOptions, CommandOutput, Notification, WebhookOutput};
use tokio::{sync::oneshot, task::JoinSet, time::Instant};

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
    webhooks: Vec<(WebhookConfig, WebhookOutput)>,
    /// Those of an earlier file, which finish what waits for them. Each tells what it lost.
    leaving: JoinSet<Left>,
    /// What those lost that have left.
    lost: Left,
}

/// Webhooks that are started, and tell nothing until their turn comes.
pub(crate) type Webhooks = Vec<(WebhookConfig, WebhookOutput, Turn)>;

/// The turn of an output comes when this is dropped.
pub(crate) type Turn = oneshot::Sender<()>;

/// What was not delivered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Left {
    pub(crate) notifications: u64,
    /// Alerts that waited beyond those.
    pub(crate) alerts: u64,
}

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

fn turn() -> (Turn, impl Future<Output = ()> + Send + 'static) {
    let (turn, come) = oneshot::channel();
    let come = async {
        // It is dropped, and never said.
        let _dropped = come.await;
    };
    (turn, come)
}

/// What is said of an output begins so.
fn head(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("{name}: "))
}

/// What `config` says, and a word on a run that fails, once in a while.
fn command(config: &CommandConfig, output: Output) -> CommandOptions {
    let silent_until = Mutex::new(None::<Instant>);
    let head = head(config.name.as_deref());
    config.options().with_on_failure(move |failure| {
        let now = Instant::now();
        let mut silent_until = silent_until.lock().unwrap_or_else(PoisonError::into_inner);
        if silent_until.is_some_and(|until| now < until) {
            output.detail(format_args!("{head}{}", failure.error));
        } else {
            *silent_until = Some(now + SAID);
            output.remark(format_args!("{head}{}", failure.error));
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
        let head = head(config.name.as_deref());
        let options = config.options()?.with_on_failure(move |failure| {
            let why = failure.error;
            match (failure.retry_in, failure.attempts) {
                (None, _) => output.remark(format_args!("{head}{why}; given up")),
                (Some(_), 1) => output.remark(format_args!("{head}{why}; trying again")),
                _ => output.detail(format_args!("{head}{why}")),
            }
        });
        let (turn, come) = turn();
        started.push((config, WebhookOutput::start_after(options, clock, come).await?, turn));
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
    /// are new `open` is told, and to a receiver that has another output already once that one is done: nobody reads
    /// that something is wrong after they read that it is over. How many were refused.
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
        let (mut old, mut turns) = (std::mem::take(&mut self.commands), Vec::new());
        for config in &config.commands {
            let kept = take(&mut old, config);
            self.commands.push(kept.unwrap_or_else(|| {
                let (turn, come) = turn();
                let output = CommandOutput::start_after(command(config, output), clock, come);
                open.iter().for_each(|it| told(output.send(it.clone())));
                turns.push((config.clone(), turn));
                (config.clone(), output)
            }));
        }
        for (gone, old) in old {
            let next: Vec<_> = turns.extract_if(.., |(it, _)| it.is_of_one(&gone)).collect();
            self.leaving.spawn(async move {
                let left = Left::by_command(old, LEAVE).await.said(output);
                drop(next);
                left
            });
        }
        let (mut old, mut turns) = (std::mem::take(&mut self.webhooks), Vec::new());
        for (config, output, turn) in started {
            open.iter().for_each(|it| told(output.send(it.clone())));
            turns.push((config.clone(), turn));
            old.push((config, output));
        }
        self.webhooks = config.webhooks.iter().filter_map(|it| take(&mut old, it)).collect();
        for (gone, old) in old {
            let next: Vec<_> = turns.extract_if(.., |(it, _)| it.is_of_one(&gone)).collect();
            self.leaving.spawn(async move {
                let left = Left::by_webhook(old, LEAVE).await.said(output);
                drop(next);
                left
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
        let named = |name: &Option<String>, kind, number: u32| {
            name.clone().unwrap_or_else(|| format!("{kind}-{number}"))
        };
        let commands = (1..).zip(&self.commands).map(|(number, (config, it))| {
            let counts = it.counts();
            OutputCounts {
                name: named(&config.name, "command", number),
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
        let webhooks = (1..).zip(&self.webhooks).map(|(number, (config, it))| {
            let counts = it.counts();
            OutputCounts {
                name: named(&config.name, "webhook", number),
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

    /// What no output has delivered, or given up, yet; one that is leaving counts as one notification.
    pub(crate) fn waiting(&mut self) -> Left {
        self.reap();
        let leaving = Left { notifications: self.leaving.len() as u64, alerts: 0 };
        let each = self.counts().into_iter();
        each.map(|it| Left { notifications: it.waiting, alerts: it.kept }).fold(leaving, Left::and)
    }

    fn reap(&mut self) {
        while let Some(left) = self.leaving.try_join_next() {
            self.lost = self.lost.and(left.unwrap_or(Left::ONE));
        }
    }

    /// Lets what waits be told, all at once, for no longer than `limit`. What was not, and is lost: one notification at
    /// least of an output that had longer to leave.
    pub(crate) async fn finish(mut self, limit: Duration) -> Left {
        for (_, output) in self.commands.drain(..) {
            self.leaving.spawn(Left::by_command(output, limit));
        }
        for (_, output) in self.webhooks.drain(..) {
            self.leaving.spawn(Left::by_webhook(output, limit));
        }
        let all = async {
            while let Some(left) = self.leaving.join_next().await {
                self.lost = self.lost.and(left.unwrap_or(Left::ONE));
            }
        };
        let _late = tokio::time::timeout(limit + SLACK, all).await;
        self.lost.and(Left { notifications: self.leaving.len() as u64, alerts: 0 })
    }
}

impl Left {
    /// Of an output that did not live to tell.
    const ONE: Self = Self { notifications: 1, alerts: 0 };

    pub(crate) const fn is_none(self) -> bool {
        self.notifications == 0 && self.alerts == 0
    }

    const fn and(self, other: Self) -> Self {
        Self {
            notifications: self.notifications + other.notifications,
            alerts: self.alerts + other.alerts,
        }
    }

    /// Says so of an output that the file has no more.
    fn said(self, output: Output) -> Self {
        if !self.is_none() {
            output.remark(format_args!("{self} by an output that the file has no more"));
        }
        self
    }

    async fn by_command(output: CommandOutput, limit: Duration) -> Self {
        let left = output.finish(limit).await;
        Self { notifications: left.waiting, alerts: left.kept }
    }

    async fn by_webhook(output: WebhookOutput, limit: Duration) -> Self {
        let left = output.finish(limit).await;
        Self { notifications: left.waiting, alerts: left.kept }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.notifications, self.alerts) {
            (1, 0) => f.write_str("1 notification was not delivered"),
            (notifications, 0) => write!(f, "{notifications} notifications were not delivered"),
            (0, 1) => f.write_str("1 alert was not delivered"),
            (0, alerts) => write!(f, "{alerts} alerts were not delivered"),
            (notifications, alerts) => {
                write!(
                    f,
                    "{notifications} notifications were not delivered, nor {alerts} alerts beyond them"
                )
            }
        }
    }
}

fn take<C: PartialEq, O>(all: &mut Vec<(C, O)>, wanted: &C) -> Option<(C, O)> {
    let at = all.iter().position(|(it, _)| it == wanted)?;
    Some(all.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_the_words_for_it() {
        let told = |notifications, alerts| Left { notifications, alerts }.to_string();
        assert_eq!(told(1, 0), "1 notification was not delivered");
        assert_eq!(told(2, 0), "2 notifications were not delivered");
        assert_eq!(told(0, 7), "7 alerts were not delivered");
        assert_eq!(told(2, 7), "2 notifications were not delivered, nor 7 alerts beyond them");
    }
}
