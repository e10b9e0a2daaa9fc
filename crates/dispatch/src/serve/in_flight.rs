//! Which asks an agent takes, and which of those that it works on is called off: without clock, socket or task.
use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    hash::BuildHasherDefault,
};

use sinew_core::ReplyTo;

use crate::{
    ask_id::{AskId, HashOfId},
    wire::AskHead,
};

/// How many of the last cancellations of what had not come are remembered: as many asks as may wait to be taken in, all of
/// which their own may overtake.
const CANCELLED: usize = 4096;
/// How many of the last that were worked on are remembered: another copy of one may come.
const DONE: usize = 256;

/// The asks that an agent works on. `Handle` is what one is called off by.
#[derive(Debug)]
pub(crate) struct InFlight<Handle> {
    /// What asks of this very process are called: those are answered without the broker.
    mark: Box<str>,
    /// What is worked on, and the last that were.
    open: HashMap<AskId, Open<Handle>, ByItsHash>,
    /// The last that were, by their numbers, too.
    done: VecDeque<(AskId, u64)>,
    /// What was taken back before it came, and in which order.
    cancelled: HashSet<AskId, ByItsHash>,
    order: VecDeque<AskId>,
    next: u64,
}

type ByItsHash = BuildHasherDefault<HashOfId>;

#[derive(Debug)]
struct Open<Handle> {
    number: u64,
    asker: ReplyTo,
    /// None once the work is done, or called off.
    handle: Option<Handle>,
}

/// Whether an ask is worked on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Admission {
    /// It is worked on.
    Run,
    /// It is answered in the process that asked, which is this one.
    Own,
    /// Its time is over.
    Expired,
    /// It was taken back before it came.
    Cancelled,
    /// It is worked on already, or was.
    Duplicate,
}

impl<Handle> InFlight<Handle> {
    pub(crate) fn new(mark: &str) -> Self {
        Self {
            mark: mark.into(),
            open: HashMap::default(),
            done: VecDeque::new(),
            cancelled: HashSet::default(),
            order: VecDeque::new(),
            next: 0,
        }
    }

    /// What is to become of an ask that has come.
    pub(crate) fn check(&mut self, head: &AskHead, asker: &ReplyTo) -> Admission {
        if let Some(id) = &head.id {
            if self.is_own(id) {
                return Admission::Own;
            }
            if self.cancelled.contains(id) {
                return Admission::Cancelled;
            }
            if self.open.get(id).is_some_and(|open| open.asker == *asker) {
                return Admission::Duplicate;
            }
        }
        match head.remaining {
            Some(remaining) if remaining.is_zero() => Admission::Expired,
            _ => Admission::Run,
        }
    }

    /// Notes that an ask is worked on, under a number of its own. Of two askers who call theirs the same, the second one
    /// cannot take it back.
    pub(crate) fn open(&mut self, id: AskId, asker: ReplyTo, handle: Handle) -> u64 {
        self.next += 1;
        let number = self.next;
        let open = self.open.entry(id);
        if !matches!(&open, Entry::Occupied(it) if it.get().handle.is_some()) {
            open.insert_entry(Open { number, asker, handle: Some(handle) });
        }
        number
    }

    /// The work of this number is done.
    pub(crate) fn done(&mut self, id: &AskId, number: u64) {
        let Some(open) = self.open.get_mut(id).filter(|open| open.number == number) else { return };
        open.handle = None;
        // Not the buffer that it came in, which may be any size.
        open.asker = ReplyTo::new(open.asker.native().to_vec());
        if self.done.len() >= DONE
            && let Some((oldest, number)) = self.done.pop_front()
            && let Entry::Occupied(oldest) = self.open.entry(oldest)
            && oldest.get().number == number
        {
            oldest.remove();
        }
        self.done.push_back((id.clone(), number));
    }

    /// An ask is taken back: what it is called off by, if it is worked on.
    pub(crate) fn cancel(&mut self, id: AskId) -> Option<Handle> {
        if self.is_own(&id) {
            return None;
        }
        if let Some(open) = self.open.get_mut(&id) {
            return open.handle.take();
        }
        if self.cancelled.insert(id.clone()) {
            self.order.push_back(id);
        }
        if self.order.len() > CANCELLED
            && let Some(oldest) = self.order.pop_front()
        {
            self.cancelled.remove(&oldest);
        }
        None
    }

    fn is_own(&self, id: &AskId) -> bool {
        id.as_str().strip_prefix(&*self.mark).is_some_and(|rest| rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sinew_core::Buffer;

    use super::*;

    fn head(id: &str, millis: u64) -> AskHead {
        AskHead::new(AskId::parse(id).unwrap(), Duration::from_millis(millis))
    }

    fn id(id: &str) -> AskId {
        AskId::parse(id).unwrap()
    }

    fn asker(name: &'static str) -> ReplyTo {
        ReplyTo::new(name)
    }

    #[test]
    fn a_second_copy_of_what_is_worked_on_is_not_worked_on_again() {
        let mut asks = InFlight::new("us");
        assert_eq!(asks.check(&head("a", 5), &asker("x")), Admission::Run);
        let number = asks.open(id("a"), asker("x"), 'a');
        assert_eq!(asks.check(&head("a", 5), &asker("x")), Admission::Duplicate);
        asks.done(&id("a"), number);
        assert_eq!(
            asks.check(&head("a", 5), &asker("x")),
            Admission::Duplicate,
            "nor once it is done"
        );
    }

    #[test]
    fn two_askers_of_one_name_are_both_answered() {
        let mut asks = InFlight::new("us");
        let first = asks.open(id("a"), asker("x"), 'a');
        assert_eq!(asks.check(&head("a", 5), &asker("y")), Admission::Run);
        let second = asks.open(id("a"), asker("y"), 'b');
        asks.done(&id("a"), second);
        assert_eq!(asks.cancel(id("a")), Some('a'), "the first one is still open");
        asks.done(&id("a"), first);
        assert_eq!(asks.done.len(), 1, "of one name one is remembered");
    }

    #[test]
    fn an_ask_that_was_taken_back_before_it_came_is_not_worked_on() {
        let mut asks: InFlight<()> = InFlight::new("us");
        assert_eq!(asks.cancel(id("a")), None);
        assert_eq!(asks.check(&head("a", 5), &asker("x")), Admission::Cancelled);
        assert_eq!(
            asks.check(&head("a", 5), &asker("x")),
            Admission::Cancelled,
            "nor a copy of it"
        );
    }

    #[test]
    fn a_second_copy_of_what_was_taken_back_is_not_worked_on() {
        let mut asks = InFlight::new("us");
        let number = asks.open(id("a"), asker("x"), 'a');
        assert_eq!(asks.cancel(id("a")), Some('a'));
        assert_eq!(asks.cancel(id("a")), None, "it is told once");
        assert_eq!(
            asks.check(&head("a", 5), &asker("x")),
            Admission::Duplicate,
            "while it winds up"
        );
        asks.done(&id("a"), number);
        assert_eq!(asks.check(&head("a", 5), &asker("x")), Admission::Duplicate, "and after");
    }

    #[test]
    fn another_asker_of_a_name_that_was_answered_is_answered_too() {
        let mut asks = InFlight::new("us");
        let first = asks.open(id("a"), asker("x"), 'a');
        asks.done(&id("a"), first);
        // And may take it back, whoever is forgotten meanwhile.
        assert_eq!(asks.check(&head("a", 5), &asker("y")), Admission::Run);
        asks.open(id("a"), asker("y"), 'b');
        for nth in 0..DONE {
            let nth = id(&nth.to_string());
            let number = asks.open(nth.clone(), asker("x"), 'c');
            asks.done(&nth, number);
        }
        assert_eq!(asks.cancel(id("a")), Some('b'));
    }

    #[test]
    fn what_was_answered_takes_no_more_than_so_much() {
        let mut asks = InFlight::new("us");
        for nth in 0..10_000 {
            let nth = id(&nth.to_string());
            let number = asks.open(nth.clone(), asker("x"), ());
            asks.done(&nth, number);
        }
        assert_eq!((asks.open.len(), asks.done.len()), (DONE, DONE));
        assert_eq!(asks.check(&head("9999", 5), &asker("x")), Admission::Duplicate);
        assert_eq!(asks.check(&head("0", 5), &asker("x")), Admission::Run);
    }

    #[test]
    fn cancellations_of_nothing_take_no_more_than_so_much() {
        let mut asks: InFlight<()> = InFlight::new("us");
        for nth in 0..10_000 {
            assert_eq!(asks.cancel(id(&nth.to_string())), None);
        }
        assert_eq!((asks.cancelled.len(), asks.order.len()), (CANCELLED, CANCELLED));
        assert!(CANCELLED >= Buffer::default().messages, "whatever waits may have been taken back");
        assert_eq!(asks.check(&head("9999", 5), &asker("x")), Admission::Cancelled);
        assert_eq!(asks.check(&head("0", 5), &asker("x")), Admission::Run);
    }

    #[test]
    fn time_that_is_over_and_our_own_asks_are_passed_over() {
        let mut asks: InFlight<()> = InFlight::new("us");
        assert_eq!(asks.check(&head("a", 0), &asker("x")), Admission::Expired);
        assert_eq!(asks.check(&head("us.1", 5), &asker("x")), Admission::Own);
        assert_eq!(asks.check(&head("us1", 5), &asker("x")), Admission::Run);
        assert_eq!(asks.check(&AskHead::default(), &asker("x")), Admission::Run, "a plain request");
        asks.cancel(id("us.2"));
        assert!(asks.cancelled.is_empty(), "ours is called off in the process");
    }
}
