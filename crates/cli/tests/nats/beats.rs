//! Heartbeats: beatit's own watched by the command, and the command's checked.
use std::process::Command;

use sinew_testkit::harness::{
    find_python,
    nats::{NatsServer, NatsServerOptions},
};
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{Result, Running, Signal, objects, run, run_with, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_beatit_heart_is_watched_from_start_to_stop", a_beatit_heart_is_watched),
    ("a_beatit_heart_that_vanishes_is_late_then_down", a_beatit_heart_vanishes),
    ("what_is_no_beat_is_told", what_is_no_beat_is_told),
    ("an_expected_process_decides_the_exit_status", an_expected_process_decides),
    ("a_check_has_the_exit_statuses_of_a_nagios_plugin", a_check_has_its_statuses),
    ("a_heart_without_a_stop_goes_down", a_heart_without_a_stop_goes_down),
];

fn start(runtime: &Runtime) -> Result<(NatsServer, String)> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    Ok((server, url))
}

/// A heart of beatit's that makes these calls.
pub(crate) fn beatit(url: &str, process: &str, calls: &[&str]) -> Result<Running> {
    let mut python = Command::new(find_python()?);
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nats/original.py"));
    Running::start({
        python.args([url, process]).args(calls);
        python
    })
}

fn watch(url: &str, more: &[&str]) -> Result<Running> {
    let mut running =
        Running::start(sinew(&[&["beat", "watch", "--json", "--url", url], more].concat()))?;
    running.until_remark("watching")?;
    Ok(running)
}

/// `process`'s states in order, from the lines of a watch.
fn states(lines: &str, process: &str) -> Result<Vec<String>> {
    let its = objects(lines)?.into_iter().filter(|it| it["process"] == process);
    Ok(its.filter_map(|it| Some(it["to"].as_str()?.to_owned())).collect())
}

fn a_beatit_heart_is_watched(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    find_python()?;
    let watching = watch(&url, &["eu.>", "--count", "5", "--expect", "eu.billing"])?;
    // Expected, starting, up, degraded, up: five transitions end the watch, with the expected one alive.
    let calls = ["start/60", "beat/5", "wait/1.1", "degraded/5", "wait/1.1", "beat/5"];
    beatit(&url, "eu.billing", &calls)?.finish()?.expect(0)?;
    beatit(&url, "us.billing", &["beat/5"])?.finish()?.expect(0)?;
    let told = watching.finish()?.expect(0)?;
    assert_eq!(
        states(&told.text(), "eu.billing")?,
        ["expected", "starting", "up", "degraded", "up"]
    );
    let first = told.objects()?.remove(1);
    assert_eq!(first["from"], "expected");
    assert_eq!(first["reason"], "start");
    for key in ["time", "at"] {
        let time = first[key].as_str().ok_or("no time")?;
        assert!(time.len() == 27 && time.ends_with('Z'), "{first}");
    }
    let watching = watch(&url, &["--count", "1"])?;
    beatit(&url, "eu.billing", &["stop"])?.finish()?.expect(0)?;
    assert_eq!(states(&watching.finish()?.expect(0)?.text(), "eu.billing")?, ["stopped"]);
    Ok(())
}

fn a_beatit_heart_vanishes(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    find_python()?;
    let watching = watch(&url, &["--count", "3"])?;
    beatit(&url, "crawler", &["beat/0.5"])?.finish()?.expect(0)?;
    let told = watching.finish()?.expect(0)?.objects()?;
    let states: Vec<_> = told.iter().filter_map(|it| it["to"].as_str()).collect();
    assert_eq!(states, ["up", "late", "down"]);
    assert_eq!(told[2]["reason"], "silent");
    // The instants are the deadlines: 1.5 s and 2.5 s after the beat, to the microsecond.
    let second =
        |index: usize| -> Option<f64> { told[index]["at"].as_str()?.get(17..26)?.parse().ok() };
    let (late, down) = second(1).zip(second(2)).ok_or("no instants")?;
    assert!(((down - late + 60.0) % 60.0 - 1.0).abs() < 1e-5, "{told:?}");
    Ok(())
}

fn what_is_no_beat_is_told(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let mut watching = watch(&url, &["--for", "1h"])?;
    run_with(sinew(&["pub", "heartbeat.a", "-", "--url", &url]), b"\xff\x1b[2J")?.expect(0)?;
    run(&["pub", "heartbeat.a", "beat/nan", "--url", &url])?.expect(0)?;
    let told = watching.until_line(&["\"monitor\":\"malformed\"", "unknown verb"])?;
    assert_eq!(objects(&told)?[0]["name"], "heartbeat.a");
    watching.until_line(&["\"monitor\":\"malformed\"", "not a number"])?;
    watching.signal(Signal::INT)?;
    watching.finish()?.expect(130)?;
    Ok(())
}

fn an_expected_process_decides(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let few = watch(&url, &["--expect", "a", "--count", "2", "--for", "3s"])?;
    let nobody = watch(&url, &["--expect", "a", "--for", "3s"])?;
    few.finish()?.expect(75)?;
    nobody.finish()?.expect(1)?;
    let watching = watch(&url, &["--expect", "a", "--count", "3"])?;
    let send = ["beat", "send", "a", "--count", "1", "--no-stop", "--url", &url];
    run(&send)?.expect(0)?;
    watching.finish()?.expect(0)?;
    Ok(())
}

fn a_check_has_its_statuses(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let check = ["beat", "check", "a", "--wait", "20s", "--url", &url];
    for (payload, status, word, state) in [
        ("start/60", 0, "OK", "starting"),
        ("beat/5", 0, "OK", "up"),
        ("degraded/5", 1, "WARNING", "degraded"),
        ("stop", 2, "CRITICAL", "stopped"),
    ] {
        for format in [&[][..], &["--json"]] {
            let checking = Running::start(sinew(&[&check[..], format].concat()))?;
            // Heartbeats are not stored, so one is sent until one is heard.
            let sender = [
                "pub",
                "heartbeat.a",
                payload,
                "--count",
                "200",
                "--every",
                "100ms",
                "--url",
                &url,
            ];
            let sender = Running::start(sinew(&sender))?;
            let ran = checking.finish()?.expect(status)?;
            drop(sender);
            assert_eq!(ran.text().lines().count(), 1, "{ran:?}");
            if format.is_empty() {
                assert!(ran.text().starts_with(&format!("{word}: a is {state}")), "{ran:?}");
                continue;
            }
            let object = ran.objects()?.remove(0);
            assert_eq!(
                (object["process"].as_str(), object["state"].as_str()),
                (Some("a"), Some(state))
            );
            assert!(object["last_seen"].is_string(), "{object}");
            assert_eq!(object["deadline"].is_string(), state != "stopped", "{object}");
        }
    }
    let ran = run(&["beat", "check", "a", "--wait", "300ms", "--url", &url])?.expect(3)?;
    assert_eq!(ran.text(), "UNKNOWN: a: nothing heard within 300ms; allow more with --wait\n");
    Ok(())
}

fn a_heart_without_a_stop_goes_down(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime)?;
    let watching = watch(&url, &["--count", "4"])?;
    let send = [
        "beat",
        "send",
        "a",
        "--every",
        "1s",
        "--count",
        "2",
        "--no-stop",
        "--json",
        "--url",
        &url,
    ];
    let sent = run(&send)?.expect(0)?.objects()?;
    let sent: Vec<_> = sent.iter().filter_map(|it| it["sent"].as_str()).collect();
    assert_eq!(sent, ["start/60", "beat/1", "beat/1"]);
    let told = watching.finish()?.expect(0)?.text();
    assert_eq!(states(&told, "a")?, ["starting", "up", "late", "down"]);
    Ok(())
}
