//! What befalls a fleet at night: a server that freezes or is restarted, a watch that is stopped, a heart that is
//! killed. Over a real nats-server; without one it is skipped by name.
use std::{
    env,
    fmt::Display,
    fs,
    io::{self, Write as _},
    path::Path,
    process::Command,
    time::Duration,
};

use libtest_mimic::Arguments;
use sinew_adapter_nats::{Nats, NatsOptions};
use sinew_beat::{
    BlindCause, Health, Heart, HeartOptions, MonitorEvent, Progress, State, Timestamp, Watch,
    WatchOptions,
};
use sinew_core::{AnyPublisher, BoxFuture, Error, ErrorKind, Result};
use sinew_testkit::harness::{
    Recipe, Server,
    nats::{NatsServer, NatsServerOptions},
};
use sinew_testkit::trial::trial_within;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::JoinSet,
    time::{Instant, interval, timeout_at},
};

/// What every heart here promises: it is late after 3 s, and down after 7 s.
const PERIOD: Duration = Duration::from_secs(2);
const DOWN_AFTER: Duration = Duration::from_secs(7);
/// How late a deadline may be told: 2 x (the watch's own interval + 0.5 s), and what a busy machine takes.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// By then whoever is wronged by what happened before has been told so.
const AFTERMATH: Duration = Duration::from_secs(12);
const FLEET: usize = 20;
const DEADLINE: Duration = Duration::from_secs(120);

fn main() {
    let args: Vec<String> = env::args().collect();
    if let [_, role, url, port] = &args[..]
        && let Some(role) = role.strip_prefix(CHILD)
    {
        if let Err(err) = run(child(role, url, port)) {
            let _ = writeln!(io::stdout(), "failed: {err:?}");
        }
        return;
    }
    let trials = vec![
        trial_within("a_frozen_server_blinds_once_and_nobody_is_down", DEADLINE, frozen_server),
        trial_within("a_restarted_server_raises_no_alarm", DEADLINE, restarted_server),
        trial_within(
            "a_watch_that_was_stopped_says_so_and_nobody_is_down",
            DEADLINE,
            stopped_watch,
        ),
        trial_within("a_heart_that_is_killed_is_down_at_its_deadline", DEADLINE, killed_heart),
        trial_within("a_watch_that_may_not_publish_is_denied_at_its_start", DEADLINE, denied_watch),
    ];
    let mut arguments = Arguments::from_args();
    // They wait most of the time.
    arguments.test_threads = arguments.test_threads.or(Some(trials.len()));
    libtest_mimic::run(&arguments, trials).exit()
}

fn run(scene: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(scene)
}

fn failed(what: impl Display) -> Error {
    Error::new(ErrorKind::Internal, "play a scene").with_detail(what.to_string())
}

async fn connect(url: &str) -> Result<Nats> {
    NatsOptions::new(url).connect().await
}

/// A watch with a heart of its own.
async fn watch(url: &str, name: &str) -> Result<Watch> {
    let nats = connect(url).await?;
    let heart =
        HeartOptions::default().with_period(PERIOD).build(AnyPublisher::new(nats.clone()), name)?;
    Watch::start(&nats, WatchOptions::default().with_heart(heart)).await
}

/// Beats for ever, for work that goes on for ever.
async fn beat(url: String, name: String) -> Result<()> {
    let heart: Heart<_> =
        HeartOptions::default().with_period(PERIOD).build(connect(&url).await?, &name)?;
    let progress = Progress::new();
    let work = async {
        let mut turns = interval(Duration::from_millis(100));
        loop {
            turns.tick().await;
            progress.tick();
        }
    };
    heart.run(&progress, || Health::Up, work).await.1.map(drop)
}

/// Hearts, each over a connection of its own, once the watch knows all of them as up.
async fn fleet(size: usize, url: &str, watch: &mut Watch) -> Result<JoinSet<Result<()>>> {
    let mut hearts = JoinSet::new();
    for nth in 0..size {
        hearts.spawn(beat(url.to_owned(), format!("heart.{nth}")));
    }
    let mut up = 0;
    while up < size {
        if let MonitorEvent::Transition(it) = next(watch).await?
            && it.process.as_str().starts_with("heart.")
        {
            up += usize::from(it.to == State::Up);
        }
    }
    Ok(hearts)
}

async fn next(watch: &mut Watch) -> Result<MonitorEvent> {
    watch.next().await.ok_or_else(|| failed("the watch has ended"))?
}

/// All that is told in this time: for as long as nothing shall happen, or something lasts.
async fn told_for(watch: &mut Watch, time: Duration) -> Result<Vec<MonitorEvent>> {
    let end = Instant::now() + time;
    let mut told = Vec::new();
    while let Ok(event) = timeout_at(end, next(watch)).await {
        told.push(event?);
    }
    Ok(told)
}

/// The next thing told, which is this one.
async fn sighted(watch: &mut Watch) -> Result<Timestamp> {
    match next(watch).await? {
        MonitorEvent::Sighted { at, .. } => Ok(at),
        other => Err(failed(format!("not sighted: {other:?}"))),
    }
}

/// Nothing is told for longer than it takes to be down, and all of the fleet were heard after `since`.
async fn all_is_well(watch: &mut Watch, size: usize, since: Timestamp) -> Result<()> {
    let told = told_for(watch, AFTERMATH).await?;
    assert!(told.is_empty(), "{told:#?}");
    let fleet = watch.table().processes();
    let well =
        |it: &&sinew_beat::ProcessStatus| it.state == State::Up && it.last_seen > Some(since);
    assert_eq!(fleet.iter().filter(well).count(), size + 1, "{fleet:#?}");
    Ok(())
}

async fn frozen_server() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let mut watch = watch(&server.url(), "monitor").await?;
    let _hearts = fleet(FLEET, &server.url(), &mut watch).await?;
    let frozen = watch.clock().now();
    server.freeze()?;
    let told = told_for(&mut watch, Duration::from_secs(30)).await?;
    let [MonitorEvent::Blind { cause: BlindCause::Silent, at, .. }] = told[..] else {
        return Err(failed(format!("not one blindness: {told:#?}")));
    };
    assert!(at < frozen.after(Duration::from_secs(1)), "{at:?} {frozen:?}");
    server.thaw()?;
    let since = sighted(&mut watch).await?;
    all_is_well(&mut watch, FLEET, since).await
}

async fn restarted_server() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let mut watch = watch(&server.url(), "monitor").await?;
    let _hearts = fleet(FLEET, &server.url(), &mut watch).await?;
    server.kill()?;
    let told = told_for(&mut watch, AFTERMATH).await?;
    assert!(
        matches!(told[..], [MonitorEvent::Blind { cause: BlindCause::LinkDown, .. }]),
        "{told:#?}"
    );
    server.restart().await?;
    let since = sighted(&mut watch).await?;
    all_is_well(&mut watch, FLEET, since).await
}

async fn stopped_watch() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let mut watch = watch(&server.url(), "monitor").await?;
    let _hearts = fleet(3, &server.url(), &mut watch).await?;
    let watcher = start("watch", &server).await?;
    until(&mut watch, "watch", State::Up).await?;
    watcher.freeze()?;
    // Its own heart is what others know of it.
    until(&mut watch, "watch", State::Down).await?;
    watcher.thaw()?;
    let (up, _) = until(&mut watch, "watch", State::Up).await?;
    all_is_well(&mut watch, 4, up).await?;

    let log = fs::read_to_string(watcher.folder().join("server.log")).map_err(failed)?;
    let count = |what| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("Stalled"), count("to: Late"), count("to: Down")), (1, 0, 0), "{log}");
    assert_eq!(count("to: Up"), 5, "{log}");
    Ok(())
}

async fn killed_heart() -> Result<()> {
    let server = NatsServerOptions::new().start().await?;
    let mut watch = watch(&server.url(), "monitor").await?;
    let victim = start("heart", &server).await?;
    until(&mut watch, "heart", State::Up).await?;
    victim.kill()?;
    let killed = watch.clock().now();
    let (down, told) = until(&mut watch, "heart", State::Down).await?;
    let seen = watch.table().process("heart").and_then(|it| it.last_seen);
    let seen = seen.ok_or_else(|| failed("never seen"))?;
    assert!(seen <= killed && killed.since(seen) < 2 * PERIOD, "{seen:?} {killed:?}");
    assert_eq!(down.since(seen), DOWN_AFTER);
    assert!(told.since(down) < TOLD_WITHIN, "{down:?} {told:?}");
    Ok(())
}

async fn denied_watch() -> Result<()> {
    let users = r#"authorization { users: [ { user: me, password: secret, permissions: {
        publish: { deny: "heartbeat.>" } } } ] }"#;
    let server = NatsServerOptions::new().with_config(users).start().await?;
    let url = server.url().replace("nats://", "nats://me:secret@");
    match watch(&url, "monitor").await {
        Err(err) if err.kind() == ErrorKind::Denied => Ok(()),
        other => Err(failed(format!("not denied: {other:?}"))),
    }
}

/// Since when `process` is so, and when that was told.
async fn until(watch: &mut Watch, process: &str, state: State) -> Result<(Timestamp, Timestamp)> {
    loop {
        if let MonitorEvent::Transition(it) = next(watch).await?
            && it.process.as_str() == process
            && it.to == state
        {
            return Ok((it.at, watch.clock().now()));
        }
    }
}

/// What this program is asked to be by its own tests.
const CHILD: &str = "child-";

/// A process of its own that beats as `role`.
async fn start(role: &'static str, server: &NatsServer) -> Result<Server> {
    Server::start(Child { role, url: server.url() }).await
}

struct Child {
    role: &'static str,
    url: String,
}

impl Recipe for Child {
    fn name(&self) -> &str {
        self.role
    }

    fn command(&self, _: &Path, port: u16) -> Result<Command> {
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        command.arg(format!("{CHILD}{}", self.role)).arg(&self.url).arg(port.to_string());
        Ok(command)
    }

    fn ready<'a>(&'a self, _: &'a Path, port: u16) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { TcpStream::connect(("127.0.0.1", port)).await.map(drop) })
    }
}

/// Runs until it is killed; with its port open it is ready.
async fn child(role: &str, url: &str, port: &str) -> Result<()> {
    let open = async || {
        let port = port.parse::<u16>().map_err(failed)?;
        TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)
    };
    if role != "watch" {
        let _open = open().await?;
        return beat(url.to_owned(), role.to_owned()).await;
    }
    let mut watch = watch(url, role).await?;
    let _open = open().await?;
    loop {
        let event = next(&mut watch).await?;
        writeln!(io::stdout(), "{event:?}").map_err(failed)?;
    }
}
