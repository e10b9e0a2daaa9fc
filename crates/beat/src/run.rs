//! A run: beats as long as the work gets on, and a stop at its end.
use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use sinew_core::{Publish, Result};
use tokio::time::Instant;

use crate::{
    Beat, Health, Heart, Progress, Pulse,
    deadline::within,
    rhythm::{Rhythm, Turn},
};

impl<P: Publish> Heart<P> {
    /// Says `start`, beats while the work gets on, and says `stop` when `until` is over: the work itself, a signal, the
    /// end of a channel. Gives what `until` gave, and what became of the stop.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sinew_core::Result<()> {
    /// use sinew_adapter_memory::Memory;
    /// use sinew_beat::{Health, Heart, Progress, Pulse};
    ///
    /// let heart = Heart::new(Memory::new(), "billing")?;
    /// let progress = Progress::new();
    /// let work = async {
    ///     for _job in 0..3 {
    ///         // do it, then say so
    ///         progress.tick();
    ///     }
    ///     "all done"
    /// };
    /// let backlog = 7;
    /// let check = || if backlog < 1000 { Health::Up } else { Health::Degraded };
    /// let (done, stopped) = heart.run(&progress, check, work).await;
    /// assert_eq!((done, stopped?), ("all done", Pulse::Sent));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - **A beat stands for progress.** It is sent every [`run interval`](crate::HeartOptions::with_run_interval) if
    ///   the work has [ticked](Progress::tick) since the last one. Without a tick none is sent, and whoever watches
    ///   calls the process late and then down: a timer would prove only that a timer runs. A tick that comes late is
    ///   told within a quarter of the interval, or a second if that is less.
    /// - **The check says which beat**: `beat` for [`Health::Up`], `degraded` for [`Health::Degraded`]. It is a closure
    ///   that returns a [`Health`], or a future of one; asked once an interval, beside the beats, so that a slow one
    ///   delays none. One that has not answered after an interval is dropped, and means `degraded`. A change is said
    ///   at once, as far as [`HeartOptions::with_on_change`](crate::HeartOptions::with_on_change) lets it through.
    /// - **A failed publish is tried again** within a quarter of the interval, or a second if that is less, and
    ///   [counted](Self::counts). Nothing but `until` ends the run. Beats that were missed are not made up for.
    /// - **The stop is the last thing said**: drain the work within `until`. It is flushed, and tried again while it
    ///   fails, for [`HeartOptions::with_timeout`](crate::HeartOptions::with_timeout) in all.
    /// - **A panic, and dropping the call, say nothing**: a process that vanishes shall look like one.
    ///
    /// `until` is polled by the same task: work that blocks, or computes for long without an `await`, belongs into a
    /// task of its own, with its handle as `until`.
    ///
    /// # Errors
    ///
    /// For the stop, as [`Heart::send`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call drops `until` and sends no more. Another may be started.
    ///
    /// # Panics
    ///
    /// As [`Heart::send`], and when the check or `until` does.
    pub async fn run<C, A, W>(
        &self,
        progress: &Progress,
        check: C,
        until: W,
    ) -> (W::Output, Result<Pulse>)
    where
        C: FnMut() -> A + Send,
        A: IntoFuture<Output = Health, IntoFuture: Send> + Send,
        W: Future<Output: Send> + Send,
    {
        let output = self.beat_until(self.rhythm(progress), progress, check, until).await;
        (output, self.end().await)
    }

    /// Beats in this rhythm, until then.
    pub(crate) async fn beat_until<C, A, W>(
        &self,
        rhythm: Rhythm,
        progress: &Progress,
        check: C,
        until: W,
    ) -> W::Output
    where
        C: FnMut() -> A + Send,
        A: IntoFuture<Output = Health, IntoFuture: Send> + Send,
        W: Future + Send,
    {
        tokio::select! {
            biased;
            // First, so that the start is on its way before the work begins.
            never = self.keep_on(progress, check, rhythm) => match never {},
            output = until => output,
        }
    }

    /// A start, and beats from now on.
    pub(crate) fn rhythm(&self, progress: &Progress) -> Rhythm {
        Rhythm::new(self.options().run(), progress.ticks(), Instant::now())
    }

    async fn keep_on<C, A>(
        &self,
        progress: &Progress,
        mut check: C,
        mut rhythm: Rhythm,
    ) -> Infallible
    where
        C: FnMut() -> A + Send,
        A: IntoFuture<Output = Health, IntoFuture: Send> + Send,
    {
        let mut asked = pin!(None::<A::IntoFuture>);
        loop {
            // What was answered while a publish took its time is no late answer.
            if let Some(health) = at_once(answer(asked.as_mut())).await {
                asked.set(None);
                rhythm.checked(health);
            }
            let now = Instant::now();
            match rhythm.turn(progress.ticks(), now) {
                Turn::Ask => asked.set(Some(check().into_future())),
                Turn::Abandon => asked.set(None),
                Turn::Say(beat) => {
                    let outcome = self.send_at(beat, now, self.options().timeout()).await;
                    // The failure was counted; the rhythm tries again.
                    rhythm.said(beat, outcome.ok(), now, Instant::now());
                }
                Turn::Wait(until) => {
                    let wait = until.saturating_duration_since(now);
                    if let Some(health) = within(wait, answer(asked.as_mut())).await {
                        asked.set(None);
                        rhythm.checked(health);
                    }
                }
            }
        }
    }

    /// Says `stop`, again and again while that fails for a reason that may pass, within the time of one call.
    pub(crate) async fn end(&self) -> Result<Pulse> {
        let (begin, limit) = (Instant::now(), self.options().timeout());
        loop {
            let now = Instant::now();
            let left = limit.saturating_sub(now.saturating_duration_since(begin));
            let err = match self.send_at(Beat::Stop, now, left).await {
                Ok(pulse) => return Ok(pulse),
                Err(err) => err,
            };
            if !err.is_transient() || begin.elapsed().saturating_add(STOP_RETRY) >= limit {
                return Err(err);
            }
            within(STOP_RETRY, pending::<()>()).await;
        }
    }
}

/// How long after a stop that failed the next is tried.
const STOP_RETRY: Duration = Duration::from_millis(100);

/// The answer of what is asked, if anything is.
async fn answer<F: Future>(asked: Pin<&mut Option<F>>) -> F::Output {
    match asked.as_pin_mut() {
        Some(asked) => asked.await,
        None => pending().await,
    }
}

/// What is there without waiting.
async fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
