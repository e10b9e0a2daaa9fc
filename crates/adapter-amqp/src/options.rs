//! How to reach a broker, who to be there, and what to declare.
use std::{collections::HashMap, fmt, path::PathBuf, time::Duration};

use lapin::types::ShortString;
use sinew_core::Value;

use crate::{
    error::Cause,
    login::{Login, Mechanism},
    policy::{DelayLayout, ExchangePolicy, QueuePolicy},
    settings::{Settings, Target},
    tls::Files,
    url::Address,
};

/// Where a broker is and how to connect to it; the fallible step is [`AmqpOptions::connect`].
///
/// ```
/// use std::time::Duration;
/// use sinew_adapter_amqp::{AmqpOptions, ExchangePolicy};
///
/// let options = AmqpOptions::new("amqp://billing:s3cret@localhost/shop")
///     .with_name("billing")
///     .with_exchange("orders.events", ExchangePolicy::declare())
///     .with_connect_timeout(Duration::from_secs(2));
/// assert!(!format!("{options:?}").contains("s3cret"));
/// ```
#[derive(Clone)]
pub struct AmqpOptions {
    /// What is wrong with the URL.
    fault: Option<Cause>,
    address: Address,
    login: Login,
    files: Files,
    name: Option<String>,
    heartbeat: Duration,
    connect_timeout: Duration,
    answer_timeout: Duration,
    blocked_timeout: Duration,
    confirm_window: usize,
    reconnect_wait: Duration,
    retry_first: bool,
    default_exchange: String,
    exchanges: HashMap<String, ExchangePolicy>,
    other_exchanges: ExchangePolicy,
    queues: QueuePolicy,
    queue_arguments: Vec<(String, Value)>,
    delays: DelayLayout,
}

impl AmqpOptions {
    /// Connects to `url`: `amqp://user:password@host:5672/vhost`, `amqps://...` for TLS, or `pyamqp://...`, which is
    /// what Python's kombu calls `amqp`.
    ///
    /// It is read as kombu reads it. Without a virtual host, and with the path `/`, it is the one called `/`; RabbitMQ's
    /// own rule would make the latter one without a name. Defaults: `guest`, `guest`, `localhost`, 5672, or 5671 with
    /// TLS. Options may follow, as `?heartbeat=10&connection_name=billing`; what is called on the builder beats them:
    ///
    /// | option | value |
    /// |---|---|
    /// | `heartbeat` | [`AmqpOptions::with_heartbeat`], in seconds |
    /// | `connection_timeout` | [`AmqpOptions::with_connect_timeout`], in milliseconds |
    /// | `connection_name` | [`AmqpOptions::with_name`] |
    /// | `auth_mechanism` | `plain`, or `external` for [`AmqpOptions::with_external_login`] |
    /// | `cacertfile` | [`AmqpOptions::with_ca_file`] |
    /// | `certfile`, `keyfile` | [`AmqpOptions::with_client_cert`] |
    #[must_use]
    pub fn new(url: impl AsRef<str>) -> Self {
        let (mut address, fault) = match Address::parse(url.as_ref()) {
            Ok(address) => (address, None),
            Err(fault) => (Address::default(), Some(fault)),
        };
        let query = std::mem::take(&mut address.query);
        let guest = || "guest".to_owned();
        let login = match query.mechanism {
            Some(Mechanism::External) => Login::External,
            Some(Mechanism::Plain) | None => Login::Password {
                user: address.user.take().unwrap_or_else(guest),
                password: address.password.take().unwrap_or_else(guest),
            },
        };
        Self {
            fault,
            address,
            login,
            files: Files { ca: query.ca_file, client: query.client_cert.zip(query.client_key) },
            name: query.name,
            heartbeat: query.heartbeat.unwrap_or(Duration::from_secs(10)),
            connect_timeout: query.connect_timeout.unwrap_or(Duration::from_secs(5)),
            answer_timeout: Duration::from_secs(5),
            blocked_timeout: Duration::from_secs(30),
            confirm_window: 4096,
            reconnect_wait: Duration::from_secs(5),
            retry_first: false,
            default_exchange: "amq.topic".to_owned(),
            exchanges: HashMap::new(),
            other_exchanges: ExchangePolicy::assume(),
            queues: QueuePolicy::Declare,
            queue_arguments: Vec::new(),
            delays: DelayLayout::PerQueue,
        }
    }

    /// Logs in with a name and a password. Default: what the URL says, else `guest` and `guest`, whom RabbitMQ lets in
    /// from its own host only.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Login::Password { user: user.into(), password: password.into() };
        self
    }

    /// Logs in as whom the client certificate names (`EXTERNAL`); see [`AmqpOptions::with_client_cert`]. Default: not
    /// so.
    #[must_use]
    pub fn with_external_login(mut self) -> Self {
        self.login = Login::External;
        self
    }

    /// The virtual host, as it is called, without a slash before it. Default: what the URL says, else `/`.
    #[must_use]
    pub fn with_vhost(mut self, vhost: impl Into<String>) -> Self {
        self.address.vhost = vhost.into();
        self
    }

    /// Speaks TLS, with the platform's root certificates unless [`AmqpOptions::with_ca_file`] says otherwise. Default:
    /// as the URL's scheme says.
    #[must_use]
    pub fn with_tls(mut self, required: bool) -> Self {
        self.address.tls = required;
        self
    }

    /// Trusts the certificates of this PEM file, and no others. It implies TLS. Default: the platform's roots.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.ca = Some(path.into());
        self.with_tls(true)
    }

    /// Shows the certificate chain of one PEM file, with the key of another. It implies TLS. Default: none.
    #[must_use]
    pub fn with_client_cert(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.files.client = Some((cert.into(), key.into()));
        self.with_tls(true)
    }

    /// The connections' name, as the broker's monitoring shows it; at most 255 bytes. Default: none.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long the whole of one connection attempt may take, name resolution and login included. Default: 5 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the broker's answer to a declaration or its confirm of a publish may take, more than 0. Default: 5 s.
    #[must_use]
    pub fn with_answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// How long a publish waits while the broker, short of memory or disk, takes none. Default: 30 s.
    #[must_use]
    pub fn with_blocked_timeout(mut self, timeout: Duration) -> Self {
        self.blocked_timeout = timeout;
        self
    }

    /// How often a silent side says that it is there, in whole seconds, 1 or more; a part of one counts as one. The
    /// lower one of ours and the broker's is used. A broker that is silent for twice as long is taken for dead, which is
    /// how a frozen broker or a cut line is noticed. Default: 10 s.
    #[must_use]
    pub fn with_heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// The longest wait between two attempts to reconnect. The first one comes within 0.1 s, each next wait is twice
    /// as long, and half of each is random. Default: 5 s.
    #[must_use]
    pub fn with_reconnect_wait(mut self, longest: Duration) -> Self {
        self.reconnect_wait = longest;
        self
    }

    /// How many publishes may wait for their confirm at once, 1 or more; the next one waits. Default: 4096.
    #[must_use]
    pub fn with_confirm_window(mut self, publishes: usize) -> Self {
        self.confirm_window = publishes;
        self
    }

    /// The exchange of subjects without a scope, by its name. Default: `amq.topic`, which is there on every broker.
    #[must_use]
    pub fn with_default_exchange(mut self, exchange: impl Into<String>) -> Self {
        self.default_exchange = exchange.into();
        self
    }

    /// What to do about one exchange, which is to say, about one scope. Default: as [`AmqpOptions::with_exchanges`] says.
    #[must_use]
    pub fn with_exchange(mut self, exchange: impl Into<String>, policy: ExchangePolicy) -> Self {
        self.exchanges.insert(exchange.into(), policy);
        self
    }

    /// What to do about exchanges that [`AmqpOptions::with_exchange`] does not name; those of the broker itself, `amq.*`,
    /// are there. Default: [`ExchangePolicy::assume`].
    #[must_use]
    pub fn with_exchanges(mut self, policy: ExchangePolicy) -> Self {
        self.other_exchanges = policy;
        self
    }

    /// What to do about queues that have a name. Default: [`QueuePolicy::Declare`].
    #[must_use]
    pub fn with_queues(mut self, policy: QueuePolicy) -> Self {
        self.queues = policy;
        self
    }

    /// Declares every queue that has a name with this argument, such as `x-queue-type`; given twice, the last value
    /// counts. A broker refuses a queue that is there with others, so who shares queues with other programs leaves it to
    /// a policy of the broker. Default: none.
    #[must_use]
    pub fn with_queue_argument(mut self, name: impl Into<String>, value: Value) -> Self {
        let name = name.into();
        self.queue_arguments.retain(|(known, _)| *known != name);
        self.queue_arguments.push((name, value));
        self
    }

    /// Where deliveries wait that are handed back with a delay. Default: [`DelayLayout::PerQueue`].
    #[must_use]
    pub fn with_delays(mut self, layout: DelayLayout) -> Self {
        self.delays = layout;
        self
    }

    /// Waits in [`AmqpOptions::connect`] for a broker that is not there yet, for as long as it takes, instead of
    /// failing; a refused login fails all the same. Default: no.
    #[must_use]
    pub fn with_retry_first(mut self, retry: bool) -> Self {
        self.retry_first = retry;
        self
    }

    /// Connects, once to publish and once to consume.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`](sinew_core::ErrorKind::InvalidOptions) for options that make no sense,
    /// [`ErrorKind::Unreachable`](sinew_core::ErrorKind::Unreachable) when nobody listens there or TLS fails,
    /// [`ErrorKind::Denied`](sinew_core::ErrorKind::Denied) for credentials that the broker refuses,
    /// [`ErrorKind::NotFound`](sinew_core::ErrorKind::NotFound) for a virtual host that it lacks,
    /// [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) when it stays silent,
    /// [`ErrorKind::Protocol`](sinew_core::ErrorKind::Protocol) when it is no AMQP 0-9-1 broker.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves no connection.
    pub async fn connect(self) -> sinew_core::Result<crate::Amqp> {
        crate::Amqp::connect(self).await
    }

    /// The address without its secrets, for errors and for [`fmt::Debug`].
    pub(crate) fn redacted(&self) -> String {
        match self.fault {
            None => self.address.to_string(),
            Some(_) => "amqp://...".to_owned(),
        }
    }

    pub(crate) fn target(&self) -> Result<Target, Cause> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.login.check()?;
        let Address { host, port, vhost, tls, .. } = &self.address;
        if matches!(self.login, Login::External) && (!tls || self.files.client.is_none()) {
            return Err(Cause::options("who logs in by a client certificate has to give one"));
        }
        if self.name.as_ref().is_some_and(|name| name.len() > 255) {
            return Err(Cause::options("the connection's name is longer than 255 bytes"));
        }
        let heartbeat = bounded(self.heartbeat);
        let seconds = heartbeat.as_secs() + u64::from(heartbeat.subsec_nanos() > 0);
        if seconds == 0 {
            return Err(Cause::options("without a heartbeat nobody would notice a dead broker"));
        }
        Ok(Target {
            host: host.clone(),
            port: port.unwrap_or(if *tls { 5671 } else { 5672 }),
            vhost: short("virtual host", vhost)?,
            tls: tls.then(|| self.files.clone()),
            login: self.login.clone(),
            name: self.name.clone(),
            heartbeat: u16::try_from(seconds).unwrap_or(u16::MAX),
            connect_timeout: bounded(self.connect_timeout),
        })
    }

    pub(crate) fn settings(&self) -> Result<Settings, Cause> {
        let refuse = |what| Err(Cause::options(what));
        if self.confirm_window == 0 {
            return refuse("a confirm window of 0 publishes nothing");
        }
        if self.answer_timeout.is_zero() {
            return refuse("an answer timeout of 0 waits for no answer");
        }
        if self.default_exchange.is_empty() {
            return refuse("the exchange without a name knows no patterns; name one: `amq.topic`");
        }
        self.exchanges.keys().try_for_each(|name| short("exchange", name).map(drop))?;
        let arguments = self.queue_arguments.iter();
        Ok(Settings {
            answer_timeout: bounded(self.answer_timeout),
            blocked_timeout: bounded(self.blocked_timeout),
            confirm_window: self.confirm_window,
            reconnect_wait: bounded(self.reconnect_wait),
            retry_first: self.retry_first,
            default_exchange: short("exchange", &self.default_exchange)?,
            user: self.login.user().map(str::to_owned),
            assume_queues: self.queues == QueuePolicy::Assume,
            queue_arguments: arguments
                .map(|(name, value)| Ok((short("queue argument", name)?, value.clone())))
                .collect::<Result<_, Cause>>()?,
            delays: self.delays,
            heartbeat: bounded(self.heartbeat),
            exchanges: self.exchanges.clone(),
            other_exchanges: self.other_exchanges,
        })
    }
}

/// The client panics over a name that is longer than the protocol's length byte can say.
fn short(what: &str, name: &str) -> Result<ShortString, Cause> {
    ShortString::try_new(name)
        .map_err(|_| Cause::options(format!("the name of a {what} is longer than 255 bytes")))
}

/// Longer than anyone waits, and no clock ends before it.
fn bounded(span: Duration) -> Duration {
    span.min(Duration::from_secs(365 * 86_400))
}

impl fmt::Debug for AmqpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpOptions")
            .field("url", &self.redacted())
            .field("login", &self.login)
            .field("name", &self.name)
            .field("heartbeat", &self.heartbeat)
            .field("connect_timeout", &self.connect_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("blocked_timeout", &self.blocked_timeout)
            .field("confirm_window", &self.confirm_window)
            .field("default_exchange", &self.default_exchange)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::ErrorKind;

    use super::*;

    #[test]
    fn an_option_beats_the_url() {
        let target = AmqpOptions::new("amqps://a:b@h/v?heartbeat=7&connection_name=x")
            .with_user("c", "d")
            .with_vhost("w")
            .with_heartbeat(Duration::from_millis(1001))
            .with_name("y")
            .with_tls(false)
            .target()
            .unwrap();
        assert!(target.login == Login::Password { user: "c".to_owned(), password: "d".to_owned() });
        assert_eq!((target.vhost.as_str(), target.heartbeat), ("w", 2));
        assert_eq!(target.name.as_deref(), Some("y"));
        assert_eq!((target.port, target.tls.is_none()), (5672, true));
    }

    #[test]
    fn a_certificate_implies_tls_and_its_port() {
        for options in [
            AmqpOptions::new("amqp://h").with_ca_file("/ca.pem"),
            AmqpOptions::new("amqp://h").with_client_cert("/c.pem", "/k.pem").with_external_login(),
            AmqpOptions::new("amqp://h?cacertfile=/ca.pem"),
        ] {
            let target = options.target().unwrap();
            assert_eq!((target.port, target.tls.is_some()), (5671, true));
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let long = "x".repeat(256);
        let options = || AmqpOptions::new("amqp://h");
        for options in [
            options().with_vhost(long.clone()),
            options().with_name(long.clone()),
            options().with_heartbeat(Duration::ZERO),
            options().with_external_login(),
            options().with_user("a\0b", "c"),
            options().with_user("a", "x".repeat(1 << 17)),
            AmqpOptions::new("amqps://h").with_external_login(),
        ] {
            let cause = options.target().unwrap_err();
            assert_eq!(cause.kind(), ErrorKind::InvalidOptions, "{options:?}");
        }
        for options in [
            options().with_confirm_window(0),
            options().with_answer_timeout(Duration::ZERO),
            options().with_default_exchange(""),
            options().with_default_exchange(long.clone()),
            options().with_exchange(long.clone(), ExchangePolicy::assume()),
            options().with_queue_argument(long.clone(), Value::Null),
        ] {
            let cause = options.settings().unwrap_err();
            assert_eq!(cause.kind(), ErrorKind::InvalidOptions, "{options:?}");
        }
    }

    #[test]
    fn no_span_of_time_is_too_long() {
        let options = AmqpOptions::new("amqp://h")
            .with_heartbeat(Duration::MAX)
            .with_connect_timeout(Duration::MAX)
            .with_answer_timeout(Duration::MAX)
            .with_blocked_timeout(Duration::MAX);
        let (target, settings) = (options.target().unwrap(), options.settings().unwrap());
        assert_eq!(target.heartbeat, u16::MAX);
        let now = std::time::Instant::now();
        for span in [target.connect_timeout, settings.answer_timeout, settings.blocked_timeout] {
            assert!(now.checked_add(span).is_some());
        }
        assert!(now.checked_add(settings.patience()).is_some());
    }

    #[test]
    fn exchanges_of_the_broker_are_assumed_unless_they_are_named() {
        let declared = ExchangePolicy::declare();
        let options = AmqpOptions::new("amqp://h").with_exchanges(declared);
        let settings = options.settings().unwrap();
        assert_eq!(settings.exchange("orders.events"), declared);
        assert_eq!(settings.exchange("amq.topic"), ExchangePolicy::assume());
        let fanout = declared.with_kind(crate::ExchangeKind::Fanout);
        let settings = options.with_exchange("amq.fanout", fanout).settings().unwrap();
        assert_eq!(settings.exchange("amq.fanout"), fanout);
    }
}
