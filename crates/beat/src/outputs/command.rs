//! A program that is run for each notification.
use std::{
    ffi::OsString,
    fmt::{self, Write as _},
    future::pending,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sinew_core::{Error, ErrorKind, Result};
use tokio::{io::AsyncWriteExt as _, process::Command, select, time::timeout};

use super::{
    pending::{Held, Outbox},
    unix,
};
use crate::{Alert, AlertKind, Clock, Notification};

/// Which program is run, and for how long it may.
#[derive(Clone)]
#[non_exhaustive]
pub struct CommandOptions {
    program: OsString,
    args: Vec<OsString>,
    timeout: Duration,
    queue: usize,
    on_failure: Option<OnFailure>,
}

type OnFailure = Arc<dyn Fn(&CommandFailure<'_>) + Send + Sync>;

/// A run that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct CommandFailure<'a> {
    /// What it was to tell.
    pub notification: &'a Notification,
    /// Why: which program, and its exit status, say. It shows no argument.
    pub error: &'a Error,
}

impl CommandOptions {
    /// Runs `program`, a path or a name that is looked up in `PATH`. There is no shell in between.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        let timeout = Duration::from_secs(30);
        let (program, args) = (program.into(), Vec::new());
        Self { program, args, timeout, queue: 100, on_failure: None }
    }

    /// Its arguments, each as it is. Default: none.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// How long a run may take until it is killed. Default: 30 s.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many notifications wait for the one whose program runs, at least 1; the alerts of further ones are kept, and
    /// joined. Default: 100.
    #[must_use]
    pub fn with_queue(mut self, queue: usize) -> Self {
        self.queue = queue.max(1);
        self
    }

    /// Tells each run that failed, to log it say. Default: it is only counted.
    ///
    /// It is called on the task that runs programs, so it must not block; if it panics, nothing is run any more.
    #[must_use]
    pub fn with_on_failure(
        mut self,
        tell: impl Fn(&CommandFailure<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_failure = Some(Arc::new(tell));
        self
    }
}

impl fmt::Debug for CommandOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandOptions")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("timeout", &self.timeout)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// What became of the notifications that were handed to a [`CommandOutput`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct CommandCounts {
    /// Runs that ended with exit status 0.
    pub succeeded: u64,
    /// Runs that ended otherwise, and programs that could not be started.
    pub failed: u64,
    /// Runs that were killed, as they took too long.
    pub timed_out: u64,
    /// Alerts that were one too many, and are lost.
    pub refused: u64,
    /// Notifications that wait, or whose program runs; once it is finished, those that were lost.
    pub waiting: u64,
    /// Alerts that wait beyond the queue; once it is finished, those that were lost.
    pub kept: u64,
}

/// Runs a program for each notification, one after the other.
///
/// The program gets, on its standard input, a line for each alert: its fields are separated by tabs, times are seconds
/// since 1970 UTC, and what there is none of is `-`.
///
/// ```text
/// firing  billing/down/1767225600  billing  down  down  1767225612.250  1767225612.250  billing is down: silent
/// ```
///
/// They are the kind, the key, the process, the condition, the state of now, since when the incident lasts, when what
/// is told came to be, and a text. The environment says the same of the first alert (`BEAT_KIND`, `BEAT_KEY`,
/// `BEAT_PROCESS`, `BEAT_CONDITION`, `BEAT_STATE`, `BEAT_SINCE`, `BEAT_AT`, `BEAT_TEXT`), how many alerts there are on
/// the input (`BEAT_ALERTS`), and which group it is (`BEAT_GROUP`, empty for none). Names come off the wire: a script does well to quote them. What the program prints is dropped, what it says
/// on standard error is the monitor's.
///
/// A failed run is counted and not repeated. What finds the queue full is kept alert by alert, of an incident the latest,
/// and told in as few runs as hold it once the queue is worked off: 100,000 alerts, and as many again that say that
/// something is over. Those beyond are refused. Dropping it kills the program that runs; those that it started itself are
/// its own.
#[derive(Debug)]
pub struct CommandOutput {
    counts: Arc<Mutex<CommandCounts>>,
    outbox: Outbox,
}

impl CommandOutput {
    /// Starts the task that runs the program; `clock` is that of the [`Watch`](crate::Watch) whose events the alerts
    /// are made of. Like [`tokio::spawn`] it panics outside of a tokio runtime.
    #[must_use]
    pub fn start(options: CommandOptions, clock: Clock) -> Self {
        Self::start_after(options, clock, std::future::ready(()))
    }

    /// The same, but nothing is run before `turn` is over: for one that takes the place of another output, which still
    /// tells what came before. What is handed in meanwhile waits.
    #[must_use]
    pub fn start_after(
        options: CommandOptions,
        clock: Clock,
        turn: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let counts = Arc::new(Mutex::new(CommandCounts::default()));
        let counted = Arc::clone(&counts);
        let outbox = Outbox::start(options.queue, clock, |mut pending| async move {
            turn.await;
            while let Some((_, notification)) = pending.next().await {
                let end = run(&options, &clock, &notification).await;
                if let (Err(error), Some(tell)) = (&end, &options.on_failure) {
                    tell(&CommandFailure { notification: &notification, error });
                }
                let mut counts = counted.lock().unwrap_or_else(PoisonError::into_inner);
                match end.map_err(|error| error.kind()) {
                    Ok(()) => counts.succeeded += 1,
                    Err(ErrorKind::Timeout) => counts.timed_out += 1,
                    Err(_) => counts.failed += 1,
                }
                drop(counts);
                pending.end();
            }
        });
        Self { counts, outbox }
    }

    /// Hands in a notification, and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] when more alerts wait than are kept: those that are one too many are lost, and counted.
    /// [`ErrorKind::Closed`] when the task has ended, with its runtime say.
    pub fn send(&self, notification: Notification) -> Result<()> {
        self.outbox.send(notification, "alert command")
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> CommandCounts {
        let Held { waiting, kept, refused } = self.outbox.held();
        CommandCounts { waiting, kept, refused, ..*self.lock() }
    }

    /// Lets what waits be run, for no longer than `limit`; what runs then is killed. Gives what it has counted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call kills the program that runs, and loses what waits.
    pub async fn finish(mut self, limit: Duration) -> CommandCounts {
        self.outbox.finish(limit).await;
        self.counts()
    }

    fn lock(&self) -> MutexGuard<'_, CommandCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(options: &CommandOptions, clock: &Clock, notification: &Notification) -> Result<()> {
    let failed = |kind, why: &str| {
        let program = options.program.display();
        Error::new(kind, "alert command").with_detail(format!("{program}: {why}"))
    };
    let mut command = Command::new(&options.program);
    command.args(&options.args).envs(facts(clock, notification));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    let spawned = command.spawn();
    let mut child = spawned.map_err(|err| failed(ErrorKind::NotFound, &err.to_string()))?;
    let stdin = child.stdin.take();
    let lines = lines(clock, notification);
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not care to read is as good.
            let _written = stdin.write_all(lines.as_bytes()).await;
        }
        pending::<()>().await;
    };
    let wait = async {
        select! {
            status = child.wait() => status,
            () = write => Err(std::io::ErrorKind::Other.into()),
        }
    };
    match timeout(options.timeout, wait).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(ErrorKind::Internal, &status.to_string())),
        Ok(Err(err)) => Err(failed(ErrorKind::Internal, &err.to_string())),
        Err(_) => {
            // Bounded, as even a killed program does not end while its disk hangs. Then the runtime reaps it later.
            let _killed = timeout(Duration::from_secs(5), child.kill()).await;
            let why = format!("killed, as it took longer than {:?}", options.timeout);
            Err(failed(ErrorKind::Timeout, &why))
        }
    }
}

fn lines(clock: &Clock, notification: &Notification) -> String {
    let mut lines = String::new();
    for alert in &notification.alerts {
        let fields = Fields::of(clock, alert);
        let or = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let line = fields.0.map(|(_, text)| or(text)).join("\t");
        // Writing to a text cannot fail.
        let _written = writeln!(lines, "{line}");
    }
    lines
}

fn facts(clock: &Clock, notification: &Notification) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("BEAT_ALERTS", notification.alerts.len().to_string()),
        ("BEAT_GROUP", notification.group.as_deref().unwrap_or_default().to_owned()),
    ];
    let first = notification.alerts.first();
    facts.extend(first.into_iter().flat_map(|alert| Fields::of(clock, alert).0));
    facts
}

/// What is said of an alert, and under which names. What there is none of is empty.
struct Fields([(&'static str, String); 8]);

impl Fields {
    fn of(clock: &Clock, alert: &Alert) -> Self {
        let process = alert.process.as_ref().map(ToString::to_string);
        Self([
            ("BEAT_KIND", AlertKind::as_str(alert.kind).to_owned()),
            ("BEAT_KEY", alert.key.to_string()),
            ("BEAT_PROCESS", process.unwrap_or_default()),
            ("BEAT_CONDITION", alert.condition.to_string()),
            ("BEAT_STATE", alert.state.map(|it| it.to_string()).unwrap_or_default()),
            ("BEAT_SINCE", unix(clock, alert.since)),
            ("BEAT_AT", unix(clock, alert.at)),
            ("BEAT_TEXT", alert.to_string()),
        ])
    }
}
