//! The page `docs/a-day.md`: its commands, in its order, as one script.
use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{Body, common::Result};

pub(crate) const TRIALS: &[(&str, Body)] =
    &[("the_day_in_the_docs_goes_as_they_say", as_the_docs_say)];

const PAGE: &str = include_str!("../../../../docs/a-day.md");

/// How long the whole day may take.
const DAY: Duration = Duration::from_secs(150);

/// The blocks of this kind, one after the other.
fn blocks(kind: &str) -> String {
    let mut text = String::new();
    let mut is_in = false;
    for line in PAGE.lines() {
        match line.strip_prefix("```") {
            Some(fence) => is_in = !is_in && fence == kind,
            None if is_in => text.extend([line, "\n"]),
            None => {}
        }
    }
    text
}

/// The script, and all that it starts.
struct Day(std::process::Child);

impl Drop for Day {
    fn drop(&mut self) {
        // Its own group. Gone is as good.
        if let Some(group) = Pid::from_raw(self.0.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

fn as_the_docs_say(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    // The page's own ports may be taken here.
    let (page, hook) = (free()?, free()?);
    let script = format!("set -eu\n{}", blocks("sh"))
        .replace("nats://127.0.0.1:4222", &server.url())
        .replace("2328", &page)
        .replace("8099", &hook);
    fs::write(path("day.sh"), script)?;

    let sinew = Path::new(env!("CARGO_BIN_EXE_sinew")).parent().ok_or("it is in no folder")?;
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = [sinew.to_owned()].into_iter().chain(std::env::split_paths(&paths));
    let said = File::create(path("said.txt"))?;
    let mut day = Command::new("sh");
    day.arg("day.sh").current_dir(folder.path()).process_group(0);
    day.env("PATH", std::env::join_paths(paths)?).env_remove("SINEW_URL");
    day.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    let mut day = Day(day.spawn()?);

    let end = Instant::now() + DAY;
    let status = loop {
        match day.0.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => thread::park_timeout(Duration::from_millis(50)),
        }
    };
    let said = fs::read_to_string(path("said.txt"))?;
    if !status.is_some_and(|status| status.success()) {
        return Err(format!("it ended with {status:?}, and said: {said}").into());
    }
    // As the page prints it in the end.
    let told = fs::read_to_string(path("told.txt"))?;
    assert_eq!(told, blocks("text"), "{said}");
    Ok(())
}

fn free() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string())
}
