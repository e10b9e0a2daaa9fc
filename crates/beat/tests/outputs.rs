//! Where alerts and transitions come from and go to: a watch, real programs, and another backend.
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use sinew_adapter_memory::Memory;
use sinew_beat::{
    AlertKind, AlertOptions, Alerts, Beat, CommandOptions, CommandOutput, Heart, Monitor,
    MonitorEvent, MonitorOptions, Notification, Process, Republish, RepublishOutput, Timestamp,
    Watch, WatchOptions,
};
use sinew_core::{ErrorKind, Pattern, Result, Subscribe as _, Subscription};

const LONG: Duration = Duration::from_secs(60);

fn at(second: u64) -> Timestamp {
    Timestamp::from_start(Duration::from_secs(second))
}

/// One notification that so many processes are down since 16 s after the start.
fn down(processes: usize) -> Result<Notification> {
    let (mut told, mut sent) = (Vec::new(), Vec::new());
    let mut monitor = Monitor::new(MonitorOptions::default());
    for nth in 0..processes {
        let beat = Beat::Beat { period: Duration::from_secs(5) };
        monitor.beat(&Process::parse(&format!("eu.p {nth:04}"))?, beat, at(0), &mut told);
    }
    monitor.advance(at(60), &mut told);
    let options = AlertOptions::default()
        .with_delay(Duration::from_secs(1))
        .with_grouping(1)
        .with_max_alerts(2000);
    let mut alerts = Alerts::new(options, SystemTime::UNIX_EPOCH);
    told.iter().for_each(|event| alerts.handle(event, at(60), &mut sent));
    alerts.advance(at(61), &mut sent);
    sent.pop().ok_or_else(|| sinew_core::Error::new(ErrorKind::Internal, "nothing was sent"))
}

async fn clock() -> Result<sinew_beat::Clock> {
    Ok(Watch::start(&Memory::new(), WatchOptions::default()).await?.clock())
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

/// A script that is handed a file's path.
fn script(text: &str, file: &Path) -> CommandOptions {
    CommandOptions::new("/bin/sh").with_args(["-c".as_ref(), text.as_ref(), file.as_os_str()])
}

#[tokio::test]
async fn a_program_gets_a_line_an_alert_and_the_first_ones_facts() {
    let file = scratch("facts");
    let text = r#"env | grep ^BEAT_ | sort > "$0"; cat >> "$0""#;
    let clock = clock().await.unwrap();
    let output = CommandOutput::start(script(text, &file), clock);
    output.send(down(2).unwrap()).unwrap();
    assert_eq!(output.finish(LONG).await.succeeded, 1);
    let since = clock.wall(at(16)).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let since = format!("{}.{:03}", since.as_secs(), since.subsec_millis());
    let line = |name| {
        format!(
            "firing\t{name}/down/0\t{name}\tdown\tdown\t{since}\t{since}\t{name} is down: silent\n"
        )
    };
    let facts = format!(
        "BEAT_ALERTS=2\nBEAT_AT={since}\nBEAT_CONDITION=down\nBEAT_GROUP=eu\nBEAT_KEY=eu.p 0000/down/0\n\
         BEAT_KIND=firing\nBEAT_PROCESS=eu.p 0000\nBEAT_SINCE={since}\nBEAT_STATE=down\n\
         BEAT_TEXT=eu.p 0000 is down: silent\n"
    );
    let told = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(told, facts + &line("eu.p 0000") + &line("eu.p 0001"));
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_and_the_next_one_runs() {
    let file = scratch("pids");
    let text = r#"echo $$ >> "$0"; exec sleep 1000"#;
    let options = script(text, &file).with_timeout(Duration::from_millis(1_500));
    let output = CommandOutput::start(options, clock().await.unwrap());
    for _ in 0..2 {
        output.send(down(1).unwrap()).unwrap();
    }
    assert_eq!(output.finish(LONG).await.timed_out, 2);
    let pids = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(pids.lines().count(), 2);
    assert!(pids.lines().all(|pid| !Path::new("/proc").join(pid).exists()));
}

#[tokio::test]
async fn one_that_cannot_be_started_and_one_that_fails_are_counted_and_told() {
    let clock = clock().await.unwrap();
    for (program, why) in [("/nowhere/at/all", "No such file"), ("false", "exit status: 1")] {
        let said = Arc::new(Mutex::new(Vec::new()));
        let saying = Arc::clone(&said);
        let options = CommandOptions::new(program)
            .with_on_failure(move |it| saying.lock().unwrap().push(it.error.to_string()));
        let output = CommandOutput::start(options, clock);
        output.send(down(1).unwrap()).unwrap();
        let counts = output.finish(LONG).await;
        assert_eq!((counts.failed, counts.succeeded), (1, 0), "{program}");
        let said = said.lock().unwrap().concat();
        assert!(said.contains(program) && said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_program_that_reads_nothing_is_as_good() {
    // More than a pipe holds.
    let notification = down(2000).unwrap();
    let output = CommandOutput::start(CommandOptions::new("true"), clock().await.unwrap());
    output.send(notification).unwrap();
    assert_eq!(output.finish(LONG).await.succeeded, 1);
}

#[tokio::test]
async fn a_mass_outage_is_told_whole_by_a_program_that_is_slow_and_so_is_its_end() {
    let (mut told, mut sent) = (Vec::new(), Vec::new());
    let mut monitor = Monitor::new(MonitorOptions::default());
    for second in [0, 60] {
        for nth in 0..400 {
            let beat = Beat::Beat { period: Duration::from_secs(5) };
            let process = Process::parse(&format!("p{nth:04}")).unwrap();
            monitor.beat(&process, beat, at(second), &mut told);
        }
        monitor.advance(at(second + 30), &mut told);
    }
    let mut alerts = Alerts::new(AlertOptions::default(), SystemTime::UNIX_EPOCH);
    told.iter().for_each(|event| alerts.handle(event, at(90), &mut sent));
    assert_eq!(sent.len(), 1200, "each down, up, and down again");
    let file = scratch("outage");
    let _old = fs::remove_file(&file);
    let options = script(r#"cat >> "$0"; echo run >> "$0""#, &file).with_queue(10);
    let output = CommandOutput::start(options, clock().await.unwrap());
    for notification in &sent {
        output.send(notification.clone()).unwrap();
    }
    let counts = output.counts();
    assert!(counts.waiting >= 10 && counts.kept > 700, "{counts:?}");
    let counts = output.finish(LONG).await;
    assert_eq!((counts.failed, counts.refused, counts.waiting, counts.kept), (0, 0, 0, 0));
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let runs = text.lines().filter(|it| *it == "run").count();
    assert!(runs < 40, "{runs} runs");
    // Whatever was said on the way: what was said last of each incident is what is true of it.
    let mut last = std::collections::BTreeMap::new();
    for line in text.lines().filter(|it| *it != "run") {
        let mut fields = line.split('\t');
        let kind = fields.next().unwrap();
        last.insert(fields.next().unwrap(), kind);
    }
    let expected =
        sent.iter().flat_map(|it| &it.alerts).map(|it| (it.key.as_str(), it.kind.as_str()));
    assert_eq!(last, expected.collect());
}

#[tokio::test]
async fn what_waits_for_a_program_at_the_end_is_counted_as_lost() {
    let options = CommandOptions::new("sleep").with_args(["1000"]).with_queue(1);
    let output = CommandOutput::start(options, clock().await.unwrap());
    let notification = down(3).unwrap();
    for _ in 0..5 {
        output.send(notification.clone()).unwrap();
    }
    let counts = output.finish(Duration::ZERO).await;
    // One waits; another may run already.
    assert!((1..=2).contains(&counts.waiting), "{counts:?}");
    assert_eq!((counts.kept, counts.refused, counts.succeeded), (3, 0, 0));
}

#[tokio::test]
async fn a_transition_is_told_on_the_bus() {
    let broker = Memory::new();
    let mut liveness =
        broker.subscribe(Subscription::new(Pattern::parse("liveness.>").unwrap())).await.unwrap();
    let mut watch = Watch::start(&broker, WatchOptions::default()).await.unwrap();
    let clock = watch.clock();
    let republish = Republish::new(broker.clone(), clock);
    let heart = Heart::new(broker.clone(), "eu.billing").unwrap();
    heart.beat().await.unwrap();
    let event = watch.next().await.unwrap().unwrap();
    let transition = event.transition().unwrap();
    republish.publish(transition).await.unwrap();
    let message = liveness.next_item().await.unwrap().unwrap();
    assert_eq!(message.address.to_string(), "liveness.eu.billing");
    let since = clock.wall(transition.at).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let payload = format!("up/{}.{:03}", since.as_secs(), since.subsec_millis());
    assert_eq!(message.payload, payload);
}

#[tokio::test(start_paused = true)]
async fn a_heart_that_falls_silent_is_told_once_on_time_and_once_when_it_is_back() {
    let broker = Memory::new();
    let mut watch = Watch::start(&broker, WatchOptions::default()).await.unwrap();
    let clock = watch.clock();
    let mut alerts = Alerts::new(AlertOptions::default(), clock.wall(Timestamp::START));
    let heart = Heart::new(broker.clone(), "billing").unwrap();
    let mut due: Vec<Notification> = Vec::new();
    let mut told = Vec::new();
    heart.beat().await.unwrap();
    while told.len() < 2 {
        let wait = alerts.next_deadline().map_or(Duration::MAX, |at| at.since(clock.now()));
        match tokio::time::timeout(wait, watch.next()).await {
            Ok(event) => alerts.handle(&event.unwrap().unwrap(), clock.now(), &mut due),
            Err(_) => alerts.advance(clock.now(), &mut due),
        }
        for alert in due.drain(..).flat_map(|it| it.alerts) {
            told.push((alert.kind, alert.at.since_start().as_secs(), clock.now().since(alert.at)));
            if alert.kind == AlertKind::Firing {
                heart.beat().await.unwrap();
            }
        }
    }
    let tenth = Duration::from_millis(100);
    assert!(told.iter().all(|(.., late)| *late < tenth), "{told:?}");
    let told = told.iter().map(|(kind, at, _)| (*kind, *at)).collect::<Vec<_>>();
    assert_eq!(told, [(AlertKind::Firing, 16), (AlertKind::Resolved, 16)]);
}

#[tokio::test]
async fn a_name_that_makes_no_subject_is_not_told_on_the_bus() {
    let mut told = Vec::new();
    let beat = Beat::Beat { period: Duration::from_secs(5) };
    Monitor::new(MonitorOptions::default()).beat(
        &Process::parse("my worker").unwrap(),
        beat,
        at(0),
        &mut told,
    );
    let republish = Republish::new(Memory::new(), clock().await.unwrap());
    let transition = told.iter().find_map(MonitorEvent::transition).unwrap();
    let refused = republish.publish(transition).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidSubject);
}

#[tokio::test]
async fn an_output_on_the_bus_counts_what_it_told_and_what_it_could_not() {
    let broker = Memory::new();
    let mut liveness =
        broker.subscribe(Subscription::new(Pattern::parse("liveness.>").unwrap())).await.unwrap();
    let clock = clock().await.unwrap();
    let output = RepublishOutput::start(Republish::new(broker, clock));
    let (mut monitor, mut told) = (Monitor::new(MonitorOptions::default()), Vec::new());
    for name in ["my worker", "billing"] {
        let beat = Beat::Beat { period: Duration::from_secs(5) };
        monitor.beat(&Process::parse(name).unwrap(), beat, at(0), &mut told);
    }
    for transition in told.iter().filter_map(MonitorEvent::transition) {
        output.send(transition.clone()).unwrap();
    }
    let counts = output.finish(LONG).await;
    assert_eq!((counts.told, counts.failed, counts.refused, counts.waiting), (1, 1, 0, 0));
    let message = liveness.next_item().await.unwrap().unwrap();
    assert_eq!(message.address.to_string(), "liveness.billing");
}
