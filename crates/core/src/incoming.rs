//! What an intake yields, and the one stream type that yields it.
use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::Result;

/// One thing that an intake has to say.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event<T> {
    /// A message or a delivery.
    Item(T),
    /// At least this many messages were lost since the last event: the consumer was too slow, or a buffer too small. What
    /// a broker or a client drops without a word is not in it: the backend's README says what that can be.
    Lost(u64),
    /// The link is down; nothing arrives until `Up`.
    Down,
    /// The link is up again.
    Up {
        /// Messages may have been missed in between.
        gap: bool,
    },
}

impl<T> Event<T> {
    /// The item, if it is one.
    #[must_use]
    pub fn item(self) -> Option<T> {
        match self {
            Self::Item(item) => Some(item),
            _ => None,
        }
    }

    /// The same event with its item changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Event<U> {
        match self {
            Self::Item(item) => Event::Item(change(item)),
            Self::Lost(count) => Event::Lost(count),
            Self::Down => Event::Down,
            Self::Up { gap } => Event::Up { gap },
        }
    }
}

/// A running intake: the same concrete type for every backend, before and after erasure.
///
/// It yields [`Event`]s. An `Err` is final: `None` follows. Dropping it ends the intake: deliveries that were received
/// and not taken are requeued, those already handed out are still settled by whoever holds them.
#[must_use = "dropping it ends the intake"]
pub struct Incoming<T> {
    events: Option<Events<T>>,
    stop: Option<Box<dyn FnOnce() + Send>>,
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<Event<T>>> + Send>>;

impl<T> Incoming<T> {
    /// For adapters: `events` must yield what was received before `stop` was called, then end.
    ///
    /// `stop` is called once: by [`Incoming::stop`], or on drop. It must not block.
    pub fn new(
        events: impl Stream<Item = Result<Event<T>>> + Send + 'static,
        stop: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { events: Some(Box::pin(events)), stop: Some(Box::new(stop)) }
    }

    /// Stops the intake, the first step of a drain: what was received is still yielded, then `None`.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
    }

    /// The next event; `None` once it has ended.
    ///
    /// # Errors
    ///
    /// Whatever ended the intake; the last item.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped call has taken nothing.
    pub async fn next(&mut self) -> Option<Result<Event<T>>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next item, passing over what else there is to say: for tools and tests that need not know of gaps.
    ///
    /// # Errors
    ///
    /// Whatever ended the intake; the last item.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped call has taken no item.
    pub async fn next_item(&mut self) -> Option<Result<T>> {
        loop {
            match self.next().await? {
                Ok(Event::Item(item)) => return Some(Ok(item)),
                Ok(_) => {}
                Err(err) => return Some(Err(err)),
            }
        }
    }
}

impl<T> Stream for Incoming<T> {
    type Item = Result<Event<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(events) = &mut this.events else { return Poll::Ready(None) };
        let next = events.as_mut().poll_next(cx);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            this.events = None;
            this.stop();
        }
        next
    }
}

impl<T> Drop for Incoming<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<T> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("ended", &self.events.is_none())
            .field("stopped", &self.stop.is_none())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        task::Waker,
    };

    use super::*;
    use crate::{Error, ErrorKind};

    /// Yields these events, then waits.
    struct Script(std::vec::IntoIter<Result<Event<u8>>>);

    impl Stream for Script {
        type Item = Result<Event<u8>>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.next().map_or(Poll::Pending, |event| Poll::Ready(Some(event)))
        }
    }

    fn scripted(events: Vec<Result<Event<u8>>>) -> (Incoming<u8>, Arc<AtomicU32>) {
        let stops = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&stops);
        let stop = move || {
            counted.fetch_add(1, Relaxed);
        };
        (Incoming::new(Script(events.into_iter()), stop), stops)
    }

    fn poll<F: Future>(future: F) -> Poll<F::Output> {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_error_is_the_last_item_and_stops_the_intake() {
        let err = Error::new(ErrorKind::Disconnected, "test");
        let (mut incoming, stops) = scripted(vec![Err(err), Ok(Event::Item(1))]);
        assert!(matches!(poll(incoming.next()), Poll::Ready(Some(Err(_)))));
        assert!(matches!(poll(incoming.next()), Poll::Ready(None)));
        drop(incoming);
        assert_eq!(stops.load(Relaxed), 1);
    }

    #[test]
    fn it_is_stopped_once_by_call_or_by_drop() {
        let (mut incoming, stops) = scripted(vec![Ok(Event::Item(1))]);
        incoming.stop();
        assert!(matches!(poll(incoming.next()), Poll::Ready(Some(Ok(Event::Item(1))))));
        drop(incoming);
        assert_eq!(stops.load(Relaxed), 1);

        let (incoming, stops) = scripted(Vec::new());
        drop(incoming);
        assert_eq!(stops.load(Relaxed), 1);
    }

    #[test]
    fn the_next_item_passes_over_what_is_none() {
        let events = vec![Ok(Event::Down), Ok(Event::Up { gap: true }), Ok(Event::Lost(2))];
        let items = events.into_iter().chain([Ok(Event::Item(7))]).collect();
        let (mut incoming, _) = scripted(items);
        assert!(matches!(poll(incoming.next_item()), Poll::Ready(Some(Ok(7)))));
    }
}
