//! The session of the command's own README under "Agents", word for word: three terminals answer, a fourth asks.
use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{Result, Running},
};

pub(crate) const TRIALS: &[(&str, Body)] =
    &[("three_terminals_answer_and_a_fourth_asks_as_the_docs_say", as_the_docs_say)];

const PAGE: &str = include_str!("../../README.md");

/// A line of a page, entered in a terminal of its own.
fn enter(line: &str, url: &str) -> Result<Running> {
    let sinew = Path::new(env!("CARGO_BIN_EXE_sinew")).parent().ok_or("it is in no folder")?;
    let paths = env::var_os("PATH").unwrap_or_default();
    let paths = [sinew.to_owned()].into_iter().chain(env::split_paths(&paths));
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec {line}")).stdin(Stdio::null());
    shell.env("PATH", env::join_paths(paths)?).env("SINEW_URL", url).env_remove("NO_COLOR");
    Running::start(shell)
}

/// What is shown, but for how long it took; what came at one time comes in any order.
fn shown<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let timeless = |line: &str| {
        let after = line.split_once(" after ");
        let told = after.and_then(|(why, rest)| Some((why, rest.split_once(": ")?.1)));
        told.map_or_else(|| line.to_owned(), |(why, what)| format!("{why}: {what}"))
    };
    let mut lines: Vec<_> = lines.map(timeless).collect();
    lines.sort_unstable();
    lines
}

fn as_the_docs_say(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let (_, section) = PAGE.split_once("\n## Agents\n").ok_or("no such section")?;
    let block = |kind: &str| {
        let (_, rest) = section.split_once(&format!("```{kind}\n"))?;
        Some(rest.split_once("```")?.0)
    };
    let mut terminals = Vec::new();
    for line in block("sh").ok_or("no agents")?.lines() {
        let mut terminal = enter(line, &url)?;
        terminal.until_remark("serving inspect.wafer as")?;
        terminals.push(terminal);
    }
    let session = block("text").ok_or("no session")?;
    let mut asked = 0;
    for step in session.split("$ ").skip(1) {
        let (line, wanted) = step.split_once('\n').ok_or("nothing is shown")?;
        // One answers after a second, and a loaded machine takes its own time.
        let ran = enter(&line.replace("--ttl 2s", "--ttl 4s"), &url)?.finish()?;
        let text = ran.text();
        assert_eq!(shown(text.lines().chain(ran.stderr.lines())), shown(wanted.lines()), "{line}");
        asked += 1;
    }
    assert_eq!((terminals.len(), asked), (3, 2), "{section}");
    Ok(())
}
