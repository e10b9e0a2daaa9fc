//! The dispatcher in the original's shape.
use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sinew_core::{Error, ErrorKind, Result, Subject, Value, decode_name, encode_name};
use tokio::{runtime::Runtime, sync::watch, time::timeout};

use super::{About, Call, ListenerHandle, ProducerHandle, RequestId, call::Whole, listener::Told};
use crate::{
    AgentId, Dispatcher, DispatcherCounts, DispatcherOptions, Gathering, Registered, Until,
    background::{Background, outside},
};

/// How long a request lives by default, in milliseconds.
pub const DEFAULT_TTL_MS: u64 = 5_000;

/// Relays requests to the producers of a topic, and their responses to its listeners.
///
/// It owns a thread from the start; dropping it ends that, and waits for nobody.
pub struct AteDispatcher {
    dispatcher: Dispatcher,
    producers: Mutex<HashMap<(Subject, AgentId), (ProducerHandle, Registered)>>,
    listeners: Arc<Listeners>,
    next: AtomicU64,
    /// How many requests are under way.
    running: watch::Sender<usize>,
    // Last: what runs on it is dropped with it.
    background: Background,
}

type Listeners = Mutex<HashMap<Subject, Vec<ListenerHandle>>>;

impl AteDispatcher {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] when no thread can be started.
    pub fn start() -> Result<Self> {
        Self::on(Background::runtime()?)
    }

    /// Starts it on a runtime of your own making, which it drives from its thread: one with threads of its own, or with
    /// a clock that a test moves. It needs timers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] when no thread can be started.
    pub fn on(runtime: Runtime) -> Result<Self> {
        let background = Background::start("ate-dispatcher", runtime)?;
        let dispatcher = {
            let _inside = background.handle().enter();
            let ttl = Duration::from_millis(DEFAULT_TTL_MS);
            DispatcherOptions::default().with_deadline(ttl).local()
        };
        Ok(Self {
            dispatcher,
            producers: Mutex::default(),
            listeners: Arc::default(),
            next: AtomicU64::new(1),
            running: watch::Sender::new(0),
            background,
        })
    }

    /// Registers `producer` for requests of `topic` that are sent from now on. Twice is once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when another producer of that name is registered under the topic;
    /// [`ErrorKind::InvalidSubject`] for a topic that is too long.
    pub fn register_result_producer(&self, producer: &ProducerHandle, topic: &str) -> Result<()> {
        let topic = subject_of(topic)?;
        let mut producers = lock(&self.producers);
        let key = (topic.clone(), producer.name().clone());
        if producers.get(&key).is_some_and(|(it, _)| it.is(producer)) {
            return Ok(());
        }
        let registration = self.dispatcher.register(topic, producer.agent())?;
        producers.insert(key, (producer.clone(), registration));
        Ok(())
    }

    /// Deregisters `producer`; what it was asked it still answers. Not registered is fine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] for a topic that is too long.
    pub fn deregister_result_producer(&self, producer: &ProducerHandle, topic: &str) -> Result<()> {
        let key = (subject_of(topic)?, producer.name().clone());
        let mut producers = lock(&self.producers);
        if producers.get(&key).is_some_and(|(it, _)| it.is(producer)) {
            producers.remove(&key);
        }
        Ok(())
    }

    /// Registers `listener` for responses under `topic` that come from now on, whenever they were asked for. Twice is
    /// once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] for a topic that is too long.
    pub fn register_result_listener(&self, listener: &ListenerHandle, topic: &str) -> Result<()> {
        let topic = subject_of(topic)?;
        let mut listeners = lock(&self.listeners);
        let under = listeners.entry(topic).or_default();
        if !under.iter().any(|it| it.is(listener)) {
            under.push(listener.clone());
        }
        Ok(())
    }

    /// Deregisters `listener`. Not registered is fine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`] for a topic that is too long.
    pub fn deregister_result_listener(&self, listener: &ListenerHandle, topic: &str) -> Result<()> {
        let topic = subject_of(topic)?;
        let mut listeners = lock(&self.listeners);
        if let Some(under) = listeners.get_mut(&topic) {
            under.retain(|it| !it.is(listener));
            if under.is_empty() {
                listeners.remove(&topic);
            }
        }
        Ok(())
    }

    /// Sends a request to every producer of `topic`; every listener of it is told each response that comes within
    /// `ttl_ms` milliseconds, [`DEFAULT_TTL_MS`] if none is given. It waits for nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoResponders`] at once when the topic has no producer; [`ErrorKind::InvalidPayload`] for arguments
    /// nested deeper than 32 levels; [`ErrorKind::Timeout`] for a time to live of nothing,
    /// [`ErrorKind::InvalidOptions`] for one above 7 days; [`ErrorKind::Overloaded`] when 131,072 requests are under
    /// way.
    pub fn send_request(
        &self,
        topic: &str,
        args: impl IntoIterator<Item = Value>,
        kwargs: impl IntoIterator<Item = (String, Value)>,
        ttl_ms: Option<u64>,
    ) -> Result<RequestId> {
        let call = Call { args: args.into_iter().collect(), kwargs: kwargs.into_iter().collect() };
        let subject = subject_of(topic)?;
        let ttl = Duration::from_millis(ttl_ms.unwrap_or(DEFAULT_TTL_MS));
        let ask = self.dispatcher.ask(&subject, call).deadline(ttl).until(Until::AllKnown);
        // All of its agents are of this process, and are asked without a wait; its time is that of its runtime.
        let begun = {
            let _inside = self.background.handle().enter();
            ask.begin::<Whole>()
        };
        let (replies, _) = begun.map_err(|err| {
            Error::new(err.kind(), "send request").with_subject(topic).with_source(err)
        })?;
        let request = RequestId(self.next.fetch_add(1, Relaxed));
        let relay = Relay {
            topic: Arc::from(topic),
            subject,
            request,
            listeners: Arc::clone(&self.listeners),
            _running: Running::new(&self.running),
        };
        self.background.handle().spawn(relay.run(replies));
        Ok(request)
    }

    /// What became of its requests so far: how many are under way, and how many responses came too late.
    #[must_use]
    pub fn counts(&self) -> DispatcherCounts {
        self.dispatcher.counts()
    }

    /// Waits until every request that was sent is over and its listeners have been handed what there is, then ends. New
    /// requests cannot come: it takes the dispatcher.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when requests are under way after `within`: they are dropped;
    /// [`ErrorKind::InsideRuntime`] on a thread of a runtime, which it would stall, and then it ends at once.
    pub fn stop(self, within: Duration) -> Result<()> {
        outside()?;
        let mut running = self.running.subscribe();
        let idle = async {
            let idle = timeout(within, running.wait_for(|it| *it == 0)).await;
            idle.map(drop).map_err(|_| {
                Error::new(ErrorKind::Timeout, "stop dispatcher")
                    .with_detail("requests are under way; they are dropped")
            })
        };
        self.background.wait(idle)?
    }
}

impl ProducerHandle {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.agent().limit().0, other.agent().limit().0)
    }
}

/// Hands the replies of one request on to whoever listens when they come.
struct Relay {
    topic: Arc<str>,
    subject: Subject,
    request: RequestId,
    listeners: Arc<Listeners>,
    _running: Running,
}

impl Relay {
    async fn run(self, mut replies: Gathering<Whole>) {
        while let Some(reply) = replies.next().await {
            // Every agent of this process has a name.
            let Some(producer) = reply.agent else { continue };
            let topic = Arc::clone(&self.topic);
            let about = About { topic, request: self.request, producer, elapsed: reply.elapsed };
            self.tell(match reply.result {
                Ok(Whole(response)) => Told::Result(about, Arc::new(response)),
                Err(failure) => Told::Failure(about, failure),
            });
        }
        let end = Arc::new(replies.finish());
        self.tell(Told::End(Arc::clone(&self.topic), self.request, end));
    }

    fn tell(&self, told: Told) {
        for listener in lock(&self.listeners).get(&self.subject).into_iter().flatten() {
            listener.tell(told.clone());
        }
    }
}

/// One request under way.
struct Running(watch::Sender<usize>);

impl Running {
    fn new(running: &watch::Sender<usize>) -> Self {
        running.send_modify(|it| *it += 1);
        Self(running.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|it| *it -= 1);
    }
}

/// Any text is a topic in the original: it is encoded, so that no two meet.
fn subject_of(topic: &str) -> Result<Subject> {
    Subject::parse(&format!("{PREFIX}{}", encode_name(topic)))
}

/// The text that a topic was.
pub(super) fn topic_of(subject: &Subject) -> Cow<'_, str> {
    let code = subject.as_str().strip_prefix(PREFIX);
    code.and_then(decode_name).map_or(Cow::Borrowed(subject.as_str()), Cow::Owned)
}

/// The empty text is a topic, too, and no subject.
const PREFIX: &str = "ate-";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for AteDispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AteDispatcher").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
