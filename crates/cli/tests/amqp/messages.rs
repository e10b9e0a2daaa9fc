//! Publish, subscribe, consume, request and beat, to and from the command.
use std::fs;

use sinew_core::{Pattern, PublishExt, Subscribe, Subscription};
use sinew_testkit::harness::rabbitmq::RabbitMq;
use tokio::runtime::Runtime;

use crate::{
    SharedBody,
    broker::{examples_of_brokers, paste},
    common::{Result, Running, Signal, run, run_with, sinew},
};

pub(crate) const TRIALS: &[(&str, SharedBody)] = &[
    ("bytes_go_through_pub_and_sub_unchanged", bytes_go_through_pub_and_sub_unchanged),
    ("a_message_is_an_object_with_its_keys", a_message_is_an_object_with_its_keys),
    ("a_group_shares_what_is_published", a_group_shares_what_is_published),
    ("bytes_go_through_request_and_back", bytes_go_through_request_and_back),
    ("a_returned_request_is_told_without_its_payload", a_returned_request_is_told),
    ("what_was_printed_is_acknowledged", what_was_printed_is_acknowledged),
    ("a_command_settles_by_its_exit_status", a_command_settles_by_its_exit_status),
    ("an_exchange_is_named_by_the_url", an_exchange_is_named_by_the_url),
    ("a_heart_is_watched", a_heart_is_watched),
    ("every_example_ends_as_it_says", every_example_ends_as_it_says),
];

/// Every byte, and what a careless reader would trip over.
fn bytes() -> Vec<u8> {
    (0..=255).chain(*b"\n\r\n\0{n}\xff\n").collect()
}

fn listen(url: &str, pattern: &str, more: &[&str]) -> Result<Running> {
    let args = [&["sub", pattern, "--url", url], more].concat();
    let mut listener = Running::start(sinew(&args))?;
    listener.until_remark("listening")?;
    Ok(listener)
}

fn bytes_go_through_pub_and_sub_unchanged(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url();
    let listener = listen(&url, "bytes.#", &["--raw", "--count", "1"])?;
    let sent = run_with(sinew(&["pub", "bytes", "-", "--url", &url]), &bytes())?.expect(0)?;
    assert_eq!(sent.text(), "bytes: accepted\n");
    let heard = listener.finish()?.expect(0)?;
    assert!(heard.stdout == bytes(), "{heard:?}");
    Ok(())
}

fn a_message_is_an_object_with_its_keys(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url();
    let listener = listen(&url, "keys.>", &["--json", "--count", "2"])?;
    let header = ["-H", "trace=a=b", "-H", "trace=c", "-H", "kind=x"];
    let text = ["pub", "keys.eu", "{n}: \u{e9}\n", "--count", "1", "--url", &url, "--json"];
    let sent = run(&[&text[..], &header].concat())?.expect(0)?.objects()?;
    assert_eq!((&sent[0]["subject"], &sent[0]["receipt"]), (&"keys.eu".into(), &"accepted".into()));
    run_with(sinew(&["pub", "keys.us", "-", "--url", &url]), b"\xff\0")?.expect(0)?;
    let heard = listener.finish()?.expect(0)?.objects()?;
    assert_eq!(heard[0]["subject"], "keys.eu");
    assert_eq!(heard[0]["payload"], "1: \u{e9}\n");
    assert_eq!(heard[0]["headers"]["trace"], serde_json::json!(["a=b", "c"]));
    assert_eq!(heard[0]["headers"]["kind"], "x");
    assert_eq!(heard[1]["payload_base64"], "/wA=");
    Ok(())
}

fn a_group_shares_what_is_published(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url();
    let members = [&["--queue", "workers", "--json"]; 2];
    let members = members.map(|more| listen(&url, "jobs", more));
    run(&["pub", "jobs", "{n}", "--count", "100", "--url", &url])?.expect(0)?;
    let mut heard = Vec::new();
    for member in members {
        // What has come in is still printed after the interrupt.
        let member = member?;
        member.signal(Signal::INT)?;
        heard.extend(member.finish()?.expect(0)?.objects()?);
    }
    let mut numbers: Vec<u32> =
        heard.iter().filter_map(|it| it["payload"].as_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    Ok(())
}

fn bytes_go_through_request_and_back(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url();
    let backend = runtime.block_on(sinew_connect::connect(&url))?;
    let (subscriber, publisher) = (backend.subscriber()?, backend.publisher()?);
    let wanted = Subscription::new(Pattern::parse("echo")?);
    let mut requests = runtime.block_on(subscriber.subscribe(wanted))?;
    runtime.spawn(async move {
        while let Some(Ok(request)) = requests.next_item().await {
            let Some(reply) = request.reply(request.payload.clone()) else { return };
            if publisher.send(reply).await.is_err() {
                return;
            }
        }
    });
    let ask = sinew(&["request", "echo", "-", "--raw", "--url", &url]);
    let reply = run_with(ask, &bytes())?.expect(0)?;
    assert!(reply.stdout == bytes(), "{reply:?}");
    let ask = ["request", "echo", "x", "--replies", "2", "--timeout", "4s", "--url", &url];
    let ran = run(&ask)?.expect(75)?;
    assert!(ran.stderr.contains("1 of 2 replies came within 4s"), "{ran:?}");
    Ok(())
}

fn a_returned_request_is_told(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let ask = ["-vv", "request", "nobody.there", "hush", "--url", &broker.url()];
    let ran = run(&ask)?.expect(1)?;
    assert!(ran.stderr.contains("no responders"), "{ran:?}");
    // As text, or as the numbers of its bytes.
    assert!(!ran.stderr.contains("hush") && !ran.stderr.contains("104, 117"), "{ran:?}");
    Ok(())
}

fn what_was_printed_is_acknowledged(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url();
    let consume = ["consume", "billing", "--bind", "orders.*", "--json", "--url", &url];
    let take = |more: &[&str]| run(&[&consume[..], more].concat());
    // The queue stays without a consumer, and keeps what comes.
    declare(&consume)?;
    run(&["pub", "orders.eu", "{n}", "--count", "3", "--url", &url])?.expect(0)?;
    let taken = take(&["--count", "2"])?.expect(0)?.objects()?;
    let payloads: Vec<_> = taken.iter().filter_map(|it| it["payload"].as_str()).collect();
    assert_eq!(payloads, ["1", "2"]);
    assert_eq!(taken[0]["subject"], "orders.eu");
    let taken = take(&["--count", "1"])?.expect(0)?.objects()?;
    assert_eq!(taken[0]["payload"], "3");
    take(&["--count", "1", "--for", "2s"])?.expect(75)?;
    Ok(())
}

/// Has `consume` take hold of its queue, and end.
pub(crate) fn declare(consume: &[&str]) -> Result<()> {
    let mut consuming = Running::start(sinew(consume))?;
    consuming.until_remark("consuming")?;
    consuming.signal(Signal::INT)?;
    consuming.finish()?.expect(0)?;
    Ok(())
}

fn a_command_settles_by_its_exit_status(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("taken").display().to_string();
    let mut consuming = Running::start(sinew(&[
        "consume",
        "settling",
        "--bind",
        "settling.*",
        "--retry-after",
        "500ms",
        "--count",
        "2",
        "--exec",
        // The first attempt fails, after it has read; what it leaves lets the second one succeed.
        &format!("cat >> {file}; echo $SINEW_SUBJECT >> {file}; test $(wc -l < {file}) -ge 2"),
        "--url",
        &url,
    ]))?;
    consuming.until_remark("consuming")?;
    run(&["pub", "settling.a", "x ", "--url", &url])?.expect(0)?;
    let ran = consuming.finish()?.expect(0)?;
    assert!(ran.stderr.contains("settling.a: the command ended with status 1"), "{ran:?}");
    assert_eq!(fs::read_to_string(&file)?, "x settling.a\nx settling.a\n");
    Ok(())
}

fn an_exchange_is_named_by_the_url(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let (plain, shop) = (broker.url(), format!("{}/?exchange=shop.events", broker.url()));
    let ran = run(&["pub", "order", "x", "--url", &shop])?.expect(69)?;
    assert!(ran.stderr.contains("shop.events") && ran.stderr.lines().count() == 1, "{ran:?}");
    let declared = format!("{shop}&declare_exchanges");
    let listener = listen(&declared, "order", &["--raw", "--count", "1"])?;
    run(&["pub", "order", "elsewhere", "--url", &plain])?.expect(0)?;
    run(&["pub", "order", "here", "--url", &shop])?.expect(0)?;
    assert_eq!(listener.finish()?.expect(0)?.text(), "here");
    Ok(())
}

fn a_heart_is_watched(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url();
    let watch = ["beat", "watch", "--json", "--count", "3", "--url", &url];
    let mut watching = Running::start(sinew(&watch))?;
    watching.until_remark("watching")?;
    run(&["beat", "send", "eu.billing", "--count", "1", "--url", &url])?.expect(0)?;
    let told = watching.finish()?.expect(0)?.objects()?;
    let states: Vec<_> = told.iter().filter_map(|it| it["to"].as_str()).collect();
    assert_eq!(states, ["starting", "up", "stopped"]);
    Ok(())
}

/// In a virtual host of their own, as they hear whatever is published; what names a JetStream stream is left out.
fn every_example_ends_as_it_says(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    runtime.block_on(broker.add_vhost("examples"))?;
    let mut examples = examples_of_brokers()?;
    examples.retain(|line| !line.contains("nats+js:"));
    let url = broker.url_of("examples");
    // The exchange of the service orders is there, as if it had run before.
    let declared = format!("{url}?declare_exchanges");
    run(&["events", "emit", "orders", "created", "{}", "--url", &declared])?.expect(0)?;
    paste(&url, examples.into_iter())
}
