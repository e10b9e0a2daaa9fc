//! Events over core NATS, which keeps nothing for who is away, and over JetStream, which counts what it delivers.
use sinew_adapter_nats::{JetStreamOptions, NatsOptions, async_nats::jetstream};
use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{Result, Running, Signal, run, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("an_event_comes_to_who_listens", an_event_comes_to_who_listens),
    ("an_event_says_which_delivery_it_is_where_that_is_counted", an_event_says_which_delivery),
    ("a_listener_that_may_miss_nothing_is_refused", a_listener_that_may_miss_nothing),
];

fn an_event_comes_to_who_listens(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let listen = ["events", "listen", "orders", "created", "--as", "shell.hear", "--unreliable"];
    let more = ["--exec", "cat; echo \" $SINEW_SERVICE/$SINEW_EVENT\"", "--count", "1"];
    let mut listener = Running::start(sinew(&[&listen[..], &more, &["--url", &url]].concat()))?;
    listener.until_remark("listening")?;
    let sent = run(&["events", "emit", "orders", "created", "{\"id\": 7}", "--url", &url])?;
    assert_eq!(sent.expect(0)?.text(), "orders/created: buffered\n");
    assert_eq!(listener.finish()?.expect(0)?.text(), "{\"id\": 7} orders/created\n");
    Ok(())
}

fn an_event_says_which_delivery(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().with_jetstream().start())?;
    let subjects = vec!["@.orders%2Eevents.>".to_owned(), "sinew.errors.>".to_owned()];
    let config = jetstream::stream::Config { subjects, ..Default::default() };
    let stream = JetStreamOptions::new("EVENTS").with_create(config);
    runtime.block_on(stream.connect(NatsOptions::new(server.url())))?;
    let url = server.url().replace("nats://", "nats+js://") + "/EVENTS";
    let event = ["events", "listen", "orders", "created", "--as", "shell.hear", "--url", &url];
    let listen = |more: &[&str]| -> Result<Running> {
        let mut listener = Running::start(sinew(&[&event[..], more].concat()))?;
        listener.until_remark("listening")?;
        Ok(listener)
    };
    let emit = |payload| run(&["events", "emit", "orders", "created", payload, "--url", &url]);
    let first = listen(&["--json", "--count", "1"])?;
    emit("1")?.expect(0)?;
    let heard = first.finish()?.expect(0)?.objects()?;
    assert_eq!((&heard[0]["attempt"], &heard[0]["redelivered"]), (&1.into(), &false.into()));
    let mut failing = listen(&["--exec", "exit 1", "--requeue-on-error"])?;
    emit("2")?.expect(0)?;
    failing.until_remark("tried again")?;
    failing.signal(Signal::TERM)?;
    failing.finish()?.expect(0)?;
    let heard = listen(&["--json", "--count", "1"])?.finish()?.expect(0)?.objects()?;
    assert!(heard[0]["attempt"].as_u64() >= Some(2), "{heard:?}");
    assert_eq!((&heard[0]["payload"], &heard[0]["redelivered"]), (&"2".into(), &true.into()));
    Ok(())
}

fn a_listener_that_may_miss_nothing(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let ran = run(&["events", "listen", "orders", "created", "--as", "shell.hear", "--url", &url])?;
    let ran = ran.expect(64)?;
    assert!(ran.stderr.contains("nats+js://") && ran.stderr.lines().count() == 1, "{ran:?}");
    Ok(())
}
