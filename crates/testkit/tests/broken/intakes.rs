//! Flaws of unsettled intakes.
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
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
pub(crate) fn spoiled(incoming: Incoming<Message>, flaw: Option<Flaw>) -> Incoming<Message> {
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
    let merged = Arc::new(Mutex::new(Merged(parts)));
    let stopped = Arc::clone(&merged);
    Ok(Incoming::new(Shared(merged), move || {
        let mut merged = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        merged.0.iter_mut().for_each(Incoming::stop);
    }))
}

/// Tells the broker when it is read.
pub(crate) fn registered_later(inner: Memory, wanted: Subscription) -> Incoming<Message> {
    let opening = async move { inner.subscribe(wanted).await };
    Incoming::new(Later { opening: Some(Box::pin(opening)), opened: None }, || {})
}

/// The replies, and with them what comes of those that were asked for before.
pub(crate) fn shared(
    replies: Incoming<Message>,
    before: Option<Incoming<Message>>,
) -> (Incoming<Message>, Incoming<Message>) {
    let parts = std::iter::once(replies).chain(before).collect();
    let shared = Arc::new(Mutex::new(Merged(parts)));
    let kept = Shared(Arc::clone(&shared));
    (Incoming::new(Shared(shared), || {}), Incoming::new(kept, || {}))
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
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { inner.drain(Duration::ZERO).await });
        }
    })
}

struct Merged(Vec<Incoming<Message>>);

impl Stream for Merged {
    type Item = Result<Event<Message>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut ended = true;
        for part in &mut self.0 {
            match Pin::new(part).poll_next(cx) {
                Poll::Ready(None) => {}
                Poll::Ready(some) => return Poll::Ready(some),
                Poll::Pending => ended = false,
            }
        }
        if ended { Poll::Ready(None) } else { Poll::Pending }
    }
}

struct Shared(Arc<Mutex<Merged>>);

impl Stream for Shared {
    type Item = Result<Event<Message>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut merged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *merged).poll_next(cx)
    }
}

struct Later {
    opening: Option<BoxFuture<'static, Result<Incoming<Message>>>>,
    opened: Option<Incoming<Message>>,
}

impl Stream for Later {
    type Item = Result<Event<Message>>;

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
