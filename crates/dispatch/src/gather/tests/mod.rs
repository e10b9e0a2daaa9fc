//! The machine, in a time of its own.
mod hedging;

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn id(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

const BOUNDS: Bounds = Bounds { replies: 100, bytes: 1000 };

/// An ask of 5 s, sent now.
fn gather(until: &Until, local: usize, remote: &[&str], reach: Reach) -> (Gather, Instant) {
    let sent = Instant::now();
    let remote = remote.iter().map(|it| id(it)).collect();
    (Gather::new(until, (sent, sent + ms(5000)), (local, remote), reach, BOUNDS), sent)
}

/// How it ended, which it must have.
fn end(gather: &mut Gather) -> End {
    assert!(gather.ended().is_some());
    gather.finish(Instant::now(), |place| Some(id(&format!("local-{place}"))))
}

fn names(agents: &[AgentId]) -> Vec<&str> {
    agents.iter().map(AgentId::as_str).collect()
}

#[test]
fn it_is_over_once_all_known_have_answered() {
    let (mut it, t) = gather(&Until::AllKnown, 1, &["a"], Reach::Listed);
    assert_eq!(it.reply(Responder::Local(0), Outcome::Ok(1), t), Verdict::Deliver);
    assert_eq!(it.reply(Responder::Named(&id("other")), Outcome::Ok(1), t), Verdict::Deliver);
    assert_eq!(it.ended(), None);
    assert_eq!(
        it.reply(Responder::Named(&id("a")), Outcome::Failed(0), t + ms(7)),
        Verdict::Deliver
    );
    let end = end(&mut it);
    assert_eq!((end.ended, end.elapsed), (Ended::AllKnown, ms(7)));
    assert_eq!((end.ok, end.failed, end.missing.len(), end.cancelled.len()), (2, 1, 0, 0));
    assert_eq!(it.next_deadline(), None);
}

#[test]
fn who_does_not_answer_is_missing_by_name_at_the_deadline() {
    let (mut it, t) = gather(&Until::AllKnown, 2, &["b", "a"], Reach::Listed);
    it.reply(Responder::Local(1), Outcome::Ok(1), t + ms(1));
    assert_eq!(it.next_deadline(), Some(t + ms(5000)));
    it.tick(t + ms(9000));
    let end = end(&mut it);
    assert_eq!((end.ended, end.elapsed), (Ended::Deadline, ms(5000)));
    assert_eq!(names(&end.missing), ["a", "b", "local-0"]);
}

#[test]
fn a_reply_on_the_deadline_counts_and_one_after_it_is_late() {
    let (mut it, t) = gather(&Until::Deadline, 2, &[], Reach::Open);
    assert_eq!(it.reply(Responder::Local(0), Outcome::Ok(1), t + ms(5000)), Verdict::Deliver);
    let after = t + ms(5000) + Duration::from_nanos(1);
    assert_eq!(it.reply(Responder::Local(1), Outcome::Ok(1), after), Verdict::Late);
    let end = end(&mut it);
    assert_eq!((end.ended, end.ok, end.late), (Ended::Deadline, 1, 1));
    assert_eq!(names(&end.missing), ["local-1"]);
}

#[test]
fn a_second_answer_is_a_duplicate_be_the_agent_expected_or_not() {
    let (mut it, t) = gather(&Until::Deadline, 1, &["a"], Reach::Listed);
    for from in [Responder::Local(0), Responder::Named(&id("a")), Responder::Named(&id("x"))] {
        assert_eq!(it.reply(from, Outcome::Failed(0), t), Verdict::Deliver);
        assert_eq!(it.reply(from, Outcome::Ok(1), t), Verdict::Duplicate);
    }
    // Who gives no name cannot be told apart.
    assert_eq!(it.reply(Responder::Unnamed, Outcome::Ok(1), t), Verdict::Deliver);
    assert_eq!(it.reply(Responder::Unnamed, Outcome::Ok(1), t), Verdict::Deliver);
    it.stop(Ended::Stopped, t);
    assert_eq!((end(&mut it).failed, end(&mut it).ok, end(&mut it).duplicate), (3, 2, 3));
}

#[test]
fn one_elsewhere_that_is_called_as_one_here_has_answered_in_its_place() {
    for here_is_first in [true, false] {
        let (it, t) = gather(&Until::AllKnown, 2, &["a"], Reach::Listed);
        let mut it = it.called(["x", "y"].map(id).into_iter());
        let mut both = [Responder::Local(1), Responder::Named(&id("y"))];
        if !here_is_first {
            both.reverse();
        }
        assert_eq!(it.reply(both[0], Outcome::Ok(1), t), Verdict::Deliver);
        assert_eq!(it.reply(both[1], Outcome::Ok(1), t), Verdict::Duplicate);
        assert_eq!(it.reply(Responder::Named(&id("a")), Outcome::Ok(1), t), Verdict::Deliver);
        assert_eq!(it.ended(), None);
        assert_eq!(it.reply(Responder::Local(0), Outcome::Ok(1), t), Verdict::Deliver);
        let end = end(&mut it);
        assert_eq!((end.ended, end.ok, end.duplicate), (Ended::AllKnown, 3, 1));
    }
}

#[test]
fn the_first_so_many_are_those_that_answered_well() {
    let (mut it, t) = gather(&Until::First(2), 4, &[], Reach::Closed);
    it.reply(Responder::Local(0), Outcome::Failed(0), t);
    it.reply(Responder::Local(1), Outcome::Ok(1), t);
    assert_eq!(it.ended(), None);
    it.reply(Responder::Local(2), Outcome::Ok(1), t);
    let end = end(&mut it);
    assert_eq!((end.ended, end.ok, end.failed), (Ended::First, 2, 1));
    assert_eq!(names(&end.cancelled), ["local-3"]);
    assert!(end.missing.is_empty());
}

#[test]
fn where_nobody_else_can_answer_it_is_over_when_all_have() {
    for until in [Until::First(5), Until::Deadline, Until::Quiet(ms(300)), Until::when(|_| false)] {
        let (mut it, t) = gather(&until, 1, &[], Reach::Closed);
        it.reply(Responder::Local(0), Outcome::Failed(0), t);
        assert_eq!(it.ended(), Some(Ended::AllKnown), "{until:?}");
        let (mut it, t) = gather(&until, 1, &[], Reach::Open);
        it.reply(Responder::Local(0), Outcome::Failed(0), t);
        assert_eq!(it.ended(), None, "{until:?}");
    }
}

#[test]
fn where_all_that_are_expected_have_answered_nobody_else_is_waited_for() {
    let quiet = Until::Quiet(ms(300));
    for until in [Until::AllKnown, Until::First(2), Until::when(|_| false), quiet] {
        let (mut it, t) = gather(&until, 0, &["a", "b"], Reach::Listed);
        it.reply(Responder::Named(&id("a")), Outcome::Ok(1), t);
        assert_eq!(it.ended(), None, "{until:?}");
        it.reply(Responder::Named(&id("b")), Outcome::Failed(0), t);
        assert_eq!(it.ended(), Some(Ended::AllKnown), "{until:?}");
    }
    let (mut it, t) = gather(&Until::Deadline, 0, &["a"], Reach::Listed);
    it.reply(Responder::Named(&id("a")), Outcome::Ok(1), t);
    assert_eq!(it.ended(), None, "it takes what others say, too");
}

#[test]
fn a_quorum_ends_it_as_soon_as_it_is_reached_or_lost() {
    let until = Until::Quorum { n: 2, of: 3 };
    let (mut it, t) = gather(&until, 3, &[], Reach::Open);
    it.reply(Responder::Local(0), Outcome::Failed(0), t);
    it.reply(Responder::Local(1), Outcome::Ok(1), t);
    assert_eq!(it.ended(), None);
    it.reply(Responder::Local(2), Outcome::Ok(1), t);
    assert_eq!(it.ended(), Some(Ended::Quorum));

    let (mut it, t) = gather(&until, 0, &["a", "b", "c"], Reach::Listed);
    it.reply(Responder::Named(&id("a")), Outcome::Failed(0), t);
    assert_eq!(it.ended(), None);
    it.gone(&id("b"), t);
    let end = end(&mut it);
    assert_eq!(end.ended, Ended::OutOfReach);
    assert_eq!((names(&end.missing), names(&end.cancelled)), (vec!["b"], vec!["c"]));
}

#[test]
fn who_was_taken_for_gone_and_votes_is_not_held_against_the_quorum() {
    let (mut it, t) = gather(&Until::Quorum { n: 2, of: 3 }, 0, &["a", "b", "c"], Reach::Listed);
    it.gone(&id("a"), t);
    it.reply(Responder::Named(&id("a")), Outcome::Ok(1), t);
    it.reply(Responder::Named(&id("b")), Outcome::Failed(0), t);
    assert_eq!(it.ended(), None);
    it.reply(Responder::Named(&id("c")), Outcome::Ok(1), t);
    assert_eq!(it.ended(), Some(Ended::Quorum));
}

#[test]
fn quiet_counts_from_the_last_answer_and_not_before_the_first() {
    let (mut it, t) = gather(&Until::Quiet(ms(300)), 0, &[], Reach::Open);
    it.tick(t + ms(4000));
    assert_eq!(it.ended(), None);
    it.reply(Responder::Unnamed, Outcome::Ok(1), t + ms(4000));
    it.reply(Responder::Unnamed, Outcome::Ok(1), t + ms(4200));
    assert_eq!(it.next_deadline(), Some(t + ms(4500)));
    it.tick(t + ms(4500));
    assert_eq!((it.ended(), end(&mut it).elapsed), (Some(Ended::Quiet), ms(4500)));
    // It never goes on beyond the deadline.
    let (mut it, t) = gather(&Until::Quiet(ms(300)), 0, &[], Reach::Open);
    it.reply(Responder::Unnamed, Outcome::Ok(1), t + ms(4900));
    assert_eq!(it.next_deadline(), Some(t + ms(5000)));
    it.tick(t + ms(6000));
    assert_eq!(it.ended(), Some(Ended::Deadline));
}

#[test]
fn an_agent_that_is_gone_is_not_waited_for_but_may_answer() {
    let (mut it, t) = gather(&Until::AllKnown, 0, &["a", "b"], Reach::Listed);
    it.gone(&id("a"), t);
    it.gone(&id("a"), t);
    it.gone(&id("stranger"), t);
    assert_eq!(it.ended(), None);
    assert_eq!(it.reply(Responder::Named(&id("a")), Outcome::Ok(1), t), Verdict::Deliver);
    it.gone(&id("a"), t);
    it.gone(&id("b"), t);
    let end = end(&mut it);
    assert_eq!((end.ended, end.ok, names(&end.missing)), (Ended::AllKnown, 1, vec!["b"]));
}

#[test]
fn nobody_elsewhere_ends_it_unless_somebody_is_here() {
    let (mut it, t) = gather(&Until::AllKnown, 0, &["a"], Reach::Listed);
    it.remote_ended(None, Ended::NoAgents, t);
    assert_eq!((it.ended(), names(&end(&mut it).missing)), (Some(Ended::NoAgents), vec!["a"]));

    let (mut it, t) = gather(&Until::Deadline, 1, &[], Reach::Open);
    it.remote_ended(None, Ended::NoAgents, t);
    assert_eq!(it.ended(), None);
    it.reply(Responder::Local(0), Outcome::Ok(1), t);
    assert_eq!(it.ended(), Some(Ended::AllKnown));
}

#[test]
fn an_intake_of_replies_that_breaks_ends_it_and_says_that_some_may_be_lost() {
    let (mut it, t) = gather(&Until::Deadline, 0, &[], Reach::Open);
    it.reply(Responder::Unnamed, Outcome::Ok(1), t);
    it.remote_ended(None, Ended::Disconnected, t);
    assert_eq!((it.ended(), end(&mut it).gap), (Some(Ended::Disconnected), true));
}

#[test]
fn a_reply_that_does_not_fit_counts_as_failed_and_a_smaller_one_still_fits() {
    let (mut it, t) = gather(&Until::AllKnown, 3, &[], Reach::Closed);
    assert_eq!(it.reply(Responder::Local(0), Outcome::Ok(900), t), Verdict::Deliver);
    assert_eq!(it.reply(Responder::Local(1), Outcome::Ok(101), t), Verdict::TooLarge);
    assert_eq!(it.reply(Responder::Local(2), Outcome::Ok(100), t), Verdict::Deliver);
    assert_eq!((end(&mut it).ok, end(&mut it).failed), (2, 1));
}

#[test]
fn the_texts_of_errors_are_bytes_of_replies_too() {
    let (mut it, t) = gather(&Until::AllKnown, 4, &[], Reach::Closed);
    assert_eq!(it.reply(Responder::Local(0), Outcome::Failed(600), t), Verdict::Deliver);
    assert_eq!(it.reply(Responder::Local(1), Outcome::Failed(600), t), Verdict::TooLarge);
    assert_eq!(it.reply(Responder::Local(2), Outcome::Ok(500), t), Verdict::TooLarge);
    assert_eq!(it.reply(Responder::Local(3), Outcome::Ok(400), t), Verdict::Deliver);
    assert_eq!((end(&mut it).ok, end(&mut it).failed), (1, 3));
}

#[test]
fn it_takes_so_many_replies_and_no_more() {
    let (mut it, t) = gather(&Until::Deadline, 0, &[], Reach::Open);
    (0..100).for_each(|_| {
        assert_eq!(it.reply(Responder::Unnamed, Outcome::Failed(0), t), Verdict::Deliver)
    });
    assert_eq!(it.reply(Responder::Unnamed, Outcome::Ok(1), t), Verdict::Late);
    assert_eq!((it.ended(), end(&mut it).failed), (Some(Ended::Limit), 100));
}

/// What may happen to an ask.
#[derive(Clone, Debug)]
enum Happens {
    Local(usize, bool),
    Named(usize, bool),
    Unnamed(bool),
    Gone(usize),
    Absent(usize),
    NobodyElsewhere(Option<usize>, bool),
    Gap,
    Tick,
    Hedge,
    Stop,
}

fn happens() -> impl Strategy<Value = (u64, Happens)> {
    let what = prop_oneof![
        6 => (0..6_usize, any::<bool>()).prop_map(|(at, ok)| Happens::Local(at, ok)),
        6 => (0..8_usize, any::<bool>()).prop_map(|(at, ok)| Happens::Named(at, ok)),
        2 => any::<bool>().prop_map(Happens::Unnamed),
        2 => (0..8_usize).prop_map(Happens::Gone),
        1 => (0..8_usize).prop_map(Happens::Absent),
        1 => (proptest::option::of(0..8_usize), any::<bool>())
            .prop_map(|(at, broke)| Happens::NobodyElsewhere(at, broke)),
        1 => Just(Happens::Gap),
        4 => Just(Happens::Tick),
        2 => Just(Happens::Hedge),
        1 => Just(Happens::Stop),
    ];
    (0..400_u64, what)
}

fn until() -> impl Strategy<Value = (u8, usize, u64)> {
    (0..6_u8, 1..6_usize, 1..900_u64)
}

fn until_of((kind, n, time): (u8, usize, u64)) -> Until {
    match kind {
        0 => Until::AllKnown,
        1 => Until::First(n),
        2 => Until::Quorum { n, of: n + 1 },
        3 => Until::Quiet(ms(time)),
        4 => Until::when(|_| false),
        _ => Until::Deadline,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Whatever agents do, in whatever order and time: each that was asked ends in exactly one of four ways, what was
    /// delivered is what was counted, and after the end nothing moves but the counts of what nobody is told.
    #[test]
    fn every_agent_that_was_asked_ends_in_one_way(
        until in until(),
        local in 0..6_usize,
        remote in 0..6_usize,
        reach in prop_oneof![Just(Reach::Closed), Just(Reach::Listed), Just(Reach::Open)],
        hedged in proptest::option::of((0..20_usize, 0..5_usize)),
        events in vec(happens(), 0..60),
    ) {
        let t = Instant::now();
        let pool: Vec<AgentId> = (0..8).map(|at| id(&format!("far-{at}"))).collect();
        let bounds = Bounds { replies: 9, bytes: 40 };
        let mut it = Gather::new(
            &until_of(until),
            (t, t + ms(3000)),
            (local, pool[..remote].to_vec()),
            reach,
            bounds,
        );
        let hedged = hedged.filter(|_| it.ended().is_none() && local + remote > 0);
        // By their places; of a hedged ask those that it picked, and those that answered unasked.
        let (mut asked, mut picked): (BTreeSet<_>, _) = ((0..local + remote).collect(), 0);
        if let Some((turn, max)) = hedged {
            it = it.hedged(Hedge::after(ms(100)).max(max), turn);
            asked.clear();
        }
        let name = |place: usize| Some(id(&format!("near-{place}")));
        let (mut now, mut delivered, mut frozen) = (t, 0, None::<End>);
        for (wait, event) in events {
            now += ms(wait);
            let was_over = it.ended().is_some();
            let outcome = |ok| if ok { Outcome::Ok(7) } else { Outcome::Failed(0) };
            let verdict = match event {
                Happens::Local(at, ok) => Some(it.reply(Responder::Local(at), outcome(ok), now)),
                Happens::Named(at, ok) => {
                    Some(it.reply(Responder::Named(&pool[at]), outcome(ok), now))
                }
                Happens::Unnamed(ok) => Some(it.reply(Responder::Unnamed, outcome(ok), now)),
                Happens::Gone(at) => { it.gone(&pool[at], now); None }
                Happens::Absent(at) => {
                    // Said only of whom is asked by name alone, and just was.
                    let is_asked = it.slots.get(local + at) == Some(&State::Asked);
                    if hedged.is_some() && at < remote && is_asked {
                        it.absent(&pool[at], now);
                        if it.slots[local + at] == State::Away {
                            asked.remove(&(local + at));
                            picked -= 1;
                        }
                    }
                    None
                }
                Happens::NobodyElsewhere(at, broke) => {
                    let at = at.filter(|_| hedged.is_some()).map(|at| &pool[at]);
                    it.remote_ended(at, if broke { Ended::Disconnected } else { Ended::NoAgents }, now);
                    None
                }
                Happens::Gap => { it.gap(); None }
                Happens::Tick => { it.tick(now); None }
                Happens::Hedge => {
                    if let Some(pick) = it.hedge(now) {
                        picked += 1;
                        let place = match pick {
                            Pick::Local(place) => place,
                            Pick::Remote(agent) => it.places[&agent],
                        };
                        prop_assert!(asked.insert(place), "asked twice");
                    }
                    None
                }
                Happens::Stop => { it.stop(Ended::Stopped, now); None }
            };
            let tells = matches!(verdict, Some(Verdict::Deliver | Verdict::TooLarge));
            prop_assert!(!(was_over && tells), "told after its end");
            match event {
                Happens::Local(place, _) if tells => drop(asked.insert(place)),
                Happens::Named(at, _) if tells && at < remote => drop(asked.insert(local + at)),
                _ => {}
            }
            delivered += usize::from(tells);
            prop_assert!(it.bytes <= bounds.bytes && delivered <= bounds.replies);
            prop_assert_eq!(it.counts().0 + it.counts().1, delivered);
            prop_assert_eq!(it.next_deadline().is_none(), it.ended().is_some());
            prop_assert!(it.next_deadline().is_none_or(|due| due <= t + ms(3000)));
            if it.ended().is_some() {
                let end = it.finish(now, name);
                if let Some(then) = &frozen {
                    let End { late, .. } = end;
                    prop_assert!(late >= then.late);
                    prop_assert_eq!(&End { late: then.late, ..end }, then);
                } else {
                    frozen = Some(end);
                }
            }
        }
        it.tick(t + ms(3000));
        prop_assert!(it.ended().is_some(), "it outlives its deadline");
        let end = it.finish(t + ms(3000), name);
        prop_assert!(end.elapsed <= ms(3000));
        // Strangers are beyond those that were asked.
        let answered = it.slots.iter().filter(|it| matches!(it, State::Ok | State::Failed)).count();
        prop_assert_eq!(answered + end.missing.len() + end.cancelled.len(), asked.len());
        prop_assert!(hedged.is_none_or(|(_, max)| picked <= max + 1), "more than its budget");
        prop_assert!(answered <= end.ok + end.failed);
        let mut all: Vec<_> = end.missing.iter().chain(&end.cancelled).collect();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), end.missing.len() + end.cancelled.len());
    }
}
