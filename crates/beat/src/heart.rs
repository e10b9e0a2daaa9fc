//! The heart: tells others that this process lives, as beatit does.
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sinew_core::{
    Confirm, Error, ErrorKind, HeaderCarriage, IntoPayload, Message, Need, Publish, Result, Sent,
    Subject,
};
use tokio::time::Instant;

use crate::{
    Beat, Instance, MAX_PROMISE, MIN_INTERVAL, OnChange, Process, Pulse,
    deadline::within,
    instance::Origin,
    pulse::{Leave, Suppression},
    stats,
};

/// What a heart promises, and how long it may try.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HeartOptions {
    warmup: Duration,
    period: Duration,
    timeout: Duration,
    min_interval: Duration,
    on_change: OnChange,
    run_interval: Option<Duration>,
    instance: Option<Instance>,
}

impl Default for HeartOptions {
    fn default() -> Self {
        Self {
            warmup: Duration::from_secs(60),
            period: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            min_interval: MIN_INTERVAL,
            on_change: OnChange::Suppress,
            run_interval: None,
            instance: None,
        }
    }
}

impl HeartOptions {
    /// What [`Heart::start`] promises: the first beat within it. At most [`MAX_PROMISE`]. Default: 60 s.
    #[must_use]
    pub const fn with_warmup(mut self, warmup: Duration) -> Self {
        self.warmup = warmup;
        self
    }

    /// What [`Heart::beat`] and [`Heart::degraded`] promise: the next one within it. At most [`MAX_PROMISE`], and at
    /// least the [minimum interval](Self::with_min_interval), or suppression would break it. Default: 5 s.
    #[must_use]
    pub const fn with_period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// How long one call may take, the flush of [`Heart::stop`] included. Default: 5 s.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How far apart two sent `beat`s, and two sent `degraded`s, are at least; those between are suppressed. Lower it
    /// for periods below a second; zero suppresses nothing. Default: [`MIN_INTERVAL`], as in beatit.
    #[must_use]
    pub const fn with_min_interval(mut self, min_interval: Duration) -> Self {
        self.min_interval = min_interval;
        self
    }

    /// What becomes of a change that comes within the minimum interval. Default: [`OnChange::Suppress`], as in beatit.
    #[must_use]
    pub const fn with_on_change(mut self, on_change: OnChange) -> Self {
        self.on_change = on_change;
        self
    }

    /// How often [`Heart::run`] beats while the work gets on: at least the minimum interval, at most the period, and
    /// the more below the period, the slower a turn of the work may be. Default: half of the period, or the minimum
    /// interval if that is longer.
    #[must_use]
    pub const fn with_run_interval(mut self, run_interval: Duration) -> Self {
        self.run_interval = Some(run_interval);
        self
    }

    /// Says with each message which instance of the process it is from, and as which of its messages, so that a monitor
    /// notices two under one name, and beats that were lost: as the headers `beat-instance` and `beat-sequence`, which
    /// counts from 1 the messages that were published. Payloads stay as they are, and beatit's readers see no
    /// difference. A backend without headers carries the same beats without it. Default: none, no headers, as in beatit.
    #[must_use]
    pub fn with_instance(mut self, instance: Instance) -> Self {
        self.instance = Some(instance);
        self
    }

    /// Warmup, period and interval of a run.
    pub(crate) fn run(&self) -> (Duration, Duration, Duration) {
        let interval = self.run_interval.unwrap_or_else(|| self.min_interval.max(self.period / 2));
        (self.warmup, self.period, interval)
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A heart of `process` that beats through `publisher`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] or [`ErrorKind::InvalidSubject`] for the name of the process,
    /// [`ErrorKind::InvalidOptions`] for a promise above [`MAX_PROMISE`] or what an interval and the
    /// period make of each other, [`ErrorKind::Unsupported`] when the backend cannot publish.
    pub fn build<P: Publish>(mut self, publisher: P, process: &str) -> Result<Heart<P>> {
        let capabilities = publisher.capabilities();
        capabilities
            .require(Need::Confirm(Confirm::Buffered), "beat through a backend that can publish")?;
        if let Some(flaw) = self.flaw() {
            return Err(Error::new(ErrorKind::InvalidOptions, "beat heart")
                .with_subject(process)
                .with_detail(flaw));
        }
        if capabilities.headers == HeaderCarriage::None {
            self.instance = None;
        }
        let process = Process::parse(process)?;
        let subject = process.subject()?;
        let suppression = Suppression::new(self.min_interval, self.on_change);
        let ledger = Ledger { suppression, counts: Counts::default() };
        let ledger = Arc::new(Mutex::new(ledger));
        Ok(Heart { publisher, process, subject, options: self, ledger })
    }

    /// Why there can be no such heart, and what to do.
    fn flaw(&self) -> Option<String> {
        if self.warmup.max(self.period) > MAX_PROMISE {
            return Some("promise at most 1000000000 s".to_owned());
        }
        if self.period < self.min_interval {
            return Some(format!(
                "a period of {:?} is a promise that a minimum interval of {:?} breaks; lengthen it, or lower \
                 with_min_interval",
                self.period, self.min_interval
            ));
        }
        if let Some(run) =
            self.run_interval.filter(|it| *it < self.min_interval || *it > self.period)
        {
            return Some(format!(
                "a run that beats every {run:?} is not between the minimum interval of {:?} and the period of {:?}",
                self.min_interval, self.period
            ));
        }
        None
    }
}

/// Beats for a process, byte for byte as beatit 2022.3.1 does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sinew_core::Result<()> {
/// use sinew_beat::{Heart, Pulse};
/// use sinew_core::{Message, publish_fn};
///
/// let print = publish_fn(|message: Message| {
///     println!("{} <- {:?}", message.address, message.payload);
///     Ok(())
/// });
/// let heart = Heart::new(print, "billing")?;
/// heart.start().await?; // heartbeat.billing <- b"start/60"
/// assert_eq!(heart.beat().await?, Pulse::Sent); // heartbeat.billing <- b"beat/5"
/// assert_eq!(heart.beat().await?, Pulse::Suppressed);
/// heart.stop().await?; // heartbeat.billing <- b"stop"
/// # Ok(())
/// # }
/// ```
///
/// Call [`beat`](Self::beat) from the loop that does the work, as often as it turns: `beat` and `degraded` are sent
/// at most once a second each, on clocks of their own; `start` and `stop` always ([`HeartOptions`] has it otherwise,
/// where that is wanted). A call that fails or is dropped has not counted, so the next one may send at once. Time is monotonic: a stepped wall clock mutes nothing.
///
/// Dropping it sends nothing: a process that vanishes shall look like one.
///
/// It works on any async runtime. Inside of tokio the deadline of a call is a timer of tokio's: every call panics, as such
/// a timer does, where the runtime was built without [`enable_time`](tokio::runtime::Builder::enable_time).
pub struct Heart<P> {
    publisher: P,
    process: Process,
    subject: Subject,
    options: HeartOptions,
    ledger: Arc<Mutex<Ledger>>,
}

/// What became of a heart's calls, since it was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct HeartCounts {
    /// Messages that were published.
    pub sent: u64,
    /// Calls that were too early to send.
    pub suppressed: u64,
    /// Calls that failed, or were dropped under way; whether they sent is not known.
    pub failed: u64,
    /// How long ago the last message was published, if one was.
    pub last_sent: Option<Duration>,
}

/// What the calls of a heart share.
#[derive(Debug)]
pub(crate) struct Ledger {
    suppression: Suppression,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    suppressed: u64,
    failed: u64,
    last_sent: Option<Instant>,
}

impl Ledger {
    pub(crate) fn counts(&self) -> HeartCounts {
        let Counts { sent, suppressed, failed, last_sent } = self.counts;
        HeartCounts { sent, suppressed, failed, last_sent: last_sent.map(|at| at.elapsed()) }
    }
}

impl<P: Publish> Heart<P> {
    /// A heart of `process` with default options.
    ///
    /// # Errors
    ///
    /// As [`HeartOptions::build`] has them.
    pub fn new(publisher: P, process: &str) -> Result<Self> {
        HeartOptions::default().build(publisher, process)
    }

    /// Says that the process starts: `start/<warmup>`.
    ///
    /// # Errors
    ///
    /// As [`Heart::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Heart::send`].
    pub async fn start(&self) -> Result<Pulse> {
        self.send(Beat::Start { warmup: self.options.warmup }).await
    }

    /// Says that it is well: `beat/<period>`.
    ///
    /// # Errors
    ///
    /// As [`Heart::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Heart::send`].
    pub async fn beat(&self) -> Result<Pulse> {
        self.send(Beat::Beat { period: self.options.period }).await
    }

    /// Says that it works, but not well: `degraded/<period>`.
    ///
    /// # Errors
    ///
    /// As [`Heart::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Heart::send`].
    pub async fn degraded(&self) -> Result<Pulse> {
        self.send(Beat::Degraded { period: self.options.period }).await
    }

    /// Says that it ends on purpose: `stop`, flushed, so that the process may end once this has.
    ///
    /// # Errors
    ///
    /// As [`Heart::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Heart::send`].
    pub async fn stop(&self) -> Result<Pulse> {
        self.send(Beat::Stop).await
    }

    /// Says anything there is to say, with a promise of its own. A [`Beat::Stop`] is flushed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] after [`HeartOptions::with_timeout`], [`ErrorKind::InvalidPayload`] for a promise above
    /// [`MAX_PROMISE`], and what [`Publish::publish`] has.
    ///
    /// # Cancel safety
    ///
    /// A dropped call may or may not have sent, and has not counted: the next one is not suppressed for it.
    ///
    /// # Panics
    ///
    /// Inside of a tokio runtime without timers.
    pub async fn send(&self, beat: Beat) -> Result<Pulse> {
        self.send_at(beat, Instant::now(), self.options.timeout).await
    }

    /// Sends what was decided on at `now`, within `limit`.
    pub(crate) async fn send_at(&self, beat: Beat, now: Instant, limit: Duration) -> Result<Pulse> {
        let (leave, number) = {
            let mut ledger = lock(&self.ledger);
            let leave = ledger.suppression.admit(beat, now);
            ledger.counts.suppressed += u64::from(leave.is_none());
            // Of a call that fails it is the next one's too: a gap is what was published.
            (leave, ledger.counts.sent + 1)
        };
        let Some(leave) = leave else {
            stats::pulse(beat, Some(Pulse::Suppressed));
            return Ok(Pulse::Suppressed);
        };
        let mut unsent = Unsent { ledger: &self.ledger, beat, leave: Some(leave) };
        self.publish(beat, number, limit).await?;
        unsent.leave = None;
        stats::pulse(beat, Some(Pulse::Sent));
        let mut ledger = lock(&self.ledger);
        ledger.counts.sent += 1;
        ledger.counts.last_sent = Some(Instant::now());
        Ok(Pulse::Sent)
    }

    /// What became of its calls so far. It takes a lock for a moment, and no allocation.
    #[must_use]
    pub fn counts(&self) -> HeartCounts {
        lock(&self.ledger).counts()
    }

    pub(crate) fn ledger(&self) -> Arc<Mutex<Ledger>> {
        Arc::clone(&self.ledger)
    }

    pub(crate) fn options(&self) -> &HeartOptions {
        &self.options
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it beats under: `heartbeat.<process>`.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What it publishes through.
    #[must_use]
    pub fn publisher(&self) -> &P {
        &self.publisher
    }

    async fn publish(&self, beat: Beat, number: u64, limit: Duration) -> Result<()> {
        let mut message = Message::new(self.subject.clone(), beat.into_payload()?);
        if let Some(instance) = &self.options.instance {
            message = Origin::sign(message, instance, number)?;
        }
        let mut sent = Sent::No;
        let publishing = async {
            let pending = self.publisher.publish(message).await?;
            sent = Sent::Maybe;
            pending.await?;
            if beat == Beat::Stop { self.publisher.flush().await } else { Ok(()) }
        };
        let outcome = within(limit, publishing).await;
        outcome.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Timeout, "beat send")
                .with_subject(self.subject.as_str())
                .with_detail(format!("after {limit:?}; is the broker there?"))
                .with_sent(sent))
        })
    }
}

impl<P> fmt::Debug for Heart<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heart")
            .field("process", &self.process)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A beat on its way. Dropped before it was sent, by an error or by the caller, it has not counted.
struct Unsent<'a> {
    ledger: &'a Mutex<Ledger>,
    beat: Beat,
    /// None once it was sent.
    leave: Option<Leave>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some(leave) = &self.leave {
            stats::pulse(self.beat, None);
            let mut ledger = lock(self.ledger);
            ledger.counts.failed += 1;
            ledger.suppression.revoke(leave);
        }
    }
}

pub(crate) fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
