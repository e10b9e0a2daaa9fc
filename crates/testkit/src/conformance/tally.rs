//! What came to an intake, counted against what was promised to it, up to a fence.
use std::{
    collections::BTreeMap,
    fmt::{Debug, Display},
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::Duration,
};

use sinew_core::{
    Address, AnyPublisher, BoxFuture, Delivery, Error, Event, Incoming, Message, Ordering, Subject,
};
use tokio::time::timeout;

use super::{Context, During, Failure, Outcome, ensure, support::text};

/// An unsettled intake, all members of a group, or a settled intake that acks what it takes: for promises that all
/// of them make.
#[derive(Debug)]
pub(super) enum Intake {
    Copies(Incoming<Message>),
    Group(Vec<Incoming<Message>>),
    Queue(Incoming<Delivery>),
}

impl Intake {
    /// The next message, acked where it wants to be; anything else is a failure.
    pub(super) async fn message(
        &mut self,
        cx: &Context,
        what: impl Display + Send + Sync,
    ) -> Outcome<Message> {
        let Some(message) = cx.soon(&what, self.next()).await? else {
            return Err(Failure::new(format!("the intake ended; {what} was to come")));
        };
        message.during(format_args!("waiting for {what}"))
    }

    /// A message that is there already.
    async fn glance(&mut self) -> Outcome<Option<Message>> {
        match timeout(GLANCE, self.next()).await {
            Ok(Some(message)) => message.map(Some),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    async fn next(&mut self) -> Option<Outcome<Message>> {
        let event = match self {
            Self::Copies(incoming) => incoming.next().await?,
            Self::Group(members) => any(members).await?,
            Self::Queue(incoming) => match incoming.next().await? {
                Ok(Event::Item(delivery)) => {
                    let message = delivery.message.clone();
                    return Some(delivery.ack().await.map(|()| message).during("ack"));
                }
                other => other.map(|event| event.map(|delivery| delivery.message.clone())),
            },
        };
        Some(match event {
            Ok(Event::Item(message)) => Ok(message),
            Ok(other) => Err(Failure::new(format!("{other:?} came"))),
            Err(err) => Err(err.into()),
        })
    }

    /// The intake yields what is promised, once, in whatever order, and nothing else.
    pub(super) async fn exactly(&mut self, cx: &Context, promised: Tally) -> Outcome {
        cx.exactly([(self, promised)]).await
    }
}

/// What the first member to have something has.
async fn any<T>(members: &mut [Incoming<T>]) -> Option<Result<Event<T>, Error>> {
    poll_fn(|cx| {
        let mut ready = members.iter_mut().map(|member| pin!(member.next()).poll(cx));
        ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// How often each payload came.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    name: Option<String>,
    counts: BTreeMap<String, u32>,
    foreign: Vec<String>,
    fence: Option<(AnyPublisher, Address)>,
}

impl Tally {
    pub(super) fn new(promised: impl IntoIterator<Item = String>) -> Self {
        let counts = promised.into_iter().map(|text| (text, 0)).collect();
        Self { counts, ..Self::default() }
    }

    /// Whoever published last publishes a fence, under a name that the intake wants: nothing is to come before it.
    /// Without one, nothing is to come within a quiet time.
    pub(super) fn fenced(self, publisher: &AnyPublisher, subject: &Subject) -> Self {
        self.fenced_at(publisher, Address::Subject(None, subject.clone()))
    }

    /// As [`Tally::fenced`], wherever the intake looks.
    pub(super) fn fenced_at(mut self, publisher: &AnyPublisher, address: Address) -> Self {
        self.fence = Some((publisher.clone(), address));
        self
    }

    /// Says in its verdict whose count it is.
    pub(super) fn named(mut self, name: impl Display) -> Self {
        self.name = Some(name.to_string());
        self
    }

    pub(super) fn count(&mut self, message: &Message) {
        let text = text(message);
        match self.counts.get_mut(&text) {
            Some(count) => *count += 1,
            None if is_fence(message) => {}
            None => self.foreign.push(text),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.counts.values().all(|count| *count > 0)
    }

    /// The first few of those that never came.
    pub(super) fn missing(&self) -> Vec<&str> {
        self.counts
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(text, _)| &**text)
            .take(5)
            .collect()
    }

    /// Fails unless each came once and nothing else did.
    pub(super) fn verdict(&self) -> Outcome {
        let name = self.name.as_deref().unwrap_or("the intake");
        let missing = self.missing();
        ensure(missing.is_empty(), || format!("to {name} never came {missing:?}"))?;
        let twice: Vec<_> = self.counts.iter().filter(|(_, count)| **count > 1).take(5).collect();
        ensure(twice.is_empty(), || format!("to {name} came more than once {twice:?}"))?;
        let foreign: Vec<_> = self.foreign.iter().take(5).collect();
        ensure(foreign.is_empty(), || {
            format!("to {name} came {foreign:?}, which it was not to get")
        })
    }
}

impl Context {
    /// Each of `intakes` yields what is promised, once, in whatever order, and nothing else.
    pub(super) fn each_exactly<'a>(
        &'a self,
        intakes: &'a mut [Intake],
        promised: Tally,
    ) -> BoxFuture<'a, Outcome> {
        self.exactly(intakes.iter_mut().map(move |intake| (intake, promised.clone())))
    }

    /// Each intake yields what its tally promises, once, in whatever order, and nothing else: neither before nor, as
    /// what is delivered twice does, between that and the fence.
    pub(super) fn exactly<'a>(
        &'a self,
        promised: impl IntoIterator<Item = (&'a mut Intake, Tally)>,
    ) -> BoxFuture<'a, Outcome> {
        let mut promised: Vec<_> = promised.into_iter().collect();
        Box::pin(async move {
            for (intake, tally) in &mut promised {
                while !tally.is_complete() {
                    let what = format!("one of {:?} for {:?}", tally.missing(), tally.name);
                    tally.count(&intake.message(self, what).await?);
                }
                if self.capabilities().ordering == Ordering::None {
                    tally.fence = None;
                }
            }
            let unfenced = promised.iter().any(|(_, tally)| tally.fence.is_none());
            let mut places: Vec<(AnyPublisher, Address)> = Vec::new();
            for (publisher, address) in promised.iter().filter_map(|(_, it)| it.fence.as_ref()) {
                if places.iter().all(|(_, place)| place != address) {
                    places.push((publisher.clone(), address.clone()));
                }
            }
            let fence = format!("{FENCE}{}", self.next_number());
            for (publisher, address) in places {
                self.send(&publisher, Message::to(address, fence.clone())).await?;
            }
            if unfenced {
                self.quiet(1).await;
            }
            for (intake, tally) in &mut promised {
                if tally.fence.is_some() {
                    loop {
                        let seen = intake.message(self, "the fence").await?;
                        if text(&seen) == fence {
                            break;
                        }
                        tally.count(&seen);
                    }
                } else {
                    while let Some(more) = intake.glance().await? {
                        tally.count(&more);
                    }
                }
                tally.verdict()?;
            }
            Ok(())
        })
    }
}

/// Whether it is what an earlier count ended with.
pub(super) fn is_fence(message: &Message) -> bool {
    message.payload.starts_with(FENCE.as_bytes())
}

const FENCE: &str = "fence ";

/// Long enough to look whether something is there.
const GLANCE: Duration = Duration::from_millis(2);
