//! The connection: how it is made, and what its handles share.
use std::{
    error::Error as _,
    fmt,
    sync::{Arc, Mutex, Weak, atomic::Ordering},
    time::Duration,
};

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Statistics};
use sinew_core::{
    AnyBackend, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Capabilities, Confirm, Error,
    ErrorKind, Groups, Guarantee, HeaderCarriage, Names as AnyNames, Ordering as Order, Overflow,
    Overflows, Property, PropertySet, Registration, Requests, Result, Scopes, Wildcards,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot, watch},
    time::{sleep, timeout},
};

use crate::{
    NatsOptions,
    control::Intake,
    error::Cause,
    flush::Unflushed,
    link::{Signal, View},
    mux::{Answer, Mux, Question},
    names::Names,
    options::Login,
    publish::Latest,
    subscribe::Converter,
    tls,
};

/// How many messages the client holds for one subscription before it drops. Our own buffers are what bounds an intake;
/// this is only what one turn of the client's own task may bring in.
///
/// The client tells of a drop by a number of the subscription that it shows to nobody, and forgets to tell when many
/// come at once. So every core intake is told of every such loss, and the count is a lower bound.
pub(crate) const CLIENT_CAPACITY: usize = 1 << 18;
/// How many stored publishes may wait for their answer at once.
pub(crate) const IN_FLIGHT: u32 = 4096;

/// How long to wait for a server that is not there yet: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long the last messages may take to leave when the last handle is gone.
const FAREWELL: Duration = Duration::from_secs(5);

/// Core NATS over one connection: publish, subscribe, request.
///
/// Cloning shares the connection. It ends with [`Link::drain`](sinew_core::Link::drain), or when the last clone and
/// the last intake are gone. Calls may come from any runtime, or from none: the connection stays on the one where it
/// was made.
#[derive(Clone)]
pub struct Nats {
    pub(crate) inner: Arc<Inner>,
}

/// What the handles of one connection share.
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) handle: Handle,
    pub(crate) names: Names,
    pub(crate) latest: Latest,
    pub(crate) mux: Arc<Mux>,
    pub(crate) view: watch::Sender<View>,
    pub(crate) signal: Arc<Signal>,
    pub(crate) capabilities: Capabilities,
    pub(crate) answer_timeout: Duration,
    /// Bounds the stored publishes that wait for their answer.
    pub(crate) in_flight: Arc<Semaphore>,
    /// How many deliveries wait for their verdict.
    pub(crate) unsettled: watch::Sender<usize>,
    /// How many core intakes take in what the server sends.
    pub(crate) running: watch::Sender<usize>,
    pub(crate) intakes: Mutex<Vec<Weak<dyn Intake>>>,
    pub(crate) unflushed: Unflushed,
}

impl Nats {
    /// What core NATS does, known without a connection.
    ///
    /// A connected handle also knows the server's largest payload.
    pub const CAPABILITIES: Capabilities = Capabilities::new("nats")
        .with_confirm(Confirm::Buffered)
        .with_registration(Registration::Confirmed)
        .with_delivery(Guarantee::AtMostOnce)
        .with_ordering(Order::Key)
        .with_groups(Groups::Named)
        .with_wildcards(Wildcards::Tokens)
        .with_names(AnyNames::Subjects)
        .with_scopes(Scopes::Prefix)
        .with_headers(HeaderCarriage::Text)
        .with_request(Requests::Noted)
        .with_properties(PropertySet::of(&[
            Property::Id,
            Property::CorrelationId,
            Property::ContentType,
            Property::ContentEncoding,
        ]))
        .with_overflow(Overflows::of(&[
            Overflow::DropNewest,
            Overflow::DropOldest,
            Overflow::Fail,
        ]));

    pub(crate) async fn connect(options: NatsOptions) -> Result<Self> {
        let at = options.redacted();
        let named = |cause: Cause| Error::from(cause.during("nats connect").on(at.clone()));
        let signal = Arc::new(Signal::default());
        let within = options.connect_timeout;
        let client = if options.retry_first {
            make_client(&options, &signal).await
        } else {
            let late = |_| Cause::Connect {
                tls: options.tls,
                source: ConnectError::new(ConnectErrorKind::TimedOut),
            };
            timeout(within, make_client(&options, &signal))
                .await
                .unwrap_or_else(|err| Err(late(err)))
        };
        let client = client.map_err(named)?;
        Self::start(client, signal, &options.inbox_prefix, options.answer_timeout)
            .await
            .map_err(named)
    }

    /// Takes over a ready-made client; `inbox_prefix` is `_INBOX` unless the client was given another one.
    ///
    /// What the client says to its own event callback is not heard here. Hence: the link's state is looked at four
    /// times a second, a refused permission is noticed as a timeout, and messages that the client drops because its
    /// `subscription_capacity` is full are not counted. A drain closes the client for everyone who has a clone.
    ///
    /// # Errors
    ///
    /// As [`NatsOptions::connect`] has them.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves the client as it was.
    pub async fn from_client(client: Client, inbox_prefix: &str) -> Result<Self> {
        let signal = Arc::new(Signal::default());
        Self::start(client, signal, inbox_prefix, Duration::from_secs(5))
            .await
            .map_err(|cause| cause.during("nats connect").into())
    }

    async fn start(
        client: Client,
        signal: Arc<Signal>,
        inbox_prefix: &str,
        answer_timeout: Duration,
    ) -> Result<Self, Cause> {
        let handle = Handle::try_current().map_err(|_| {
            Cause::plain(
                ErrorKind::InvalidOptions,
                "connect inside of a tokio runtime; what follows may run anywhere",
            )
        })?;
        let names = Names::new(inbox_prefix);
        // The client's own addresses start with its own prefix, whatever ours is.
        let unique = client.new_inbox();
        let unique = unique.rsplit('.').next().unwrap_or_default();
        let mux = Mux::new(format!("{inbox_prefix}.{unique}"));
        let inbox = client.subscribe(mux.filter()).await?;
        let statistics = client.statistics();
        let view = watch::Sender::new(View::new(statistics.connects.load(Ordering::Acquire)));
        let converter = Converter::plain();
        handle.spawn(Arc::clone(&mux).run(inbox, view.subscribe(), converter));
        let capabilities = Self::CAPABILITIES.with_max_payload(Some(client.max_payload()));
        let inner = Arc::new(Inner {
            client,
            statistics,
            handle,
            names,
            latest: Latest::default(),
            mux,
            view,
            signal: Arc::clone(&signal),
            capabilities,
            answer_timeout,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            unsettled: watch::Sender::new(0),
            running: watch::Sender::new(0),
            intakes: Mutex::default(),
            unflushed: Unflushed::default(),
        });
        inner.handle.spawn(Inner::keep(Arc::downgrade(&inner), signal));
        inner.round_trip().await?;
        Ok(Self { inner })
    }

    /// The client underneath, for what Sinew has no word for.
    #[must_use]
    pub fn client(&self) -> Client {
        self.inner.client.clone()
    }

    /// This handle with its type erased.
    #[must_use]
    pub fn into_any(self) -> AnyBackend {
        AnyBackend::new(AnyLink::new(self.clone()))
            .with_publisher(AnyPublisher::new(self.clone()))
            .with_subscriber(AnySubscriber::new(self.clone()))
            .with_requester(AnyRequester::new(self))
    }
}

/// Everything up to the login.
async fn make_client(options: &NatsOptions, signal: &Arc<Signal>) -> Result<Client, Cause> {
    let (servers, login) = options.resolve()?;
    let tls_options = options.clone();
    let tls = tokio::task::spawn_blocking(move || tls::config(&tls_options))
        .await
        .map_err(|_| Cause::plain(ErrorKind::Internal, "the TLS configuration panicked"))??;
    let mut client = ConnectOptions::new()
        .tls_client_config(tls)
        .require_tls(options.tls)
        .connection_timeout(options.connect_timeout)
        .ping_interval(options.ping_interval)
        .custom_inbox_prefix(&options.inbox_prefix)
        .subscription_capacity(CLIENT_CAPACITY)
        .request_timeout(Some(options.answer_timeout));
    if options.tls_first {
        client = client.tls_first();
    }
    if let Some(name) = &options.name {
        client = client.name(name);
    }
    client = match login {
        Login::Anonymous => client,
        Login::Password(user, password) => client.user_and_password(user, password),
        Login::Token(token) => client.token(token),
        Login::Nkey(seed) => client.nkey(seed),
        Login::Credentials(path) => client
            .credentials_file(path)
            .await
            .map_err(|source| Cause::File { what: "credentials file", source })?,
    };
    let tls = options.tls;
    let (mut wait, longest) = RETRY;
    loop {
        let cause = match signal.listen(client.clone()).connect(servers.as_slice()).await {
            Ok(connected) => return Ok(connected),
            Err(source) => Cause::Connect { tls, source },
        };
        if !options.retry_first || cause.is_lasting() {
            return Err(cause);
        }
        tracing::warn!(
            servers = options.redacted(),
            cause = cause.detail(),
            error = cause.source().map(tracing::field::display),
            retry_in = ?wait,
            "no NATS server yet"
        );
        sleep(wait).await;
        wait = longest.min(wait * 2);
    }
}

impl Inner {
    /// Asks the server for a sign of life: when it comes, all that was sent before has been taken in.
    pub(crate) async fn round_trip(&self) -> Result<(), Cause> {
        self.round_trip_on(self.generation()).await
    }

    /// A round trip, after which all that the server has refused before is known.
    ///
    /// A refusal arrives before the answer, but on a way of its own through the client, which a second round trip
    /// gives it the time for. One that comes later all the same is told later: by the next flush, by the intake.
    pub(crate) async fn confirmed(&self) -> Result<(), Cause> {
        self.round_trip().await?;
        self.round_trip().await?;
        self.hear_refusals();
        Ok(())
    }

    /// A round trip on the connection of `generation`.
    ///
    /// The client cannot tell when a PING was answered, so the sign is a message to ourselves. Where we may not
    /// publish it, the server's refusal is as good a sign.
    pub(crate) async fn round_trip_on(&self, generation: u64) -> Result<(), Cause> {
        match self.knock(generation).await?.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(cause)) if cause.is_denied() => Ok(()),
            Ok(Err(cause)) => Err(cause),
            Err(_) => Err(Cause::cut_off()),
        }
    }

    /// Sends what the round trip's answer comes to.
    pub(crate) async fn knock(&self, generation: u64) -> Result<oneshot::Receiver<Answer>, Cause> {
        let (question, answer) = Question::new(self.answer_timeout, generation);
        let ticket = self.mux.once(question);
        self.send(ticket.wire(), bytes::Bytes::new(), None).await?;
        ticket.keep();
        Ok(answer)
    }
}

impl Drop for Inner {
    /// What was handed over still leaves: without a flush the client would end with it in its hands.
    fn drop(&mut self) {
        self.signal.close();
        let client = self.client.clone();
        self.handle.spawn(async move { timeout(FAREWELL, client.flush()).await });
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connected, generation) = self.inner.connection();
        f.debug_struct("Nats")
            .field("connected", &connected)
            .field("generation", &generation)
            .finish_non_exhaustive()
    }
}
