//! Logins, TLS, virtual hosts and queues: one clear line when refused, and no secret anywhere.
use std::fs;

use sinew_testkit::harness::rabbitmq::{RabbitMq, RabbitMqOptions};
use tokio::runtime::Runtime;

use crate::{
    Body, SharedBody,
    broker::{Certificates, SECRET, accepted, refused},
    common::{Result, Running, Signal, run, sinew},
    messages::declare,
};

pub(crate) const SHARED: &[(&str, SharedBody)] = &[
    ("a_password_is_checked_and_never_shown", a_password_is_checked_and_never_shown),
    ("a_virtual_host_that_is_not_there_is_69", a_virtual_host_that_is_not_there_is_69),
    ("a_queue_of_another_lifetime_is_69", a_queue_of_another_lifetime_is_69),
    ("what_the_backend_lacks_is_64", what_the_backend_lacks_is_64),
    (
        "a_watch_that_may_not_publish_says_so_and_hears_itself_once_it_may",
        a_watch_that_may_not_publish,
    ),
];

pub(crate) const TRIALS: &[(&str, Body)] =
    &[("a_certificate_is_checked_and_is_a_login", a_certificate_is_checked_and_is_a_login)];

fn a_password_is_checked_and_never_shown(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    runtime.block_on(async {
        broker.ctl(&["add_user", "ann", SECRET]).await?;
        broker.ctl(&["set_permissions", "ann", ".*", ".*", ".*"]).await
    })?;
    let bare = broker.url().replace("guest:guest@", "");
    let with = |userinfo: &str| bare.replace("://", &format!("://{userinfo}@"));
    let folder = tempfile::tempdir()?;
    let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
    fs::write(&right, format!("{SECRET}\n"))?;
    fs::write(&wrong, format!("{SECRET}x"))?;
    let publish = ["pub", "a", "x", "--url"];
    accepted(&[&publish[..], &[&with(&format!("ann:{SECRET}"))]].concat())?;
    let [right, wrong] = [right, wrong].map(|path| path.display().to_string());
    let by_file =
        |path| [&publish[..], &[&bare, "--user", "ann", "--password-file", path]].concat();
    accepted(&by_file(&right))?;
    for args in [
        [&publish[..], &[&with(&format!("ann:{SECRET}x"))]].concat(),
        [&publish[..], &[&with("ann")]].concat(),
        by_file(&wrong),
    ] {
        let ran = refused(&args)?;
        assert!(ran.stderr.contains("refuses us: the broker refuses the login"), "{ran:?}");
        assert!(ran.stderr.ends_with("; check --user and --password-file\n"), "{ran:?}");
    }
    let check =
        run(&["beat", "check", "a", "--url", &with(&format!("ann:{SECRET}x"))])?.expect(3)?;
    assert!(check.text().starts_with("UNKNOWN: a: amqp://ann:***@"), "{check:?}");
    Ok(())
}

fn a_virtual_host_that_is_not_there_is_69(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let ran = refused(&["sub", "a", "--url", &broker.url_of("no such")])?;
    assert!(ran.stderr.contains("vhost no such not found"), "{ran:?}");
    Ok(())
}

fn a_queue_of_another_lifetime_is_69(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let consume = ["consume", "lifetimes", "--bind", "lifetimes", "--url", &broker.url()];
    declare(&consume)?;
    let ran = refused(&[&consume[..], &["--transient"]].concat())?;
    assert!(ran.stderr.contains("`lifetimes`: exists with other properties: "), "{ran:?}");
    assert!(ran.stderr.contains("auto_delete"), "{ran:?}");
    // Nothing is broken by it.
    declare(&consume)?;
    Ok(())
}

fn what_the_backend_lacks_is_64(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url();
    for args in [
        &["sub", "a", "--from", "first"][..],
        // The path names a virtual host, and no log.
        &["sub", "a", "--from", "7"],
        &["consume", "q", "--bind", "a", "--from", "last"],
        &["consume", "amq.q", "--bind", "a"],
    ] {
        let ran = run(&[args, &["--url", &format!("{url}//")]].concat())?.expect(64)?;
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {ran:?}");
    }
    Ok(())
}

fn a_certificate_is_checked_and_is_a_login(runtime: &Runtime) -> Result<()> {
    let files = Certificates::new()?;
    let broker = RabbitMqOptions::new().with_mutual_tls(
        &files.path("server.pem"),
        &files.path("server.key"),
        &files.path("ca.pem"),
    );
    let broker = runtime.block_on(broker.start())?;
    runtime.block_on(async {
        broker.ctl(&["add_user", "client", SECRET]).await?;
        broker.ctl(&["set_permissions", "client", ".*", ".*", ".*"]).await
    })?;
    let url = broker.tls_url().ok_or("no TLS")?.replace("guest:guest@", "");
    let external = format!("{url}?auth_mechanism=external");
    let (cert, key) = (files.text("client.pem"), files.text("client.key"));
    let (ca, stranger) = (files.text("ca.pem"), files.text("stranger.pem"));
    let shown = ["--tls-cert", &cert, "--tls-key", &key];
    let (trusting, deceived) = (["--tls-ca", &ca], ["--tls-ca", &stranger]);
    let publish = ["pub", "a", "x", "--url"];
    for url in [&url, &external] {
        accepted(&[&publish[..], &[url], &trusting, &shown].concat())?;
    }
    for more in [&deceived[..], &[]] {
        let ran = refused(&[&publish[..], &[&url], more, &shown].concat())?;
        assert!(ran.stderr.contains("certificate") && ran.stderr.contains("--tls-ca"), "{ran:?}");
    }
    // Without a certificate of ours it hangs up, and what it says of that may be lost with the connection.
    refused(&[&publish[..], &[&url], &trusting].concat())?;
    let ran = run(&[&publish[..], &[&external]].concat())?.expect(64)?;
    assert!(ran.stderr.contains("client certificate"), "{ran:?}");
    Ok(())
}

fn a_watch_that_may_not_publish(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    runtime.block_on(async {
        broker.ctl(&["add_user", "eye", SECRET]).await?;
        // It may write to its queue, which binding it asks for, and not to the exchange.
        broker.ctl(&["set_permissions", "eye", ".*", "^(?!amq\\.topic).*", ".*"]).await
    })?;
    let url = broker.url().replace("guest:guest@", &format!("eye:{SECRET}@"));
    let watch = ["beat", "watch", "--json", "--url", &url];
    let mut watching = Running::start(sinew(&watch))?;
    watching.until_remark("watching")?;
    run(&["beat", "send", "eu.eye", "--count", "1", "--url", &broker.url()])?.expect(0)?;
    watching.until_line(&["\"process\":\"eu.eye\"", "\"to\":\"starting\""])?;
    // Once it may, it hears itself, and need not be started again.
    runtime.block_on(broker.ctl(&["set_permissions", "eye", ".*", ".*", ".*"]))?;
    watching.until_remark("its own heart is heard now")?;
    watching.signal(Signal::TERM)?;
    let ran = watching.finish()?.expect(0)?;
    assert_eq!(ran.stderr.matches("no heart of its own").count(), 1, "{ran:?}");
    assert!(!ran.stderr.contains(SECRET), "{ran:?}");
    Ok(())
}
