//! Flaws of unsettled intakes.
use std::{
    any::Any,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use sinew_adapter_memory::Memory;
use sinew_core::{
    Address, BoxFuture, Event, Incoming, Link, Message, Pattern, Result, Subscribe, Subscription,
};
use tokio::runtime::Handle;

use crate::{flaw::Flaw, tap::tap};

/// The events that a flaw makes of those that come.
pub(crate) fn spoiled(
    incoming: Incoming<Message>,
    flaw: Option<Flaw>,
    bytes: usize,
) -> Incoming<Message> {
    let Some(flaw) = flaw else { return incoming };
    let mut count = 0_u64;
    let mut held = None;
    tap(incoming, move |event| {
        count += 1;
        match (flaw, event) {
            (Flaw::LosesSilently, Ok(Event::Lost(_)))
            | (Flaw::HidesTheLink, Ok(Event::Down | Event::Up { .. })) => vec![],
            (Flaw::CountsLossesWrong, Ok(Event::Lost(lost))) => vec![Ok(Event::Lost(lost + 1))],
            (Flaw::HidesGaps, Ok(Event::Up { .. })) => vec![Ok(Event::Up { gap: false })],
            (Flaw::SwallowsWhatOutgrowsTheBuffer, Ok(Event::Item(message)))
                if message.payload.len() > bytes =>
            {
                vec![]
            }
            (Flaw::DropsForeignNames, Ok(Event::Item(message)))
                if matches!(message.address, Address::Foreign(..)) =>
            {
                vec![]
            }
            (Flaw::DropsPositions, Ok(Event::Item(message))) => {
                let mut bare = Message::to(message.address.clone(), message.payload.clone());
                bare.headers = message.headers.clone();
                bare.reply_to = message.reply_to.clone();
                if let Some(properties) = message.properties() {
                    *bare.properties_mut() = properties.clone();
                }
                vec![Ok(Event::Item(bare))]
            }
            (Flaw::DeliversTwice, Ok(Event::Item(message))) if count == 90 => {
                vec![Ok(Event::Item(message.clone())), Ok(Event::Item(message))]
            }
            // The 90th comes after the 91st.
            (Flaw::Reorders, Ok(Event::Item(message))) if count == 90 => {
                held = Some(message);
                vec![]
            }
            (Flaw::Reorders, Ok(Event::Item(message))) => {
                let late = held.take().map(|late| Ok(Event::Item(late)));
                std::iter::once(Ok(Event::Item(message))).chain(late).collect()
            }
            (_, other) => vec![other],
        }
    })
}

/// A last `#` wants no fewer than one token.
pub(crate) fn take_hash_for_tail(patterns: &mut [Pattern]) -> Result<()> {
    for pattern in patterns {
        let text = pattern.to_string();
        if let Some(stem) = text.strip_suffix(".#") {
            *pattern = Pattern::parse(&format!("{stem}.>"))?;
        }
    }
    Ok(())
}

/// A subscription of its own for each pattern.
pub(crate) async fn once_per_pattern(
    inner: &Memory,
    wanted: Subscription,
) -> Result<Incoming<Message>> {
    let mut parts = vec![inner.subscribe(wanted.clone()).await?];
    for pattern in wanted.patterns.iter().skip(1) {
        let mut part = wanted.clone();
        part.patterns = vec![pattern.clone()];
        parts.push(inner.subscribe(part).await?);
    }
    let merged = Shared::new(parts);
    let stopped = merged.clone();
    Ok(Incoming::new(merged, move || {
        stopped.lock(|parts| parts.iter_mut().for_each(Incoming::stop))
    }))
}

/// Tells the broker when it is read.
pub(crate) fn registered_later<T: Send + 'static>(
    opening: impl Future<Output = Result<Incoming<T>>> + Send + 'static,
) -> Incoming<T> {
    Incoming::new(Later { opening: Some(Box::pin(opening)), opened: None }, || {})
}

/// The replies, and with them what comes of those that were asked for before.
pub(crate) fn shared(
    replies: Incoming<Message>,
    before: Option<Shared>,
) -> (Incoming<Message>, Shared) {
    let before = before.map(|before| Incoming::new(before, || {}));
    let shared = Shared::new(std::iter::once(replies).chain(before).collect());
    (Incoming::new(shared.clone(), || {}), shared)
}

/// Of each two requests, each gets the other's replies.
pub(crate) fn crossed(
    replies: Incoming<Message>,
    before: &mut Option<Shared>,
) -> Incoming<Message> {
    let mine = Shared::new(vec![replies]);
    match before.take() {
        Some(other) => other.lock(|theirs| mine.lock(|parts| std::mem::swap(parts, theirs))),
        None => *before = Some(mine.clone()),
    }
    Incoming::new(mine, || {})
}

/// Waits for ever once it has not heard what it is `deaf` to.
pub(crate) fn deaf(
    replies: Incoming<Message>,
    deaf: fn(&Result<Event<Message>>) -> bool,
) -> Incoming<Message> {
    Incoming::new(Deaf { replies, deaf, endless: false }, || {})
}

/// Ends after the first reply.
pub(crate) fn only_one(replies: Incoming<Message>) -> Incoming<Message> {
    let mut done = false;
    tap(replies, move |event| {
        let first = !std::mem::replace(&mut done, true);
        if first { vec![event] } else { vec![] }
    })
}

/// Takes the link with it when it is dropped.
pub(crate) fn closing(watch: Incoming<()>, inner: Memory) -> Incoming<()> {
    Incoming::new(watch, move || {
        let mut drain = Box::pin(async move { inner.drain(Duration::ZERO).await });
        // One poll starts it.
        let started = drain.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let (Poll::Pending, Ok(runtime)) = (started, Handle::try_current()) {
            runtime.spawn(drain);
        }
    })
}

/// Flaws of how intakes end, which one connection's intakes share.
#[derive(Clone, Default)]
pub(crate) struct Ends {
    discard: Arc<AtomicBool>,
    ended: Arc<AtomicU32>,
    kept: Arc<Mutex<Vec<Box<dyn Any + Send>>>>,
}

impl Ends {
    /// What was received is yielded no more.
    pub(crate) fn discard(&self) {
        self.discard.store(true, Ordering::Relaxed);
    }

    pub(crate) fn spoiled<T: Send + 'static>(
        &self,
        incoming: Incoming<T>,
        flaw: Option<Flaw>,
    ) -> Incoming<T> {
        match flaw {
            Some(Flaw::IntakesOutliveTheirDrop) => {
                let inner = Arc::new(Mutex::new(incoming));
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(Box::new(Arc::clone(&inner)));
                Incoming::new(Outliving(inner), || {})
            }
            Some(Flaw::EndsDiscard) => {
                let stop = Arc::new(AtomicBool::new(false));
                let cut = [Arc::clone(&self.discard), Arc::clone(&stop)];
                Incoming::new(Cut { incoming, cut }, move || stop.store(true, Ordering::Relaxed))
            }
            Some(Flaw::AnEndCostsAnotherAMessage) => {
                let (cost, ended) = (Arc::clone(&self.ended), Arc::clone(&self.ended));
                let paying = tap(incoming, move |event| {
                    let pays = |left: u32| left.checked_sub(1);
                    let item = matches!(event, Ok(Event::Item(_)));
                    let relaxed = Ordering::Relaxed;
                    match item && cost.fetch_update(relaxed, relaxed, pays).is_ok() {
                        true => vec![],
                        false => vec![event],
                    }
                });
                Incoming::new(paying, move || {
                    ended.fetch_add(1, Ordering::Relaxed);
                })
            }
            _ => incoming,
        }
    }
}

/// Intakes as one. The last comes first, so that what is not to come is not hidden by what is.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Vec<Incoming<Message>>>>);

impl Shared {
    fn new(parts: Vec<Incoming<Message>>) -> Self {
        Self(Arc::new(Mutex::new(parts)))
    }

    fn lock<T>(&self, with: impl FnOnce(&mut Vec<Incoming<Message>>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Stream for Shared {
    type Item = Result<Event<Message>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lock(|parts| {
            let mut ended = true;
            for part in parts.iter_mut().rev() {
                match Pin::new(part).poll_next(cx) {
                    Poll::Ready(None) => {}
                    Poll::Ready(some) => return Poll::Ready(some),
                    Poll::Pending => ended = false,
                }
            }
            if ended { Poll::Ready(None) } else { Poll::Pending }
        })
    }
}

struct Deaf {
    replies: Incoming<Message>,
    deaf: fn(&Result<Event<Message>>) -> bool,
    endless: bool,
}

impl Stream for Deaf {
    type Item = Result<Event<Message>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match Pin::new(&mut self.replies).poll_next(cx) {
                Poll::Ready(Some(event)) if (self.deaf)(&event) => self.endless = true,
                Poll::Ready(None) if self.endless => return Poll::Pending,
                other => return other,
            }
        }
    }
}

pub(crate) struct Outliving<T>(pub(crate) Arc<Mutex<Incoming<T>>>);

impl<T> Stream for Outliving<T> {
    type Item = Result<Event<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *inner).poll_next(cx)
    }
}

struct Cut<T> {
    incoming: Incoming<T>,
    cut: [Arc<AtomicBool>; 2],
}

impl<T> Stream for Cut<T> {
    type Item = Result<Event<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.cut.iter().any(|cut| cut.load(Ordering::Relaxed)) {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.incoming).poll_next(cx)
    }
}

struct Later<T> {
    opening: Option<BoxFuture<'static, Result<Incoming<T>>>>,
    opened: Option<Incoming<T>>,
}

impl<T> Stream for Later<T> {
    type Item = Result<Event<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(opening) = &mut self.opening {
            match opening.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(err)) => return Poll::Ready(Some(Err(err))),
                Poll::Ready(Ok(opened)) => {
                    self.opening = None;
                    self.opened = Some(opened);
                }
            }
        }
        match &mut self.opened {
            Some(opened) => Pin::new(opened).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}
