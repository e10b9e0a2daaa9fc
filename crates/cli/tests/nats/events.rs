//! Events over core NATS, which keeps nothing for who is away.
use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{Result, Running, run, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("an_event_comes_to_who_listens", an_event_comes_to_who_listens),
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

fn a_listener_that_may_miss_nothing(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let ran = run(&["events", "listen", "orders", "created", "--as", "shell.hear", "--url", &url])?;
    let ran = ran.expect(64)?;
    assert!(ran.stderr.contains("nats+js://") && ran.stderr.lines().count() == 1, "{ran:?}");
    Ok(())
}
