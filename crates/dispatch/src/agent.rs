//! Agents: what answers asks.
use std::{
    collections::hash_map::RandomState, fmt, hash::BuildHasher as _, sync::Arc, time::Duration,
};

use bytes::Bytes;
use sinew_core::{BoxFuture, FromPayload, IntoPayload, Result};

use crate::{AgentError, AgentId, Context, load::Load};

/// What answers requests of one type. Closures are agents:
///
/// ```
/// use sinew_dispatch::{AgentError, AnyAgent, Context};
///
/// let shout = AnyAgent::new("shout", |_: Context, text: String| async move {
///     match text.is_empty() {
///         true => Err(AgentError::new("silent", "there is nothing to shout")),
///         false => Ok(text.to_uppercase()),
///     }
/// })?;
/// # Ok::<(), sinew_core::Error>(())
/// ```
pub trait Agent<Request>: Send + Sync + 'static {
    /// What it answers with.
    type Reply: IntoPayload;

    /// Answers one request. Calls run beside each other, up to the agent's [concurrency](AnyAgent::with_concurrency), on
    /// tasks of their own unless those before it over a broker were quick; what blocks belongs into
    /// [`blocking`](crate::blocking()).
    ///
    /// # Errors
    ///
    /// Whatever keeps it from answering; a panic is caught, and is told as [`AgentError::PANIC`].
    ///
    /// # Cancel safety
    ///
    /// It is dropped when the ask is over and the agent's [grace](AnyAgent::with_grace) is, too.
    fn handle(
        &self,
        context: Context,
        request: Request,
    ) -> impl Future<Output = Result<Self::Reply, AgentError>> + Send;
}

impl<Function, Request, Reply, Answer> Agent<Request> for Function
where
    Function: Fn(Context, Request) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<Reply, AgentError>> + Send,
    Reply: IntoPayload,
{
    type Reply = Reply;

    fn handle(
        &self,
        context: Context,
        request: Request,
    ) -> impl Future<Output = Result<Reply, AgentError>> + Send {
        self(context, request)
    }
}

/// Any agent, its types erased, with its name and its limits. Cloning shares it: the clones have one limit.
#[derive(Clone)]
pub struct AnyAgent {
    id: AgentId,
    handler: Arc<dyn Handler>,
    concurrency: usize,
    grace: Duration,
    jitter: Duration,
    load: Arc<Load>,
}

impl AnyAgent {
    /// How many calls run at once by default.
    pub const CONCURRENCY: usize = 1024;
    /// How long a handler may go on by default once its ask is over.
    pub const GRACE: Duration = Duration::from_millis(100);

    /// An agent named `id`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`](sinew_core::ErrorKind::InvalidName), as [`AgentId::parse`] has it.
    pub fn new<Request>(id: &str, agent: impl Agent<Request>) -> Result<Self>
    where
        Request: FromPayload + Send + 'static,
    {
        Ok(Self {
            id: AgentId::parse(id)?,
            handler: Arc::new(Typed { agent, takes: PhantomTypes::default() }),
            concurrency: Self::CONCURRENCY,
            grace: Self::GRACE,
            jitter: Duration::ZERO,
            load: Arc::default(),
        })
    }

    /// How many calls run at once, over all topics; what comes beyond is refused with the code [`AgentError::BUSY`]; with
    /// 0 everything is. A limit of its own: clones that were made before keep theirs. Default:
    /// [`AnyAgent::CONCURRENCY`].
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self.load = Arc::default();
        self
    }

    /// How long a handler may go on, to tidy up, once its ask is over; then it is dropped. Default:
    /// [`AnyAgent::GRACE`].
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Over how much time the answers to asks that come over a broker are spread, at random, so that those of hundreds of
    /// agents do not come to one asker at one instant. An answer is held for half of the time that is left at most, and not
    /// once the ask is over. Default: none.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// How many of its calls run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.load.running()
    }

    /// How long this answer waits: another time each.
    pub(crate) fn pause(&self) -> Duration {
        if self.jitter.is_zero() {
            return Duration::ZERO;
        }
        // Of 53 bits a float knows each.
        #[expect(clippy::cast_precision_loss, reason = "53 bits of it are kept")]
        let part = (RandomState::new().hash_one(()) >> 11) as f64 / (1_u64 << 53) as f64;
        self.jitter.mul_f64(part)
    }

    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// What its replies are, where their type says so.
    pub(crate) fn content_type(&self) -> Option<&'static str> {
        self.handler.content_type()
    }

    pub(crate) fn limit(&self) -> (&Arc<Load>, usize) {
        (&self.load, self.concurrency)
    }

    pub(crate) fn handle(
        &self,
        context: Context,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, AgentError>> {
        Arc::clone(&self.handler).handle(context, request)
    }
}

impl fmt::Debug for AnyAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyAgent")
            .field("id", &self.id)
            .field("concurrency", &self.concurrency)
            .field("grace", &self.grace)
            .field("jitter", &self.jitter)
            .field("running", &self.running())
            .finish()
    }
}

trait Handler: Send + Sync {
    fn handle(
        self: Arc<Self>,
        context: Context,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, AgentError>>;

    fn content_type(&self) -> Option<&'static str>;
}

struct Typed<A, Request> {
    agent: A,
    takes: PhantomTypes<Request>,
}

/// Says what is taken without holding one.
type PhantomTypes<Request> = std::marker::PhantomData<fn(Request)>;

impl<Request, A> Handler for Typed<A, Request>
where
    Request: FromPayload + Send + 'static,
    A: Agent<Request>,
{
    fn handle(
        self: Arc<Self>,
        context: Context,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, AgentError>> {
        Box::pin(async move {
            let request = Request::from_payload(&request)
                .map_err(|err| AgentError::new(AgentError::BAD_REQUEST, err.to_string()))?;
            let reply = self.agent.handle(context, request).await?;
            reply
                .into_payload()
                .map_err(|err| AgentError::new(AgentError::BAD_REPLY, err.to_string()))
        })
    }
    fn content_type(&self) -> Option<&'static str> {
        A::Reply::CONTENT_TYPE
    }
}
