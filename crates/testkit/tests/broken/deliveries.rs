//! Flaws of settled intakes.
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sinew_core::{
    Attempt, BoxFuture, Delivery, ErrorKind, Event, Incoming, Pending, Settle, Verdict,
};

use crate::{flaw::Flaw, tap::tap};

/// The deliveries that a flaw makes of those that come.
pub(crate) fn spoiled(incoming: Incoming<Delivery>, flaw: Option<Flaw>) -> Incoming<Delivery> {
    let Some(flaw) = flaw else { return incoming };
    tap(incoming, move |event| match event {
        Ok(Event::Item(delivery)) => vec![Ok(Event::Item(spoil(delivery, flaw)))],
        Ok(Event::Down | Event::Up { .. }) if flaw == Flaw::HidesTheLink => vec![],
        other => vec![other],
    })
}

fn spoil(delivery: Delivery, flaw: Flaw) -> Delivery {
    let message = delivery.message.clone();
    let attempt = match flaw {
        Flaw::AttemptsAreStuck => Attempt::Number(1),
        _ => delivery.attempt,
    };
    let inner = if flaw == Flaw::AcksEarly {
        drop(delivery.ack());
        None
    } else {
        Some(delivery)
    };
    Delivery::new(message, attempt, Spoiled { inner: Mutex::new(inner), flaw })
}

struct Spoiled {
    inner: Mutex<Option<Delivery>>,
    flaw: Flaw,
}

impl Settle for Spoiled {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(delivery) = inner else { return Pending::ready(Ok(())) };
        match (self.flaw, verdict) {
            (Flaw::AcksWhenAwaited, Verdict::Ack) => {
                Pending::later(async move { delivery.ack().await })
            }
            (Flaw::RequeueForgets, Verdict::Requeue) => delivery.settle(Verdict::Discard),
            (Flaw::RequeuesEarly, Verdict::RequeueAfter(delay)) if delay < A_DAY => {
                delivery.settle(Verdict::RequeueAfter(delay / 100))
            }
            (Flaw::DiscardRequeues, Verdict::Discard) => delivery.settle(Verdict::Requeue),
            (Flaw::OkWhenRevoked, verdict) => {
                let pending = delivery.settle(verdict);
                Pending::later(async {
                    pending.await.or_else(|err| match err.kind() {
                        ErrorKind::Unsupported => Err(err),
                        _ => Ok(()),
                    })
                })
            }
            (_, verdict) => delivery.settle(verdict),
        }
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match &*inner {
            Some(delivery) if self.flaw != Flaw::NeverRevokes => delivery.revoked(),
            _ => Box::pin(std::future::pending()),
        }
    }
}

/// Longer delays are asked for to be refused.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
