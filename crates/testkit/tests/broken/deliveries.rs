//! Flaws of settled intakes.
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;

use sinew_core::{
    Attempt, Attempts, BoxFuture, Delivery, Error, ErrorKind, Event, Incoming, Pending, Settle,
    Verdict,
};

use crate::{fixture::Flawed, flaw::Flaw, intakes::Outliving, tap::tap};

/// The deliveries that a flaw makes of those that come.
pub(crate) fn spoiled(incoming: Incoming<Delivery>, flawed: Flawed) -> Incoming<Delivery> {
    let ended = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&ended);
    let mut count = 0_u32;
    let spoiled = tap(incoming, move |event| match event {
        Ok(Event::Item(delivery)) => {
            count += 1;
            match flawed.flaw {
                Some(Flaw::SwallowsWhatComesLate) if count == 1500 => {
                    drop(delivery.ack());
                    vec![]
                }
                _ => {
                    let lost = count.is_multiple_of(20) && delivery.attempt == Attempt::Number(1);
                    vec![Ok(Event::Item(spoil(delivery, flawed, lost, &ended)))]
                }
            }
        }
        Ok(Event::Down | Event::Up { .. }) if flawed.flaw == Some(Flaw::HidesTheLink) => vec![],
        other => vec![other],
    });
    let takes_along = flawed.flaw == Some(Flaw::EndsTakeWhatIsOnItsWay);
    let inner = Arc::new(Mutex::new(spoiled));
    Incoming::new(Outliving(Arc::clone(&inner)), move || {
        ends.store(true, Ordering::Relaxed);
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cx = Context::from_waker(Waker::noop());
        while takes_along
            && let Poll::Ready(Some(Ok(event))) = Pin::new(&mut *inner).poll_next(&mut cx)
        {
            drop(event.item().map(Delivery::ack));
        }
        inner.stop();
    })
}

fn spoil(delivery: Delivery, flawed: Flawed, lost: bool, ended: &Arc<AtomicBool>) -> Delivery {
    let message = delivery.message.clone();
    let attempt = match (flawed.flaw, flawed.claims.capabilities().attempts, delivery.attempt) {
        (Some(Flaw::AttemptsAreStuck), ..) => Attempt::Number(1),
        (Some(Flaw::FlagsNothing), ..) => Attempt::Unknown,
        (Some(Flaw::TellsAttempts), _, attempt) => attempt,
        (_, Attempts::Flag, Attempt::Number(number)) if number > 1 => Attempt::Redelivered,
        (_, Attempts::Flag, _) | (_, Attempts::Unknown, _) => Attempt::Unknown,
        (_, _, attempt) => attempt,
    };
    let inner = if flawed.flaw == Some(Flaw::AcksEarly) {
        drop(delivery.ack());
        None
    } else {
        Some(delivery)
    };
    let ended = Arc::clone(ended);
    Delivery::new(message, attempt, Spoiled { inner: Mutex::new(inner), flawed, lost, ended })
}

struct Spoiled {
    inner: Mutex<Option<Delivery>>,
    flawed: Flawed,
    lost: bool,
    ended: Arc<AtomicBool>,
}

impl Settle for Spoiled {
    fn settle(self: Box<Self>, verdict: Verdict) -> Pending<()> {
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(delivery) = inner else { return Pending::ready(Ok(())) };
        let able = self.flawed.claims.capabilities();
        let verdict = match (self.flawed.flaw, verdict, able.max_delay) {
            (Some(Flaw::TakesAnyDelay), Verdict::RequeueAfter(delay), Some(most)) => {
                Verdict::RequeueAfter(delay.min(most))
            }
            _ => verdict,
        };
        match (self.flawed.flaw, able.check_verdict(verdict)) {
            (Some(Flaw::AcceptsWhatItLacks), _) | (_, Ok(())) => {}
            (Some(Flaw::AcksWhatItRefuses), Err(err)) => {
                drop(delivery.ack());
                return Pending::ready(Err(err));
            }
            // Unsettled, it goes back.
            (_, Err(err)) => return Pending::ready(Err(err)),
        }
        match (self.flawed.flaw, verdict) {
            (Some(Flaw::AcksEndWithTheIntake), _) if self.ended.load(Ordering::Relaxed) => {
                Pending::ready(Err(Error::new(ErrorKind::Closed, "flawed settle")))
            }
            (Some(Flaw::AcksWhenAwaited), Verdict::Ack) => {
                Pending::later(async move { delivery.ack().await })
            }
            (Some(Flaw::AcksAreLost), Verdict::Ack) if self.lost => {
                delivery.settle(Verdict::Requeue)
            }
            (Some(Flaw::RequeueForgets), Verdict::Requeue) => delivery.settle(Verdict::Discard),
            (Some(Flaw::RequeuesEarly), Verdict::RequeueAfter(delay)) if delay < A_DAY => {
                delivery.settle(Verdict::RequeueAfter(delay / 100))
            }
            (Some(Flaw::DiscardRequeues), Verdict::Discard) => delivery.settle(Verdict::Requeue),
            (Some(Flaw::OkWhenRevoked), verdict) => {
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
            Some(delivery) if self.flawed.flaw != Some(Flaw::NeverRevokes) => delivery.revoked(),
            _ => Box::pin(std::future::pending()),
        }
    }
}

/// Longer delays are asked for to be refused.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
