//! A page's session: its blocks, and the terminals that its commands are entered in.
use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, kill_process_group};
use sinew_testkit::harness::rabbitmq::RabbitMq;
use tokio::time::{interval, timeout};

use crate::common::{DEADLINE, Result, Running, Signal};

/// What stands under this heading, up to the next.
pub(crate) fn section(page: &'static str, heading: &str) -> Result<&'static str> {
    let (_, section) = page.split_once(heading).ok_or("no such heading")?;
    Ok(section.split_once("\n## ").map_or(section, |(section, _)| section))
}

/// The blocks of this kind.
pub(crate) fn blocks(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let block = |rest: &str| Some(rest.split_once("```")?.0.to_owned());
    text.split(&fence).skip(1).filter_map(block).collect()
}

/// Commands, and what their comments say is seen then.
pub(crate) fn lines(script: &str) -> Vec<(String, Option<String>)> {
    let joined = script.replace("|\n", "| ");
    let line = |line: &str| match line.split_once("    # ") {
        Some((command, seen)) => (command.to_owned(), Some(seen.to_owned())),
        None => (line.to_owned(), None),
    };
    joined.lines().map(line).collect()
}

/// Until so many consume it.
pub(crate) async fn consumed(broker: &RabbitMq, queue: &str, consumers: u64) -> Result<()> {
    timeout(DEADLINE, async {
        let mut look = interval(Duration::from_millis(100));
        loop {
            let rows = broker.list(&["list_queues", "name", "consumers"]).await?;
            if rows.iter().any(|row| row["name"] == queue && row["consumers"] == consumers) {
                return Ok(());
            }
            look.tick().await;
        }
    })
    .await?
}

/// A shell that is told one line after the other, and all that it starts.
pub(crate) struct Terminal(Running);

impl Terminal {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let sinew = Path::new(env!("CARGO_BIN_EXE_sinew")).parent().ok_or("it is in no folder")?;
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let own = [sinew.to_owned(), folder.to_owned()];
        let paths = own.into_iter().chain(std::env::split_paths(&paths));
        let mut shell = Command::new("sh");
        shell.current_dir(folder).process_group(0).stdin(Stdio::piped());
        shell.env("PATH", std::env::join_paths(paths)?).env_remove("SINEW_URL");
        let mut terminal = Self(Running::start(shell)?);
        terminal.enter("exec 2>&1")?;
        Ok(terminal)
    }

    pub(crate) fn enter(&mut self, line: &str) -> Result<()> {
        let input = self.0.child.stdin.as_mut().ok_or("no stdin")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Waits for a line that has this in it.
    pub(crate) fn shows(&mut self, wanted: &str) -> Result<()> {
        self.0.until_line(&[wanted]).map(drop)
    }

    /// How the lines end that have this in them, of those that come next.
    pub(crate) fn lines_of(&mut self, wanted: &str) -> Vec<char> {
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
