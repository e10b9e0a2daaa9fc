//! Buffers of intakes, whose steps are each one lock: in whatever order, nothing is lost and nobody sleeps for good.
use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_core::Stream;
use proptest::{
    prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
    test_runner::TestCaseError,
};
use sinew_core::{Buffer, Event, IntakeBuffer, IntakeReader, Overflow};

type Checked = Result<(), TestCaseError>;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Looks for room, and takes in so many if there is some; more than there is room for, at times.
    Fill(usize),
    Read,
    Discard,
    End,
    Abandon,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (1..4_usize).prop_map(Step::Fill),
        30 => Just(Step::Read),
        2 => Just(Step::Discard),
        1 => Just(Step::End),
        1 => Just(Step::Abandon),
    ];
    prop::collection::vec(step, 0..80)
}

/// One that polls and waits, as another task each time.
#[derive(Default)]
struct Waiter {
    /// None when it was not told to wait.
    waits: Option<Arc<Woken>>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Waiter {
    fn poll<T>(&mut self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let woken = Arc::<Woken>::default();
        let poll = poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken))));
        self.waits = poll.is_pending().then_some(woken);
        poll
    }

    /// It waits, and was not woken.
    fn sleeps(&self) -> bool {
        self.waits.as_ref().is_some_and(|woken| !woken.0.load(Ordering::Relaxed))
    }
}

struct Model {
    messages: usize,
    buffer: Arc<IntakeBuffer<usize>>,
    reader: Option<IntakeReader<usize>>,
    filling: Waiter,
    reading: Waiter,
    held: VecDeque<usize>,
    items: usize,
    is_open: bool,
}

impl Model {
    fn new(messages: usize) -> Self {
        let bounds = Buffer::default().with_messages(messages).with_overflow(Overflow::Block);
        let buffer = Arc::new(IntakeBuffer::new(bounds, "test intake"));
        Self {
            messages,
            reader: Some(IntakeReader::new(Arc::clone(&buffer))),
            buffer,
            filling: Waiter::default(),
            reading: Waiter::default(),
            held: VecDeque::new(),
            items: 0,
            is_open: true,
        }
    }

    fn step(&mut self, step: Step) -> Checked {
        match step {
            Step::Fill(count) => self.fill(count)?,
            Step::Read => self.read()?,
            Step::Discard => {
                self.buffer.discard();
                self.held.clear();
            }
            Step::End => {
                self.buffer.end(None);
                self.is_open = false;
            }
            Step::Abandon => {
                self.reader = None;
                self.held.clear();
                self.is_open = false;
            }
        }
        self.check()
    }

    fn fill(&mut self, count: usize) -> Checked {
        // The future is dropped each time: what it knew must not be lost with it.
        let room = self.filling.poll(|cx| pin!(self.buffer.room()).poll(cx));
        let is_full = self.is_open && self.held.len() >= self.messages;
        prop_assert_eq!(room.is_pending(), is_full);
        if room.is_ready() {
            self.buffer.extend((self.items..).take(count).map(|item| (item, 1)));
            if self.is_open {
                self.held.extend(self.items..self.items + count);
            }
            self.items += count;
        }
        Ok(())
    }

    fn read(&mut self) -> Checked {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let next = self.reading.poll(|cx| Pin::new(reader).poll_next(cx));
        let expected = self.held.pop_front();
        match next {
            Poll::Ready(Some(event)) => {
                prop_assert_eq!(event.ok(), expected.map(Event::Item));
                prop_assert!(expected.is_some());
            }
            Poll::Ready(None) => prop_assert!(!self.is_open && expected.is_none()),
            Poll::Pending => prop_assert!(self.is_open && expected.is_none()),
        }
        Ok(())
    }

    fn check(&self) -> Checked {
        prop_assert_eq!(self.buffer.is_open(), self.is_open);
        let has_news = !self.held.is_empty() || !self.is_open;
        let reads = self.reader.is_some();
        prop_assert!(!(reads && has_news && self.reading.sleeps()), "the reader is not woken");
        if self.filling.waits.is_some() {
            let is_due = !self.is_open || self.held.len() <= self.messages / 2;
            prop_assert!(!(is_due && self.filling.sleeps()), "who waits for room is not woken");
            prop_assert!(is_due || self.filling.sleeps(), "woken for less than half");
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whoever_waits_is_woken_when_there_is_reason_to_and_items_come_in_order(
        steps in steps(),
        messages in 1..6_usize,
    ) {
        let mut model = Model::new(messages);
        for step in steps {
            model.step(step)?;
        }
    }
}
