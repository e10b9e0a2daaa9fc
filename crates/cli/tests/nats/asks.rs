//! `sinew serve`, `ask` and `agents`: agents that are processes, some of which do not live to answer.
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use sinew_adapter_nats::NatsOptions;
use sinew_dispatch::{AgentId, Dispatcher, Ended, Expect, Gathered};
use sinew_testkit::harness::nats::{NatsServer, NatsServerOptions};
use tokio::{runtime::Runtime, time::interval};

use crate::{
    Body,
    common::{DEADLINE, Result, Running, Signal, objects, run, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("an_agent_that_is_killed_mid_ask_is_missing_by_name", killed_mid_ask),
    ("an_agent_that_freezes_is_missing_and_its_answer_late", frozen_mid_ask),
    ("a_command_that_nobody_waits_for_is_killed_with_its_children", nobody_waits),
    ("commands_whose_complaints_nobody_reads_are_killed_and_others_answer", unread_complaints),
    ("a_command_that_fails_is_its_agents_error", a_failure_is_told),
    ("an_agent_that_is_busy_says_so", a_busy_agent),
    ("a_service_that_is_ended_answers_what_it_was_asked", ended_mid_ask),
    ("a_service_whose_terminal_is_closed_answers_what_it_was_asked", hung_up_mid_ask),
    ("nobody_to_ask_is_told_at_once", nobody),
    ("agents_say_that_they_are_there", agents),
    ("two_agents_of_one_name_are_told_of", twins),
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

/// What a command says on its standard error, which its agent passes on.
const BEGUN: &str = "the command has begun";

/// Looks until it is so.
async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    let mut look = interval(Duration::from_millis(5));
    while !holds() {
        if Instant::now() > end {
            return Err(format!("not so after {DEADLINE:?}: {what}").into());
        }
        look.tick().await;
    }
    Ok(())
}

fn killed_mid_ask(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let (_a, _b) = (serve(&url, "a", "cat; echo ' by a'")?, serve(&url, "b", "cat; echo ' by b'")?);
    // The command outlives its agent, which nobody can help; not by much.
    let mut gone = serve(&url, "gone", &format!("echo {BEGUN} >&2; exec sleep 8"))?;
    let expected = ["--ttl", "6s", "--expect", "a", "--expect", "b", "--expect", "gone"];
    let asking = start(&ask(&url, &expected))?;
    gone.until_remark(BEGUN)?;
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
    let (go, done) = (folder.path().join("go"), folder.path().join("done"));
    let command = format!(
        "echo {BEGUN} >&2; until test -e '{}'; do sleep 0.02; done; cat; echo >'{}'",
        go.display(),
        done.display()
    );
    let mut frozen = serve(&url, "frozen", &command)?;
    runtime.block_on(async {
        let backend = NatsOptions::new(url).connect().await?.into_any();
        let dispatcher = Dispatcher::over(&backend)?;
        let ask = |text: &'static str, deadline| {
            let expected = AgentId::parse("frozen").map(|it| Expect::Agents(vec![it]));
            let ask = dispatcher.ask("t", text).deadline(Duration::from_secs(deadline));
            Ok::<_, sinew_core::Error>(ask.expect(expected?).collect::<String>())
        };
        let first = tokio::spawn(ask("first", 4)?);
        tokio::task::block_in_place(|| frozen.until_remark(BEGUN))?;
        frozen.signal(Signal::STOP)?;
        // The command is not frozen: it answers, and its agent learns of that when it is late.
        fs::write(&go, "")?;
        let Gathered { replies, end, .. } = first.await??;
        assert_eq!((replies.len(), end.ended), (0, Ended::Deadline), "{end:?}");
        assert_eq!(end.missing.iter().map(AgentId::as_str).collect::<Vec<_>>(), ["frozen"]);
        assert_eq!(dispatcher.counts().late, 0);
        until("the first command is done", || done.exists()).await?;
        frozen.signal(Signal::CONT)?;
        let Gathered { replies, end, .. } = ask("second", 20)?.await?;
        let said: Vec<_> = replies.iter().map(|it| it.result.as_deref()).collect();
        assert_eq!((said, end.ended), (vec![Ok("second")], Ended::AllKnown), "{end:?}");
        until("the first answer is late", || dispatcher.counts().late == 1).await
    })
}

fn nobody_waits(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    for (round, more, status) in [
        ("expires", &["--ttl", "3s", "--expect", "slow"][..], 75),
        ("called off", &["--ttl", "60s", "--first", "1"], 0),
    ] {
        let mut slow = serve(&url, "slow", r#"sleep 600 & echo "pids $! $$ pids" >&2; wait"#)?;
        // Somebody who answers once the other has begun.
        let waits = format!("until test -e '{}'; do sleep 0.02; done; cat", go.display());
        let _quick = (status == 0).then(|| serve(&url, "quick", &waits)).transpose()?;
        let asking = start(&ask(&url, more))?;
        let said = slow.until_remark(" pids")?;
        fs::write(&go, "")?;
        asking.finish()?.expect(status)?;
        let pids = said.split("pids").nth(1).unwrap_or_default();
        assert_eq!(pids.split_whitespace().count(), 2, "{said}");
        // Gone, or waiting to be collected, which leaves no command line.
        let line = |pid| fs::read(Path::new("/proc").join(pid).join("cmdline"));
        let lives = |pid| line(pid).is_ok_and(|line| !line.is_empty());
        let are_gone = || !pids.split_whitespace().any(lives);
        runtime.block_on(until(&format!("{round}: {pids} are gone"), are_gone))?;
    }
    Ok(())
}

fn unread_complaints(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let folder = tempfile::tempdir()?;
    let pids = folder.path().join("pids");
    // More than a pipe holds, where it is asked for that.
    let command = format!(
        "read -r asked; test \"$asked\" = well && exec echo well; echo $$ >> '{}'; head -c 300000 /dev/zero >&2; exec sleep 600",
        pids.display()
    );
    let line = ["serve", "t", "--url", &url, "--name", "a", "--exec", &command];
    let (unread, complaints) = std::io::pipe()?;
    let mut agent = sinew(&line).stdout(complaints.try_clone()?).stderr(complaints).spawn()?;
    let there = || run(&["agents", "t", "--url", &url, "--wait", "100ms"]);
    runtime.block_on(until("it is there", || there().is_ok_and(|it| it.status == Some(0))))?;
    let asking = |what, ttl| {
        let line = ["ask", "t", what, "--url", &url, "--expect", "a", "--ttl", ttl];
        Running::start(sinew(&line))
    };
    // More of them than the command has threads.
    let floods = [(); 4].map(|()| asking("flood", "3s"));
    for flood in floods {
        flood?.finish()?.expect(75)?;
    }
    assert!(asking("well", "20s")?.finish()?.expect(0)?.text().contains("well"));
    let pids = fs::read_to_string(pids)?;
    assert_eq!(pids.lines().count(), 4);
    let line = |pid| fs::read(Path::new("/proc").join(pid).join("cmdline"));
    let lives = |pid| line(pid).is_ok_and(|line| !line.is_empty());
    let are_gone = || !pids.lines().any(lives);
    runtime.block_on(until(&format!("{pids} are gone"), are_gone))?;
    agent.kill()?;
    agent.wait()?;
    drop(unread);
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
    // Busy for as long as the folder is there.
    let folder = tempfile::tempdir()?;
    let waits = format!("while test -d '{}'; do sleep 0.1; done", folder.path().display());
    let command = format!("echo {BEGUN} >&2; {waits}");
    let mut agent = serve_with(&url, "one", &command, &["--concurrency", "1"])?;
    let _first = start(&ask(&url, &["--ttl", "60s"]))?;
    agent.until_remark(BEGUN)?;
    let (answers, end) = asked(&ask(&url, &["--ttl", "20s", "--expect", "one"]), 1)?;
    assert_eq!(answers[0]["error"]["code"], "busy");
    assert_eq!((&answers[0]["error"]["retryable"], &end["failed"]), (&true.into(), &1.into()));
    let found = run(&["agents", "t", "--json", "--wait", "3s", "--url", &url])?.expect(0)?.text();
    assert!(found.contains(r#""state":"busy""#), "{found}");
    Ok(())
}

fn ended_mid_ask(runtime: &Runtime) -> Result<()> {
    end_mid_ask(runtime, &[Signal::TERM])
}

fn hung_up_mid_ask(runtime: &Runtime) -> Result<()> {
    // Under `nohup` it is ignored, and what we start goes by that.
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored =
        status.lines().find_map(|line| line.strip_prefix("SigIgn:")).ok_or("no SigIgn")?;
    match u64::from_str_radix(ignored.trim(), 16)? & 1 {
        // Twice, as by a terminal and its shell.
        0 => end_mid_ask(runtime, &[Signal::HUP, Signal::HUP]),
        _ => end_mid_ask(runtime, &[Signal::HUP, Signal::TERM]),
    }
}

/// An agent that is told so while it works answers yet.
fn end_mid_ask(runtime: &Runtime, signals: &[Signal]) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    let waits = format!("until test -e '{}'; do sleep 0.02; done", go.display());
    let mut agent = serve(&url, "a", &format!("echo {BEGUN} >&2; {waits}; cat"))?;
    let asking = start(&ask(&url, &["--ttl", "30s", "--expect", "a"]))?;
    agent.until_remark(BEGUN)?;
    signals.iter().try_for_each(|&signal| agent.signal(signal))?;
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
    // Somebody who hears it and is no agent: the broker knows no better.
    let mut hears = Running::start(sinew(&["sub", "t", "--url", &url]))?;
    hears.until_remark("listening")?;
    let begun = Instant::now();
    let (answers, end) = asked(&ask(&url, &["--ttl", "60s", "--all-known"]), 1)?;
    assert!(answers.is_empty() && begun.elapsed() < Duration::from_secs(30));
    assert_eq!(end["end"], "no_agents", "{end}");
    Ok(())
}

fn agents(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    run(&["agents", "t", "--url", &url])?.expect(1)?;
    let _agents = (serve(&url, "b", "cat")?, serve(&url, "a", "cat")?);
    let found = run(&["agents", "t", "--json", "--wait", "3s", "--url", &url])?.expect(0)?.text();
    let line = |agent| format!(r#"{{"agent":"{agent}","topic":"t","state":"ready","count":1}}"#);
    assert_eq!(found.lines().collect::<Vec<_>>(), [line("a"), line("b")]);
    // They are known by their beats, too.
    let (answers, end) = asked(&ask(&url, &["--all-known"]), 0)?;
    assert_eq!((answers.len(), &end["end"]), (2, &"all_known".into()), "{end}");
    Ok(())
}

fn twins(runtime: &Runtime) -> Result<()> {
    let (_server, url) = server(runtime)?;
    let _twins = (serve(&url, "twin", "cat")?, serve(&url, "twin", "cat")?);
    let found = run(&["agents", "t", "--wait", "3s", "--url", &url])?.expect(0)?;
    assert!(found.stderr.contains("2 agents are called twin"), "{found:?}");
    let quiet = ["--quiet", "3s", "--ttl", "20s"];
    let ran = run(&[&["ask", "t", "W-7", "--url", &url], &quiet[..]].concat())?.expect(0)?;
    assert_eq!(ran.text(), "twin: W-7\n");
    assert!(ran.stderr.contains("1 answered, 0 failed; duplicate: 1"), "{ran:?}");
    Ok(())
}
