//! The command as scripts see it: exit statuses, one-line errors, JSON lines, pipes, signals. No broker needed.
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod demo;
mod secrets;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Command, Stdio},
};

use common::{Result, Running, Signal, examples, run, run_with, sinew};
use serde_json::json;

/// An address where nobody listens.
fn nobody() -> Result<String> {
    Ok(format!("nats://127.0.0.1:{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()))
}

#[test]
fn beats_may_be_less_than_a_second_apart() -> Result<()> {
    let send =
        ["beat", "send", "--url", "memory:", "a", "--every", "50ms", "--count", "3", "--json"];
    let told = run(&send)?.expect(0)?.objects()?;
    let sent: Vec<_> = told.iter().filter_map(|it| it["sent"].as_str()).collect();
    assert_eq!(sent, ["start/60", "beat/0.05", "beat/0.05", "beat/0.05", "stop"]);
    Ok(())
}

#[test]
fn usage_errors_are_one_line_and_exit_64() -> Result<()> {
    for args in [
        &["pub"][..],
        &["pub", "a b", "x"],
        &["pub", "a", "x", "--every", "5"],
        &["sub", "a.*b"],
        &["nosuch"],
        &["demo", "--for", "soon"],
        &["demo", "--url", "memory:"],
        &["--url", "memory:", "demo"],
        &["pub", "--url", "nonsense", "a", "x"],
        &["pub", "--url", "zmq+tcp://h", "a", "x"],
        &["pub", "--url", "amqp:h", "a", "x"],
        &["pub", "--url", "amqp://h,i", "a", "x"],
        &["pub", "--url", "amqp://h?heartbeat=0", "a", "x"],
        &["pub", "--url", "amqps://h?tls=false", "a", "x"],
        &["pub", "--url", "amqp://h?auth_mechanism=external", "a", "x"],
        &["pub", "--url", "nats://h/STREAM", "a", "x"],
        &["pub", "--url", "nats+js://h", "a", "x"],
        &["pub", "--url", "memory:", "--tls", "a", "x"],
        &["pub", "--url", "memory:?name=x", "a", "x"],
        &["pub", "--url", "nats://h?tsl=true", "a", "x"],
        &["sub", "--url", "memory:", "--from", "7", "a"],
        &["beat", "run", "--url", "memory:", "a..b", "--", "true"],
        &["beat", "run", "--url", "memory:", "a"],
        &["beat", "send", "--url", "memory:", "a", "--every", "5s", "--period", "1s"],
        &["beat", "send", "--url", "memory:", "a..b"],
        &["beat", "check", "--url", "memory:", "a.*"],
        &["beat", "serve", "--url", "memory:", "--listen", "0.0.0.0:0"],
        &["beat", "serve", "--url", "memory:", "--listen", "[::]:0"],
        &["beat", "serve", "--url", "memory:", "--listen", "localhost"],
        &["beat", "serve", "--url", "memory:", "--open", "--access-token-file", "/dev/null"],
        &["beat", "serve", "--url", "memory:", "--access-token-file", "/dev/null"],
        &["beat", "serve", "--url", "memory:", "--snapshot", "/"],
        &["beat", "serve", "--config", "/dev/null", "--check-config", "--snapshot", "/"],
        &["beat", "serve", "--config", "/dev/null", "--check-config", "--snapshot", "/dev/null"],
        &["beat", "serve", "--url", "memory:", "--snapshot", "/no/such/folder/beat.snapshot"],
        &["beat", "serve", "--url", "memory:", "--expect", "eu.*"],
        &["beat", "watch", "--url", "memory:", "--expect", "a..b"],
        &["beat", "watch", "--url", "memory:", "eu.>", "--expect", "us.web"],
        &[
            "consume",
            "--url",
            "memory:",
            "q",
            "--bind",
            "a",
            "--exec",
            "true",
            "--on-error",
            "discard",
            "--retry-after",
            "1s",
        ],
        &["events", "listen", "a", "b", "--as", "c.d", "--identifier", "x", "--url", "memory:"],
        &["events", "listen", "a", "b", "--as", "c.d", "--kind", "broadcast", "--url", "memory:"],
    ] {
        let ran = run(args)?.expect(64)?;
        assert!(ran.stdout.is_empty(), "{args:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{args:?}: {ran:?}");
    }
    Ok(())
}

#[test]
fn help_and_version_go_to_standard_output() -> Result<()> {
    for args in [&["--help"][..], &["--version"], &["beat", "--help"], &["pub", "-h"]] {
        let ran = run(args)?.expect(0)?;
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran:?}");
    }
    let bare = run(&[])?.expect(64)?;
    assert!(bare.stdout.is_empty() && bare.stderr.contains("Usage:"), "{bare:?}");
    Ok(())
}

#[test]
fn who_is_expected_and_not_watched_is_refused_as_it_would_be_down_for_sure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sinew.toml");
    let check = |text: &str, args: &[&str]| -> Result<_> {
        std::fs::write(&file, text)?;
        let file = file.to_str().ok_or("no UTF-8")?;
        run(&[&["beat", "serve", "--config", file, "--check-config"], args].concat())
    };
    let at = format!("{}:", file.display());
    let told = "us.web is expected, but is not among those watched, eu.>: watch it too, or do not expect it\n";
    let expected = "expected = [\"eu.web\", \"us.web\"]\n";
    let narrow = format!("processes = \"eu.>\"\n{expected}");
    let [first, second] = [1, 2].map(|line| format!("error: {at}{line}: expected: {told}"));
    assert_eq!(check(&narrow, &[])?.expect(64)?.stderr, second);
    assert_eq!(check(expected, &["eu.>"])?.expect(64)?.stderr, first);
    let by_line = check("processes = \"eu.>\"", &["--expect", "us.web"])?;
    assert_eq!(by_line.expect(64)?.stderr, format!("error: {told}"));
    // What the command line watches beats the file, and a heart of its own is always heard.
    check(&narrow, &["*.web"])?.expect(0)?;
    let own = format!("{narrow}[heart]\nprocess = \"us.web\"");
    check(&own, &[])?.expect(0)?;
    // So not one that it does not have.
    assert_eq!(check(&own, &["--no-heart"])?.expect(64)?.stderr, second);
    assert_eq!(check(&format!("{own}\nenabled = false"), &[])?.expect(64)?.stderr, second);
    Ok(())
}

#[test]
fn without_a_broker_beat_run_starts_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let made = folder.path().join("made");
    let path = made.to_str().ok_or("no UTF-8")?;
    // A port that was free a moment ago.
    let url = format!("nats://{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    run(&["beat", "run", "--url", &url, "a", "--", "touch", path])?.expect(69)?;
    assert!(!made.exists());
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_one_line_and_64() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let ran = run(&["beat", "serve", "--url", "memory:", "--listen", &address])?.expect(64)?;
    assert_eq!(
        ran.stderr,
        format!(
            "error: cannot listen on {address}: address already in use; choose another one with --listen\n"
        )
    );
    Ok(())
}

#[test]
fn a_page_ends_when_it_was_asked_to() -> Result<()> {
    let serve = ["beat", "serve", "--url", "memory:", "--listen", "127.0.0.1:0", "--expect", "a"];
    let ran = run(&[&serve[..], &["--for", "300ms", "--json"]].concat())?.expect(0)?;
    assert_eq!(ran.objects()?[0]["to"], "expected");
    assert!(ran.stderr.contains("serving http://127.0.0.1:"), "{ran:?}");
    run(&[&serve[..], &["--count", "1"]].concat())?.expect(0)?;
    let open = ["beat", "serve", "--url", "memory:", "--listen", "0.0.0.0:0", "--open"];
    let ran = run(&[&open[..], &["--for", "100ms"]].concat())?.expect(0)?;
    assert!(ran.stderr.contains("everybody who can reach it"), "{ran:?}");
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_one_line_and_74() -> Result<()> {
    for args in [
        &["--help"][..],
        &["--version"],
        &["pub", "-h"],
        &["completions", "bash"],
        &["backends"],
        &["backends", "--json"],
        &["pub", "--url", "memory:", "a", "x"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
        let output = sinew(args).stdout(full).output()?;
        assert_eq!(output.status.code(), Some(74), "{args:?}: {output:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "error: cannot write to standard output: no space left on device\n",
            "{args:?}"
        );
    }
    Ok(())
}

#[test]
fn a_broker_that_is_not_there_is_one_clear_line_and_69() -> Result<()> {
    let url = nobody()?;
    for (url, program) in [(&url, "nats-server"), (&url.replace("nats", "amqp"), "RabbitMQ")] {
        for args in [
            &["pub", "a", "x"][..],
            &["sub", "a"],
            &["consume", "q", "--bind", "a"],
            &["request", "a", "x"],
            &["beat", "send", "a"],
            &["beat", "watch"],
        ] {
            let ran = run(&[args, &["--url", url]].concat())?.expect(69)?;
            assert_eq!(
                ran.stderr,
                format!(
                    "error: cannot reach {url}: connection refused; is {program} running? \
                     try: sinew demo (needs no broker)\n"
                ),
                "{args:?}"
            );
            assert!(ran.stdout.is_empty(), "{ran:?}");
        }
    }
    let verbose = run(&["-v", "pub", "a", "x", "--url", &url])?.expect(69)?;
    assert!(verbose.stderr.contains("because: "), "{verbose:?}");
    Ok(())
}

#[test]
fn the_url_may_stand_in_the_environment() -> Result<()> {
    let url = nobody()?;
    let from_env = |args: &[&str]| -> Result<_> {
        let mut command = sinew(args);
        command.env("SINEW_URL", &url);
        run_with(command, b"")
    };
    assert!(from_env(&["pub", "a", "x"])?.expect(69)?.stderr.contains(&url));
    from_env(&["pub", "a", "x", "--url", "memory:"])?.expect(0)?;
    from_env(&["--url", "memory:", "pub", "a", "x"])?.expect(0)?;
    from_env(&["backends"])?.expect(0)?;
    Ok(())
}

#[test]
fn a_check_without_a_broker_is_unknown() -> Result<()> {
    let ran = run(&["beat", "check", "billing", "--url", &nobody()?])?.expect(3)?;
    assert!(ran.text().starts_with("UNKNOWN: billing: cannot reach nats://"), "{ran:?}");
    assert_eq!(ran.text().lines().count(), 1);
    let silent = ["beat", "check", "billing", "--url", "memory:", "--wait", "50ms", "--json"];
    let object = run(&silent)?.expect(3)?.objects()?.remove(0);
    assert_eq!((&object["process"], &object["state"]), (&json!("billing"), &json!("unknown")));
    Ok(())
}

#[test]
fn a_receipt_is_told_as_a_line_or_an_object() -> Result<()> {
    let ran = run(&["pub", "--url", "memory:", "a.b", "x"])?.expect(0)?;
    assert!(ran.text().starts_with("a.b: "), "{ran:?}");
    assert!(ran.stderr.is_empty(), "{ran:?}");
    let args = ["pub", "--url", "memory:", "a.b", "{n}", "--count", "3", "--json"];
    let objects = run(&args)?.expect(0)?.objects()?;
    assert_eq!(objects.len(), 3);
    for object in objects {
        assert_eq!(object["subject"], "a.b");
        let receipt = object["receipt"].as_str();
        assert!(matches!(receipt, Some("buffered" | "accepted" | "persisted")), "{object}");
        assert_eq!(object.get("position").is_some(), receipt == Some("persisted"), "{object}");
    }
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_74_and_an_endless_pipe_65() -> Result<()> {
    let ran = run(&["pub", "--url", "memory:", "a", "@/no/such/file"])?.expect(74)?;
    assert!(ran.stderr.contains("/no/such/file"), "{ran:?}");
    let zeros = std::fs::File::open("/dev/zero")?;
    let mut command = sinew(&["pub", "--url", "memory:", "a"]);
    command.stdin(zeros);
    let ran = run_with(command, b"")?.expect(65)?;
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    Ok(())
}

#[test]
fn nobody_to_answer_is_1_and_time_over_75() -> Result<()> {
    let ran = run(&["request", "--url", "memory:", "nobody", "x"])?.expect(1)?;
    assert!(ran.stderr.contains("no responders"), "{ran:?}");
    run(&["sub", "--url", "memory:", "a", "--count", "1", "--for", "50ms"])?.expect(75)?;
    run(&["sub", "--url", "memory:", "a", "--for", "50ms"])?.expect(0)?;
    run(&["consume", "--url", "memory:", "q", "--bind", "a", "--for", "50ms"])?.expect(0)?;
    run(&["beat", "watch", "--url", "memory:", "--for", "50ms"])?.expect(0)?;
    run(&["beat", "watch", "--url", "memory:", "--for", "50ms", "--expect", "a"])?.expect(1)?;
    Ok(())
}

#[test]
fn an_interrupt_drains_and_is_130_before_the_goal() -> Result<()> {
    for (signal, goal, status) in [
        (Signal::INT, &["--count", "1"][..], 130),
        (Signal::TERM, &["--for", "1h"], 130),
        (Signal::INT, &[], 0),
        (Signal::TERM, &[], 0),
    ] {
        let mut running =
            Running::start(sinew(&[&["sub", "--url", "memory:", "a"][..], goal].concat()))?;
        running.until_remark("listening")?;
        running.signal(signal)?;
        running.finish()?.expect(status)?;
    }
    Ok(())
}

#[test]
fn an_interrupt_ends_a_heart_with_a_stop() -> Result<()> {
    let mut running = Running::start(sinew(&["beat", "send", "--url", "memory:", "a", "--json"]))?;
    running.until_line(&["\"sent\":\"beat/5\""])?;
    running.signal(Signal::INT)?;
    let sent = running.finish()?.expect(0)?.objects()?;
    let sent: Vec<_> = sent.iter().map(|it| it["sent"].as_str().unwrap()).collect();
    assert_eq!(sent, ["start/60", "beat/5", "stop"]);
    Ok(())
}

#[test]
fn waiting_for_standard_input_can_be_interrupted() -> Result<()> {
    let mut command = sinew(&["pub", "--url", "memory:", "a", "-", "-v"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command)?;
    // Held open: it is the signal that ends it, not the end of its input.
    let _input = running.child.stdin.take();
    running.until_remark("reading the payload")?;
    running.signal(Signal::INT)?;
    running.finish()?.expect(130)?;
    Ok(())
}

#[test]
fn a_closed_pipe_ends_quietly() -> Result<()> {
    let (reader, gone) = std::io::pipe()?;
    drop(reader);
    let output = sinew(&["--help"]).stdout(gone).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    for args in [&["demo", "--for", "1h"][..], &["demo", "--for", "1h", "--json"]] {
        let mut child = sinew(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let output = child.wait_with_output()?;
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    }
    Ok(())
}

#[test]
fn backends_are_a_table_or_objects() -> Result<()> {
    let table = run(&["backends"])?.expect(0)?.text();
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let objects = run(&["backends", "--json"])?.expect(0)?.objects()?;
    let names: BTreeSet<_> = objects.iter().filter_map(|it| it["backend"].as_str()).collect();
    for backend in ["amqp", "memory", "nats", "nats jetstream"] {
        assert!(names.contains(backend), "{backend}: {names:?}");
    }
    let markdown = run(&["backends", "--markdown"])?.expect(0)?.text();
    assert_eq!(markdown.lines().next().map(|it| it.matches('|').count()), Some(objects.len() + 2));
    Ok(())
}

#[test]
fn completions_and_manual_pages_are_written() -> Result<()> {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(run(&["completions", shell])?.expect(0)?.text().contains("consume"), "{shell}");
    }
    let dir = std::env::temp_dir().join(format!("sinew-man-{}", std::process::id()));
    run(&["man", &dir.display().to_string()])?.expect(0)?;
    for page in ["sinew.1", "sinew-pub.1", "sinew-beat-watch.1"] {
        assert!(dir.join(page).is_file(), "{page}");
    }
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

#[test]
fn examples_that_need_no_broker_work_when_pasted() -> Result<()> {
    let examples = examples()?;
    assert!(examples.len() > 20, "{examples:#?}");
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_sinew")).parent().ok_or("no folder")?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let alone = |line: &&String| {
        ["memory:", "sinew demo", "sinew backends", "sinew completions bash"]
            .iter()
            .any(|it| line.contains(it))
    };
    let mut ran = 0;
    for line in examples.iter().filter(alone) {
        let line = line.replace("--for 10s", "--for 1s");
        let is_long = line.starts_with("sinew demo") && !line.contains("--for");
        let line = if is_long { format!("{line} --for 1s") } else { line };
        let mut command = Command::new("bash");
        command.args(["-c", &line]).env("PATH", &path).env_remove("SINEW_URL").stdin(Stdio::null());
        run_with(command, b"")?.expect(0).map_err(|err| format!("{line}: {err}"))?;
        ran += 1;
    }
    assert!(ran >= 6, "only {ran}");
    Ok(())
}
