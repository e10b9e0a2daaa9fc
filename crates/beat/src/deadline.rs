//! A deadline for any future, on any runtime.
use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

/// Awaits `future` for no longer than `limit`; `None` when time ran out.
///
/// Inside of a tokio runtime its timer is used, which must be enabled (tokio cannot be asked whether it is); elsewhere
/// a thread that ends with the wait.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    if Handle::try_current().is_ok() {
        return tokio::time::timeout(limit, future).await.ok();
    }
    let mut future = pin!(future);
    let mut alarm = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        // What is ready at once, as nearly every publish is, needs no alarm.
        alarm.get_or_insert_with(|| Alarm::new(limit)).poll(cx).map(|()| None)
    })
    .await
}

/// Rings once; dropping it silences it, and ends its thread.
struct Alarm {
    state: Arc<Mutex<Ring>>,
    _silence: Option<Sender<()>>,
}

#[derive(Default)]
struct Ring {
    rang: bool,
    waker: Option<Waker>,
}

impl Alarm {
    fn new(limit: Duration) -> Self {
        let state = Arc::new(Mutex::new(Ring::default()));
        let (silence, silenced) = channel::<()>();
        let ring = Arc::clone(&state);
        let spawned = thread::Builder::new().name("beat-deadline".to_owned()).spawn(move || {
            if silenced.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
                ring.rang = true;
                if let Some(waker) = ring.waker.take() {
                    waker.wake();
                }
            }
        });
        if spawned.is_err() {
            // Without a thread nothing would ever end the wait, so it ends now.
            state.lock().unwrap_or_else(PoisonError::into_inner).rang = true;
        }
        Self { state, _silence: spawned.is_ok().then_some(silence) }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ring = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.rang {
            return Poll::Ready(());
        }
        ring.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_executor::block_on;

    use super::*;

    #[test]
    fn a_wait_ends_outside_of_any_runtime() {
        assert_eq!(block_on(within(Duration::from_millis(1), pending::<()>())), None);
        assert_eq!(block_on(within(Duration::from_millis(1), async { 7 })), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_in_virtual_time() {
        assert_eq!(within(Duration::from_secs(3600), pending::<()>()).await, None);
    }
}
