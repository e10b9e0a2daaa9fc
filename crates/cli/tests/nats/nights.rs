//! What befalls a monitor at night, at its defaults: a server that freezes or is restarted, a monitor that is stopped, a
//! heart that is killed; and what it does where it may not publish.
use std::{
    process::Stdio,
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use serde_json::Value;
use sinew_testkit::harness::nats::{NatsServer, NatsServerOptions};
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{DEADLINE, Result, Running, Signal, objects, sinew},
    serves::{Page, heart, heart_with, publication, raw, steady_heart},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_frozen_server_blinds_a_page_once_and_nobody_is_called_down", a_frozen_server),
    ("a_restarted_server_raises_no_alarm", a_restarted_server),
    ("a_page_that_was_stopped_says_so_and_nobody_is_called_down", a_stopped_page),
    ("a_heart_that_is_killed_is_down_at_its_deadline", a_killed_heart),
    ("a_watch_is_blind_before_it_calls_anybody_late", a_frozen_watch),
    ("a_monitor_that_may_not_publish_says_so_once_and_goes_on", a_denied_monitor),
    ("nobody_lists_the_heart_of_a_monitor_that_has_no_name", nobody_lists_it),
    ("two_instances_under_one_name_are_an_alert_until_there_is_one", two_instances),
    ("an_upgraded_monitor_keeps_the_uptimes_and_its_files_to_itself", an_upgraded_monitor),
];

/// As long as nats-server's own clients take to notice it, and more.
const FROZEN: Duration = Duration::from_secs(20);

fn start(runtime: &Runtime) -> Result<(NatsServer, String)> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    Ok((server, url))
}

/// Hearts at their defaults, once the page knows them as up.
fn fleet(url: &str, page: &mut Page, size: usize) -> Result<Vec<Running>> {
    let names: Vec<_> = (0..size).map(|nth| format!("heart.{nth}")).collect();
    let start = |name: &String| Running::start(sinew(&["beat", "send", name, "--url", url]));
    let hearts = names.iter().map(start).collect::<Result<Vec<_>>>()?;
    for _ in &names {
        page.running.until_line(&["\"to\":\"up\""])?;
    }
    Ok(hearts)
}

fn json(page: &Page, path: &str) -> Result<Value> {
    let (_, text) = page.get(path)?;
    Ok(serde_json::from_str(text.split("\r\n\r\n").nth(1).ok_or("no body")?)?)
}

/// Waits until each of so many was heard of for so long after it was `since`.
fn until_heard(page: &Page, size: usize, since: &str, long: Duration) -> Result<()> {
    let since = since.parse::<jiff::Timestamp>()?;
    let end = Instant::now() + DEADLINE;
    loop {
        let all = json(page, "/api/processes")?;
        let seen = |it: &Value| it["last_seen"].as_str()?.parse::<jiff::Timestamp>().ok();
        let late_enough =
            |at: jiff::Timestamp| at.duration_since(since).unsigned_abs() > long && at > since;
        let all = all["processes"].as_array().ok_or("no processes")?;
        let heard = all.iter().filter(|it| seen(it).is_some_and(late_enough)).count();
        if heard == size && all.len() == size {
            return Ok(());
        }
        assert!(Instant::now() < end, "{all:?}");
    }
}

/// Ends the page; what it told of itself, and whether it called anybody late or down.
fn ended(page: Page) -> Result<(Vec<String>, bool)> {
    page.running.signal(Signal::TERM)?;
    let told = page.running.finish()?.expect(0)?.objects()?;
    let of_itself = told.iter().filter_map(|it| it["monitor"].as_str()).map(str::to_owned);
    let is_bad = |it: &Value| matches!(it["to"].as_str(), Some("late" | "down"));
    Ok((of_itself.collect(), told.iter().any(is_bad)))
}

fn when(line: &str, key: &str) -> Result<String> {
    Ok(objects(line)?[0][key].as_str().ok_or("no time")?.to_owned())
}

fn a_frozen_server(runtime: &Runtime) -> Result<()> {
    let (server, url) = start(runtime)?;
    let mut page = Page::start(&url, &[])?;
    let _hearts = fleet(&url, &mut page, 20)?;
    server.freeze()?;
    page.running.until_line(&["\"monitor\":\"blind\""])?;
    assert_eq!(page.get("/readyz")?.0, 503);
    let told = page.running.stdout.recv_timeout(FROZEN);
    assert_eq!(told, Err(RecvTimeoutError::Timeout));
    server.thaw()?;
    let sighted = page.running.until_line(&["\"monitor\":\"sighted\""])?;
    // By then who was wronged would have been called late.
    until_heard(&page, 20, &when(&sighted, "at")?, Duration::from_secs(7))?;
    assert_eq!(page.get("/readyz")?.0, 200);
    assert_eq!(ended(page)?, (vec!["blind".to_owned(), "sighted".to_owned()], false));
    Ok(())
}

fn a_restarted_server(runtime: &Runtime) -> Result<()> {
    let (server, url) = start(runtime)?;
    let mut page = Page::start(&url, &[])?;
    let _hearts = fleet(&url, &mut page, 3)?;
    server.kill()?;
    page.running.until_line(&["\"monitor\":\"blind\""])?;
    runtime.block_on(server.restart())?;
    let sighted = page.running.until_line(&["\"monitor\":\"sighted\""])?;
    until_heard(&page, 3, &when(&sighted, "at")?, Duration::from_secs(7))?;
    assert_eq!(ended(page)?, (vec!["blind".to_owned(), "sighted".to_owned()], false));
    Ok(())
}

fn a_stopped_page(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let mut page = Page::start(&url, &[])?;
    // Late after 3 s, and down after 7 s.
    let beats = |name| heart_with(&url, name, "2s");
    let _hearts = (beats("a")?, beats("b")?);
    for _ in 0..2 {
        page.running.until_line(&["\"to\":\"up\""])?;
    }
    let mut clock = beats("clock")?;
    page.running.until_line(&["\"process\":\"clock\"", "\"to\":\"up\""])?;
    page.running.signal(Signal::STOP)?;
    // A beat a second: for longer than it takes to be called down.
    for _ in 0..9 {
        clock.until_line(&["beat/"])?;
    }
    page.running.signal(Signal::CONT)?;
    let stalled = page.running.until_line(&["\"monitor\":\"stalled\""])?;
    until_heard(&page, 3, &when(&stalled, "at")?, Duration::from_secs(5))?;
    assert_eq!(ended(page)?, (vec!["stalled".to_owned()], false));
    Ok(())
}

fn a_killed_heart(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let mut page = Page::start(&url, &[])?;
    let (_steady, mut killed) = (steady_heart(&url, "steady")?, heart(&url, "killed")?);
    page.running.until_line(&["\"process\":\"killed\"", "\"to\":\"up\""])?;
    killed.child.kill()?;
    let down = page.running.until_line(&["\"to\":\"down\""])?;
    assert!(down.contains("\"process\":\"killed\""), "{down}");
    let known = json(&page, "/api/processes/killed")?.to_string();
    let parse = |text: String| text.parse::<jiff::Timestamp>();
    let (seen, at) = (parse(when(&known, "last_seen")?)?, parse(when(&down, "at")?)?);
    // Three promises of a second, and one.
    let silent = at.duration_since(seen).as_millis();
    assert!((3_999..=4_001).contains(&silent), "{known} {down}");
    let told = parse(when(&down, "time")?)?.duration_since(at).as_secs_f64();
    // Twice a second and a half, and what a busy machine takes.
    assert!((0.0..20.0).contains(&told), "{down}");
    Ok(())
}

fn a_frozen_watch(runtime: &Runtime) -> Result<()> {
    let (server, url) = start(runtime)?;
    let mut watch = Running::start(sinew(&["beat", "watch", "--json", "--url", &url]))?;
    watch.until_remark("watching")?;
    let _heart = heart(&url, "a")?;
    watch.until_line(&["\"process\":\"a\"", "\"to\":\"up\""])?;
    server.freeze()?;
    let first = watch.until_line(&[])?;
    assert!(first.contains("\"monitor\":\"blind\""), "{first}");
    server.thaw()?;
    watch.until_line(&["\"monitor\":\"sighted\""])?;
    Ok(())
}

fn a_denied_monitor(runtime: &Runtime) -> Result<()> {
    let users = r#"authorization { users: [
        { user: eye, password: secret, permissions: { publish: { deny: "heartbeat.>" } } },
        { user: mouth, password: secret } ] }"#;
    let server = runtime.block_on(NatsServerOptions::new().with_config(users).start())?;
    let url = |user: &str| server.url().replace("nats://", &format!("nats://{user}:secret@"));
    let without = "without a heart of its own";
    let page = |more: &[&str]| Page::start(&url("eye"), more);
    let (denied, asked) = (page(&[])?, page(&["--no-heart"])?);
    for (page, is_said) in [(denied, true), (asked, false)] {
        let (_, metrics) = page.get("/metrics")?;
        assert!(metrics.contains("\nbeat_monitor_heart 0\n"), "{metrics}");
        let (status, ready) = page.get("/readyz")?;
        assert!(status == 200 && ready.contains(without), "{ready}");
        let mut page = page.running;
        let _heart = steady_heart(&url("mouth"), "a")?;
        page.until_line(&["\"process\":\"a\"", "\"to\":\"up\""])?;
        page.signal(Signal::TERM)?;
        let ran = page.finish()?.expect(0)?;
        assert_eq!(
            ran.stderr.matches("no heart of its own").count(),
            usize::from(is_said),
            "{ran:?}"
        );
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
    }
    let mut watch = Running::start(sinew(&["beat", "watch", "--url", &url("eye")]))?;
    watch.until_remark("watching")?;
    assert!(watch.until_remark("no heart of its own")?.contains("permission"));
    // One that has a name is relied upon by others.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sinew.toml");
    std::fs::write(&file, "[heart]\nprocess = \"monitor.eu\"\n")?;
    let file = file.display().to_string();
    let named =
        ["beat", "serve", "--listen", "127.0.0.1:0", "--config", &file, "--url", &url("eye")];
    let ran = Running::start(sinew(&named))?.finish()?.expect(69)?;
    assert!(ran.stderr.contains("heartbeat.monitor.eu"), "{ran:?}");
    Ok(())
}

fn nobody_lists_it(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let mut heard = Running::start(sinew(&["sub", "heartbeat.>", "--json", "--url", &url]))?;
    heard.until_remark("listening")?;
    let mut pages = [Page::start(&url, &[])?, Page::start(&url, &["eu.>"])?];
    for _ in 0..2 {
        heard.until_line(&["heartbeat._monitor.", "start/"])?;
    }
    heard.until_line(&["heartbeat._monitor.", "beat/2"])?;
    raw(&url, &publication("eu.a", "beat/60"))?;
    for page in &mut pages {
        let first = page.running.until_line(&[])?;
        assert!(first.contains("\"process\":\"eu.a\""), "{first}");
        assert!(page.get("/api/processes")?.1.contains("\"total\":1,"));
        assert!(page.get("/metrics")?.1.contains("\nbeat_monitor_heart 1\n"));
    }
    Ok(())
}

fn an_upgraded_monitor(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let folder = tempfile::tempdir()?;
    let snapshot = folder.path().join("snapshot").display().to_string();
    let mut page = Page::start(&url, &["--snapshot", &snapshot])?;
    raw(&url, &publication("gone", "beat/0.1"))?;
    page.running.until_line(&["\"process\":\"gone\"", "\"to\":\"down\""])?;
    // Another one would write the same files.
    for theirs in [snapshot.clone(), format!("{snapshot}.alerts")] {
        let serve =
            ["beat", "serve", "--listen", "127.0.0.1:0", "--snapshot", &theirs, "--url", &url];
        let ran = Running::start(sinew(&serve))?.finish()?.expect(74)?;
        let wanted = format!("error: cannot keep a snapshot at {theirs}: another process does");
        assert!(ran.stderr.starts_with(&wanted) && ran.stderr.lines().count() == 1, "{ran:?}");
    }
    let before = json(&page, "/api/processes")?;
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;

    let page = Page::start(&url, &["--snapshot", &snapshot])?;
    let after = json(&page, "/api/processes")?;
    let second = |it: &Value| Some(it["uptime_since"].as_str()?.get(..19)?.to_owned());
    assert!(second(&before).is_some() && second(&before) == second(&after), "{before} {after}");
    // It was up once, which only the first one saw.
    let (was, is) = (&before["processes"][0]["uptime_1h"], &after["processes"][0]["uptime_1h"]);
    assert!(was.as_f64() > Some(0.0) && is.as_f64() > Some(0.0), "{before} {after}");
    assert!(is.as_f64() < Some(1.0), "{after}");
    Ok(())
}

fn two_instances(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let command =
        format!("[[command]]\nname = \"pager\"\nrun = [\"tee\", \"-a\", {:?}]\n", path("told"));
    std::fs::write(path("sinew.toml"), command)?;
    let mut page = Page::start(&url, &["--config", &path("sinew.toml")])?;
    let live = |instance| -> Result<Running> {
        let run =
            ["beat", "run", "twin", "--every", "200ms", "--instance", instance, "--url", &url];
        let mut command = sinew(&[&run[..], &["--", "sh", "-c", "read line"]].concat());
        command.stdin(Stdio::piped());
        Running::start(command)
    };
    let told = |wanted: &str| -> Result<String> {
        let end = Instant::now() + DEADLINE;
        loop {
            let text = std::fs::read_to_string(path("told")).unwrap_or_default();
            if let Some(line) = text.lines().find(|it| it.starts_with(wanted)) {
                return Ok(line.to_owned());
            }
            assert!(Instant::now() < end, "not {wanted}: {text}");
        }
    };
    let (_one, mut other) = (live("pod-1")?, live("pod-2")?);
    page.running.until_line(&["\"monitor\":\"conflict\""])?;
    let firing = told("firing\ttwin/conflict/")?;
    assert!(firing.contains("twin is two at once: "), "{firing}");
    // Its input ends, and so does it, in order.
    drop(other.child.stdin.take());
    let key = firing.split('\t').nth(1).ok_or("no key")?;
    let resolved = told(&format!("resolved\t{key}"))?;
    assert!(resolved.contains("twin is no longer two at once"), "{resolved}");
    let sent = "beat_alerts_outputs_total{output=\"pager\",result=\"succeeded\"}";
    assert!(page.get("/metrics")?.1.contains(sent));
    Ok(())
}
