//! Verdicts on deliveries: handed over at once, fenced by the broker's life.
use std::{future::poll_fn, sync::Arc, task::Poll};

use sinew_core::{BoxFuture, Pending, Settle, Verdict};

use crate::{
    connection::{Connection, Phase},
    error::MemoryError,
    queue::{Backlog, Tag},
    state::Attempt,
    wait::Wakers,
};

/// The way to settle one delivery.
pub(crate) struct Settlement {
    connection: Arc<Connection>,
    queue: Arc<Backlog>,
    tag: Tag,
}

impl Settlement {
    pub(crate) fn new(connection: Arc<Connection>, queue: Arc<Backlog>, tag: Tag) -> Self {
        Self { connection, queue, tag }
    }
}

impl Settle for Settlement {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        let Self { connection, queue, tag } = *self;
        let shared = &connection.shared;
        // A verdict that is refused leaves nothing unsettled.
        let refusal = shared.capabilities.check_verdict(verdict).err();
        let verdict = if refusal.is_some() { Verdict::Requeue } else { verdict };
        let mut wakers = Wakers::default();
        let settled = queue.settle(tag, verdict, &mut wakers);
        wakers.wake();
        let Some(aftermath) = settled else {
            return Pending::ready(Err(MemoryError::Revoked.during("memory settle")));
        };
        shared.see_to(&queue, &aftermath);
        if connection.phase() == Phase::Draining {
            shared.with(|state, wakers| state.waiting.drain(wakers));
        }
        match refusal {
            Some(err) => Pending::ready(Err(err)),
            None if aftermath.frozen => Pending::later(async move {
                // The broker has it; its answer comes after the thaw.
                connection
                    .shared
                    .attempt("memory settle", |state, _| {
                        state.unready().unwrap_or(Attempt::Done(Ok(())))
                    })
                    .await
            }),
            None => Pending::ready(Ok(())),
        }
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        let (connection, queue, tag) =
            (Arc::clone(&self.connection), Arc::clone(&self.queue), self.tag);
        Box::pin(poll_fn(move |cx| {
            let is_revoked = queue.poll_revoked(tag, cx) || connection.phase() == Phase::Closed;
            if is_revoked { Poll::Ready(()) } else { Poll::Pending }
        }))
    }
}
