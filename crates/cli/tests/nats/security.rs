//! Logins and TLS: one clear line when refused, and no secret anywhere.
use std::{fs, path::PathBuf};

use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    broker::{Certificates, SECRET, accepted, refused},
    common::{Result, run},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_password_is_checked_and_never_shown", a_password_is_checked_and_never_shown),
    ("a_token_is_checked_and_never_shown", a_token_is_checked_and_never_shown),
    ("a_server_that_asks_for_tls_gets_it_or_is_told", a_server_that_asks_for_tls),
    ("a_server_that_asks_for_a_certificate_gets_it", a_server_that_asks_for_a_certificate),
];

fn a_password_is_checked_and_never_shown(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().with_user("ann", SECRET).start())?;
    let (folder, url) = (tempfile::tempdir()?, server.url());
    let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
    fs::write(&right, format!("{SECRET}\n"))?;
    fs::write(&wrong, format!("{SECRET}x"))?;
    let publish = ["pub", "a", "x", "--url"];
    let with = |userinfo: &str| url.replace("nats://", &format!("nats://{userinfo}@"));
    accepted(&[&publish[..], &[&with(&format!("ann:{SECRET}"))]].concat())?;
    let file = |path: &PathBuf| path.display().to_string();
    accepted(&[&publish[..], &[&url, "--user", "ann", "--password-file", &file(&right)]].concat())?;
    for args in [
        &[url.as_str()][..],
        &[&with(&format!("ann:{SECRET}x"))],
        &[&with(SECRET)],
        &[&url, "--user", "ann", "--password-file", &file(&wrong)],
        &[&url, "--token-file", &file(&right)],
    ] {
        let ran = refused(&[&publish[..], args].concat())?;
        assert!(ran.stderr.contains("refuses us"), "{args:?}: {ran:?}");
    }
    let check =
        run(&["beat", "check", "a", "--url", &with(&format!("ann:{SECRET}x"))])?.expect(3)?;
    assert!(
        check.text().starts_with("UNKNOWN: a: ") && !check.text().contains(SECRET),
        "{check:?}"
    );
    Ok(())
}

fn a_token_is_checked_and_never_shown(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().with_token(SECRET).start())?;
    let (folder, url) = (tempfile::tempdir()?, server.url());
    let file = folder.path().join("token");
    fs::write(&file, SECRET)?;
    let with = |token: &str| url.replace("nats://", &format!("nats://{token}@"));
    accepted(&["pub", "a", "x", "--url", &with(SECRET)])?;
    accepted(&["pub", "a", "x", "--url", &url, "--token-file", &file.display().to_string()])?;
    refused(&["pub", "a", "x", "--url", &with(&format!("{SECRET}x"))])?;
    refused(&["pub", "a", "x", "--url", &url])?;
    Ok(())
}

fn a_server_that_asks_for_tls(runtime: &Runtime) -> Result<()> {
    let files = Certificates::new()?;
    let server =
        NatsServerOptions::new().with_tls(&files.path("server.pem"), &files.path("server.key"));
    let server = runtime.block_on(server.start())?;
    let url = server.url().replace("tls://", "nats://");
    let publish = ["pub", "a", "x", "--url", &url];
    accepted(&[&publish[..], &["--tls-ca", &files.text("ca.pem")]].concat())?;
    let in_url = format!("{url}?tls_ca={}", files.text("ca.pem"));
    accepted(&["pub", "a", "x", "--url", &in_url])?;
    // Without a word of TLS, with the platform's authorities, with somebody else's.
    for tls in [&[][..], &["--tls"], &["--tls-ca", &files.text("stranger.pem")]] {
        let ran = refused(&[&publish[..], tls].concat())?;
        assert!(ran.stderr.contains("certificate") && ran.stderr.contains("--tls-ca"), "{ran:?}");
    }
    let ran = run(&[&publish[..], &["--tls-ca", "/no/such.pem"]].concat())?.expect(74)?;
    assert_eq!(ran.stderr, "error: cannot read /no/such.pem: no such file or directory\n");
    Ok(())
}

fn a_server_that_asks_for_a_certificate(runtime: &Runtime) -> Result<()> {
    let files = Certificates::new()?;
    let server = NatsServerOptions::new().with_mutual_tls(
        &files.path("server.pem"),
        &files.path("server.key"),
        &files.path("ca.pem"),
    );
    let server = runtime.block_on(server.start())?;
    let url = server.url().replace("tls://", "nats://");
    let publish = ["pub", "a", "x", "--url", &url, "--tls-ca", &files.text("ca.pem")];
    refused(&publish)?;
    let (cert, key) = (files.text("client.pem"), files.text("client.key"));
    accepted(&[&publish[..], &["--tls-cert", &cert, "--tls-key", &key]].concat())?;
    Ok(())
}
