//! No secret reaches what is printed.
use std::io::Write as _;

use crate::{
    common::{Result, run, run_with, sinew},
    nobody,
};

#[test]
fn no_secret_is_ever_printed() -> Result<()> {
    let host = nobody()?.trim_start_matches("nats://").to_owned();
    let urls = [
        format!("nats://ann:hush@{host}"),
        format!("nats://hush@{host}"),
        format!("nats+js://ann:hush@{host}/S"),
        format!("nats://ann:hu%73h@{host}"),
        format!("amqp://ann:hush@{host}/shop"),
        format!("amqps://ann:hu%73h@{host}"),
        "amqp://ann:hush@h,i".to_owned(),
        "amqp://ann:hush@h?auth_mechanism=external".to_owned(),
        "zmq+tcp://ann:hush@h".to_owned(),
        "nats://ann:hush@".to_owned(),
        "nats://ann:hush/x@h".to_owned(),
        "nats://ann:hush?x@h".to_owned(),
        "nats://ann:hush#x@h".to_owned(),
        "nats//ann:hush@h".to_owned(),
        "nats://ann:hush@h:port".to_owned(),
        "nats://ann:hush@h?password=hush".to_owned(),
        "memory://ann:hush@h".to_owned(),
    ];
    for url in &urls {
        for args in [
            &["-vv", "pub", "a", "x", "--url", url][..],
            &["-vv", "beat", "watch", "--url", url],
            &["-vv", "beat", "check", "a", "--wait", "50ms", "--url", url],
        ] {
            let ran = run(args)?;
            assert!(!format!("{}{}", ran.text(), ran.stderr).contains("hush"), "{args:?}: {ran:?}");
            assert_ne!(ran.status, Some(0));
        }
        let mut command = sinew(&["-vv", "sub", "a"]);
        command.env("SINEW_URL", url);
        assert!(!run_with(command, b"")?.stderr.contains("hush"), "{url}");
        let mut command = sinew(&["sub", "--help"]);
        command.env("SINEW_URL", url);
        assert!(!run_with(command, b"")?.text().contains("hush"), "{url}");
    }
    // Where a URL stands in the wrong place, the usage error does not repeat it.
    let url = &urls[0];
    for args in [&["pub", url, "x"][..], &["pub", "a", "b", url], &[url], &["demo", url]] {
        let ran = run(args)?;
        assert!(!ran.stderr.contains("hush"), "{ran:?}");
        assert!(matches!(ran.status, Some(64 | 69)), "{ran:?}");
    }
    Ok(())
}

#[test]
fn a_secret_in_a_file_is_not_repeated_either() -> Result<()> {
    let path = std::env::temp_dir().join(format!("sinew-hush-{}", std::process::id()));
    std::fs::File::create(&path)?.write_all(b"hush\n")?;
    let (file, url) = (path.display().to_string(), nobody()?);
    for login in [
        &["--user", "ann", "--password-file", &file][..],
        &["--token-file", &file],
        &["--creds", &file],
    ] {
        let ran = run(&[&["-vv", "pub", "a", "x", "--url", &url], login].concat())?;
        let told = format!("{}{}", ran.text(), ran.stderr.replace(&file, ""));
        assert!(!told.contains("hush"), "{ran:?}");
        assert!(matches!(ran.status, Some(64 | 69)), "{ran:?}");
    }
    std::fs::remove_file(path)?;
    Ok(())
}
