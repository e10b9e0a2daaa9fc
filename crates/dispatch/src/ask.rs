//! What an ask may say about itself, and how it is sent.
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use sinew_core::{Error, ErrorKind, FromPayload, Headers, IntoPayload, Result, Subject, Value};
use tokio::time::Instant;

use crate::{
    AgentId, Context, DispatcherOptions, Ended, Expect, Gathered, Gathering, Hedge, Until,
    asking::{Asking, Request, Sink, State},
    context::AskInfo,
    dispatcher::Shared,
    gather::{Bounds, Gather, Pick, Reach},
    local::Entries,
    over::Over,
    remote::{Answers, RemoteAsk, Whom},
    trace,
};

/// An ask that is not sent yet.
#[must_use = "it asks nobody until it is sent"]
pub struct Ask {
    shared: Arc<Shared>,
    topic: Result<Subject>,
    request: Result<Request>,
    headers: Result<Headers>,
    deadline: Option<Duration>,
    latest: Option<Instant>,
    until: Until,
    expect: Expect,
    hedge: Option<Hedge>,
    bounds: Bounds,
}

/// Headers that carry a trace from one process to the next.
const TRACE: [&str; 2] = [trace::TRACEPARENT, "tracestate"];

impl Ask {
    pub(crate) fn new<P: IntoPayload>(
        shared: Arc<Shared>,
        topic: Result<Subject>,
        request: P,
    ) -> Self {
        let content_type = P::CONTENT_TYPE;
        let request = request.into_payload().map(|payload| Request { payload, content_type });
        let DispatcherOptions { max_replies, max_reply_bytes, .. } = shared.options;
        let bounds = Bounds { replies: max_replies, bytes: max_reply_bytes };
        Self {
            shared,
            topic,
            request,
            headers: Ok(Headers::default()),
            deadline: None,
            latest: None,
            until: Until::AllKnown,
            expect: Expect::Nobody,
            hedge: None,
            bounds,
        }
    }

    /// How long it takes at most. Default: [`DispatcherOptions::with_deadline`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// When it is over before that. Default: [`Until::AllKnown`].
    pub fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    /// Whom it expects to answer from other processes. Default: [`Expect::Nobody`].
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// Asks one agent, and others only if need be: those of this process, and those elsewhere that [`Ask::expect`] names or
    /// knows to be present, each in its turn. Takes [`Until::First`]`(1)`. Default: everybody is asked.
    pub fn hedge(mut self, hedge: Hedge) -> Self {
        self.hedge = Some(hedge);
        self
    }

    /// How many replies it takes. Default: [`DispatcherOptions::with_max_replies`].
    pub fn max_replies(mut self, max_replies: usize) -> Self {
        self.bounds.replies = max_replies;
        self
    }

    /// How many bytes its replies may have, the texts of errors included. Default: [`DispatcherOptions::with_max_reply_bytes`].
    pub fn max_reply_bytes(mut self, max_reply_bytes: usize) -> Self {
        self.bounds.bytes = max_reply_bytes;
        self
    }

    /// Tells the agents something beside the request; a header that cannot be is refused by [`Ask::send`].
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Ok(headers) = &mut self.headers
            && let Err(err) = headers.insert(name, value)
        {
            self.headers = Err(err);
        }
        self
    }

    /// Asks on behalf of the ask that `context` is of: it has no more time than is left of that, and belongs to the same
    /// trace.
    pub fn within(mut self, context: &Context) -> Self {
        let latest = context.latest();
        self.latest = Some(self.latest.map_or(latest, |it| it.min(latest)));
        for name in TRACE {
            if let Some(value) = context.headers().value(name) {
                self = self.header(name, value.clone());
            }
        }
        self
    }

    /// Sends it to those who are registered now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoResponders`] at once when there is nobody to ask, nobody that is expected, or for a hedged ask nobody
    /// whose name is known. [`ErrorKind::Timeout`] when no time was left,
    /// [`ErrorKind::Overloaded`] when as many asks as may be are under way, and [`ErrorKind::InvalidOptions`] for what
    /// makes no sense together. [`ErrorKind::InvalidSubject`], [`ErrorKind::InvalidPayload`] and
    /// [`ErrorKind::InvalidHeader`] for what was given to it; and what a backend says to a request, unless that is
    /// transient and there are agents in this process: then the ask is theirs, and [`End::gap`](crate::End::gap) says so.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing behind; agents may have been asked, and are told that it is over.
    pub async fn send<T: FromPayload + Send + 'static>(self) -> Result<Gathering<T>> {
        let (mut gathering, outgoing) = self.begin()?;
        if let Some(outgoing) = outgoing {
            gathering.set_answers(outgoing.send().await?);
        }
        Ok(gathering)
    }

    /// Asks the agents of this process, and says what is yet to be done to ask those elsewhere, where there may be any.
    /// They are asked first: they need not wait for a broker, nor go unheard because it is away.
    ///
    /// # Errors
    ///
    /// As [`Ask::send`], but for what a backend says.
    pub(crate) fn begin<T: FromPayload + Send + 'static>(
        self,
    ) -> Result<(Gathering<T>, Option<Outgoing>)> {
        self.check()?;
        let Self { shared, topic, request, headers, until, expect, hedge, bounds, .. } = self;
        let (topic, request, mut headers) = (topic?, request?, headers?);
        let sent = Instant::now();
        let wanted = self.deadline.unwrap_or(shared.options.deadline);
        let deadline = self.latest.map_or(sent + wanted, |latest| latest.min(sent + wanted));
        let error = |kind| Error::new(kind, "ask").with_subject(topic.as_str());
        if deadline <= sent {
            return Err(error(ErrorKind::Timeout).with_detail("no time is left for it"));
        }
        let runtime = shared.runtime()?;
        let (agents, meter) = shared.registry.metered(&topic);
        let nobody = shared.remote.is_none() && agents.is_empty();
        if nobody {
            return Err(error(ErrorKind::NoResponders).with_detail("no agent is registered"));
        }
        let has_remote = shared.remote.is_some();
        let (reach, names) = expected(&expect, &topic, &agents, has_remote, hedge.is_some());
        let fan_out = agents.len() + names.len();
        if fan_out == 0 && reach != Reach::Open {
            let why = match expect {
                Expect::Nobody => {
                    "no agent is known by name to be picked; say whom it may ask by `Ask::expect`"
                }
                _ => "nobody is expected to answer",
            };
            return Err(error(ErrorKind::NoResponders).with_detail(why));
        }
        let (presence, watched) = match expect {
            Expect::Present(presence) => (Some(presence), names.clone()),
            _ => (None, Vec::new()),
        };
        let remote = match &shared.remote {
            Some(remote) => Some(RemoteAsk::new(remote, &topic, request.clone(), presence)?),
            None => None,
        };
        let mut gather =
            Gather::new(&until, (sent, deadline), (agents.len(), names), reach, bounds);
        if has_remote {
            gather = gather.called(agents.iter().map(|it| it.agent.id().clone()));
        }
        let mut first = None;
        if let Some(hedge) = hedge {
            gather = gather.hedged(hedge, shared.next_turn());
            first = gather.hedge(sent);
        } else if !has_remote {
            gather.remote_ended(None, Ended::NoAgents, sent);
        }
        let has_local = !agents.is_empty();
        let pending = shared.acquire()?;
        let meter = meter.unwrap_or_else(|| shared.meters.of(&topic));
        meter.asked(fan_out);
        let span = trace::ask(&topic, fan_out, &mut headers);
        let info = Arc::new(AskInfo { topic, headers, sent, deadline, over: Over::default() });
        let condition = match until {
            Until::When(condition) => Some(condition),
            _ => None,
        };
        let asking = Arc::new(Asking {
            runtime,
            info: Arc::clone(&info),
            request: request.payload,
            agents,
            remote: hedge.and_then(|_| remote.clone().map(Box::new)),
            meter,
            span,
            state: Mutex::new(State::new(gather, condition, pending)),
        });
        // From here on it is dropped as any other.
        let gathering = Gathering::new(Arc::clone(&asking));
        let whom = match (first, hedge) {
            // Who is here, and may be next, need not wait until the backend has taken it.
            (Some(Pick::Remote(agent)), _) if !has_local => Some(Whom::One(agent)),
            (None, None) => {
                asking.ask_all();
                Some(Whom::All(watched))
            }
            (first, _) => {
                asking.ask_on(first);
                None
            }
        };
        let outgoing = remote.zip(whom).map(|(remote, whom)| Outgoing {
            remote,
            info,
            whom,
            sink: asking,
            has_local,
        });
        Ok((gathering, outgoing))
    }

    /// Sends it, and waits for its end: [`Gathering::collect`].
    ///
    /// # Errors
    ///
    /// As [`Ask::send`] and [`Gathering::collect`].
    ///
    /// # Cancel safety
    ///
    /// A dropped call ends the ask.
    pub async fn collect<T: FromPayload + Send + 'static>(self) -> Result<Gathered<T>> {
        self.send().await?.collect().await
    }

    /// Refuses what makes no sense together.
    fn check(&self) -> Result<()> {
        let flaw = match self.until {
            Until::First(0) => "the first 0 replies are none",
            Until::Quorum { n, of } if n == 0 || n > of => {
                "a quorum is at least 1, and at most all"
            }
            Until::Quiet(Duration::ZERO) => "no time at all is always quiet",
            Until::First(1) => return self.check_bounds(),
            _ if self.hedge.is_some() => "hedging is for the first reply: until(Until::First(1))",
            _ => return self.check_bounds(),
        };
        Err(invalid(flaw))
    }

    fn check_bounds(&self) -> Result<()> {
        let deadline = self.deadline.unwrap_or(self.shared.options.deadline);
        let flaw = if deadline > DispatcherOptions::MAX_DEADLINE {
            "a deadline is at most 7 days"
        } else if self.bounds.replies == 0 {
            "an ask takes at least one reply"
        } else {
            return Ok(());
        };
        Err(invalid(flaw))
    }
}

/// What is yet to be sent elsewhere, once those who are here have been asked.
pub(crate) struct Outgoing {
    remote: RemoteAsk,
    info: Arc<AskInfo>,
    whom: Whom,
    sink: Arc<dyn Sink>,
    /// Whether somebody here may answer, whatever becomes of it.
    has_local: bool,
}

impl Outgoing {
    async fn send(self) -> Result<Option<Arc<Answers>>> {
        let Self { remote, info, whom, sink, has_local } = self;
        match remote.ask(&info, whom, Arc::clone(&sink)).await {
            Err(err) if has_local && err.is_transient() => {
                sink.remote_ended(None, Ended::Disconnected);
                Ok(None)
            }
            sent => sent,
        }
    }
}

fn invalid(flaw: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOptions, "ask").with_detail(flaw)
}

/// Who may answer, and who is expected to beside the agents of this process.
fn expected(
    expect: &Expect,
    topic: &Subject,
    agents: &Entries,
    has_remote: bool,
    is_hedged: bool,
) -> (Reach, Vec<AgentId>) {
    let mut names = match expect {
        Expect::Nobody => Vec::new(),
        Expect::Agents(names) => names.clone(),
        Expect::Present(presence) => presence.present(topic),
    };
    if is_hedged && !has_remote {
        // Nobody could ask them.
        names.clear();
    }
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        let here: std::collections::HashSet<_> = agents.iter().map(|it| it.agent.id()).collect();
        names.retain(|name| !here.contains(name));
    }
    let reach = match has_remote {
        false => Reach::Closed,
        true if matches!(expect, Expect::Nobody) => match is_hedged {
            true => Reach::Closed,
            false => Reach::Open,
        },
        true => Reach::Listed,
    };
    (reach, names)
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("topic", &self.topic)
            .field("deadline", &self.deadline)
            .field("until", &self.until)
            .field("expect", &self.expect)
            .field("hedge", &self.hedge)
            .finish_non_exhaustive()
    }
}
