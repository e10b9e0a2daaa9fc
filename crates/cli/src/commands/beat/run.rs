//! `sinew beat run`: beats for as long as a command lives.
use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use clap::Args;
use sinew_beat::{
    Health, Heart, HeartCounts, HeartOptions, Instance, MIN_INTERVAL, OnChange, Process, Progress,
};
use sinew_core::AnyPublisher;
use tokio::{
    process::Command,
    time::{MissedTickBehavior, interval},
};

use crate::{
    commands::exec::{self, Group},
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome, Status, plain},
    interrupt::{Signal, Signals},
    output::Output,
    session::Session,
    time::parse_positive,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("billing lives for as long as its command does", "sinew beat run billing -- sleep 5"),
    (
        "degraded while its disk cannot be written",
        "sinew beat run billing --every 1s --check 'test -w /tmp' -- sleep 5",
    ),
];

const NOTE: &str = "That CMD lives is all that can be seen from outside; whether it gets on, only --check or CMD itself \
    can tell. Its output is its own, and its input where that is no terminal. Ctrl-C, SIGTERM and SIGHUP are passed on to it and what it started; a second \
    one of the first two kills them. Exit status: CMD's, or 128 and the number of the signal that ended it; 126 or 127 when it cannot \
    be run. When the broker cannot be reached at the start, CMD is NOT started, and the exit status is 69; if it goes \
    later, CMD lives on.";

/// Run a command once the broker is reached, and beat while it lives: start, a beat every so often, stop at its end
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Run {
    /// The name to beat under: dot-separated words
    #[arg(value_name = "PROCESS")]
    process: Process,
    /// How often to beat, which is what each beat promises
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_positive)]
    every: Duration,
    /// Run this by `sh -c` as often: while it fails, or takes longer than that and is killed, beat as degraded
    #[arg(long, value_name = "CMD")]
    check: Option<String>,
    /// Say with each beat, by a header, which instance of PROCESS this is: a pod's name, say. A monitor then notices two
    /// under one name
    #[arg(long, value_name = "NAME")]
    instance: Option<Instance>,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Run {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        self.process.subject()?;
        let mut options = HeartOptions::default()
            .with_period(self.every)
            .with_run_interval(self.every)
            .with_min_interval(MIN_INTERVAL.min(self.every))
            .with_on_change(OnChange::Send);
        if let Some(instance) = self.instance {
            options = options.with_instance(instance);
        }
        let backend = session.connect(self.connection, None).await?;
        let heart = options.build(backend.publisher()?, self.process.as_str())?;
        let signals = session.interrupt.take_over()?;
        let group = start(&self.command)?;
        let progress = Progress::new();
        let check = || checked(session.output, self.check.as_deref());
        let alive = live(session.output, group, signals, &heart, &progress, self.every);
        let (ended, stopped) = heart.run(&progress, check, alive).await;
        if let Err(err) = stopped {
            session.output.remark(format_args!("stop was not sent: {err}"));
        }
        session.drain(&backend).await;
        let ended = ended.map_err(|err| {
            Failure::new(Status::Fault, "cannot wait for the command").with_source(err)
        })?;
        Ok(Status::Command(status(ended)))
    }
}

fn start(command: &[OsString]) -> Result<Group, Failure> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Failure::usage("write -- and a command to run"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if io::stdin().is_terminal() {
        // A terminal would stop it for reading: it is not in the foreground, so that Ctrl-C comes from us alone.
        command.stdin(Stdio::null());
    }
    Group::spawn(&mut command).map_err(|err| {
        // As a shell has it.
        let status = if err.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        let why = plain(&err);
        let name = program.to_string_lossy();
        Failure::new(Status::Command(status), format!("cannot run {name}: {why}")).with_source(err)
    })
}

/// Waits for the end of the command, whose life is its progress, and passes signals on to it.
async fn live(
    output: Output,
    mut group: Group,
    mut signals: Signals,
    heart: &Heart<AnyPublisher>,
    progress: &Progress,
    every: Duration,
) -> io::Result<ExitStatus> {
    // Oftener than it beats, so that there is always a tick to tell of.
    let mut look = interval(every / 4 + Duration::from_millis(1));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_told = false;
    let mut link = Link::default();
    loop {
        tokio::select! {
            biased;
            ended = group.child.wait() => return ended,
            signal = signals.next() => {
                match signal {
                    // It says so more than once, and to those who take it for something else.
                    Signal::Hangup => group.pass_on(signal),
                    _ if was_told => group.kill(),
                    _ => {
                        group.pass_on(signal);
                        was_told = true;
                    }
                }
            }
            _ = look.tick() => {
                progress.tick();
                link.look(output, heart.counts());
            }
        }
    }
}

/// Whether beats get out, told when it changes.
#[derive(Default)]
struct Link {
    known: HeartCounts,
    is_failing: bool,
}

impl Link {
    fn look(&mut self, output: Output, counts: HeartCounts) {
        if !self.is_failing && counts.failed > self.known.failed {
            output.remark("a beat was not sent; trying again until it is");
            self.is_failing = true;
        } else if self.is_failing && counts.sent > self.known.sent {
            output.remark("beats are sent again");
            self.is_failing = false;
        }
        self.known = counts;
    }
}

/// What the check says. Dropped before its end, it is killed.
async fn checked(output: Output, command: Option<&str>) -> Health {
    let Some(command) = command else { return Health::Up };
    match exec::succeeds(command).await {
        Ok(true) => return Health::Up,
        Ok(false) => output.detail("the check failed"),
        Err(err) => output.remark(format_args!("cannot run the check: {err}")),
    }
    Health::Degraded
}

#[cfg(unix)]
fn status(ended: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = ended.code().or_else(|| ended.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(not(unix))]
fn status(ended: ExitStatus) -> u8 {
    // What does not fit is a failure all the same.
    ended.code().map_or(1, |code| u8::try_from(code).unwrap_or(1))
}
