//! NATS by URL, through both doors, against a real nats-server; skipped by name where there is none.
use std::time::Duration;

use libtest_mimic::Arguments;
use sinew_connect::{ConnectOptions, blocking::Blocking, connect};
use sinew_core::{
    Backend, Error, ErrorKind, Link, Message, Pattern, PublishExt, Receipt, Result, Subject,
    Subscribe, Subscription,
};
use sinew_testkit::{
    harness::nats::{NatsServer, NatsServerOptions},
    trial::trial_on,
};
use tokio::runtime::Runtime;

const SOON: Duration = Duration::from_secs(10);

type Body = fn(&Runtime) -> Result<()>;

fn main() {
    let trials: [(&str, Body); 5] = [
        ("a_url_leads_to_the_server", a_url_leads_to_the_server),
        ("the_blocking_door_leads_there_too", the_blocking_door_leads_there_too),
        ("a_login_may_stand_in_the_url_or_in_the_options", a_login_may_stand_in_either),
        ("a_stream_that_is_not_there_is_not_found", a_stream_that_is_not_there_is_not_found),
        ("a_blocking_call_ends_though_the_server_is_frozen", a_blocking_call_ends),
    ];
    let trials = trials.into_iter().map(|(name, body)| trial_on(name, body)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

fn start(runtime: &Runtime, options: NatsServerOptions) -> Result<(NatsServer, String)> {
    let server = runtime.block_on(options.start())?;
    let url = server.url();
    Ok((server, url))
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "test").with_detail("the intake has ended")
}

fn hello() -> Result<Message> {
    Ok(Message::new(Subject::parse("a.b")?, "hello"))
}

fn a_url_leads_to_the_server(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime, NatsServerOptions::new())?;
    runtime.block_on(async {
        let (one, other) = (connect(&url).await?, connect(&url).await?);
        assert_eq!(one.capabilities().backend, "nats");
        let wanted = Subscription::new(Pattern::parse("a.>")?);
        let mut heard = other.subscriber()?.subscribe(wanted).await?;
        one.publisher()?.send(hello()?).await?;
        assert_eq!(heard.next_item().await.ok_or_else(ended)??.payload, "hello");
        one.link().drain(SOON).await?;
        other.link().drain(SOON).await
    })
}

fn the_blocking_door_leads_there_too(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime, NatsServerOptions::new())?;
    let connection = Blocking::connect(&url, SOON)?;
    let wanted = Subscription::new(Pattern::parse("a.>")?);
    let mut heard = connection.subscribe(wanted, SOON)?;
    assert_eq!(connection.publish(hello()?, SOON)?, Receipt::Buffered);
    connection.flush(SOON)?;
    assert_eq!(heard.next_item(SOON)?.ok_or_else(ended)?.payload, "hello");
    let nobody = Message::new(Subject::parse("nobody")?, "");
    let err = connection.request(nobody, SOON)?.next(SOON).err().ok_or_else(ended)?;
    assert_eq!(err.kind(), ErrorKind::NoResponders);
    connection.drain(SOON)?;
    assert!(heard.next(SOON)?.is_none());
    Ok(())
}

fn a_login_may_stand_in_either(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime, NatsServerOptions::new().with_user("ann", "p@ss/w"))?;
    let kind = |options: ConnectOptions| match Blocking::with_options(options, SOON) {
        Ok(_) => None,
        Err(err) => {
            assert!(!format!("{err} {err:?}").contains("p@ss"), "{err:?}");
            Some(err.kind())
        }
    };
    let plain = ConnectOptions::new(&url)?;
    let inline = ConnectOptions::new(&url.replace("//", "//ann:p%40ss%2Fw@"))?;
    assert_eq!(kind(inline.clone()), None);
    assert_eq!(kind(plain.clone().with_user("ann", "p@ss/w")), None);
    assert_eq!(kind(plain), Some(ErrorKind::Denied));
    // What is set beats what the URL says.
    assert_eq!(kind(inline.with_user("ann", "p@ss")), Some(ErrorKind::Denied));
    Ok(())
}

fn a_stream_that_is_not_there_is_not_found(runtime: &Runtime) -> Result<()> {
    let (_server, url) = start(runtime, NatsServerOptions::new().with_jetstream())?;
    let url = url.replace("nats://", "nats+js://") + "/NOSUCH";
    let err = Blocking::connect(&url, SOON).err().ok_or_else(ended)?;
    assert_eq!(err.kind(), ErrorKind::NotFound);
    Ok(())
}

fn a_blocking_call_ends(runtime: &Runtime) -> Result<()> {
    let (server, url) = start(runtime, NatsServerOptions::new())?;
    let connection = Blocking::connect(&url, SOON)?;
    server.freeze()?;
    let within = Duration::from_millis(100);
    let err = connection.flush(within).err().ok_or_else(ended)?;
    assert_eq!(err.kind(), ErrorKind::Timeout);
    let err = Blocking::connect(&url, within).err().ok_or_else(ended)?;
    assert_eq!(err.kind(), ErrorKind::Timeout);
    server.thaw()?;
    connection.flush(SOON)?;
    connection.drain(SOON)
}
