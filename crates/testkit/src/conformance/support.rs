//! What behaviours are written with: waits with patience, intakes as the backend has them, and publishing.
use std::{
    fmt::{Debug, Display},
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use sinew_core::{
    AnyBackend, AnyPublisher, Buffer, Consume, Consumption, Delivery, Error, ErrorKind, Event,
    Incoming, Lifetime, Message, Overflow, Pattern, Pending, Publish, PublishExt, QueueKind,
    Receipt, Registration, Scope, Sent, Subject, Subscribe, Subscription, ToSubject,
};
use tokio::time::{sleep, timeout};

use super::{Context, During, Failure, Outcome, ensure, ensure_eq, tally::Intake, when};

impl Context {
    /// What `future` ends with; fails when patience does not last.
    pub(super) async fn soon<T>(
        &self,
        what: impl Display + Send + Sync,
        future: impl Future<Output = T>,
    ) -> Outcome<T> {
        let patience = self.pace().patience;
        timeout(patience, future)
            .await
            .map_err(|_| Failure::new(format!("{what} did not come within {patience:?}")))
    }

    /// The next event of `incoming`.
    pub(super) async fn event<T>(
        &self,
        incoming: &mut Incoming<T>,
        what: impl Display + Send + Sync,
    ) -> Outcome<Event<T>> {
        match self.soon(&what, incoming.next()).await? {
            Some(event) => event.during(format_args!("waiting for {what}")),
            None => Err(Failure::new(format!("the intake ended; {what} was to come"))),
        }
    }

    /// The next event of `incoming`, which must be an item.
    pub(super) async fn item<T: Debug>(
        &self,
        incoming: &mut Incoming<T>,
        what: impl Display + Send + Sync,
    ) -> Outcome<T> {
        match self.event(incoming, &what).await? {
            Event::Item(item) => Ok(item),
            other => Err(Failure::new(format!("{what} was to come, {other:?} came"))),
        }
    }

    /// Lets the quiet time pass, so often. Only where no fence can stand, which would be exact and take no time:
    ///
    /// - behind a broker that is down or frozen;
    /// - around what is withheld: deliveries beyond a prefetch, news of a link, the end of a drain, replies from nobody;
    /// - among those that share messages, since a fence comes to one of them only: groups, competing consumers;
    /// - before what nobody outside can see: a full buffer, a registration that is not confirmed.
    pub(super) async fn quiet(&self, times: u32) {
        sleep(self.pace().quiet * times).await;
    }

    /// Fails if something comes within the quiet time: see there.
    pub(super) async fn silence<T: Debug>(
        &self,
        incoming: &mut Incoming<T>,
        what: impl Display + Send + Sync,
    ) -> Outcome {
        match timeout(self.pace().quiet, incoming.next()).await {
            Err(_) => Ok(()),
            Ok(seen) => Err(Failure::new(format!("{what}: nothing was to come, {seen:?} came"))),
        }
    }

    /// Fails unless `incoming` ends, with nothing more to say.
    pub(super) async fn end<T: Debug>(
        &self,
        incoming: &mut Incoming<T>,
        what: impl Display + Send + Sync,
    ) -> Outcome {
        match self.soon(format!("the end of {what}"), incoming.next()).await? {
            None => Ok(()),
            Some(more) => Err(Failure::new(format!("{what} was to end, {more:?} came"))),
        }
    }

    /// Waits until `incoming` tells of its link what `wanted` accepts; what comes before is passed over.
    pub(super) async fn until<T>(
        &self,
        incoming: &mut Incoming<T>,
        what: impl Display + Send + Sync,
        wanted: impl Fn(&Event<T>) -> bool + Send + Sync,
    ) -> Outcome<Event<T>> {
        self.soon(&what, async {
            loop {
                match incoming.next().await {
                    Some(Ok(event)) if wanted(&event) => return Ok(event),
                    Some(Ok(_)) => {}
                    Some(Err(err)) => return Err(err).during(format_args!("waiting for {what}")),
                    None => return Err(Failure::new(format!("the intake ended before {what}"))),
                }
            }
        })
        .await?
    }

    /// A subscription with an overflow that the backend has, the least lossy one first.
    pub(super) fn subscription(&self, pattern: impl Into<Pattern>) -> Subscription {
        let has = self.capabilities().overflow;
        let overflow =
            [Overflow::Block, Overflow::Fail, Overflow::DropNewest, Overflow::DropOldest]
                .into_iter()
                .find(|overflow| has.has(*overflow));
        let buffer = Buffer::default().with_overflow(overflow.unwrap_or(Overflow::DropNewest));
        Subscription::new(pattern).with_buffer(buffer)
    }

    /// A consumption with a lifetime that the backend has, durable first, of a queue that nobody else uses.
    pub(super) fn consumption(
        &self,
        queue: &str,
        pattern: impl Into<Pattern>,
    ) -> Outcome<Consumption> {
        let lifetime = if self.capabilities().queues.has(QueueKind::Durable) {
            Lifetime::Durable
        } else {
            Lifetime::UntilUnused
        };
        Ok(Consumption::new(self.queue(queue)?, pattern).with_lifetime(lifetime))
    }

    pub(super) async fn subscribe(
        &self,
        backend: &AnyBackend,
        wanted: Subscription,
    ) -> Outcome<Incoming<Message>> {
        let subscribe = async { backend.subscriber()?.subscribe(wanted).await };
        let incoming = self.soon("a subscription", subscribe).await?.during("subscribe")?;
        self.registered().await;
        Ok(incoming)
    }

    pub(super) async fn consume(
        &self,
        backend: &AnyBackend,
        wanted: Consumption,
    ) -> Outcome<Incoming<Delivery>> {
        let consume = async { backend.consumer()?.consume(wanted).await };
        let incoming = self.soon("a consumer", consume).await?.during("consume")?;
        self.registered().await;
        Ok(incoming)
    }

    /// One intake of each kind that the backend has, all wanting `patterns`, the queue its own.
    pub(super) async fn intakes(
        &self,
        backend: &AnyBackend,
        scope: Option<&Scope>,
        patterns: &[Pattern],
    ) -> Outcome<Vec<Intake>> {
        let Some((first, others)) = patterns.split_first() else {
            return Err(Failure::new("an intake needs a pattern"));
        };
        let mut intakes = Vec::new();
        if when::subscribes(self.capabilities()) {
            let mut wanted = self.subscription(first.clone());
            wanted.patterns.extend_from_slice(others);
            wanted.scope = scope.cloned();
            intakes.push(Intake::Copies(self.subscribe(backend, wanted).await?));
        }
        if when::consumes(self.capabilities()) {
            let mut wanted = self.consumption(&self.next_queue(), first.clone())?;
            wanted.patterns.extend_from_slice(others);
            wanted.scope = scope.cloned();
            intakes.push(Intake::Queue(self.consume(backend, wanted).await?));
        }
        Ok(intakes)
    }

    /// Intakes of each kind for one pattern.
    pub(super) async fn intakes_of(
        &self,
        backend: &AnyBackend,
        pattern: impl Into<Pattern>,
    ) -> Outcome<Vec<Intake>> {
        self.intakes(backend, None, &[pattern.into()]).await
    }

    /// Where registration is eventual, there is nothing to wait for but time.
    async fn registered(&self) {
        if self.capabilities().registration < Registration::Confirmed {
            self.quiet(1).await;
        }
    }

    pub(super) async fn send(
        &self,
        publisher: &AnyPublisher,
        message: Message,
    ) -> Outcome<Receipt> {
        let doing = format!("publish to {}", message.address);
        self.soon(&doing, publisher.send(message)).await?.during(doing)
    }

    /// Publishes texts under one subject, without awaiting each answer before the next, then all answers; and flushes,
    /// since whoever drops the last handle next would end the connection at once.
    pub(super) async fn send_all(
        &self,
        publisher: &AnyPublisher,
        subject: &Subject,
        texts: impl IntoIterator<Item = String>,
    ) -> Outcome {
        let pendings = self.hand_over(publisher, subject, texts).await?;
        self.answers(pendings).await?;
        self.soon("the flush", publisher.flush()).await?.during("flush")
    }

    /// Publishes texts under one subject; the answers are still to come.
    pub(super) async fn hand_over(
        &self,
        publisher: &AnyPublisher,
        subject: &Subject,
        texts: impl IntoIterator<Item = String>,
    ) -> Outcome<Vec<Pending<Receipt>>> {
        let mut pendings = Vec::new();
        for text in texts {
            let message = Message::new(subject.clone(), text);
            let handed = self.soon("room to publish", publisher.publish(message)).await?;
            pendings.push(handed.during("publish")?);
        }
        Ok(pendings)
    }

    pub(super) async fn answers(&self, pendings: Vec<Pending<Receipt>>) -> Outcome {
        for pending in pendings {
            self.soon("the broker's answer", pending).await?.during("publish")?;
        }
        Ok(())
    }

    /// Publishes until it succeeds, as a service does whose broker is away.
    pub(super) async fn send_until_done(
        &self,
        publisher: &AnyPublisher,
        message: Message,
    ) -> Outcome<Receipt> {
        let sending = async {
            loop {
                match publisher.send(message.clone()).await {
                    Err(err) if err.is_transient() => sleep(RETRY).await,
                    // Whoever consumes it may be about to bind its queue again.
                    Err(err) if err.kind() == ErrorKind::Unroutable => sleep(RETRY).await,
                    other => return other,
                }
            }
        };
        self.soon("a publish that succeeds", sending).await?.during("publish")
    }
}

/// What `future` ends with, if one poll is all it needs.
pub(super) async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A message to what parses as a subject.
pub(super) fn message(subject: impl ToSubject, payload: impl Into<Bytes>) -> Outcome<Message> {
    Ok(Message::new(subject.to_subject()?, payload))
}

pub(super) fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

/// `prefix-0` and so on.
pub(super) fn numbered(
    prefix: impl Into<String>,
    count: u32,
) -> impl Iterator<Item = String> + Clone {
    let prefix = prefix.into();
    (0..count).map(move |number| format!("{prefix}-{number}"))
}

/// Fails unless `result` is an error of one of `kinds`.
pub(super) fn refused<T: Debug>(
    what: impl Display,
    result: Result<T, Error>,
    kinds: &[ErrorKind],
) -> Outcome<Error> {
    match result {
        Err(err) if kinds.contains(&err.kind()) => Ok(err),
        Err(err) => Err(err)
            .during(format_args!("{what}: an error of {kinds:?} was promised, another came")),
        Ok(done) => {
            Err(Failure::new(format!("{what}: an error of {kinds:?} was promised, {done:?} came")))
        }
    }
}

/// Fails unless `result` is a refusal for want of a capability, which names the backend and says what to do.
pub(super) fn unsupported<T: Debug>(
    cx: &Context,
    what: impl Display,
    result: Result<T, Error>,
) -> Outcome {
    let err = refused(&what, result, &[ErrorKind::Unsupported])?;
    ensure_eq(format_args!("{what}: sent"), err.sent(), Sent::No)?;
    let told = err.to_string();
    ensure(told.contains(cx.capabilities().backend), || {
        format!("{what}: the refusal is to name `{}`: {told}", cx.capabilities().backend)
    })?;
    ensure(err.detail().is_some(), || format!("{what}: the refusal is to say what to do: {told}"))
}

/// Before what has failed is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(20);
