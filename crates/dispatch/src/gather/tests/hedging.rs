//! One agent after the other.
use super::*;

#[test]
fn a_hedge_asks_the_next_after_a_while_at_most_its_budget() {
    let (it, t) = gather(&Until::First(1), 4, &[], Reach::Closed);
    let mut it = it.hedged(Hedge::after(ms(50)).max(2), 0);
    assert_eq!(it.hedge(t), Some(Pick::Local(0)));
    assert_eq!((it.hedge(t), it.next_deadline()), (None, Some(t + ms(50))));
    assert_eq!(it.hedge(t + ms(50)), Some(Pick::Local(1)));
    assert_eq!((it.hedge(t + ms(50)), it.next_deadline()), (None, Some(t + ms(100))));
    assert_eq!(it.hedge(t + ms(100)), Some(Pick::Local(2)));
    assert_eq!((it.hedge(t + ms(150)), it.next_deadline()), (None, Some(t + ms(5000))));
    it.reply(Responder::Local(2), Outcome::Ok(1), t + ms(200));
    let end = end(&mut it);
    // Whoever was not asked was not expected.
    assert_eq!((end.ended, names(&end.cancelled)), (Ended::First, vec!["local-0", "local-1"]));
    assert!(end.missing.is_empty());
}

#[test]
fn a_hedge_asks_the_next_at_once_when_one_fails() {
    let (it, t) = gather(&Until::First(1), 3, &[], Reach::Closed);
    let mut it = it.hedged(Hedge::after(ms(50)), 2);
    assert_eq!(it.hedge(t), Some(Pick::Local(2)));
    it.reply(Responder::Local(2), Outcome::Failed(0), t);
    assert_eq!(it.hedge(t), Some(Pick::Local(0)));
    it.reply(Responder::Local(0), Outcome::Failed(0), t);
    assert_eq!((it.hedge(t), it.ended()), (None, Some(Ended::AllKnown)));
    assert_eq!(end(&mut it).failed, 2);
}

/// A hedged ask of one agent here and two elsewhere, of which the first one elsewhere is asked.
fn hedged(max: usize) -> (Gather, Instant) {
    let (it, t) = gather(&Until::First(1), 1, &["a", "b"], Reach::Listed);
    let mut it = it.hedged(Hedge::after(ms(50)).max(max), 1);
    assert_eq!(it.hedge(t), Some(Pick::Remote(id("a"))));
    (it, t)
}

#[test]
fn those_here_and_those_elsewhere_are_asked_in_turn() {
    let (mut it, t) = hedged(9);
    assert_eq!(it.hedge(t + ms(50)), Some(Pick::Remote(id("b"))));
    assert_eq!(it.hedge(t + ms(100)), Some(Pick::Local(0)));
    assert_eq!(it.hedge(t + ms(150)), None);
    it.reply(Responder::Named(&id("b")), Outcome::Ok(1), t + ms(160));
    assert!(it.is_worked_on());
    let end = end(&mut it);
    assert_eq!((end.ended, names(&end.cancelled)), (Ended::First, vec!["a", "local-0"]));
}

#[test]
fn nobody_elsewhere_is_told_where_the_one_that_was_asked_has_answered() {
    let (mut it, t) = hedged(9);
    it.reply(Responder::Named(&id("a")), Outcome::Ok(1), t);
    assert_eq!((it.ended(), it.is_worked_on()), (Some(Ended::First), false));
    assert!(end(&mut it).cancelled.is_empty());
}

#[test]
fn one_that_is_gone_is_followed_at_once_and_is_missing_only_if_it_was_asked() {
    let (mut it, t) = hedged(1);
    it.gone(&id("b"), t);
    it.gone(&id("a"), t);
    assert_eq!(it.hedge(t), Some(Pick::Local(0)));
    it.reply(Responder::Local(0), Outcome::Failed(0), t);
    let end = end(&mut it);
    assert_eq!((end.ended, end.failed, names(&end.missing)), (Ended::AllKnown, 1, vec!["a"]));
}

#[test]
fn one_that_was_not_there_to_be_asked_costs_nothing_of_the_budget() {
    let (mut it, t) = hedged(1);
    it.absent(&id("a"), t);
    assert_eq!(it.hedge(t), Some(Pick::Remote(id("b"))));
    assert_eq!(it.hedge(t + ms(50)), Some(Pick::Local(0)));
    it.tick(t + ms(5000));
    assert_eq!(names(&end(&mut it).missing), ["b", "local-0"]);
}

#[test]
fn one_that_was_not_there_to_be_asked_costs_no_time_while_another_is_silent() {
    let (it, t) = gather(&Until::First(1), 0, &["a", "b", "c"], Reach::Listed);
    let mut it = it.hedged(Hedge::after(ms(50)), 0);
    assert_eq!(it.hedge(t), Some(Pick::Remote(id("a"))));
    assert_eq!(it.hedge(t + ms(50)), Some(Pick::Remote(id("b"))));
    it.absent(&id("b"), t + ms(50));
    assert_eq!(it.hedge(t + ms(50)), Some(Pick::Remote(id("c"))));
    assert_eq!(it.hedge(t + ms(100)), None, "and the budget is spent");
}

#[test]
fn where_nobody_hears_it_those_here_are_asked_at_once_and_nobody_else() {
    let (mut it, t) = hedged(9);
    it.remote_ended(Some(&id("a")), Ended::NoAgents, t);
    assert_eq!((it.hedge(t), it.hedge(t + ms(50))), (Some(Pick::Local(0)), None));
    it.reply(Responder::Local(0), Outcome::Ok(1), t);
    let end = end(&mut it);
    assert_eq!((end.ended, names(&end.missing)), (Ended::First, vec!["a"]));
}

#[test]
fn where_nobody_is_here_either_it_ends_unless_one_that_was_asked_may_answer() {
    let two = || {
        let (it, t) = gather(&Until::First(1), 0, &["a", "b"], Reach::Listed);
        let mut it = it.hedged(Hedge::after(ms(50)).max(9), 0);
        assert_eq!(it.hedge(t), Some(Pick::Remote(id("a"))));
        (it, t)
    };
    let (mut it, t) = two();
    it.remote_ended(Some(&id("a")), Ended::NoAgents, t);
    assert_eq!((it.ended(), names(&end(&mut it).missing)), (Some(Ended::NoAgents), vec!["a"]));
    // The way of one broke: the next has one of its own.
    let (mut it, t) = two();
    it.remote_ended(Some(&id("a")), Ended::Disconnected, t);
    assert_eq!((it.ended(), it.hedge(t)), (None, Some(Pick::Remote(id("b")))));
    it.remote_ended(Some(&id("b")), Ended::Disconnected, t);
    assert_eq!((it.ended(), end(&mut it).gap), (Some(Ended::Disconnected), true));
    // One leaves, and answers what it was asked.
    let (mut it, t) = two();
    assert_eq!(it.hedge(t + ms(50)), Some(Pick::Remote(id("b"))));
    it.remote_ended(Some(&id("b")), Ended::NoAgents, t + ms(50));
    assert_eq!(it.ended(), None);
    it.reply(Responder::Named(&id("a")), Outcome::Ok(1), t + ms(60));
    assert_eq!((it.ended(), end(&mut it).ok), (Some(Ended::First), 1));
}
