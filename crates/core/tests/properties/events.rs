//! Queues of events against a list that forgets nothing: what is read, lost and said of the link.
use std::{mem, ops::Range};

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use sinew_core::{Buffer, Event, EventQueue, IntakeQueue, Overflow};

type Checked = Result<(), proptest::test_runner::TestCaseError>;

#[derive(Clone, Copy, Debug)]
enum Step {
    Item,
    Lose(u64),
    Down,
    Up {
        gap: bool,
    },
    Pop,
    /// The reader takes over what the writer has.
    Take,
    /// Of what the reader has taken, and of what it has not.
    LoseOldest {
        taken: bool,
    },
    TakeItems,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Item),
        2 => (1..4_u64).prop_map(Step::Lose),
        3 => Just(Step::Down),
        3 => any::<bool>().prop_map(|gap| Step::Up { gap }),
        6 => Just(Step::Pop),
        2 => Just(Step::Take),
        2 => any::<bool>().prop_map(|taken| Step::LoseOldest { taken }),
        1 => Just(Step::TakeItems),
    ];
    prop::collection::vec(step, 0..80)
}

/// All that ever happened, and all that was read of it; an item is its number.
#[derive(Default)]
struct Model {
    happened: Vec<Event<usize>>,
    read: Vec<Event<usize>>,
    /// How many items there were.
    items: usize,
    /// How much of `happened` the reader has taken over.
    taken: usize,
}

impl Model {
    /// The items that were not read, in this part of what happened.
    fn unread(&mut self, part: Range<usize>) -> impl Iterator<Item = &mut Event<usize>> {
        let last =
            self.read.iter().filter_map(|event| event.clone().item()).next_back().unwrap_or(0);
        let part = self.happened.iter_mut().skip(part.start).take(part.len());
        part.filter(move |event| matches!(event, Event::Item(item) if *item > last))
    }

    fn lose_oldest(&mut self, part: Range<usize>) -> Option<usize> {
        mem::replace(self.unread(part).next()?, Event::Lost(1)).item()
    }

    fn take_items(&mut self, part: Range<usize>) -> Vec<usize> {
        self.unread(part).filter_map(|event| mem::replace(event, Event::Lost(0)).item()).collect()
    }
}

/// What happened before an item, or after the last one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Stretch {
    lost: u64,
    /// As the link was left, now or in an earlier one.
    is_up: Option<bool>,
    /// Since the link was last left up.
    gap: bool,
    item: Option<usize>,
}

fn stretches(events: &[Event<usize>]) -> Vec<Stretch> {
    let mut all = Vec::new();
    let mut now = Stretch::default();
    for event in events {
        match event {
            Event::Lost(count) => now.lost += count,
            Event::Down => now.is_up = Some(false),
            Event::Up { gap } => {
                now.is_up = Some(true);
                now.gap |= gap;
            }
            Event::Item(item) => {
                all.push(Stretch { item: Some(*item), ..now.clone() });
                let gap = now.gap && now.is_up == Some(false);
                now = Stretch { is_up: now.is_up, gap, ..Stretch::default() };
            }
            _ => {}
        }
    }
    all.push(now);
    // A gap is owed for as long as the link is down, and what was said early is no less said.
    all.iter_mut().filter(|stretch| stretch.is_up == Some(false)).for_each(|it| it.gap = false);
    all
}

fn run(steps: Vec<Step>) -> Checked {
    let (mut writer, mut reader) = (EventQueue::new(), EventQueue::new());
    let mut model = Model::default();
    for step in steps {
        let event = match step {
            Step::Item => {
                model.items += 1;
                Event::Item(model.items)
            }
            Step::Lose(count) => Event::Lost(count),
            Step::Down => Event::Down,
            Step::Up { gap } => Event::Up { gap },
            Step::Pop => {
                match reader.pop() {
                    Some(event) => model.read.push(event),
                    None => prop_assert!(reader.is_empty()),
                }
                continue;
            }
            Step::Take => {
                reader.append(&mut writer);
                prop_assert!(writer.is_empty());
                model.taken = model.happened.len();
                continue;
            }
            Step::LoseOldest { taken: true } => {
                let oldest = reader.oldest().copied();
                prop_assert_eq!(oldest, reader.lose_oldest());
                prop_assert_eq!(oldest, model.lose_oldest(0..model.taken));
                continue;
            }
            Step::LoseOldest { taken: false } => {
                let lost = model.lose_oldest(model.taken..model.happened.len());
                prop_assert_eq!(writer.lose_oldest(), lost);
                continue;
            }
            Step::TakeItems => {
                prop_assert_eq!(reader.take_items(), model.take_items(0..model.taken));
                let all = 0..model.happened.len();
                prop_assert_eq!(writer.take_items(), model.take_items(all));
                continue;
            }
        };
        writer.push(event.clone());
        model.happened.push(event);
    }
    let unread = model.unread(0..model.happened.len()).count();
    prop_assert_eq!(reader.items() + writer.items(), unread);
    reader.append(&mut writer);
    let rest: Vec<_> = std::iter::from_fn(|| reader.pop()).collect();
    check_bound(&rest)?;
    model.read.extend(rest);
    prop_assert_eq!(stretches(&model.read), stretches(&model.happened));
    check_turns(&model.read)
}

/// However much happened, it is told in at most three events before each item, and after the last.
fn check_bound(rest: &[Event<usize>]) -> Checked {
    for between in rest.split(|event| matches!(event, Event::Item(_))) {
        prop_assert!(between.len() <= 3, "{:?}", between);
    }
    Ok(())
}

/// `Down` and `Up` come by turns, and no gap without the `Down` before it.
fn check_turns(read: &[Event<usize>]) -> Checked {
    let mut is_up = None;
    for event in read {
        match event {
            Event::Down => {
                prop_assert!(is_up != Some(false), "down twice");
                is_up = Some(false);
            }
            Event::Up { gap } => {
                prop_assert!(is_up != Some(true), "up twice");
                prop_assert!(!gap || is_up == Some(false), "a gap that came without a break");
                is_up = Some(true);
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_item_is_read_or_counted_in_its_place_and_the_link_told_by_turns(steps in steps()) {
        run(steps)?;
    }

    #[test]
    fn an_intake_holds_no_more_than_its_bounds_and_counts_the_rest(
        pushes in prop::collection::vec((0..12_usize, any::<bool>()), 0..60),
        messages in 1..5_usize,
        bytes in 1..20_usize,
        keeps_newest in any::<bool>(),
    ) {
        let overflow = if keeps_newest { Overflow::DropOldest } else { Overflow::DropNewest };
        let bounds =
            Buffer::default().with_messages(messages).with_bytes(bytes).with_overflow(overflow);
        let mut queue = IntakeQueue::new(bounds);
        let (mut accounted, mut pushed) = (0, 0);
        let mut account = |event| match event {
            Event::Lost(count) => accounted += count,
            Event::Item(_) => accounted += 1,
            _ => {}
        };
        for (size, pops) in pushes {
            prop_assert!(queue.push(Event::Item(size), size));
            pushed += 1;
            prop_assert!(queue.messages() <= messages);
            prop_assert!(queue.bytes() <= bytes || queue.messages() == 1);
            if pops {
                queue.pop().into_iter().for_each(&mut account);
            }
        }
        std::iter::from_fn(|| queue.pop()).for_each(&mut account);
        prop_assert_eq!(accounted, pushed);
        prop_assert_eq!((queue.messages(), queue.bytes()), (0, 0));
    }
}
