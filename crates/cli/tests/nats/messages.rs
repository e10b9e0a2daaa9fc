//! Publish, subscribe and request, to and from the command.
use std::fs;

use sinew_adapter_nats::NatsOptions;
use sinew_core::{Pattern, PublishExt, Subscribe, Subscription};
use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    broker::{examples_of_brokers, paste},
    common::{Result, Running, Signal, run, run_with, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("bytes_go_through_pub_and_sub_unchanged", bytes_go_through_pub_and_sub_unchanged),
    ("a_message_is_an_object_with_its_keys", a_message_is_an_object_with_its_keys),
    ("a_group_shares_what_is_published", a_group_shares_what_is_published),
    ("bytes_go_through_request_and_back", bytes_go_through_request_and_back),
    ("replies_are_counted_and_awaited_in_time", replies_are_counted_and_awaited_in_time),
    ("a_payload_too_large_is_65", a_payload_too_large_is_65),
    ("every_example_ends_as_it_says", every_example_ends_as_it_says),
];

/// Every byte, and what a careless reader would trip over.
fn bytes() -> Vec<u8> {
    (0..=255).chain(*b"\n\r\n\0{n}\xff\n").collect()
}

fn bytes_go_through_pub_and_sub_unchanged(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("payload");
    fs::write(&file, bytes())?;
    let (url, file) = (server.url(), format!("@{}", file.display()));
    let publish: [(&[&str], &[u8]); 3] = [(&[&file], b""), (&["-"], &bytes()), (&[], &bytes())];
    for (payload, stdin) in publish {
        let listen = ["sub", "a.b", "--raw", "--count", "1", "--url", &url];
        let mut listener = Running::start(sinew(&listen))?;
        listener.until_remark("listening")?;
        let args = [&["pub", "a.b", "--url", &url][..], payload].concat();
        run_with(sinew(&args), stdin)?.expect(0)?;
        let heard = listener.finish()?.expect(0)?;
        assert!(heard.stdout == bytes(), "{payload:?}: {heard:?}");
    }
    Ok(())
}

fn a_message_is_an_object_with_its_keys(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let listen = ["sub", "orders.>", "--json", "--count", "3", "--url", &url];
    let mut listener = Running::start(sinew(&listen))?;
    listener.until_remark("listening")?;
    let header = ["-H", "trace=a=b", "-H", "trace=c", "-H", "kind=x"];
    let text = ["pub", "orders.eu", "{n}: \u{e9}\n", "--count", "2", "--url", &url];
    let sent = run(&[&text[..], &header, &["--json"]].concat())?.expect(0)?.objects()?;
    assert_eq!(sent.len(), 2);
    run_with(sinew(&["pub", "orders.us", "-", "--url", &url]), b"\xff\0")?.expect(0)?;
    let heard = listener.finish()?.expect(0)?.objects()?;
    assert_eq!(heard[0]["subject"], "orders.eu");
    assert_eq!(heard[0]["payload"], "1: \u{e9}\n");
    assert_eq!(heard[1]["payload"], "2: \u{e9}\n");
    assert_eq!(heard[0]["headers"]["trace"], serde_json::json!(["a=b", "c"]));
    assert_eq!(heard[0]["headers"]["kind"], "x");
    assert_eq!(heard[2]["payload_base64"], "/wA=");
    assert!(heard[2].get("payload").is_none() && heard[2]["headers"].is_object(), "{heard:?}");
    Ok(())
}

fn a_group_shares_what_is_published(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let listen = ["sub", "jobs", "--queue", "workers", "--json", "--url", &url];
    let mut members = [Running::start(sinew(&listen))?, Running::start(sinew(&listen))?];
    for member in &mut members {
        member.until_remark("listening")?;
    }
    run(&["pub", "jobs", "{n}", "--count", "100", "--url", &url])?.expect(0)?;
    let mut heard = Vec::new();
    for member in members {
        // What has come in is still printed after the interrupt.
        member.signal(Signal::INT)?;
        heard.extend(member.finish()?.expect(0)?.objects()?);
    }
    let mut numbers: Vec<u32> =
        heard.iter().filter_map(|it| it["payload"].as_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    Ok(())
}

/// Answers each request with its own payload, so many times.
fn serve(runtime: &Runtime, url: &str, times: usize) -> Result<()> {
    let nats = runtime.block_on(NatsOptions::new(url).connect())?;
    let wanted = Subscription::new(Pattern::parse("echo")?);
    let mut requests = runtime.block_on(nats.subscribe(wanted))?;
    runtime.spawn(async move {
        while let Some(Ok(request)) = requests.next_item().await {
            for _ in 0..times {
                let Some(reply) = request.reply(request.payload.clone()) else { return };
                if nats.send(reply).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(())
}

fn bytes_go_through_request_and_back(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    serve(runtime, &url, 1)?;
    let ask = sinew(&["request", "echo", "-", "--raw", "--url", &url]);
    let reply = run_with(ask, &bytes())?.expect(0)?;
    assert!(reply.stdout == bytes(), "{reply:?}");
    let ask = ["request", "echo", "hi", "--json", "--url", &url];
    let reply = run(&ask)?.expect(0)?.objects()?.remove(0);
    assert_eq!(reply["payload"], "hi");
    assert!(reply["elapsed"].as_f64().is_some_and(|elapsed| elapsed < 5.0), "{reply}");
    Ok(())
}

fn replies_are_counted_and_awaited_in_time(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let ask = |subject: &str, timeout: &str, replies: &str| {
        let waiting = ["--timeout", timeout, "--replies", replies, "--url", &url];
        Running::start(sinew(&[&["request", subject, "x"], &waiting[..]].concat()))
    };
    // Nobody listens, which the server knows.
    let nobody = ask("echo", "20s", "1")?.finish()?.expect(1)?;
    assert!(nobody.stderr.contains("no responders"), "{nobody:?}");
    serve(runtime, &url, 3)?;
    // Somebody listens and says nothing.
    let mut deaf = Running::start(sinew(&["sub", "deaf", "--url", &url]))?;
    deaf.until_remark("listening")?;
    let silence = ask("deaf", "3s", "1")?;
    // What waits until the end of its time does so all at once.
    let asked = [("1", "20s", 0, 1), ("3", "20s", 0, 3), ("0", "3s", 0, 3), ("4", "3s", 75, 3)];
    let asked = asked.map(|it @ (replies, timeout, ..)| (it, ask("echo", timeout, replies)));
    for ((replies, _, status, lines), asking) in asked {
        let ran = asking?.finish()?.expect(status)?;
        assert_eq!(ran.text().lines().count(), lines, "{replies}: {ran:?}");
    }
    let silence = silence.finish()?.expect(75)?;
    assert!(silence.stderr.contains("0 of 1 replies came within 3s"), "{silence:?}");
    Ok(())
}

fn a_payload_too_large_is_65(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().with_max_payload(1024).start())?;
    let args = ["pub", "a", "-", "--url", &server.url()];
    run_with(sinew(&args), &[b'x'; 1024])?.expect(0)?;
    let ran = run_with(sinew(&args), &[b'x'; 1025])?.expect(65)?;
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    Ok(())
}

fn every_example_ends_as_it_says(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().with_jetstream().start())?;
    runtime.block_on(crate::queues::stream(&server.url()))?;
    let place = server.url().replace("nats://", "");
    let examples = examples_of_brokers()?;
    let ours = |line: String| line.replace("127.0.0.1:4222", &place);
    paste(&server.url(), examples.into_iter().map(ours))
}
