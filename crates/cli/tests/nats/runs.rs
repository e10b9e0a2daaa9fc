//! `sinew beat run`: a command that is watched, asked, signalled and seen to its end.
use std::{fs, path::Path, process::Stdio};

use sinew_testkit::harness::nats::{NatsServer, NatsServerOptions};
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{Result, Running, Signal, run, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_command_is_up_while_it_lives_and_its_exit_status_is_ours", its_status_is_ours),
    ("a_signal_is_passed_on_and_the_stop_is_said_all_the_same", a_signal_is_passed_on),
    ("a_second_signal_kills_the_command", a_second_signal_kills),
    ("a_check_that_fails_is_told_as_degraded_and_its_recovery_too", a_check_decides),
    ("a_check_that_hangs_is_killed_and_told_as_degraded", a_check_that_hangs_is_killed),
    ("a_broker_that_goes_ends_no_command_and_hears_it_again", a_broker_that_goes),
    ("two_instances_under_one_name_are_told_until_one_ends", two_instances),
    ("a_command_that_cannot_be_run_says_nothing_to_anybody", a_command_that_cannot_be_run),
];

/// A server, and a watch of it that ends after so many changes.
fn watched(runtime: &Runtime, changes: &str) -> Result<(NatsServer, String, Running)> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let watch = ["beat", "watch", "--json", "--count", changes, "--url", &url];
    let mut watching = Running::start(sinew(&watch))?;
    watching.until_remark("watching")?;
    Ok((server, url, watching))
}

/// `sinew beat run a ARGS -- sh -c SCRIPT`, which lives as long as its standard input where the script reads it.
fn start(url: &str, args: &[&str], script: &str) -> Result<Running> {
    let line = [&["beat", "run", "a", "--url", url], args, &["--", "sh", "-c", script]].concat();
    let mut command = sinew(&line);
    command.stdin(Stdio::piped());
    Running::start(command)
}

fn to(state: &str) -> String {
    format!("\"to\":\"{state}\"")
}

/// Sees the states of `a` in this order.
fn sees(watching: &mut Running, states: &[&str]) -> Result<()> {
    for state in states {
        let line = watching.until_line(&["\"to\""])?;
        assert!(line.contains(&to(state)), "not {state}: {line}");
    }
    Ok(())
}

fn its_status_is_ours(runtime: &Runtime) -> Result<()> {
    let (_server, url, mut watching) = watched(runtime, "3")?;
    let mut running = start(&url, &["--every", "200ms"], "echo ready; read line; exit 7")?;
    running.until_line(&["ready"])?;
    sees(&mut watching, &["starting", "up"])?;
    // Its input ends, and so does the command.
    let ran = running.finish()?.expect(7)?;
    assert_eq!(ran.text(), "ready\n", "nothing but the command's own output");
    sees(&mut watching, &["stopped"])?;
    watching.finish()?.expect(0)?;
    Ok(())
}

fn a_signal_is_passed_on(runtime: &Runtime) -> Result<()> {
    for (signal, script, status) in [
        (Signal::TERM, "trap 'exit 3' TERM; echo ready; sleep 600 & wait", 3),
        (Signal::TERM, "echo ready; exec sleep 600", 128 + 15),
        (Signal::INT, "echo ready; exec sleep 600", 128 + 2),
    ] {
        let (_server, url, mut watching) = watched(runtime, "3")?;
        let mut running = start(&url, &[], script)?;
        running.until_line(&["ready"])?;
        sees(&mut watching, &["starting", "up"])?;
        running.signal(signal)?;
        running.finish()?.expect(status)?;
        sees(&mut watching, &["stopped"])?;
    }
    Ok(())
}

fn a_second_signal_kills(runtime: &Runtime) -> Result<()> {
    let (_server, url, mut watching) = watched(runtime, "3")?;
    let script = "trap 'echo heard' TERM; echo ready; while :; do sleep 600 & wait; done";
    let mut running = start(&url, &[], script)?;
    running.until_line(&["ready"])?;
    running.signal(Signal::TERM)?;
    running.until_line(&["heard"])?;
    sees(&mut watching, &["starting", "up"])?;
    running.signal(Signal::TERM)?;
    running.finish()?.expect(128 + 9)?;
    // The command was killed, we were not: whoever watches is told.
    sees(&mut watching, &["stopped"])
}

fn a_check_decides(runtime: &Runtime) -> Result<()> {
    let (_server, url, mut watching) = watched(runtime, "5")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("well");
    let check = format!("echo noise; test -e '{}'", file.display());
    let running = start(&url, &["--every", "100ms", "--check", &check], "read line")?;
    sees(&mut watching, &["starting", "degraded"])?;
    fs::write(&file, "")?;
    sees(&mut watching, &["up"])?;
    fs::remove_file(&file)?;
    sees(&mut watching, &["degraded"])?;
    let ran = running.finish()?.expect(1)?;
    assert_eq!(ran.text(), "", "what a check prints is not the command's");
    sees(&mut watching, &["stopped"])
}

fn a_check_that_hangs_is_killed(runtime: &Runtime) -> Result<()> {
    let (_server, url, mut watching) = watched(runtime, "3")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pids");
    let check = format!("echo $$ >> '{}'; exec sleep 600", file.display());
    let running = start(&url, &["--every", "300ms", "--check", &check], "read line; exit 0")?;
    sees(&mut watching, &["starting", "degraded"])?;
    running.finish()?.expect(0)?;
    sees(&mut watching, &["stopped"])?;
    let pids = fs::read_to_string(&file)?;
    assert!(!pids.is_empty());
    for pid in pids.lines() {
        // Gone, or waiting to be collected, which leaves no command line.
        let line = fs::read(Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default();
        assert!(!line.starts_with(b"sleep"), "{pid} lives");
    }
    Ok(())
}

fn a_broker_that_goes(runtime: &Runtime) -> Result<()> {
    let (server, url, mut watching) = watched(runtime, "3")?;
    let mut running = start(&url, &["--every", "200ms"], "read line; exit 0")?;
    sees(&mut watching, &["starting", "up"])?;
    server.kill()?;
    running.until_remark("a beat was not sent")?;
    runtime.block_on(server.restart())?;
    running.until_remark("beats are sent again")?;
    running.finish()?.expect(0)?;
    sees(&mut watching, &["stopped"])
}

fn two_instances(runtime: &Runtime) -> Result<()> {
    let (_server, url, mut watching) = watched(runtime, "1000")?;
    let instance =
        |name| start(&url, &["--every", "200ms", "--instance", name], "read line; exit 0");
    let (one, other) = (instance("pod-1")?, instance("pod-2")?);
    let both = |line: &str| line.contains("\"pod-1\"") && line.contains("\"pod-2\"");
    let line = watching.until_line(&["\"monitor\":\"conflict\""])?;
    assert!(both(&line), "{line}");
    other.finish()?.expect(0)?;
    let line = watching.until_line(&["\"monitor\":\"unique\""])?;
    assert!(both(&line), "{line}");
    one.finish()?.expect(0)?;
    Ok(())
}

fn a_command_that_cannot_be_run(runtime: &Runtime) -> Result<()> {
    let (_server, url, watching) = watched(runtime, "1")?;
    let ran = run(&["beat", "run", "a", "--url", &url, "--", "/nosuch/program"])?.expect(127)?;
    assert!(ran.stderr.contains("cannot run /nosuch/program: no such file"), "{ran:?}");
    let ran = run(&["beat", "run", "a", "--url", &url, "--", "/"])?.expect(126)?;
    assert!(ran.stderr.contains("cannot run /: permission denied"), "{ran:?}");
    // The first thing that the watch hears is another's.
    run(&["beat", "send", "b", "--count", "1", "--no-stop", "--url", &url])?.expect(0)?;
    let told = watching.finish()?.expect(0)?;
    assert!(told.text().contains("\"process\":\"b\""), "{told:?}");
    Ok(())
}
