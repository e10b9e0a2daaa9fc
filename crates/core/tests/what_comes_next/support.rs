//! What the miniatures share: polling without a runtime, and intakes fed by hand.
use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use sinew_core::{Error, ErrorKind, Event, Incoming, Result, Subject};

/// Polls once; nothing here has anything to wait for.
pub(crate) fn now<F: Future>(future: F) -> Result<F::Output> {
    match poll(pin!(future)) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(Error::new(ErrorKind::Timeout, "poll once")),
    }
}

pub(crate) fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn subject(text: &str) -> Result<Subject> {
    Subject::parse(text)
}

/// The broker's end of an intake.
pub(crate) struct Feed<T>(Arc<Mutex<Queue<T>>>);

struct Queue<T> {
    events: VecDeque<Result<Event<T>>>,
    is_stopped: bool,
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Feed<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Queue { events: VecDeque::new(), is_stopped: false })))
    }

    /// Delivers; whether anyone still takes in.
    pub(crate) fn push(&self, item: T) -> bool {
        self.push_event(Ok(Event::Item(item)))
    }

    pub(crate) fn push_event(&self, event: Result<Event<T>>) -> bool {
        let mut queue = lock(&self.0);
        if !queue.is_stopped {
            queue.events.push_back(event);
        }
        !queue.is_stopped
    }

    pub(crate) fn stop(&self) {
        lock(&self.0).is_stopped = true;
    }

    pub(crate) fn incoming(&self) -> Incoming<T> {
        let feed = self.clone();
        Incoming::new(self.clone(), move || feed.stop())
    }
}

impl<T> Stream for Feed<T> {
    type Item = Result<Event<T>>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = lock(&self.0);
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.is_stopped => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
