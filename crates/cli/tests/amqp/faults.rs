//! A broker that is frozen, killed and restarted under the command.
use sinew_testkit::harness::rabbitmq::RabbitMqOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{Result, Running, Signal, objects, run, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_frozen_broker_is_69_in_time", a_frozen_broker_is_69_in_time),
    ("a_killed_broker_is_waited_for_and_heard_again", a_killed_broker_is_waited_for),
];

fn a_frozen_broker_is_69_in_time(runtime: &Runtime) -> Result<()> {
    let broker = runtime.block_on(RabbitMqOptions::new().start())?;
    let (url, shown) = (broker.url(), broker.url().replace("guest:guest@", "***@"));
    broker.freeze()?;
    let ran = run(&["pub", "a", "x", "--url", &url])?.expect(69)?;
    assert!(ran.stderr.starts_with(&format!("error: cannot reach {shown}: ")), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    for args in [
        &["sub", "a", "--for", "200ms"][..],
        &["consume", "q", "--bind", "a", "--for", "200ms"],
        &["request", "a", "x", "--timeout", "200ms"],
    ] {
        let ran = run(&[args, &["--url", &url]].concat())?.expect(69)?;
        assert_eq!(
            ran.stderr,
            format!(
                "error: cannot reach {shown}: no answer within 200ms; is RabbitMQ running? \
                 try: sinew demo (needs no broker)\n"
            ),
            "{args:?}"
        );
    }
    broker.thaw()?;
    run(&["pub", "a", "x", "--url", &url])?.expect(0)?;
    Ok(())
}

fn a_killed_broker_is_waited_for(runtime: &Runtime) -> Result<()> {
    let broker = runtime.block_on(RabbitMqOptions::new().start())?;
    let url = broker.url();
    let start = |args: &[&str]| Running::start(sinew(&[args, &["--url", &url]].concat()));
    let mut listening = start(&["sub", "a", "--raw", "--count", "1"])?;
    listening.until_remark("listening")?;
    let mut consuming = start(&["consume", "q", "--bind", "a", "--raw", "--count", "1"])?;
    consuming.until_remark("consuming")?;
    let mut watching = start(&["beat", "watch", "--json"])?;
    watching.until_remark("watching")?;
    let mut heart = start(&["beat", "send", "a", "--every", "1s", "--period", "1h"])?;
    heart.until_line(&["beat/3600"])?;
    broker.kill()?;
    for one in [&mut listening, &mut consuming] {
        one.until_remark("the broker is gone")?;
    }
    watching.until_line(&["\"monitor\":\"blind\""])?;
    let ran = run(&["pub", "a", "x", "--url", &url])?.expect(69)?;
    assert!(ran.stderr.contains("connection refused; is RabbitMQ running?"), "{ran:?}");
    runtime.block_on(broker.restart())?;
    for one in [&mut listening, &mut consuming] {
        one.until_remark("the broker is back")?;
    }
    watching.until_line(&["\"monitor\":\"sighted\""])?;
    run(&["pub", "a", "again", "--url", &url])?.expect(0)?;
    assert_eq!(listening.finish()?.expect(0)?.text(), "again");
    assert_eq!(consuming.finish()?.expect(0)?.text(), "again");
    // Its stop waits for its own link, if need be.
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
