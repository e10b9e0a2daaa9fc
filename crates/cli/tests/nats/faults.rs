//! A server that is killed, frozen and restarted under the command.
use std::time::{Duration, Instant};

use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{Result, Running, Signal, objects, run, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_watch_survives_a_killed_server", a_watch_survives_a_killed_server),
    ("a_watch_notices_a_frozen_server", a_watch_notices_a_frozen_server),
    ("a_frozen_server_is_69_in_time", a_frozen_server_is_69_in_time),
    ("a_frozen_server_is_not_waited_for_longer_than_asked", a_frozen_server_is_not_waited_for),
    ("a_server_that_freezes_does_not_hold_the_end_up", a_server_that_freezes),
    ("a_subscriber_hears_on_after_a_restart", a_subscriber_hears_on_after_a_restart),
    ("a_stop_waits_for_the_link", a_stop_waits_for_the_link),
    ("an_interrupt_ends_without_a_server", an_interrupt_ends_without_a_server),
];

const BLIND: &str = "\"monitor\":\"blind\"";
const SIGHTED: &str = "\"monitor\":\"sighted\"";

fn a_watch_survives_a_killed_server(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let mut watching = Running::start(sinew(&["beat", "watch", "--json", "--url", &url]))?;
    watching.until_remark("watching")?;
    // A heart that outlives the server, too.
    let beat = ["beat", "send", "a", "--every", "1s", "--period", "30s", "--url", &url];
    let mut heart = Running::start(sinew(&beat))?;
    heart.until_line(&["beat/30"])?;
    watching.until_line(&["\"to\":\"up\""])?;
    for _ in 0..2 {
        server.kill()?;
        watching.until_line(&[BLIND])?;
        runtime.block_on(server.restart())?;
        watching.until_line(&[SIGHTED])?;
        // Its link is back as well: a stop while it is not would be a stop that nobody hears.
        heart.until_line(&["beat/30"])?;
    }
    heart.signal(Signal::TERM)?;
    watching.until_line(&["\"to\":\"stopped\""])?;
    heart.finish()?.expect(0)?;
    watching.signal(Signal::INT)?;
    // Blind, it judged nobody: the heart was never called late or down.
    let told = objects(&watching.finish()?.expect(0)?.text())?;
    let states: Vec<_> = told.iter().filter_map(|it| it["to"].as_str()).collect();
    assert_eq!(states, ["starting", "up", "stopped"]);
    Ok(())
}

fn a_watch_notices_a_frozen_server(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let args = ["beat", "watch", "--json", "--url", &server.url()];
    let mut watching = Running::start(sinew(&args))?;
    watching.until_remark("watching")?;
    server.freeze()?;
    watching.until_line(&[BLIND])?;
    server.thaw()?;
    watching.until_line(&[SIGHTED])?;
    watching.signal(Signal::TERM)?;
    watching.finish()?.expect(0)?;
    Ok(())
}

fn a_frozen_server_is_69_in_time(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    server.freeze()?;
    let ran = run(&["pub", "a", "x", "--url", &url])?.expect(69)?;
    assert!(ran.stderr.starts_with(&format!("error: cannot reach {url}: ")), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    run(&["beat", "check", "a", "--url", &url])?.expect(3)?;
    server.thaw()?;
    run(&["pub", "a", "x", "--url", &url])?.expect(0)?;
    Ok(())
}

/// What the adapter waits for a server by itself, when connecting and when draining.
const ADAPTERS_OWN: Duration = Duration::from_secs(5);

fn a_frozen_server_is_not_waited_for(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().with_jetstream().start())?;
    let (url, stream) = (server.url(), server.url().replace("nats://", "nats+js://") + "/S");
    server.freeze()?;
    let silent = |url: &str| {
        format!(
            "cannot reach {url}: no answer within 200ms; is nats-server running? \
             try: sinew demo (needs no broker)\n"
        )
    };
    for (url, args) in [
        (&url, &["sub", "a", "--for", "200ms"][..]),
        (&stream, &["consume", "q", "--bind", "a", "--for", "200ms"]),
        (&url, &["request", "a", "x", "--timeout", "200ms"]),
        (&url, &["beat", "send", "a", "--for", "200ms"]),
        (&url, &["beat", "watch", "--for", "200ms"]),
    ] {
        let ran = run(&[args, &["--url", url]].concat())?.expect(69)?;
        assert_eq!(ran.stderr, format!("error: {}", silent(url)), "{args:?}");
    }
    let ran = run(&["beat", "check", "a", "--wait", "200ms", "--url", &url])?.expect(3)?;
    assert_eq!(ran.text(), format!("UNKNOWN: a: {}", silent(&url)));
    Ok(())
}

fn a_server_that_freezes(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    // Nobody answers it: the request goes on until its time is over.
    let mut listening = Running::start(sinew(&["sub", "a", "--url", &url]))?;
    listening.until_remark("listening")?;
    let asking = Running::start(sinew(&["request", "a", "x", "--timeout", "3s", "--url", &url]))?;
    listening.until_line(&["x"])?;
    server.freeze()?;
    let began = Instant::now();
    asking.finish()?.expect(75)?;
    // Held up, it would end that much later than its own three seconds: most of that is for a loaded machine.
    assert!(began.elapsed() < ADAPTERS_OWN + Duration::from_secs(2), "{:?}", began.elapsed());
    Ok(())
}

fn a_subscriber_hears_on_after_a_restart(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let mut listening =
        Running::start(sinew(&["sub", "a", "--raw", "--count", "1", "--url", &url]))?;
    listening.until_remark("listening")?;
    server.kill()?;
    listening.until_remark("the broker is gone")?;
    runtime.block_on(server.restart())?;
    listening.until_remark("the broker is back")?;
    run(&["pub", "a", "again", "--url", &url])?.expect(0)?;
    assert_eq!(listening.finish()?.expect(0)?.text(), "again");
    Ok(())
}

fn a_stop_waits_for_the_link(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    for (comes_back, status) in [(true, 0), (false, 69)] {
        let beat = ["beat", "send", "a", "--every", "1s", "--period", "30s", "--url", &url];
        let mut heart = Running::start(sinew(&beat))?;
        heart.until_line(&["beat/30"])?;
        server.kill()?;
        heart.until_remark("was not sent")?;
        heart.signal(Signal::TERM)?;
        if comes_back {
            // Nobody listens: whoever comes back later than the heart would miss it.
            runtime.block_on(server.restart())?;
        }
        let ran = heart.finish()?.expect(status)?;
        assert_eq!(ran.text().contains("stop"), comes_back, "{ran:?}");
    }
    Ok(())
}

fn an_interrupt_ends_without_a_server(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let mut listening = Running::start(sinew(&["sub", "a", "--url", &server.url()]))?;
    listening.until_remark("listening")?;
    server.kill()?;
    listening.until_remark("the broker is gone")?;
    listening.signal(Signal::INT)?;
    listening.finish()?.expect(0)?;
    Ok(())
}
