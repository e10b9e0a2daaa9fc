//! `sinew serve`, `ask` and `agents`: agents that are processes, some of which do not live to answer.
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sinew_adapter_nats::NatsOptions;
use sinew_dispatch::{AgentId, Dispatcher, Ended, Expect};
use sinew_testkit::harness::nats::{NatsServer, NatsServerOptions};
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{Result, Running, Signal, objects, run, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("an_agent_that_is_killed_mid_ask_is_missing_by_name", killed_mid_ask),
    ("an_agent_that_freezes_is_missing_and_its_answer_late", frozen_mid_ask),
    ("a_command_that_nobody_waits_for_is_killed_with_its_children", nobody_waits),
    ("a_command_that_fails_is_its_agents_error", a_failure_is_told),
    ("an_agent_that_is_busy_says_so", a_busy_agent),
    ("a_service_that_is_ended_answers_what_it_was_asked", ended_mid_ask),
    ("nobody_to_ask_is_told_at_once", nobody),
    ("agents_say_that_they_are_there", agents),
];

fn server(runtime: &Runtime) -> Result<(NatsServer, String)> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    Ok((server, url))
}

/// An agent under `t`, once it is there to be asked.
fn serve(url: &str, name: &str, command: &str) -> Result<Running> {
    serve_with(url, name, command, &[])
}

fn serve_with(url: &str, name: &str, command: &str, more: &[&str]) -> Result<Running> {
    let line = ["serve", "t", "--url", url, "--name", name, "--exec", command];
    let mut running = Running::start(sinew(&[&line, more].concat()))?;
    running.until_remark("serving t as")?;
    Ok(running)
}

fn ask(url: &str, more: &[&str]) -> Vec<String> {
    let line = [&["ask", "t", "W-7", "--json", "--url", url], more].concat();
    line.into_iter().map(str::to_owned).collect()
}

fn start(line: &[String]) -> Result<Running> {
    Running::start(sinew(&line.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn asked(line: &[String], status: i32) -> Result<(Vec<Value>, Value)> {
    let ran = run(&line.iter().map(String::as_str).collect::<Vec<_>>())?.expect(status)?;
    told(&ran.text())
}

/// The answers, by their agents' names, and the end.
fn told(text: &str) -> Result<(Vec<Value>, Value)> {
    let mut lines = objects(text)?;
    let end = lines.pop().ok_or("nothing was said")?;
    lines.sort_by_key(|it| it["agent"].to_string());
    Ok((lines, end))
}

/// Waits for a file that a command writes, and what is in it.
fn written(path: &Path, lines: usize) -> Result<String> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.lines().count() >= lines => return Ok(text),
            _ if Instant::now() > end => return Err(format!("no {}", path.display()).into()),
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn killed_mid_ask(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("begun");
    // It outlives its agent, which nobody can help; not by much.
    let begins = format!("echo begun > '{}'; exec sleep 6", file.display());
    let (_a, _b) = (serve(&url, "a", "cat; echo ' by a'")?, serve(&url, "b", "cat; echo ' by b'")?);
    let gone = serve(&url, "gone", &begins)?;
    let expected = ["--ttl", "4s", "--expect", "a", "--expect", "b", "--expect", "gone"];
    let asking = start(&ask(&url, &expected))?;
    written(&file, 1)?;
    gone.signal(Signal::KILL)?;
    let (answers, end) = told(&asking.finish()?.expect(75)?.text())?;
    let payloads: Vec<_> = answers.iter().map(|it| it["payload"].as_str()).collect();
    assert_eq!(payloads, [Some("W-7 by a\n"), Some("W-7 by b\n")], "{answers:?}");
    assert_eq!((&end["end"], &end["ok"]), (&"deadline".into(), &2.into()), "{end}");
    assert_eq!(end["missing"], serde_json::json!(["gone"]), "{end}");
    Ok(())
}

fn frozen_mid_ask(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("begun");
    let command = format!("echo begun >> '{}'; cat; sleep 0.7", file.display());
    let frozen = serve(&url, "frozen", &command)?;
    runtime.block_on(async {
        let backend = NatsOptions::new(url).connect().await?.into_any();
        let dispatcher = Dispatcher::over(&backend)?;
        let ask = |text: &'static str, deadline| {
            let expected = AgentId::parse("frozen").map(|it| Expect::Agents(vec![it]));
            let ask = dispatcher.ask("t", text).deadline(Duration::from_secs(deadline));
            Ok::<_, sinew_core::Error>(ask.expect(expected?).collect::<String>())
        };
        let first = tokio::spawn(ask("first", 2)?);
        tokio::task::block_in_place(|| written(&file, 1))?;
        frozen.signal(Signal::STOP)?;
        let (replies, end) = first.await??;
        assert_eq!((replies.len(), end.ended), (0, Ended::Deadline), "{end:?}");
        assert_eq!(end.missing.iter().map(AgentId::as_str).collect::<Vec<_>>(), ["frozen"]);
        assert_eq!(dispatcher.counts().late, 0);
        frozen.signal(Signal::CONT)?;
        let (replies, end) = ask("second", 20)?.await?;
        let said: Vec<_> = replies.iter().map(|it| it.result.as_deref()).collect();
        assert_eq!((said, end.ended), (vec![Ok("second")], Ended::AllKnown), "{end:?}");
        let until = Instant::now() + Duration::from_secs(10);
        while dispatcher.counts().late == 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(dispatcher.counts().late, 1);
        Ok(())
    })
}

fn nobody_waits(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let folder = tempfile::tempdir()?;
    let file = |round: &str| folder.path().join(round).display().to_string();
    for (round, more, status) in [
        ("expires", &["--ttl", "1s", "--expect", "slow"][..], 75),
        ("called-off", &["--ttl", "60s", "--first", "1"], 0),
    ] {
        let file = file(round);
        let starts = format!("sleep 600 & echo $! >> '{file}'; echo $$ >> '{file}'; wait");
        let _slow = serve(&url, "slow", &starts)?;
        // Somebody who answers once the other has begun.
        let waits = format!("until grep -c . '{file}' | grep -q 2; do sleep 0.02; done; cat");
        let _quick = (status == 0).then(|| serve(&url, "quick", &waits)).transpose()?;
        asked(&ask(&url, more), status)?;
        let pids = written(Path::new(&file), 2)?;
        let lives = |pid: &str| {
            // Gone, or waiting to be collected, which leaves no command line.
            !fs::read(Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default().is_empty()
        };
        let end = Instant::now() + Duration::from_secs(20);
        while pids.lines().any(lives) {
            assert!(Instant::now() < end, "{round}: {pids} live");
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn a_failure_is_told(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let _fails = serve(&url, "fails", "cat > /dev/null; echo 'lamp broken' >&2; exit 3")?;
    let _later = serve(&url, "later", "exit 75")?;
    let (answers, end) = asked(&ask(&url, &["--expect", "fails", "--expect", "later"]), 1)?;
    let error = |code: &str, message: &str, retryable: bool| serde_json::json!({"code": code, "message": message, "retryable": retryable});
    assert_eq!(answers[0]["error"], error("exit-3", "lamp broken", false));
    assert_eq!(answers[1]["error"], error("exit-75", "the command ended with status 75", true));
    assert!(answers.iter().all(|it| it["ok"] == false && it.get("payload").is_none()));
    assert_eq!((&end["end"], &end["failed"]), (&"all_known".into(), &2.into()), "{end}");
    Ok(())
}

fn a_busy_agent(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("begun");
    let command = format!("echo begun > '{}'; exec sleep 5", file.display());
    let _agent = serve_with(&url, "one", &command, &["--concurrency", "1"])?;
    let _first = start(&ask(&url, &["--ttl", "60s"]))?;
    written(&file, 1)?;
    let (answers, end) = asked(&ask(&url, &["--all-known"]), 1)?;
    assert_eq!(answers[0]["error"]["code"], "busy");
    assert_eq!((&answers[0]["error"]["retryable"], &end["failed"]), (&true.into(), &1.into()));
    let found = run(&["agents", "t", "--json", "--url", &url])?.expect(0)?.text();
    assert!(found.contains(r#""state":"busy""#), "{found}");
    Ok(())
}

fn ended_mid_ask(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let folder = tempfile::tempdir()?;
    let (file, go) = (folder.path().join("begun"), folder.path().join("go"));
    let command = format!(
        "echo begun > '{}'; until test -e '{}'; do sleep 0.02; done; cat",
        file.display(),
        go.display()
    );
    let agent = serve(&url, "a", &command)?;
    let asking = start(&ask(&url, &["--ttl", "30s", "--expect", "a"]))?;
    written(&file, 1)?;
    agent.signal(Signal::TERM)?;
    fs::write(&go, "")?;
    let (answers, end) = told(&asking.finish()?.expect(0)?.text())?;
    assert_eq!((&answers[0]["payload"], &end["ok"]), (&"W-7".into(), &1.into()));
    agent.finish()?.expect(0)?;
    Ok(())
}

fn nobody(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let begun = Instant::now();
    let (answers, end) = asked(&ask(&url, &["--ttl", "60s"]), 1)?;
    assert!(answers.is_empty() && begun.elapsed() < Duration::from_secs(30));
    assert_eq!(end["end"], "no_agents", "{end}");
    Ok(())
}

fn agents(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    run(&["agents", "t", "--url", &url])?.expect(1)?;
    let _agents = (serve(&url, "b", "cat")?, serve(&url, "a", "cat")?);
    let found = run(&["agents", "t", "--json", "--url", &url])?.expect(0)?.text();
    let line = |agent| format!(r#"{{"agent":"{agent}","topic":"t","state":"ready"}}"#);
    assert_eq!(found.lines().collect::<Vec<_>>(), [line("a"), line("b")]);
    // They are known by their beats, too.
    let (answers, end) = asked(&ask(&url, &["--all-known"]), 0)?;
    assert_eq!((answers.len(), &end["end"]), (2, &"all_known".into()), "{end}");
    Ok(())
}
