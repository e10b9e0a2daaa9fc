//! Queues of a JetStream stream, consumed by the command.
use std::{collections::BTreeSet, fs, time::Instant};

use sinew_adapter_nats::{JetStreamOptions, NatsOptions, async_nats::jetstream};
use sinew_testkit::harness::nats::{NatsServer, NatsServerOptions};
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{DEADLINE, Result, Running, Signal, run, run_with, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_persisted_receipt_has_its_position", a_persisted_receipt_has_its_position),
    ("what_was_printed_is_acknowledged", what_was_printed_is_acknowledged),
    ("a_subscription_starts_where_it_is_told", a_subscription_starts_where_it_is_told),
    ("a_command_settles_by_its_exit_status", a_command_settles_by_its_exit_status),
    ("a_command_under_way_is_finished_after_an_interrupt", a_command_is_finished),
    ("a_second_interrupt_ends_at_once", a_second_interrupt_ends_at_once),
    ("a_closed_pipe_loses_no_delivery", a_closed_pipe_loses_no_delivery),
    ("a_stream_that_is_not_there_is_69", a_stream_that_is_not_there_is_69),
    ("what_a_backend_lacks_is_refused", what_a_backend_lacks_is_refused),
];

/// Makes the stream ORDERS of `orders.>`.
pub(crate) async fn stream(url: &str) -> Result<()> {
    let config =
        jetstream::stream::Config { subjects: vec!["orders.>".to_owned()], ..Default::default() };
    JetStreamOptions::new("ORDERS").with_create(config).connect(NatsOptions::new(url)).await?;
    Ok(())
}

struct Fixture {
    _server: NatsServer,
    url: String,
}

impl Fixture {
    fn new(runtime: &Runtime) -> Result<Self> {
        let server = runtime.block_on(NatsServerOptions::new().with_jetstream().start())?;
        runtime.block_on(stream(&server.url()))?;
        let url = server.url().replace("nats://", "nats+js://") + "/ORDERS";
        Ok(Self { _server: server, url })
    }

    fn publish(&self, payload: &str, count: &str) -> Result<Vec<serde_json::Value>> {
        let args = ["pub", "orders.eu", payload, "--count", count, "--json", "--url", &self.url];
        run(&args)?.expect(0)?.objects()
    }

    fn consume<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["consume", "q", "--bind", "orders.*", "--from", "first", "--url", &self.url], more]
            .concat()
    }

    /// Nothing is left in the queue.
    fn is_empty(&self) -> Result<()> {
        let left = run(&self.consume(&["--json", "--count", "1", "--for", "1s"]))?;
        assert!(left.stdout.is_empty(), "{left:?}");
        left.expect(75).map(drop)
    }
}

fn a_persisted_receipt_has_its_position(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    for (index, receipt) in (1_u64..).zip(fixture.publish("{n}", "600")?) {
        assert_eq!(receipt["receipt"], "persisted");
        assert_eq!(receipt["position"]["log"], "ORDERS");
        assert_eq!(receipt["position"]["offset"], index);
    }
    Ok(())
}

fn what_was_printed_is_acknowledged(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    fixture.publish("{n}", "3")?;
    let taken = run(&fixture.consume(&["--json", "--count", "3"]))?.expect(0)?.objects()?;
    let payloads: Vec<_> = taken.iter().filter_map(|it| it["payload"].as_str()).collect();
    assert_eq!(payloads, ["1", "2", "3"]);
    assert_eq!(taken[2]["position"]["offset"], 3);
    assert_eq!(taken[0]["attempt"], 1);
    assert_eq!(taken[0]["redelivered"], false);
    fixture.is_empty()
}

fn a_subscription_starts_where_it_is_told(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    fixture.publish("{n}", "5")?;
    for (from, count, first) in [
        ("first", "5", "1"),
        ("last", "1", "5"),
        ("4", "2", "4"),
        ("ORDERS@3", "3", "3"),
        ("2020-01-01T00:00:00Z", "5", "1"),
    ] {
        let args =
            ["sub", "orders.*", "--json", "--from", from, "--count", count, "--url", &fixture.url];
        let heard = run(&args)?.expect(0)?.objects()?;
        assert_eq!(heard[0]["payload"], first, "{from}");
        assert_eq!(heard[0]["position"]["log"], "ORDERS", "{from}");
    }
    Ok(())
}

fn a_command_settles_by_its_exit_status(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("taken");
    // The first attempt fails after it has read; the second one is kept.
    fixture.publish("\u{e9} {n}", "1")?;
    let command = format!(
        "cat >> {0} && echo \" $SINEW_SUBJECT $SINEW_ATTEMPT $SINEW_POSITION\" >> {0} && test $SINEW_ATTEMPT -ge 2",
        file.display()
    );
    let ran = run(&fixture.consume(&["--exec", &command, "--count", "2"]))?.expect(0)?;
    assert!(ran.stderr.contains("orders.eu: the command ended with status 1"), "{ran:?}");
    let taken = fs::read_to_string(&file)?;
    let expected = "\u{e9} 1 orders.eu 1 ORDERS@1\n\u{e9} 1 orders.eu 2 ORDERS@1\n";
    assert_eq!(taken, expected);
    fixture.is_empty()?;
    // What is discarded does not come back; nor does what a signal ended, with a delay of an hour.
    fixture.publish("x", "1")?;
    run(&fixture.consume(&["--exec", "exit 3", "--on-error", "discard", "--count", "1"]))?
        .expect(0)?;
    fixture.is_empty()?;
    fixture.publish("x", "1")?;
    let later = ["--exec", "kill -9 $$", "--retry-after", "1h", "--count", "1"];
    let ran = run(&fixture.consume(&later))?.expect(0)?;
    assert!(ran.stderr.contains("was ended"), "{ran:?}");
    fixture.is_empty()?;
    // A command that reads nothing is no failure.
    let large = vec![b'x'; 500_000];
    run_with(sinew(&["pub", "orders.eu", "-", "--url", &fixture.url]), &large)?.expect(0)?;
    run(&fixture.consume(&["--exec", "true", "--count", "1"]))?.expect(0)?;
    fixture.is_empty()
}

fn a_command_is_finished(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    fixture.publish("{n}", "5")?;
    let command = "echo begun; sleep 1; echo done";
    let mut running = Running::start(sinew(&fixture.consume(&["--exec", command])))?;
    running.until_line(&["begun"])?;
    running.signal(Signal::INT)?;
    let ran = running.finish()?.expect(0)?;
    assert_eq!(ran.text(), "begun\ndone\n");
    // The other four went back, in whatever order.
    let left = run(&fixture.consume(&["--json", "--count", "4"]))?.expect(0)?.objects()?;
    let left: BTreeSet<_> = left.iter().filter_map(|it| it["payload"].as_str()).collect();
    assert_eq!(left, BTreeSet::from(["2", "3", "4", "5"]));
    fixture.is_empty()
}

fn a_second_interrupt_ends_at_once(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    fixture.publish("x", "1")?;
    let began = Instant::now();
    let command = "echo $$; sleep 120; echo never";
    let mut running = Running::start(sinew(&fixture.consume(&["--exec", command])))?;
    running.until_line(&[""])?;
    running.signal(Signal::INT)?;
    running.signal(Signal::TERM)?;
    // The command, which shares our standard output, has ended with it: else that would not.
    let ran = running.finish()?.expect(130)?;
    assert!(began.elapsed() < DEADLINE && !ran.text().contains("never"), "{ran:?}");
    Ok(())
}

fn a_closed_pipe_loses_no_delivery(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    fixture.publish("{n}", "50")?;
    let line = "\"$0\" \"$@\" | head -n 1";
    let args = fixture.consume(&["--json", "-q"]);
    let mut command = std::process::Command::new("bash");
    command
        .args(["-c", &format!("set -o pipefail; {line}"), env!("CARGO_BIN_EXE_sinew")])
        .args(&args);
    let first = run_with(command, b"")?.expect(0)?;
    assert!(first.stderr.is_empty() && first.text().lines().count() == 1, "{first:?}");
    // What was written into the pipe before it closed counts as printed; the next one comes again.
    let next = run(&fixture.consume(&["--json", "--count", "1"]))?.expect(0)?.objects()?;
    let next: u32 = next[0]["payload"].as_str().ok_or("no payload")?.parse()?;
    assert!((2..=50).contains(&next), "{next}");
    Ok(())
}

fn a_stream_that_is_not_there_is_69(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    let url = fixture.url.replace("ORDERS", "NOSUCH");
    let ran = run(&["sub", "a", "--url", &url])?.expect(69)?;
    assert!(ran.stderr.contains("NOSUCH") && ran.stderr.lines().count() == 1, "{ran:?}");
    Ok(())
}

fn what_a_backend_lacks_is_refused(runtime: &Runtime) -> Result<()> {
    let fixture = Fixture::new(runtime)?;
    let core = fixture.url.replace("nats+js", "nats").replace("/ORDERS", "");
    for args in [
        &["consume", "q", "--bind", "a", "--url", &core][..],
        &["request", "a", "x", "--url", &fixture.url],
        &["sub", "a", "--from", "first", "--url", &core],
        &["sub", "a.#.b", "--url", &core],
    ] {
        let ran = run(args)?.expect(64)?;
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {ran:?}");
    }
    Ok(())
}
