//! Two incidents of one moment, and two instances under one name.
use super::*;
use crate::{Instance, InstancePair};

#[test]
fn two_incidents_of_a_minute_have_two_keys_and_those_that_were_not_told_count_not() {
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([down("a", 1), up("a", 2), down("a", 3)]);
    scene.see([flapping("a", true, 3), up("a", 4), down("a", 5), up("a", 6)]);
    scene.see([flapping("a", false, 7), down("a", 8)]);
    let keys: Vec<_> =
        scene.lines().into_iter().filter(|it| it.contains("firing a/down")).collect();
    assert_eq!(keys, ["firing a/down/6000", "firing a/down/6000-2", "firing a/down/6000-3"]);
    scene.see([up("a", 70), down("a", 71)]);
    assert_eq!(scene.lines(), ["resolved a/down/6000-3", "--", "firing a/down/6060"]);
}

#[test]
fn two_instances_under_one_name_are_an_incident_until_there_is_one() {
    let name = |text| Instance::parse(text).unwrap();
    let instances = InstancePair { one: name("pod-1"), other: name("pod-2") };
    let conflict = |on, when| {
        let (process, instances) = (process("a"), instances.clone());
        MonitorEvent::Conflict { process, instances, on, at: at(when) }
    };
    let mut scene = Scene::new(AlertOptions::default());
    scene.see([conflict(true, 10)]);
    let alert = scene.sent[0].alerts[0].clone();
    assert_eq!((alert.condition, alert.instances), (Condition::Conflict, Some(instances.clone())));
    assert_eq!(scene.lines(), ["firing a/conflict/6000"]);
    // It is down by itself.
    scene.see([down("a", 20), conflict(false, 30), up("a", 31)]);
    let wanted =
        ["firing a/down/6000", "--", "resolved a/conflict/6000", "--", "resolved a/down/6000"];
    assert_eq!((scene.lines(), scene.alerts.open()), (wanted.map(str::to_owned).to_vec(), 0));
    // Who is known no more is nobody, and a silence holds it back.
    scene.see([conflict(true, 100)]);
    let was = State::Stopped;
    scene.see([MonitorEvent::Forgotten { process: process("a"), was, at: at(110) }]);
    assert_eq!(scene.lines(), ["firing a/conflict/6060", "--", "resolved a/conflict/6060"]);
    scene.mute(Mute::silence(pattern("a"), wall(300)), 120);
    scene.see([conflict(true, 121)]);
    assert_eq!(scene.lines(), NONE);
}
