//! Against the libraries of Standard Webhooks: the receiver of the README. What is missing is skipped by name.
use std::{
    fmt::Display,
    process::Stdio,
    time::{Duration, SystemTime},
};

use libtest_mimic::Arguments;
use sinew_adapter_memory::Memory;
use sinew_beat::{
    AlertOptions, Alerts, Monitor, MonitorOptions, Notification, Timestamp, Watch, WatchOptions,
    WebhookCounts, WebhookOptions, WebhookOutput, WebhookSecret,
};
use sinew_core::{Error, ErrorKind, Result};
use sinew_testkit::harness::find_python;
use sinew_testkit::trial::trial_within;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

const DEADLINE: Duration = Duration::from_secs(60);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn main() {
    let trials = vec![
        trial_within("the_receiver_of_the_readme_takes_what_is_signed", DEADLINE, || async {
            told_by_it(&[SECRET]).await
        }),
        trial_within("one_of_two_secrets_is_enough", DEADLINE, || async {
            told_by_it(&[OTHER, SECRET]).await
        }),
        trial_within("a_wrong_secret_is_refused", DEADLINE, a_wrong_secret_is_refused),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// The README's receiver; killed when it is dropped.
struct Receiver {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: String,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let readme = include_str!("../README.md");
        let (_, program) = readme.split_once("```python\n").ok_or_else(|| failed("no program"))?;
        let (program, _) = program.split_once("```").ok_or_else(|| failed("no end"))?;
        let mut child = Command::new(find_python()?)
            .args(["-c", &program.replace("9000", "0")])
            .env("WEBHOOK_SECRET", SECRET)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| failed("no stdout"))?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await.map_err(failed)?.unwrap_or_default();
        let port = first.strip_prefix("listening on port ").ok_or_else(|| failed("no port"))?;
        let port = port.to_owned();
        Ok(Self { _child: child, lines, port })
    }

    async fn send(&self, secrets: &[&str]) -> Result<WebhookCounts> {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let mut options = WebhookOptions::new(url);
        for secret in secrets {
            options = options.with_secret(WebhookSecret::parse(secret)?);
        }
        let watch = Watch::start(&Memory::new(), WatchOptions::default()).await?;
        let output = WebhookOutput::start(options, watch.clock()).await?;
        output.send(blind()?)?;
        Ok(output.finish(DEADLINE).await)
    }
}

/// What a monitor without a link has to tell.
fn blind() -> Result<Notification> {
    let (mut told, mut sent) = (Vec::new(), Vec::new());
    Monitor::new(MonitorOptions::default()).link_down(Timestamp::START, &mut told);
    let mut alerts = Alerts::new(AlertOptions::default(), SystemTime::UNIX_EPOCH);
    told.iter().for_each(|event| alerts.handle(event, Timestamp::START, &mut sent));
    sent.pop().ok_or_else(|| failed("nothing to tell"))
}

fn failed(what: impl Display) -> Error {
    Error::new(ErrorKind::Internal, "run the receiver").with_detail(what.to_string())
}

async fn told_by_it(secrets: &[&str]) -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let counts = receiver.send(secrets).await?;
    assert_eq!((counts.sent, counts.retried, counts.given_up), (1, 0, 0));
    let said = receiver.lines.next_line().await.map_err(failed)?;
    assert_eq!(said.as_deref(), Some("the monitor is blind"));
    Ok(())
}

async fn a_wrong_secret_is_refused() -> Result<()> {
    let receiver = Receiver::start().await?;
    for secrets in [&[OTHER][..], &[]] {
        let counts = receiver.send(secrets).await?;
        assert_eq!((counts.sent, counts.retried, counts.given_up), (0, 0, 1));
    }
    Ok(())
}
