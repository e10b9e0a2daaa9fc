//! The session of `crates/events/README.md` with the service of nameko's own documentation: its commands, line by line, in
//! two terminals.
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, kill_process_group};
use sinew_testkit::harness::{find_nameko, rabbitmq::RabbitMq};
use tokio::{
    runtime::Runtime,
    time::{interval, timeout},
};

use crate::{
    SharedBody,
    common::{DEADLINE, Result, Running, Signal},
};

pub(crate) const TRIALS: &[(&str, SharedBody)] =
    &[("the_session_with_nameko_in_the_docs_goes_as_they_say", as_the_docs_say)];

const PAGE: &str = include_str!("../../../events/README.md");

fn as_the_docs_say(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    let python = find_nameko()?;
    let environment = python.parent().and_then(Path::parent).ok_or("it is in no environment")?;
    let folder = tempfile::tempdir()?;
    let section = section("## With nameko")?;
    let code = blocks(section, "python").concat();
    fs::write(folder.path().join("events.py"), code)?;
    let url = broker.url().replacen("amqp://", "pyamqp://", 1);
    let ours = |script: &String| script.replace("pyamqp://guest:guest@127.0.0.1", &url);
    let scripts: Vec<_> = blocks(section, "sh").iter().map(ours).collect();
    let [install, talk, share] = &*scripts else { return Err("three scripts were there".into()) };

    // What these two make is there, at the pinned version.
    let [(venv, _), (pip, _), (run, _)] = &*lines(install) else {
        return Err(format!("it is made, filled and run: {install}").into());
    };
    assert!(venv.ends_with(" -m venv python") && pip.starts_with("python/bin/pip install nameko"));
    symlink(environment, folder.path().join("python"))?;

    let (mut theirs, mut ours) = (Terminal::open(folder.path())?, Terminal::open(folder.path())?);
    theirs.enter(run)?;
    runtime.block_on(consumed(broker, "evt-service_a-event_type--service_b.handle_event"))?;
    for (command, seen) in lines(talk) {
        ours.enter(&command)?;
        if command.ends_with('&') {
            ours.shows("listening")?;
        }
        if let Some(seen) = seen {
            theirs.shows(&seen)?;
        }
    }
    let (_, last) = section.split_once("Both have the last one:").ok_or("the last one is said")?;
    let mut said = last.split('`').skip(1).step_by(2);
    let (there, here) = (said.next().ok_or("there")?, said.next().ok_or("here")?);
    theirs.shows(there)?;
    ours.shows(here)?;

    for (command, _) in lines(share) {
        ours.enter(&command)?;
        if command.ends_with('&') {
            ours.shows("listening")?;
        }
    }
    // Each is of `audit`, which is still there, and of one member of `service_b`.
    let mut handled: BTreeMap<char, usize> = BTreeMap::new();
    let mut of_python = 0;
    let end = Instant::now() + DEADLINE;
    while handled.values().sum::<usize>() < 12 {
        assert!(Instant::now() < end, "no more than {handled:?}");
        for line in theirs.lines_of("service b received: ") {
            of_python += 1;
            *handled.entry(line).or_default() += 1;
        }
        for line in ours.lines_of("service_a/event_type ") {
            *handled.entry(line).or_default() += 1;
        }
    }
    assert_eq!(handled, ('1'..='6').map(|number| (number, 2)).collect());
    assert!((1..6).contains(&of_python), "Python had {of_python} of 6");
    Ok(())
}

/// What stands under this heading, up to the next.
fn section(heading: &str) -> Result<&'static str> {
    let (_, section) = PAGE.split_once(heading).ok_or("no such heading")?;
    Ok(section.split_once("\n## ").map_or(section, |(section, _)| section))
}

/// The blocks of this kind.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let block = |rest: &str| Some(rest.split_once("```")?.0.to_owned());
    text.split(&fence).skip(1).filter_map(block).collect()
}

/// Commands, and what their comments say is seen then.
fn lines(script: &str) -> Vec<(String, Option<String>)> {
    let joined = script.replace("|\n", "| ");
    let line = |line: &str| match line.split_once("    # ") {
        Some((command, seen)) => (command.to_owned(), Some(seen.to_owned())),
        None => (line.to_owned(), None),
    };
    joined.lines().map(line).collect()
}

/// Until somebody consumes it.
async fn consumed(broker: &RabbitMq, queue: &str) -> Result<()> {
    timeout(DEADLINE, async {
        let mut look = interval(Duration::from_millis(100));
        loop {
            let rows = broker.list(&["list_queues", "name", "consumers"]).await?;
            if rows.iter().any(|row| row["name"] == queue && row["consumers"] == 1) {
                return Ok(());
            }
            look.tick().await;
        }
    })
    .await?
}

/// A shell that is told one line after the other, and all that it starts.
struct Terminal(Running);

impl Terminal {
    fn open(folder: &Path) -> Result<Self> {
        let sinew = Path::new(env!("CARGO_BIN_EXE_sinew")).parent().ok_or("it is in no folder")?;
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = [sinew.to_owned()].into_iter().chain(std::env::split_paths(&paths));
        let mut shell = Command::new("sh");
        shell.current_dir(folder).process_group(0).stdin(Stdio::piped());
        shell.env("PATH", std::env::join_paths(paths)?).env_remove("SINEW_URL");
        let mut terminal = Self(Running::start(shell)?);
        terminal.enter("exec 2>&1")?;
        Ok(terminal)
    }

    fn enter(&mut self, line: &str) -> Result<()> {
        let input = self.0.child.stdin.as_mut().ok_or("no stdin")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Waits for a line that has this in it.
    fn shows(&mut self, wanted: &str) -> Result<()> {
        self.0.until_line(&[wanted]).map(drop)
    }

    /// How the lines end that have this in them, of those that come next.
    fn lines_of(&mut self, wanted: &str) -> Vec<char> {
        let mut ends = Vec::new();
        while let Ok(line) = self.0.stdout.recv_timeout(Duration::from_millis(50)) {
            let line = String::from_utf8_lossy(&line);
            ends.extend(line.trim_end().split_once(wanted).and_then(|(_, it)| it.chars().last()));
        }
        ends
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its own group. Gone is as good.
        if let Some(group) = Pid::from_raw(self.0.child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
