//! Each rule of the alerts for itself, in virtual time.
mod conflicts;

use std::time::UNIX_EPOCH;

use sinew_core::{ErrorKind, Pattern};

use super::*;
use crate::{Beat, BlindCause, Monitor, MonitorOptions, Reason};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_start(Duration::from_secs(seconds))
}

/// The wall's clock, which starts at a full minute.
fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(6000 + seconds)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn process(name: &str) -> Process {
    Process::parse(name).unwrap()
}

fn became(name: &str, from: State, to: State, when: u64) -> MonitorEvent {
    MonitorEvent::Transition(Transition {
        process: process(name),
        from: Some(from),
        to,
        at: at(when),
        reason: if to == State::Down { Reason::Silent } else { Reason::Beat },
        skipped: 0,
    })
}

fn down(name: &str, when: u64) -> MonitorEvent {
    became(name, State::Late, State::Down, when)
}

fn up(name: &str, when: u64) -> MonitorEvent {
    became(name, State::Down, State::Up, when)
}

fn flapping(name: &str, on: bool, when: u64) -> MonitorEvent {
    MonitorEvent::Flapping { process: process(name), on, at: at(when) }
}

struct Scene {
    alerts: Alerts,
    sent: Vec<Notification>,
}

impl Scene {
    fn new(options: AlertOptions) -> Self {
        Self { alerts: Alerts::new(options, wall(0)), sent: Vec::new() }
    }

    /// Hands in events, each at its own instant, up to which time passes.
    fn see(&mut self, events: impl IntoIterator<Item = MonitorEvent>) -> &mut Self {
        for event in events {
            self.run(event.at().since_start().as_secs());
            self.alerts.handle(&event, event.at(), &mut self.sent);
        }
        self
    }

    /// Calls the machine whenever it wants to be called, until `end`.
    fn run(&mut self, end: u64) -> &mut Self {
        while let Some(next) = self.alerts.next_deadline().filter(|next| *next <= at(end)) {
            self.alerts.advance(next, &mut self.sent);
            assert!(
                self.alerts.next_deadline() != Some(next),
                "it wants to be called at {next:?} for ever"
            );
        }
        self.alerts.advance(at(end), &mut self.sent);
        self
    }

    fn mute(&mut self, mute: Mute, now: u64) -> MuteId {
        self.alerts.mute(mute, at(now), &mut self.sent).unwrap()
    }

    /// What was sent since this was asked last: a line per alert, notifications apart by `--`.
    fn lines(&mut self) -> Vec<String> {
        let each = self.sent.drain(..).map(|it| {
            let lines = it.alerts.iter().map(|it| format!("{} {}", it.kind, it.key));
            lines.collect::<Vec<_>>()
        });
        each.collect::<Vec<_>>().join(&"--".to_owned())
    }
}

const NONE: [&str; 0] = [];

#[test]
fn by_default_down_is_told_and_what_ends_it() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([
        became("a", State::Expected, State::Up, 0),
        became("a", State::Up, State::Late, 60),
        became("a", State::Late, State::Up, 61),
        became("a", State::Up, State::Degraded, 62),
        became("a", State::Degraded, State::Late, 70),
    ]);
    assert_eq!(scene.lines(), NONE);
    scene.see([down("a", 130)]);
    assert_eq!(scene.lines(), ["firing a/down/6120"]);
    assert_eq!(scene.alerts.open(), 1);
    scene.see([up("a", 300), became("b", State::Expected, State::Down, 301)]);
    assert_eq!(scene.lines(), ["resolved a/down/6120", "--", "firing b/down/6300"]);
    scene.see([became("b", State::Down, State::Stopped, 302)]).run(9999);
    assert_eq!(scene.lines(), ["resolved b/down/6300"]);
    assert_eq!((scene.alerts.open(), scene.alerts.next_deadline()), (0, None));
}

#[test]
fn a_late_process_that_goes_down_is_the_same_incident() {
    let states = [State::Late, State::Degraded, State::Up];
    let mut scene = Scene::new(AlertOptions::default().with_states(states));
    scene.see([became("a", State::Up, State::Late, 10), down("a", 130)]);
    scene.see([became("a", State::Down, State::Degraded, 200), up("a", 210)]);
    let key = "a/late/6000";
    let kinds = ["firing", "changed", "changed", "resolved"].map(|kind| format!("{kind} {key}"));
    assert_eq!(scene.lines().join(" "), kinds.join(" -- "));
}

#[test]
fn a_degraded_process_that_is_late_has_not_recovered() {
    let mut scene = Scene::new(AlertOptions::default().with_states([State::Degraded]));
    scene.see([
        became("a", State::Up, State::Degraded, 0),
        became("a", State::Degraded, State::Late, 6),
    ]);
    assert_eq!(scene.lines(), ["firing a/degraded/6000"]);
    scene.see([became("a", State::Late, State::Up, 7)]);
    assert_eq!(scene.lines(), ["resolved a/degraded/6000"]);
}

#[test]
fn an_alert_carries_what_happened() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([down("a", 16), up("a", 40)]);
    let alert = &scene.sent[1].alerts[0];
    assert_eq!(alert.process, Some(process("a")));
    assert_eq!(alert.condition, Condition::State(State::Down));
    assert_eq!((alert.previous, alert.state), (Some(State::Down), Some(State::Up)));
    assert_eq!((alert.since, alert.at, alert.lasted()), (at(16), at(40), seconds(24)));
    assert_eq!(alert.reason, Some(Reason::Beat));
}

#[test]
fn what_goes_on_is_told_again_until_it_ends() {
    let mut scene = Scene::new(AlertOptions::default().with_renotify(seconds(60)));
    scene.see([down("a", 0)]).run(130);
    assert_eq!(
        scene.lines(),
        ["firing a/down/6000", "--", "renotify a/down/6000", "--", "renotify a/down/6000"]
    );
    scene.see([up("a", 131)]).run(9999);
    assert_eq!(scene.lines(), ["resolved a/down/6000"]);
    assert_eq!(scene.alerts.next_deadline(), None);
}

#[test]
fn one_who_looks_late_is_told_again_once() {
    let mut scene = Scene::new(AlertOptions::default().with_renotify(seconds(60)));
    scene.see([down("a", 0)]);
    scene.alerts.advance(at(100_000), &mut scene.sent);
    assert_eq!(scene.lines(), ["firing a/down/6000", "--", "renotify a/down/6000"]);
    assert_eq!(scene.alerts.next_deadline(), Some(at(100_060)));
}

#[test]
fn a_group_is_told_at_once_after_its_delay() {
    let options = AlertOptions::default().with_delay(seconds(30)).with_grouping(1);
    let mut scene = Scene::new(options);
    scene.see([
        down("eu.b", 0),
        down("us.a", 1),
        down("eu.a", 20),
        down("eu.c", 21),
        up("eu.c", 22),
    ]);
    assert_eq!(scene.lines(), NONE);
    assert_eq!(scene.alerts.next_deadline(), Some(at(30)));
    scene.run(30);
    assert_eq!(scene.sent[0].group.as_deref(), Some("eu"));
    assert_eq!(scene.lines(), ["firing eu.a/down/6000", "firing eu.b/down/6000"]);
    scene.run(31);
    assert_eq!(scene.lines(), ["firing us.a/down/6000"]);
    scene.see([up("eu.a", 40), down("eu.d", 50)]).run(100);
    assert_eq!(scene.lines(), ["firing eu.d/down/6000", "resolved eu.a/down/6000"]);
    assert_eq!(scene.alerts.open(), 3);
}

#[test]
fn what_comes_back_and_goes_again_within_the_delay_is_a_new_incident() {
    let mut scene = Scene::new(AlertOptions::default().with_delay(seconds(300)));
    scene.see([down("a", 0), up("a", 10), down("a", 130)]).run(300);
    assert_eq!(scene.lines(), ["firing a/down/6120"]);
}

#[test]
fn what_waits_for_its_group_waits_on_when_a_silence_ends() {
    let mut scene = Scene::new(AlertOptions::default().with_delay(seconds(10)));
    scene.mute(Mute::silence(pattern("a"), wall(100)), 0);
    scene.see([down("a", 0), up("a", 95), down("a", 96)]).run(104);
    assert_eq!(scene.lines(), NONE);
    scene.run(105);
    assert_eq!(scene.lines(), ["firing a/down/6060"]);
}

#[test]
fn what_one_notification_does_not_hold_is_told_by_further_ones() {
    let options = AlertOptions::default().with_delay(seconds(5)).with_max_alerts(2);
    let mut scene = Scene::new(options);
    scene.see((0..5).map(|nth| down(&format!("p{nth}"), 0))).run(5);
    let [p0, p1, p2, p3, p4] = [0, 1, 2, 3, 4].map(|nth| format!("firing p{nth}/down/6000"));
    let apart = || "--".to_owned();
    assert_eq!(scene.lines(), [p0, p1, apart(), p2, p3, apart(), p4]);
    let counts = scene.alerts.counts();
    assert_eq!((counts.told[&AlertKind::Firing], counts.notifications), (5, 3));
    scene.see([up("p4", 6)]).run(99);
    assert_eq!(scene.lines(), ["resolved p4/down/6000"]);
}

#[test]
fn a_silence_holds_back_what_it_matches_until_it_ends() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([down("eu.told", 0)]);
    let silence = Mute::silence(pattern("eu.>"), wall(100)).with_author("ann").unwrap();
    scene.mute(silence.with_comment("moving house").unwrap(), 1);
    scene.lines();
    scene.see([
        down("eu.stays", 10),
        down("eu.returns", 11),
        down("us.a", 12),
        up("eu.returns", 13),
        up("eu.told", 14),
    ]);
    assert_eq!(scene.lines(), ["firing us.a/down/6000"]);
    let listed: Vec<_> =
        scene.alerts.mutes().map(|(id, it)| (id.as_u64(), it.author().to_owned())).collect();
    assert_eq!(listed, [(1, "ann".to_owned())]);
    assert_eq!(scene.alerts.muted(&process("eu.stays")), Some(MuteCause::Silence));
    assert_eq!(scene.alerts.next_deadline(), Some(at(100)));
    scene.run(99);
    assert_eq!(scene.lines(), NONE);
    scene.run(100);
    assert_eq!(scene.lines(), ["firing eu.stays/down/6000", "resolved eu.told/down/6000"]);
    assert_eq!(scene.alerts.mutes().len(), 0);
    assert_eq!(scene.alerts.counts().held[&MuteCause::Silence], 3);
    scene.run(9999);
    assert_eq!(scene.lines(), NONE);
}

#[test]
fn what_was_told_and_is_down_again_at_the_end_of_a_silence_is_not_told_again() {
    let mut scene = Scene::new(AlertOptions::default().with_renotify(seconds(60)));
    scene.see([down("a", 0)]);
    scene.mute(Mute::silence(pattern("a"), wall(290)), 1);
    scene.lines();
    scene.see([up("a", 100), down("a", 200)]).run(299);
    assert_eq!(scene.lines(), NONE);
    scene.run(300);
    assert_eq!(scene.lines(), ["renotify a/down/6000"]);
}

#[test]
fn a_silence_that_is_ended_tells_what_no_other_holds() {
    let mut scene = Scene::new(AlertOptions::default());
    let all = scene.mute(Mute::silence(pattern(">"), wall(1000)), 0);
    scene.mute(Mute::silence(pattern("a"), wall(500)), 0);
    scene.see([down("a", 10), down("b", 10)]);
    assert!(scene.alerts.unmute(all, at(20), &mut scene.sent));
    assert_eq!(scene.lines(), ["firing b/down/6000"]);
    assert!(!scene.alerts.unmute(all, at(21), &mut scene.sent));
    scene.run(500);
    assert_eq!(scene.lines(), ["firing a/down/6000"]);
}

#[test]
fn silences_are_bounded_and_one_that_is_over_is_refused() {
    let mut scene = Scene::new(AlertOptions::default().with_max_mutes(1));
    let refused = |scene: &mut Scene, until, now| {
        let mute = Mute::silence(pattern("a"), wall(until));
        scene.alerts.mute(mute, at(now), &mut scene.sent).unwrap_err().kind()
    };
    assert_eq!(refused(&mut scene, 10, 10), ErrorKind::InvalidOptions);
    scene.mute(Mute::silence(pattern("a"), wall(20)), 10);
    assert_eq!(refused(&mut scene, 30, 11), ErrorKind::Overloaded);
    // The first has expired.
    scene.mute(Mute::silence(pattern("a"), wall(30)), 20);
}

#[test]
fn a_maintenance_window_holds_back_when_it_comes() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.mute(Mute::maintenance(pattern("#"), wall(100), wall(200)).unwrap(), 0);
    scene.see([down("a", 50), up("a", 110), down("no subject", 120)]).run(199);
    assert_eq!(scene.lines(), ["firing a/down/6000"]);
    scene.run(200);
    assert_eq!(scene.lines(), ["firing no subject/down/6120", "resolved a/down/6000"]);
    assert_eq!(scene.alerts.counts().held[&MuteCause::Maintenance], 2);
}

#[test]
fn a_weekly_window_comes_back() {
    let mut scene = Scene::new(AlertOptions::default());
    // The wall's clock starts on Thursday, 01:40.
    let days = [Weekday::Thursday, Weekday::Friday];
    let mute = Mute::weekly(pattern("a"), days, seconds(2 * 3600), seconds(3600)).unwrap();
    scene.mute(mute, 0);
    let thursday = 20 * 60;
    scene.see([down("a", thursday)]).run(thursday + 3599);
    assert_eq!(scene.lines(), NONE);
    scene.run(thursday + 3600);
    assert_eq!(scene.lines(), ["firing a/down/7200"]);
    let friday = thursday + 86_400;
    scene.see([up("a", friday)]).run(friday + 3600);
    assert_eq!(scene.lines(), ["resolved a/down/7200"]);
}

#[test]
fn a_wall_clock_that_is_set_moves_the_ends_of_silences() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.mute(Mute::silence(pattern("a"), wall(1000)), 0);
    scene.see([down("a", 10)]);
    scene.alerts.set_wall(wall(500), at(20), &mut scene.sent);
    assert_eq!(scene.alerts.next_deadline(), Some(at(500)));
    scene.run(500);
    assert_eq!(scene.lines(), ["firing a/down/6000"]);
}

fn hosts() -> AlertOptions {
    let rule = |source, target| InhibitionRule::new(pattern(source), target).unwrap();
    AlertOptions::default()
        .with_inhibition(rule("*", "{1}.>"))
        .with_inhibition(rule("*.gateway", "{1}.>"))
        .with_inhibition_grace(seconds(30))
}

#[test]
fn a_host_that_is_down_holds_back_its_processes() {
    let mut scene = Scene::new(hosts());
    scene.see([down("h", 0), down("h.a", 1), down("h.b", 2), down("i.a", 3)]);
    assert_eq!(scene.lines(), ["firing h/down/6000", "--", "firing i.a/down/6000"]);
    scene.see([up("h", 100), up("h.a", 110)]).run(129);
    assert_eq!(scene.lines(), ["resolved h/down/6060"].map(|it| it.replace("6060", "6000")));
    scene.run(130);
    assert_eq!(scene.lines(), ["firing h.b/down/6000"]);
    assert_eq!(scene.alerts.counts().held[&MuteCause::Inhibition], 2);
}

#[test]
fn a_host_whose_delay_covers_its_deadline_is_told_alone() {
    let mut scene = Scene::new(hosts().with_delay(seconds(30)));
    scene.see([down("h.a", 0), down("h.gateway", 5), down("h", 20)]).run(60);
    assert_eq!(scene.lines(), ["firing h/down/6000"]);
}

#[test]
fn a_silenced_source_holds_back_all_the_same() {
    let mut scene = Scene::new(hosts());
    scene.mute(Mute::silence(pattern("h"), wall(1000)), 0);
    scene.see([down("h", 1), down("h.a", 2)]);
    assert_eq!(scene.lines(), NONE);
    assert_eq!(scene.alerts.muted(&process("h.a")), Some(MuteCause::Inhibition));
}

#[test]
fn a_source_that_is_forgotten_or_paused_holds_back_no_more() {
    let mut scene = Scene::new(hosts());
    scene.see([down("h", 0), down("h.a", 1), down("i", 2), down("i.a", 3)]);
    let forgotten = MonitorEvent::Forgotten { process: process("h"), was: State::Down, at: at(10) };
    scene.see([forgotten, became("i", State::Down, State::Paused, 11)]);
    scene.lines();
    scene.run(99);
    assert_eq!(scene.lines(), ["firing h.a/down/6000", "--", "firing i.a/down/6000"]);
    assert_eq!(scene.alerts.open(), 2);
}

#[test]
fn a_blind_monitor_tells_that_it_is_and_nothing_else() {
    let mut scene = Scene::new(AlertOptions::default().with_monitor("watch-1"));
    let blind =
        |when| MonitorEvent::Blind { at: at(when), cause: BlindCause::LinkDown, skipped: 0 };
    let sighted = |when| MonitorEvent::Sighted { at: at(when), skipped: 0 };
    scene.see([blind(0), blind(1), down("a", 5)]);
    assert_eq!(scene.lines(), ["firing watch-1/blind/6000"]);
    assert_eq!(scene.alerts.muted(&process("a")), Some(MuteCause::Blind));
    scene.see([sighted(90), sighted(91)]);
    assert_eq!(scene.lines(), ["resolved watch-1/blind/6000", "--", "firing a/down/6000"]);
    // Its own name is matched as any other is.
    scene.mute(Mute::silence(pattern("watch-1"), wall(200)), 100);
    scene.see([blind(110), sighted(120)]).run(300);
    assert_eq!(scene.lines(), NONE);
}

#[test]
fn a_stall_is_told_once_and_never_resolved() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([MonitorEvent::Stalled { gap: seconds(30), at: at(100) }]).run(9999);
    assert_eq!(scene.sent[0].alerts[0].lasted(), seconds(30));
    assert_eq!(scene.lines(), ["notice monitor/stalled/6060"]);
    assert_eq!(scene.alerts.open(), 0);
}

#[test]
fn a_process_that_flaps_is_told_to_and_its_states_are_not() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([down("a", 0), up("a", 1), flapping("a", true, 2)]);
    scene.lines();
    scene.see([down("a", 3), up("a", 4), down("a", 5), down("b", 6)]);
    assert_eq!(scene.lines(), ["firing b/down/6000"]);
    scene.see([flapping("a", false, 60)]);
    assert_eq!(scene.lines(), ["firing a/down/6000-2", "resolved a/flapping/6000"]);
}

#[test]
fn what_is_forgotten_is_over() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([flapping("a", true, 0), flapping("b", true, 0), down("a", 1)]);
    scene.lines();
    let forgotten =
        MonitorEvent::Forgotten { process: process("a"), was: State::Down, at: at(100) };
    scene.see([forgotten]);
    assert_eq!(scene.lines(), ["resolved a/flapping/6000"]);
    assert_eq!(scene.alerts.open(), 1);
}

#[test]
fn one_incident_too_many_is_counted_and_blindness_is_told_even_then() {
    let mut scene = Scene::new(AlertOptions::default().with_max_incidents(1));
    scene.see([
        down("a", 0),
        down("b", 1),
        MonitorEvent::Blind { at: at(2), cause: BlindCause::LinkDown, skipped: 0 },
    ]);
    assert_eq!(scene.lines(), ["firing a/down/6000", "--", "firing monitor/blind/6000"]);
    assert_eq!(scene.alerts.counts().refused, 1);
}

#[test]
fn what_is_no_trouble_is_not_told() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([
        MonitorEvent::Gap { lost: 7, at: at(1) },
        MonitorEvent::Refused { process: process("a"), count: 1, at: at(2) },
        MonitorEvent::Sighted { at: at(3), skipped: 0 },
        flapping("a", false, 4),
        up("a", 5),
    ]);
    assert_eq!(scene.lines(), NONE);
    assert_eq!(*scene.alerts.counts(), AlertCounts::default());
}

#[test]
fn what_was_told_before_a_restart_is_not_told_again_and_its_end_is() {
    let mut monitor = Monitor::new(MonitorOptions::default());
    let mut told = Vec::new();
    for name in ["h", "i"] {
        monitor.declare(&process(name), at(0), &mut told);
    }
    monitor.beat(&process("i"), Beat::Stop, at(1), &mut told);
    monitor.advance(at(100), &mut told);
    let mut scene = Scene::new(hosts().with_renotify(seconds(3600)));
    let kept = ToldIncident::new(
        Some(process("h")),
        Condition::State(State::Down),
        "h/down/6060",
        wall(60),
    );
    let known: Vec<_> = monitor.processes().collect();
    scene.alerts.resume([kept], &known, at(100), &mut scene.sent);
    assert_eq!((scene.lines(), scene.alerts.open()), (Vec::new(), 1));
    scene.see([down("h.a", 110)]).run(3700);
    assert_eq!(scene.lines(), ["renotify h/down/6060"]);
    scene.see([up("h", 3701)]);
    assert_eq!(scene.lines(), ["resolved h/down/6060"]);
}
