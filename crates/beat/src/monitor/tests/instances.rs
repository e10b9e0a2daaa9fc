//! Two instances under one name.
use super::*;
use crate::{Instance, InstancePair, instance::Origin};

impl Told {
    /// Hears the message `number` of an instance.
    fn from(&mut self, name: &str, instance: &str, number: u64, beat: Beat, seconds: f64) {
        let subject = Subject::parse(&format!("heartbeat.{name}")).unwrap();
        let message = Message::new(subject, beat.to_string());
        let message = Origin::sign(message, &named(instance), number).unwrap();
        self.monitor.hear(&message, at(seconds), &mut self.events);
    }

    /// Who conflicted, from and until when.
    fn conflicts(&self) -> Vec<(String, String, bool, Timestamp)> {
        let told = self.events.iter().filter_map(|event| match event {
            MonitorEvent::Conflict { instances: InstancePair { one, other }, on, at, .. } => {
                Some((one.to_string(), other.to_string(), *on, *at))
            }
            _ => None,
        });
        told.collect()
    }
}

fn named(instance: &str) -> Instance {
    Instance::parse(instance).unwrap()
}

fn pair(one: &str, other: &str, on: bool, seconds: f64) -> (String, String, bool, Timestamp) {
    (one.to_owned(), other.to_owned(), on, at(seconds))
}

#[test]
fn two_that_take_turns_are_told_once() {
    let mut told = Told::new();
    for (number, seconds) in (1..).zip(0..100_u32) {
        let instance = if seconds % 2 == 0 { "pod-1" } else { "pod-2" };
        told.from("a", instance, number, beat(5), f64::from(seconds));
    }
    assert_eq!(told.conflicts(), [pair("pod-1", "pod-2", true, 2.0)]);
    let status = told.monitor.process("a").unwrap();
    assert_eq!(status.conflict, Some(InstancePair { one: named("pod-1"), other: named("pod-2") }));
    assert_eq!(told.monitor.counts().conflicts, 1);
}

#[test]
fn a_restart_is_no_conflict() {
    let mut told = Told::new();
    told.from("a", "old", 7, beat(5), 0.0);
    told.from("a", "new", 1, start(60), 1.0);
    told.from("a", "new", 2, beat(5), 2.0);
    // What overlaps for a moment says so by its stop.
    told.from("a", "old", 8, Beat::Stop, 3.0);
    told.from("a", "new", 3, beat(5), 4.0);
    // So does one that crashes again and again.
    for (nth, seconds) in (1..).zip(10..60_u32) {
        told.from("a", &format!("crashed-{nth}"), 1, start(60), f64::from(seconds));
    }
    assert_eq!(told.conflicts(), []);
}

#[test]
fn one_that_comes_back_after_the_other_was_given_up_is_no_conflict() {
    let mut told = Told::new();
    told.from("a", "host-1", 1, beat(5), 0.0);
    told.from("a", "host-2", 1, beat(5), 5.0);
    // Down at 21 s.
    told.from("a", "host-1", 2, beat(5), 21.0);
    told.from("a", "host-2", 2, Beat::Stop, 22.0);
    told.from("a", "host-1", 3, beat(5), 23.0);
    assert_eq!(told.conflicts(), []);
}

#[test]
fn it_ends_when_one_stops_or_is_silent_for_as_long_as_it_takes_to_be_down() {
    for stops in [true, false] {
        let mut told = Told::new();
        for (number, (instance, seconds)) in (1..).zip([("x", 0.0), ("y", 1.0), ("x", 2.0)]) {
            told.from("a", instance, number, beat(5), seconds);
        }
        if stops {
            told.from("a", "y", 9, Beat::Stop, 3.0);
        }
        told.from("a", "x", 4, beat(5), 4.0);
        // Given up at 17 s.
        for (number, seconds) in [(5, 9.0), (6, 14.0), (7, 16.9), (8, 17.0), (9, 18.0)] {
            told.from("a", "x", number, beat(5), seconds);
        }
        let end = if stops { 3.0 } else { 17.0 };
        let wanted = [pair("x", "y", true, 2.0), pair("x", "y", false, end)];
        assert_eq!(told.conflicts(), wanted);
        assert_eq!(told.monitor.process("a").unwrap().conflict, None);
        // And is told again.
        told.from("a", "y", 10, beat(5), 20.0);
        told.from("a", "x", 10, beat(5), 21.0);
        assert_eq!(told.conflicts().len(), 3);
    }
}

#[test]
fn it_ends_when_both_are_down() {
    let mut told = Told::new();
    for (number, (instance, seconds)) in (1..).zip([("x", 0.0), ("y", 1.0), ("x", 2.0)]) {
        told.from("a", instance, number, beat(5), seconds);
    }
    told.monitor.advance(at(100.0), &mut told.events);
    assert_eq!(told.conflicts(), [pair("x", "y", true, 2.0), pair("x", "y", false, 18.0)]);
}

#[test]
fn more_than_are_told_apart_conflict_all_the_same() {
    let mut told = Told::new();
    for turn in 0..20_u32 {
        told.from("a", &format!("pod-{}", turn % 10), u64::from(turn), beat(20), f64::from(turn));
    }
    let conflicts = told.conflicts();
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    assert_eq!(conflicts.first().map(|it| (it.0.as_str(), it.3)), Some(("pod-0", at(10.0))));
}

#[test]
fn beats_that_do_not_say_whose_they_are_show_nothing() {
    let mut told = Told::new();
    for second in 0..30_u32 {
        told.beat("a", beat(5), f64::from(second));
        told.from("b", "x", 1, beat(5), f64::from(second));
        told.beat("b", beat(5), f64::from(second) + 0.5);
    }
    assert_eq!(told.conflicts(), []);
}

#[test]
fn one_that_is_known_anew_is_another_one() {
    let options = MonitorOptions::default().with_reap_after(Some(Duration::from_secs(10)));
    let mut told = Told::with(options);
    told.from("a", "x", 1, beat(5), 0.0);
    told.monitor.advance(at(100.0), &mut told.events);
    assert_eq!(told.monitor.len(), 0);
    // It has the number that `a` had, and its first beat is not the fourth of that.
    told.from("b", "x", 4, beat(5), 100.0);
    told.from("b", "x", 5, beat(5), 101.0);
    assert_eq!((told.conflicts(), told.monitor.counts().missed), (Vec::new(), 0));
}

#[test]
fn beats_that_were_published_and_did_not_come_are_counted() {
    let mut told = Told::new();
    // 3 and 4 are lost, 7 comes twice, 1 is of a restart, and the leap is of nobody's making.
    for (instance, number) in
        [("x", 1), ("x", 2), ("x", 5), ("x", 6), ("x", 7), ("x", 7), ("y", 1), ("y", u64::MAX)]
    {
        told.from("a", instance, number, beat(5), 1.0);
    }
    told.from("a", "z", 0, beat(5), 2.0);
    told.from("a", "z", 9, beat(5), 3.0);
    assert_eq!(told.monitor.counts().missed, 2);
}

#[test]
fn a_flood_of_instances_is_bounded() {
    let mut told = Told::with(MonitorOptions::default().with_max_processes(3000));
    for turn in 0..3_u64 {
        for number in 0..3000_u64 {
            told.from(&format!("p{number}"), &format!("{turn}-{number}"), 1, beat(5), 0.0);
        }
    }
    assert_eq!(told.monitor.instances.suspects(), 1024);
    assert_eq!(told.conflicts(), []);
}

proptest! {
    /// Against the definition, said plainly, where no promise runs out.
    #[test]
    fn a_conflict_is_one_and_another_and_the_first_one_again(
        spoke in proptest::collection::vec((0..3_usize, any::<bool>()), 1..40)
    ) {
        let mut told = Told::new();
        let mut order: Vec<usize> = Vec::new();
        let mut conflicts = false;
        for (second, (who, stops)) in (0_u32..).zip(spoke) {
            let said = if stops { Beat::Stop } else { beat(3600) };
            told.from("a", ["x", "y", "z"][who], 0, said, f64::from(second));
            let returns = order.last() != Some(&who) && order.contains(&who);
            order.retain(|it| *it != who);
            if !stops {
                order.push(who);
                conflicts |= returns;
            }
            if order.len() < 2 {
                conflicts = false;
                // Whoever is left is not known to be there until it speaks.
                if stops {
                    order.clear();
                }
            }
            prop_assert_eq!(told.monitor.process("a").unwrap().conflict.is_some(), conflicts);
        }
    }
}

#[test]
fn a_conflict_outlives_a_restart_untold_and_ends_when_one_is_silent() {
    let mut before = Told::new();
    for (number, (instance, seconds)) in (1..).zip([("x", 0.0), ("y", 1.0), ("x", 2.0)]) {
        before.from("a", instance, number, beat(5), seconds);
    }
    assert_eq!(before.conflicts(), [pair("x", "y", true, 2.0)]);
    let clock = crate::Clock::start();
    let kept = before.monitor.snapshot(&clock).encode();
    let snapshot = crate::Snapshot::decode(&kept).unwrap();
    let mut told = Told::new();
    told.monitor = Monitor::restore(MonitorOptions::default(), &snapshot, &clock);
    let status = told.monitor.process("a").unwrap();
    assert_eq!(status.conflict, Some(InstancePair { one: named("x"), other: named("y") }));
    for (number, instance) in (4..).zip(["x", "y", "x", "y"]) {
        told.from("a", instance, number, beat(5), number as f64);
    }
    assert_eq!(told.conflicts(), []);
    // The other one was heard at 7 s, and is down 16 s later.
    for second in 8..30_u32 {
        told.from("a", "x", u64::from(second), beat(5), f64::from(second));
    }
    assert_eq!(told.conflicts(), [pair("x", "y", false, 23.0)]);
}
