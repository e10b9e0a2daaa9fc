//! Tasks that wait, and the rule that they are woken with no lock held.
use std::task::{Context, Waker};

/// Wakers taken out under a lock, to be woken after it: what a waker runs may want the same lock.
///
/// The first one allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    rest: Vec<Waker>,
}

impl Wakers {
    pub(crate) fn push(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.first.is_some() => self.rest.push(waker),
            Some(waker) => self.first = Some(waker),
            None => {}
        }
    }

    /// Wakes them all; call it with no lock held.
    pub(crate) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
            self.rest.into_iter().for_each(Waker::wake);
        }
    }
}

/// Keeps the waker of `cx` in `slot`; what it replaces goes to `wakers`, to be dropped with no lock held.
pub(crate) fn register(slot: &mut Option<Waker>, cx: &Context<'_>, wakers: &mut Wakers) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => wakers.push(slot.replace(cx.waker().clone())),
    }
}

/// Tasks that wait for the same thing, each under a ticket of its own: one that gives up leaves nothing behind.
#[derive(Debug, Default)]
pub(crate) struct WaitList {
    tickets: u64,
    waiting: Vec<(u64, Waker)>,
}

impl WaitList {
    /// Waits under `ticket`, which is drawn at the first call. The waker that this replaces is to be dropped with no
    /// lock held: it may be the last that keeps a task alive.
    pub(crate) fn register(&mut self, ticket: &mut Option<u64>, cx: &Context<'_>) -> Option<Waker> {
        let key = *ticket.get_or_insert_with(|| {
            self.tickets += 1;
            self.tickets
        });
        match self.waiting.iter_mut().find(|(known, _)| *known == key) {
            Some((_, waker)) => Some(std::mem::replace(waker, cx.waker().clone())),
            None => {
                self.waiting.push((key, cx.waker().clone()));
                None
            }
        }
    }

    /// Stops waiting.
    pub(crate) fn leave(&mut self, ticket: u64) -> Option<Waker> {
        let index = self.waiting.iter().position(|(known, _)| *known == ticket)?;
        Some(self.waiting.swap_remove(index).1)
    }

    /// Takes everyone out, to be woken.
    pub(crate) fn drain(&mut self, wakers: &mut Wakers) {
        self.waiting.drain(..).for_each(|(_, waker)| wakers.push(Some(waker)));
    }
}
