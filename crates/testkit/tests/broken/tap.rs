//! An intake whose events are changed on their way.
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_core::Stream;
use sinew_core::{Event, Incoming, Result};

type Events<T> = Vec<Result<Event<T>>>;

/// The same intake, each event replaced by what `change` makes of it.
pub(crate) fn tap<T: Send + 'static, U: Send + 'static>(
    incoming: Incoming<T>,
    change: impl FnMut(Result<Event<T>>) -> Events<U> + Send + 'static,
) -> Incoming<U> {
    let inner = Arc::new(Mutex::new(incoming));
    let stopped = Arc::clone(&inner);
    let tap = Tap { inner, change: Box::new(change), changed: VecDeque::new() };
    Incoming::new(tap, move || stopped.lock().unwrap_or_else(PoisonError::into_inner).stop())
}

struct Tap<T, U> {
    inner: Arc<Mutex<Incoming<T>>>,
    change: Box<dyn FnMut(Result<Event<T>>) -> Events<U> + Send>,
    changed: VecDeque<Result<Event<U>>>,
}

// No field is pinned.
impl<T, U> Unpin for Tap<T, U> {}

impl<T, U> Stream for Tap<T, U> {
    type Item = Result<Event<U>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.changed.pop_front() {
                return Poll::Ready(Some(event));
            }
            let next = {
                let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                Pin::new(&mut *inner).poll_next(cx)
            };
            match next {
                Poll::Ready(Some(event)) => {
                    let changed = (self.change)(event);
                    self.changed.extend(changed);
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
