//! Notifications posted to a URL.
mod body;
mod options;
mod post;
mod retry;
mod secret;
mod target;
mod tls;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hyper::{HeaderMap, header::HeaderValue};
use metrics::counter;
use sinew_core::{Error, ErrorKind, Result};
use tokio::{task::spawn_blocking, time::sleep};

use self::{
    body::Body,
    post::{Failed, Poster},
    retry::Retry,
};
pub use self::{options::WebhookOptions, secret::WebhookSecret};
use super::pending::{Held, Outbox, Pending};
use crate::{Clock, Notification, Timestamp};

/// What became of the notifications that were handed to a [`WebhookOutput`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct WebhookCounts {
    /// Notifications that the receiver took.
    pub sent: u64,
    /// Attempts that failed, and were followed by another one.
    pub retried: u64,
    /// Notifications that the receiver did not take: it said so, or there were attempts enough. Their alerts are told
    /// again after the next one that it takes.
    pub given_up: u64,
    /// Alerts that were one too many, and are lost.
    pub refused: u64,
    /// Notifications that wait, or are being sent; once it is finished, those that were lost.
    pub waiting: u64,
    /// Alerts that wait beyond the queue; once it is finished, those that were lost.
    pub kept: u64,
}

/// An attempt that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct WebhookFailure<'a> {
    /// What was sent.
    pub notification: &'a Notification,
    /// How many attempts there were, this one included.
    pub attempts: u32,
    /// Why. It shows neither the path of the URL nor any secret.
    pub error: &'a Error,
    /// How long until the next attempt; none when the notification is given up.
    pub retry_in: Option<Duration>,
}

/// Posts each notification to a URL, signed as [Standard Webhooks](https://www.standardwebhooks.com) has it.
///
/// It is there with the feature `webhook`.
///
/// ```no_run
/// use std::time::Duration;
/// use sinew_beat::{Clock, Notification, WebhookOptions, WebhookOutput, WebhookSecret};
///
/// # async fn example(clock: Clock, notification: Notification) -> sinew_core::Result<()> {
/// let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let options = WebhookOptions::new("https://hooks.example/beat")
///     .with_secret(secret)
///     .with_on_failure(|it| eprintln!("{}, again in {:?}", it.error, it.retry_in));
/// let webhook = WebhookOutput::start(options, clock).await?;
/// webhook.send(notification)?;
/// let counts = webhook.finish(Duration::from_secs(10)).await;
/// # Ok(())
/// # }
/// ```
///
/// # What is sent
///
/// A `POST` with `content-type: application/json` and these headers:
///
/// | header | what |
/// |---|---|
/// | `webhook-id` | the notification: the same in each attempt, so that a receiver takes it once |
/// | `webhook-timestamp` | when the attempt began, in seconds since 1970 UTC |
/// | `webhook-signature` | for each secret `v1,` and, in base64, the HMAC-SHA256 of id, timestamp and body joined by dots |
///
/// ```json
/// {
///   "type": "beat.alerts",
///   "version": 1,
///   "timestamp": "2026-01-01T00:00:12.250Z",
///   "text": "billing is down: silent",
///   "group": null,
///   "alerts": [
///     {
///       "kind": "firing",
///       "key": "billing/down/1767225600",
///       "process": "billing",
///       "condition": "down",
///       "state": "down",
///       "previous": "late",
///       "reason": "silent",
///       "instances": null,
///       "since": "2026-01-01T00:00:12.250Z",
///       "at": "2026-01-01T00:00:12.250Z",
///       "text": "billing is down: silent"
///     }
///   ]
/// }
/// ```
///
/// | field | what |
/// |---|---|
/// | `type`, `version` | what this table describes; fields may be added within a version |
/// | `timestamp` | the latest `at`; times are RFC 3339, UTC, to the millisecond |
/// | `text` | a line an alert: what a chat shows |
/// | `group` | what the names of all alerts begin with; null for no group |
/// | `kind` | `firing`, `changed`, `renotify`, `resolved` or `notice` ([`AlertKind`](crate::AlertKind)) |
/// | `key` | the incident: the same from `firing` to `resolved`, and of several monitors ([`AlertKey`](crate::AlertKey)) |
/// | `process` | null for the monitor itself |
/// | `condition` | what is, or was, wrong: `down`, `late`, `degraded`, `stopped`, `flapping`, `conflict`, `blind` or `stalled` |
/// | `state`, `previous` | what the process is now, and was before that; null where it is not known |
/// | `reason` | why it is what it is: `silent`, `beat`, ... ([`Reason`](crate::Reason)); null for none |
/// | `instances` | the two that there are, or were, of a `conflict`; null elsewhere |
/// | `since` | when the incident began |
/// | `at` | when that began which this alert tells |
///
/// Names come off the wire: whoever shows them escapes them.
///
/// # What the answer means
///
/// | answer | what follows |
/// |---|---|
/// | 2xx | it was taken, whatever the body says |
/// | 408, 429, 5xx; no connection, none in time, one that ended early | it is sent again, under the bounds of [`WebhookOptions`] |
/// | 3xx, other 4xx; a certificate that is not trusted, no HTTP at all | it is given up: more of the same would not mend it |
///
/// Waits between attempts double and are drawn at random; what `Retry-After` asks for is waited besides, for no longer
/// than 5 minutes. **Notifications are sent one after the other**: what is tried again holds back those behind it, so
/// that nobody reads of an end before the beginning. A receiver may get a notification twice, as answers get lost; its
/// `webhook-id` tells.
///
/// **What finds the queue full is kept alert by alert**, of an incident the latest, and sent in as few notifications as
/// hold it once the queue is worked off: 100,000 alerts, and as many again that say that something is over. Those beyond
/// are refused. What was given up is kept as well, for the next time that the receiver takes something; of an incident
/// of which it was told something newer meanwhile, nothing is left to tell.
///
/// Redirects are not followed, as they would send names and signature where nobody meant them to go. Neither proxies
/// nor variables of the environment are heeded. Each attempt is a connection of its own, over HTTP/1.1 and, with
/// `https`, TLS 1.2 or 1.3. Signed or not, what goes over `http` can be read on its way.
#[derive(Debug)]
pub struct WebhookOutput {
    outbox: Outbox,
    tally: Arc<Tally>,
}

impl WebhookOutput {
    /// Reads the options and the CA certificates, and starts the task that sends; `clock` is that of the
    /// [`Watch`](crate::Watch) whose events the alerts are made of. Nothing is connected before there is something to
    /// send.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when the URL, a header or the CA file is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call starts nothing.
    pub async fn start(options: WebhookOptions, clock: Clock) -> Result<Self> {
        Self::start_after(options, clock, std::future::ready(())).await
    }

    /// The same, but nothing is sent before `turn` is over: for one that takes the place of another output, which still
    /// tells what came before. What is handed in meanwhile waits; the time in which it is tried runs.
    ///
    /// # Errors
    ///
    /// As [`WebhookOutput::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the call starts nothing.
    pub async fn start_after(
        options: WebhookOptions,
        clock: Clock,
        turn: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self> {
        let reading = spawn_blocking(move || options.read().map(|read| (read, options)));
        let read = reading.await.map_err(|_| Error::new(ErrorKind::Closed, "webhook TLS"))?;
        let ((target, tls), options) = read?;
        let tally = Arc::new(Tally { host: (*target.host).into(), counts: Mutex::default() });
        let poster = Poster::new(target, tls, options.timeout);
        let queue = options.queue;
        let sender = Sender { poster, options, clock, tally: Arc::clone(&tally) };
        let outbox = Outbox::start(queue, clock, |pending| async move {
            turn.await;
            sender.run(pending).await;
        });
        Ok(Self { outbox, tally })
    }

    /// Hands in a notification, and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] when more alerts wait than are kept: those that are one too many are lost, and counted.
    /// [`ErrorKind::Closed`] when the task has ended, with its runtime say.
    pub fn send(&self, notification: Notification) -> Result<()> {
        self.outbox.send(notification, "alert webhook").inspect_err(|_| {
            self.tally.end("beat_webhook_refused_total", |_| {});
        })
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> WebhookCounts {
        let Held { waiting, kept, refused } = self.outbox.held();
        WebhookCounts { waiting, kept, refused, ..self.tally.count(|counts| *counts) }
    }

    /// Lets what waits be sent, and tried again, for no longer than `limit`. Gives what it has counted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call loses what waits; what is being sent may or may not arrive.
    pub async fn finish(mut self, limit: Duration) -> WebhookCounts {
        self.outbox.finish(limit).await;
        self.counts()
    }
}

/// What is counted, once for whoever asks and once for a metrics recorder.
#[derive(Debug)]
struct Tally {
    host: Arc<str>,
    counts: Mutex<WebhookCounts>,
}

impl Tally {
    fn count<T>(&self, count: impl FnOnce(&mut WebhookCounts) -> T) -> T {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts what one more notification came to.
    fn end(&self, metric: &'static str, count: impl FnOnce(&mut WebhookCounts)) {
        self.count(count);
        counter!(metric, "host" => Arc::clone(&self.host)).increment(1);
    }
}

/// What the task works with.
struct Sender {
    poster: Poster,
    options: WebhookOptions,
    clock: Clock,
    tally: Arc<Tally>,
}

impl Sender {
    async fn run(self, mut pending: Pending) {
        while let Some((since, notification)) = pending.next().await {
            if self.deliver(&notification, since).await {
                self.tally.end("beat_webhook_sent_total", |counts| counts.sent += 1);
                pending.taken();
            } else {
                self.tally.end("beat_webhook_given_up_total", |counts| counts.given_up += 1);
                pending.given_up(notification);
            }
        }
    }

    /// Sends what was handed in at `since` as often as it takes. Whether it was taken.
    async fn deliver(&self, notification: &Notification, since: Timestamp) -> bool {
        let body = Body::of(&self.clock, notification);
        let mut retry = Retry::begin(self.options.retry, since);
        loop {
            let Err(failed) = self.attempt(&body).await else { return true };
            let now = self.clock.now();
            let due = retry
                .fail(failed.asked, fastrand::u64(..), now)
                .filter(|_| failed.error.is_transient());
            let retry_in = due.map(|due| due.since(now));
            if let Some(tell) = &self.options.on_failure {
                let (attempts, error) = (retry.failed(), &failed.error);
                tell(&WebhookFailure { notification, attempts, error, retry_in });
            }
            let Some(wait) = retry_in else { return false };
            self.tally.count(|counts| counts.retried += 1);
            let host = Arc::clone(&self.tally.host);
            counter!("beat_webhook_retried_total", "host" => host).increment(1);
            sleep(wait).await;
        }
    }

    async fn attempt(&self, body: &serde_json::Result<Body>) -> Result<(), Failed> {
        let invalid = || Error::new(ErrorKind::InvalidPayload, "alert webhook");
        let body = body.as_ref().map_err(|_| invalid())?;
        let headers = self.sign(body).map_err(|err| invalid().with_source(err))?;
        self.poster.post(headers, body.json.clone()).await
    }

    /// The headers of an attempt that begins now.
    fn sign(&self, body: &Body) -> Result<HeaderMap, hyper::header::InvalidHeaderValue> {
        // Not the monitor's clock: that is not corrected, and a receiver refuses what is minutes off.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_str(&body.id)?);
        headers.insert("webhook-timestamp", HeaderValue::from(now));
        let signed = self.options.secrets.iter().map(|it| it.sign(&body.id, now, &body.json));
        let signed: Vec<_> = signed.collect();
        if !signed.is_empty() {
            headers.insert("webhook-signature", HeaderValue::from_str(&signed.join(" "))?);
        }
        Ok(headers)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("options", &self.options).finish_non_exhaustive()
    }
}
