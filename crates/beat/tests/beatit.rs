//! Against the original: beatit from PyPI, over nats-py and a real nats-server. What is missing is skipped by name.
use std::{env, fmt::Display, net::Ipv4Addr, process::Stdio, thread, time::Duration};

use libtest_mimic::Arguments;
use sinew_adapter_nats::{JetStreamOptions, NatsOptions, async_nats::jetstream::stream};
use sinew_beat::{
    Beat, BlockingHeart, Heart, HeartOptions, MonitorEvent, MonitorOptions, Patience, Pulse, State,
    Watch, WatchOptions,
};
use sinew_core::{Error, ErrorKind, Publish as _, Result};
use sinew_testkit::harness::{
    Proxy, find_python,
    nats::{NatsServer, NatsServerOptions},
};
use sinew_testkit::trial::trial_within;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::oneshot,
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    let trials = vec![
        trial_within(
            "numbers_are_printed_as_python_prints_them",
            DEADLINE,
            numbers_are_printed_as_python_prints_them,
        ),
        trial_within("a_beatit_heart_is_watched", DEADLINE, a_beatit_heart_is_watched),
        trial_within(
            "a_beatit_heart_that_vanishes_is_down",
            DEADLINE,
            a_beatit_heart_that_vanishes_is_down,
        ),
        trial_within(
            "a_rust_heart_is_read_as_beatit_s_own_byte_for_byte",
            DEADLINE,
            a_rust_heart_is_read_as_beatit_s_own_byte_for_byte,
        ),
        trial_within(
            "the_sessions_of_beatit_s_readme_are_the_same_in_both_languages",
            DEADLINE,
            the_sessions_of_beatit_s_readme_are_the_same_in_both_languages,
        ),
        trial_within(
            "a_server_that_dies_blinds_the_watch",
            DEADLINE,
            a_server_that_dies_blinds_the_watch,
        ),
        trial_within(
            "what_a_stream_kept_meanwhile_wakes_nobody",
            DEADLINE,
            what_a_stream_kept_meanwhile_wakes_nobody,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// A run of `original.py`; killed when it is dropped.
struct Python {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Python {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(find_python()?)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/original.py"))
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| failed("no stdout"))?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    async fn line(&mut self) -> Result<Option<String>> {
        self.lines.next_line().await.map_err(failed)
    }

    /// The lines that are left, once it has ended well.
    async fn finish(mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await? {
            lines.push(line);
        }
        let status = self.child.wait().await.map_err(failed)?;
        if status.success() { Ok(lines) } else { Err(failed(status)) }
    }
}

fn failed(what: impl Display) -> Error {
    Error::new(ErrorKind::Internal, "run original.py").with_detail(what.to_string())
}

/// Records what `play` publishes on `server`, as a Python subscriber sees it.
async fn recorded<F>(
    server: &NatsServer,
    count: usize,
    play: impl FnOnce() -> F,
) -> Result<Vec<String>>
where
    F: Future<Output = Result<()>>,
{
    let mut recorder = Python::start(&["record", &server.url(), &count.to_string()])?;
    let ready = recorder.line().await?;
    assert_eq!(ready.as_deref(), Some("ready"));
    play().await?;
    recorder.finish().await
}

async fn numbers_are_printed_as_python_prints_them() -> Result<()> {
    let same = [
        "0",
        "1",
        "5",
        "60",
        "86400",
        "1000000000",
        "0.5",
        "0.1",
        "0.25",
        "1.25",
        "0.001",
        "0.0001",
        "0.00012",
        "0.00001",
        "0.0000123",
        "0.000000001",
        "0.000099999",
        "59.999",
        "86400.001",
        "3.141592653",
        "999999.999999999",
        "123456.789",
    ];
    let python = Python::start(&[&["print"], &same[..]].concat())?.finish().await?;
    assert_eq!(python.len(), same.len());
    for line in python {
        let payload = line.strip_prefix("heartbeat.a ").unwrap_or_default();
        let beat = Beat::parse(payload.as_bytes()).map_err(failed)?;
        assert_eq!(beat.to_string(), payload);
    }
    // A whole float means the same as the int, and is printed as that.
    for line in Python::start(&["print", "5.0", "1e3", "0.0", "1e9"])?.finish().await? {
        let payload = line.strip_prefix("heartbeat.a ").unwrap_or_default();
        let beat = Beat::parse(payload.as_bytes()).map_err(failed)?;
        assert_eq!(Some(beat.to_string().as_str()), payload.strip_suffix(".0"));
    }
    Ok(())
}

async fn next(watch: &mut Watch) -> Result<MonitorEvent> {
    watch.next().await.ok_or_else(|| failed("the watch has ended"))?
}

/// The states of `process`, up to the last of these.
async fn states_until(watch: &mut Watch, process: &str, last: State) -> Result<Vec<State>> {
    let mut states = Vec::new();
    while states.last() != Some(&last) {
        match next(watch).await? {
            MonitorEvent::Transition(it) if it.process.as_str() == process => states.push(it.to),
            MonitorEvent::Transition(_) => {}
            other => return Err(failed(format!("unexpected: {other:?}"))),
        }
    }
    Ok(states)
}

async fn a_beatit_heart_is_watched() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let nats = NatsOptions::new(server.url()).connect().await?;
    let mut watch = Watch::start(&nats, WatchOptions::default()).await?;
    let process = "my.process.identifier";
    let calls = ["start/60", "beat/5", "beat/5", "degraded/5", "wait/1.1", "beat/5", "stop"];
    let python = Python::start(&[&["play", &server.url(), process], &calls[..]].concat())?;
    let (states, _) =
        tokio::try_join!(states_until(&mut watch, process, State::Stopped), python.finish())?;
    let expected = [State::Starting, State::Up, State::Degraded, State::Up, State::Stopped];
    assert_eq!(states, expected);
    assert_eq!(watch.table().counts().malformed, 0);
    // The second of the two beats was suppressed by beatit itself.
    assert_eq!(watch.table().counts().beats, 5);
    Ok(())
}

async fn a_beatit_heart_that_vanishes_is_down() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let nats = NatsOptions::new(server.url()).connect().await?;
    let mut watch = Watch::start(&nats, WatchOptions::default()).await?;
    let calls = ["play", &server.url(), "a", "beat/1e999", "wait/1.1", "beat/0.1"];
    Python::start(&calls)?.finish().await?;
    // beatit sends that as `beat/inf`, which promises nothing: it is told, and is no beat.
    let first = next(&mut watch).await?;
    assert!(matches!(first, MonitorEvent::Malformed { .. }), "{first:?}");
    let states = states_until(&mut watch, "a", State::Down).await?;
    assert_eq!(states, [State::Up, State::Late, State::Down]);
    let status = watch.table().process("a").ok_or_else(|| failed("not known"))?;
    let silence = status.last_seen.map(|seen| status.since.since(seen));
    assert_eq!(silence, Some(Duration::from_millis(1300)));
    Ok(())
}

async fn a_rust_heart_is_read_as_beatit_s_own_byte_for_byte() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let process = "eu.my-process_7";
    let sent = 6;

    let calls =
        ["start/30", "start/0.5", "beat/5", "beat/5", "degraded/5", "degraded/5", "stop", "stop"];
    let original = recorded(&server, sent, || async {
        Python::start(&[&["play", &server.url(), process], &calls[..]].concat())?
            .finish()
            .await
            .map(drop)
    })
    .await?;

    let ours = recorded(&server, sent, || async {
        let nats = NatsOptions::new(server.url()).connect().await?;
        let options = HeartOptions::default().with_warmup(Duration::from_secs(30));
        let heart: Heart<_> = options.build(nats, process)?;
        heart.start().await?;
        heart.send(Beat::Start { warmup: Duration::from_millis(500) }).await?;
        assert_eq!([heart.beat().await?, heart.beat().await?], [Pulse::Sent, Pulse::Suppressed]);
        let degraded = [heart.degraded().await?, heart.degraded().await?];
        assert_eq!(degraded, [Pulse::Sent, Pulse::Suppressed]);
        assert_eq!([heart.stop().await?, heart.stop().await?], [Pulse::Sent; 2]);
        Ok(())
    })
    .await?;

    assert_eq!(original.len(), sent);
    assert_eq!(ours, original);
    Ok(())
}

async fn the_sessions_of_beatit_s_readme_are_the_same_in_both_languages() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let process = "my.process.identifier";
    // Two sessions of four beats, and the start of the third.
    let sent = 9;
    let original = recorded(&server, sent, || async {
        Python::start(&["readme", &server.url()])?.finish().await.map(drop)
    })
    .await?;

    let ours = recorded(&server, sent, || async {
        let nats = NatsOptions::new(server.url()).connect().await?;
        let publisher = nats.clone();
        let blocking = move || -> Result<Vec<Pulse>> {
            let heart = BlockingHeart::new(publisher, process)?;
            let mut said = vec![heart.start()?, heart.beat()?, heart.beat()?];
            said.extend([heart.degraded()?, heart.degraded()?, heart.stop()?]);
            Ok(said)
        };
        // A thread of no runtime, as the code is that such a heart is for.
        let (tell, told) = oneshot::channel();
        thread::spawn(move || tell.send(blocking()));
        let said = told.await.map_err(failed)??;
        let [sent, suppressed] = [Pulse::Sent, Pulse::Suppressed];
        assert_eq!(said, [sent, sent, suppressed, sent, suppressed, sent]);

        let heart = Heart::new(nats.clone(), process)?;
        heart.start().await?;
        assert_eq!([heart.beat().await?, heart.beat().await?], [sent, suppressed]);
        assert_eq!([heart.degraded().await?, heart.degraded().await?], [sent, suppressed]);
        heart.stop().await?;

        let options = HeartOptions::default().with_warmup(Duration::from_secs(30));
        options.build(nats.clone(), process)?.start().await?;
        nats.flush().await
    })
    .await?;

    assert_eq!(original.len(), sent);
    assert_eq!(ours, original);
    Ok(())
}

async fn a_server_that_dies_blinds_the_watch() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let nats = NatsOptions::new(server.url()).connect().await?;
    let patience = MonitorOptions::default()
        .with_patience(Patience::default().with_grace(Duration::from_secs(3)));
    let mut watch = Watch::start(&nats, WatchOptions::default().with_monitor(patience)).await?;
    // Down after 3 s of silence, which the server's absence is not.
    let heart = Heart::new(nats.clone(), "a")?;
    heart.send(Beat::Beat { period: Duration::ZERO }).await?;
    states_until(&mut watch, "a", State::Up).await?;
    server.kill()?;
    let blind = next(&mut watch).await?;
    let MonitorEvent::Blind { .. } = blind else { return Err(failed(format!("{blind:?}"))) };
    // Nothing is told for longer than any deadline of `a`.
    let quiet = timeout(Duration::from_secs(4), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    server.restart().await?;
    let sighted = next(&mut watch).await?;
    let MonitorEvent::Sighted { at: sighted, .. } = sighted else {
        return Err(failed(format!("{sighted:?}")));
    };
    states_until(&mut watch, "a", State::Down).await?;
    let down = watch.table().process("a").ok_or_else(|| failed("not known"))?;
    assert_eq!(down.since.since(sighted), Duration::from_secs(3));
    Ok(())
}

async fn what_a_stream_kept_meanwhile_wakes_nobody() -> Result<()> {
    let server = NatsServerOptions::new().with_jetstream().start().await?;
    let config =
        stream::Config { subjects: vec!["heartbeat.>".to_owned()], ..stream::Config::default() };
    let near = JetStreamOptions::new("BEATS").with_create(config);
    let near = near.connect(NatsOptions::new(server.url())).await?;
    let proxy = Proxy::start((Ipv4Addr::LOCALHOST, server.port()).into()).await.map_err(failed)?;
    let far = NatsOptions::new(format!("nats://{}", proxy.address()));
    let far = JetStreamOptions::new("BEATS").connect(far).await?;
    // What is said holds for not a moment longer.
    let patience = Patience::default().with_grace(Duration::ZERO);
    let monitor = MonitorOptions::default().with_patience(patience);
    let mut watch = Watch::start(&far, WatchOptions::default().with_monitor(monitor)).await?;
    // How old something is shows by the fastest that came before it, and the first one may have waited for its consumer.
    for earlier in ["b", "c", "d", "e"] {
        let beat = Beat::Beat { period: Duration::from_secs(60) };
        Heart::new(near.clone(), earlier)?.send(beat).await?;
        states_until(&mut watch, earlier, State::Up).await?;
    }
    let heart = Heart::new(near, "a")?;
    heart.send(Beat::Beat { period: Duration::from_secs(2) }).await?;
    states_until(&mut watch, "a", State::Down).await?;
    proxy.cut();
    let blind = next(&mut watch).await?;
    assert!(matches!(blind, MonitorEvent::Blind { .. }), "{blind:?}");
    for _ in 0..3 {
        heart.send(Beat::Start { warmup: Duration::ZERO }).await?;
    }
    proxy.heal();
    let sighted = next(&mut watch).await?;
    assert!(matches!(sighted, MonitorEvent::Sighted { .. }), "{sighted:?}");
    // It comes behind what was kept.
    heart.stop().await?;
    assert_eq!(states_until(&mut watch, "a", State::Stopped).await?, [State::Stopped]);
    assert_eq!(watch.table().counts().stale, 3);
    Ok(())
}
