//! A server that is killed, frozen and restarted under the command.
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
    ("a_subscriber_hears_on_after_a_restart", a_subscriber_hears_on_after_a_restart),
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
    let heart = Running::start(sinew(&beat))?;
    watching.until_line(&["\"to\":\"up\""])?;
    for _ in 0..2 {
        server.kill()?;
        watching.until_line(&[BLIND])?;
        runtime.block_on(server.restart())?;
        watching.until_line(&[SIGHTED])?;
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
