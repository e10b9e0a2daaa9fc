//! Agents behind a broker: how they are asked, and how their answers are heard.
mod ask;
mod listen;
mod ping;

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use sinew_core::{
    AnyBackend, AnyPublisher, AnyRequester, AnySubscriber, Backend as _, Capabilities, Confirm,
    Error, ErrorKind, HeaderCarriage, Need, Property, Registration, Requests, Result, ToSubject,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

pub(crate) use self::{
    ask::{RemoteAsk, Whom},
    listen::Answers,
};
use crate::{
    AgentState, AgentStatus, Dispatcher, DispatcherOptions, ask_id::AskId, load::Load, trace,
};

/// What to do where the backend lacks something.
const SUBSTITUTE: &str = "ask over NATS or AMQP, or within this process by `Dispatcher::local`";

/// The way to the agents of other processes.
pub(crate) struct Remote {
    pub(crate) publisher: AnyPublisher,
    pub(crate) subscriber: AnySubscriber,
    requester: AnyRequester,
    capabilities: Capabilities,
    /// Whether an ask says of itself what there is to say in its reply address, which spares a header.
    has_notes: bool,
    pub(crate) runtime: Handle,
    /// What the names of our asks begin with.
    mark: Box<str>,
    /// What makes a name of a number that nobody can guess from the last one.
    names: RandomState,
    next: AtomicU64,
    lingering: Arc<Load>,
    under_way: Arc<Load>,
}

impl Remote {
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the backend lacks something, [`ErrorKind::InvalidOptions`] outside of a tokio
    /// runtime.
    pub(crate) fn new(backend: &AnyBackend) -> Result<Self> {
        let capabilities = backend.capabilities();
        for need in [
            Need::Request(Requests::Replies),
            Need::Registration(Registration::Eventual),
            Need::Confirm(Confirm::Buffered),
            Need::Headers(HeaderCarriage::Text),
        ] {
            capabilities.require(need, SUBSTITUTE)?;
        }
        let runtime = Handle::try_current().map_err(|err| {
            Error::new(ErrorKind::InvalidOptions, "dispatch over a backend")
                .with_detail("it wants a tokio runtime to listen on")
                .with_source(err)
        })?;
        Ok(Self {
            publisher: backend.publisher()?,
            subscriber: backend.subscriber()?,
            requester: backend.requester()?,
            has_notes: capabilities.request >= Requests::Noted,
            capabilities,
            runtime,
            mark: digits(RandomState::new().hash_one(std::process::id())).into(),
            names: RandomState::new(),
            next: AtomicU64::new(1),
            lingering: Arc::default(),
            under_way: Arc::default(),
        })
    }

    /// What the names of this process's own asks begin with.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    pub(crate) fn carries(&self, property: Property) -> bool {
        self.capabilities.properties.has(property)
    }

    fn name(&self) -> Result<AskId> {
        let number = self.names.hash_one(self.next.fetch_add(1, Relaxed));
        AskId::parse(&[&self.mark, ".", &digits(number)].concat())
    }
}

/// A number as 13 digits of 5 bits each.
fn digits(number: u64) -> String {
    let digit =
        |place: u32| char::from_digit(u32::try_from((number >> (5 * place)) & 31_u64).ok()?, 32);
    (0..13).filter_map(digit).collect()
}

impl DispatcherOptions {
    /// A dispatcher for the agents of this process, and for those behind `backend`, which must be able to publish, to
    /// subscribe, to request many replies and to carry headers of text. It listens on the tokio runtime that it is built
    /// in, which has to outlive it: with that its asks end, as [`Ended::Disconnected`](crate::Ended::Disconnected).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the backend lacks something: the error names what, and what to do instead.
    /// [`ErrorKind::InvalidOptions`] outside of a tokio runtime.
    pub fn over(self, backend: &AnyBackend) -> Result<Dispatcher> {
        Ok(self.build(Some(Arc::new(Remote::new(backend)?))))
    }
}

impl Dispatcher {
    /// A dispatcher for the agents of this process, and for those behind `backend`, with default options.
    ///
    /// # Errors
    ///
    /// As [`DispatcherOptions::over`].
    pub fn over(backend: &AnyBackend) -> Result<Self> {
        DispatcherOptions::default().over(backend)
    }

    /// Waits until no ask over the backend is under way, and the agents that nobody waits for any more have been told:
    /// what to do before the backend's link is drained.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when that is not so after `within`.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn drained(&self, within: Duration) -> Result<()> {
        let Some(remote) = &self.shared().remote else { return Ok(()) };
        let idle = {
            let _inside = remote.runtime.enter();
            timeout(within, remote.under_way.idle())
        };
        idle.await.map_err(|_| {
            Error::new(ErrorKind::Timeout, "drain dispatcher").with_detail(format!(
                "{} asks are under way after {within:?}",
                remote.under_way.running()
            ))
        })
    }

    /// Who is there, in the order of their names: the agents that are registered here, and those elsewhere that say so
    /// within `within`: as many as an ask takes replies, see [`DispatcherOptions::with_max_replies`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`], or what the backend says to a request.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn agents(
        &self,
        topic: impl ToSubject,
        within: Duration,
    ) -> Result<Vec<AgentStatus>> {
        let topic = topic.to_subject()?;
        let shared = self.shared();
        let mut agents = match &shared.remote {
            Some(remote) => {
                let until = Instant::now() + within.min(DispatcherOptions::MAX_DEADLINE);
                remote.ping(&topic, until, shared.options.max_replies).await?
            }
            None => Default::default(),
        };
        for it in shared.registry.under(&topic).iter() {
            let (id, state) = (it.agent.id(), AgentState::of(&it.agent));
            // One that is served from here has said so itself.
            agents
                .entry(id.clone())
                .and_modify(
                    |known| if it.is_served { known.state = state } else { known.met(state) },
                )
                .or_insert_with(|| AgentStatus::new(id.clone(), state));
        }
        for it in agents.values().filter(|it| it.count > 1) {
            trace::share_a_name(&topic, &it.agent, it.count);
        }
        Ok(agents.into_values().collect())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("backend", &self.capabilities.backend)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sinew_adapter_memory::Memory;
    use sinew_core::{AnyLink, Backend, Incoming, Link};

    use super::*;
    use crate::AnyAgent;

    /// A backend of which nothing but its claims is known.
    struct Claims(Capabilities);

    impl Backend for Claims {
        fn capabilities(&self) -> Capabilities {
            self.0.clone()
        }
    }

    impl Link for Claims {
        fn watch(&self) -> Incoming<()> {
            Incoming::new(futures_util::stream::pending(), || {})
        }

        async fn drain(&self, _: Duration) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_backend_that_lacks_something_is_refused_by_what_it_lacks() {
        let all = Memory::new().capabilities();
        for (claims, lack) in [
            (all.clone().with_request(Requests::None), "requests"),
            (all.clone().with_registration(Registration::None), "registration"),
            (all.clone().with_confirm(Confirm::None), "publish confirmation"),
            (all.clone().with_headers(HeaderCarriage::None), "headers"),
            (all, "cannot publish"),
        ] {
            let backend = AnyBackend::new(AnyLink::new(Claims(claims)));
            let err = Dispatcher::over(&backend).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Unsupported);
            let (text, substitute) = (err.to_string(), ["Dispatcher::local", "sinew backends"]);
            assert!(text.contains("memory") && text.contains(lack), "{text}");
            assert!(substitute.iter().any(|it| text.contains(it)), "{text}");
        }
    }

    #[test]
    fn outside_of_a_runtime_there_is_nothing_to_listen_on() {
        let backend = Memory::new().into_any();
        let err = Dispatcher::over(&backend).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    }

    #[tokio::test]
    async fn without_a_broker_nothing_is_served() {
        let agent = AnyAgent::new("a", |_: crate::Context, it: String| async { Ok(it) }).unwrap();
        let err = Dispatcher::local().serve("t", &agent).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unsupported);
    }

    #[tokio::test]
    async fn the_end_of_a_service_may_be_waited_for_again() -> Result<()> {
        let memory = Memory::new();
        let dispatcher = Dispatcher::over(&memory.clone().into_any())?;
        let agent = AnyAgent::new("a", |_: crate::Context, it: String| async { Ok(it) })?;
        let mut service = dispatcher.serve("t", &agent).await?;
        memory.drain(Duration::from_secs(5)).await?;
        service.ended().await?;
        service.ended().await?;
        service.drained(Duration::from_secs(5)).await
    }

    #[test]
    fn it_is_asked_and_served_from_outside_of_the_runtime_that_it_was_built_in() -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let inside = runtime.enter();
        let dispatcher = Dispatcher::over(&Memory::new().into_any())?;
        drop(inside);
        futures_executor::block_on(async {
            let agent = AnyAgent::new("a", |_: crate::Context, it: String| async { Ok(it) })?;
            let service = dispatcher.serve("t", &agent).await?;
            let registered = dispatcher.register("u", &agent)?;
            assert_eq!(dispatcher.agents("t", Duration::from_millis(50)).await?.len(), 1);
            let ask = dispatcher.ask("t", "?").until(crate::Until::First(1));
            assert_eq!(ask.collect::<String>().await?.replies.len(), 1);
            dispatcher.drained(Duration::from_secs(5)).await?;
            registered.drained(Duration::from_secs(5)).await?;
            service.drained(Duration::from_secs(5)).await
        })
    }

    #[tokio::test]
    async fn a_topic_that_leaves_no_room_for_its_subjects_is_refused() {
        let dispatcher = Dispatcher::over(&Memory::new().into_any()).unwrap();
        let topic = "t".repeat(250);
        let err = dispatcher.ask(topic.as_str(), "").collect::<String>().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidSubject);
        assert_eq!(dispatcher.counts().pending, 0);
    }

    #[tokio::test]
    async fn asks_are_named_apart() {
        let remote = Remote::new(&Memory::new().into_any()).unwrap();
        let other = Remote::new(&Memory::new().into_any()).unwrap();
        let names = [remote.name(), remote.name(), other.name()].map(Result::unwrap);
        assert!(names[0] != names[1] && names[1] != names[2]);
        // Who was asked cannot tell what the next ask is called.
        assert_eq!(names[0].as_str().len(), names[1].as_str().len());
        assert!(names[0].as_str().starts_with(remote.mark()));
        assert_ne!(remote.mark(), other.mark());
    }
}
