//! What a connection is made with: an address, and what does not fit into one.
use std::{fmt, path::PathBuf, time::Duration};

use sinew_core::{AnyBackend, Result};

use crate::{BrokerUrl, door::Door, said::Said, secret::Secret};

/// An address and how to connect to it; the fallible step is [`ConnectOptions::connect`].
///
/// An address may carry most of these itself, for services that are configured by URL:
///
/// | in the URL | here |
/// |---|---|
/// | `user:password@` | [`with_user`](Self::with_user) |
/// | `token@` | [`with_token`](Self::with_token) |
/// | `?tls` | [`with_tls`](Self::with_tls) |
/// | `?tls_ca=FILE` | [`with_ca_file`](Self::with_ca_file) |
/// | `?tls_cert=FILE&tls_key=FILE` | [`with_client_cert`](Self::with_client_cert) |
/// | `?user=NAME&password_file=FILE` | [`with_password_file`](Self::with_password_file) |
/// | `?token_file=FILE` | [`with_token_file`](Self::with_token_file) |
/// | `?creds=FILE` | [`with_creds_file`](Self::with_creds_file) |
/// | `?name=NAME` | [`with_name`](Self::with_name) |
///
/// What only RabbitMQ knows stands in its addresses alone:
///
/// | in the URL | meaning |
/// |---|---|
/// | `?exchange=NAME` | the exchange of subjects without a scope; else `amq.topic` |
/// | `?declare_exchanges` | exchanges that are missing are created, as durable topic exchanges; else they are an error |
/// | `?heartbeat=SECONDS` | how often a silent side says that it is there; else 10 |
/// | `?auth_mechanism=external` | the login is what the client certificate names |
/// | `?connection_timeout=MS` | [`with_connect_timeout`](Self::with_connect_timeout), in milliseconds |
///
/// There, RabbitMQ's own `cacertfile`, `certfile`, `keyfile` and `connection_name` are understood as well.
///
/// What is set here beats what the address says; two logins in one place are refused, and so is an option that the
/// backend cannot honour. `Debug` shows no secret.
///
/// ```
/// use sinew_connect::ConnectOptions;
///
/// let options = ConnectOptions::new("nats://localhost")?.with_user("ann", "s3cret");
/// assert!(!format!("{options:?}").contains("s3cret"));
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    url: BrokerUrl,
    pub(crate) security: Security,
    pub(crate) login: Option<Login>,
    pub(crate) name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    #[cfg_attr(
        not(any(feature = "amqp", test)),
        expect(dead_code, reason = "no other backend asks for it")
    )]
    pub(crate) amqp: OfAmqp,
}

/// How the link is protected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    pub(crate) tls: Option<bool>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_cert: Option<(PathBuf, PathBuf)>,
}

/// What only RabbitMQ knows, as its addresses say it.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfAmqp {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) exchange: Option<String>,
    pub(crate) declare_exchanges: Option<bool>,
}

/// Who to be.
#[derive(Clone)]
pub(crate) enum Login {
    User(String, Secret),
    Token(Secret),
    Creds(PathBuf),
    /// Whoever the client certificate names.
    Certificate,
}

impl Security {
    /// Whether TLS is asked for by certificates, and turned off.
    #[cfg(any(feature = "nats", feature = "amqp"))]
    pub(crate) fn is_contradictory(&self) -> bool {
        self.tls == Some(false) && (self.ca_file.is_some() || self.client_cert.is_some())
    }
}

impl ConnectOptions {
    /// Connects to `url`, with what it says itself and the backend's own defaults.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`](sinew_core::ErrorKind::InvalidOptions) when `url` is no address, its scheme is
    /// unknown, one of its options means nothing to its backend or is given twice, or it names two logins.
    pub fn new(url: &str) -> Result<Self> {
        Self::to(BrokerUrl::parse(url)?)
    }

    /// The same for an address that is parsed already.
    ///
    /// # Errors
    ///
    /// As [`ConnectOptions::new`].
    pub fn to(url: BrokerUrl) -> Result<Self> {
        let Said { security, login, name, connect_timeout, amqp } =
            Said::by(&url, Door::of(url.scheme())?)?;
        Ok(Self { url, security, login, name, connect_timeout, amqp })
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &BrokerUrl {
        &self.url
    }

    /// Requires TLS. Default: as the address, or the options below, say.
    #[must_use]
    pub fn with_tls(mut self, required: bool) -> Self {
        self.security.tls = Some(required);
        self
    }

    /// Trusts the certificates of this PEM file, and no others. Implies TLS. Default: the platform's roots.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.security.ca_file = Some(path.into());
        self
    }

    /// Shows the certificate chain of one PEM file, with the key of another. Implies TLS. Default: none.
    #[must_use]
    pub fn with_client_cert(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.security.client_cert = Some((cert.into(), key.into()));
        self
    }

    /// Logs in with a name and a password. Default: what the address says.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some(Login::User(user.into(), Secret::Text(password.into())));
        self
    }

    /// Logs in with a name, and the password that stands in a file, read when connecting. Default: what the
    /// address says.
    #[must_use]
    pub fn with_password_file(mut self, user: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.login = Some(Login::User(user.into(), Secret::File(path.into())));
        self
    }

    /// Logs in with a token. Default: what the address says.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.login = Some(Login::Token(Secret::Text(token.into())));
        self
    }

    /// Logs in with the token that stands in a file, read when connecting. Default: what the address says.
    #[must_use]
    pub fn with_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.login = Some(Login::Token(Secret::File(path.into())));
        self
    }

    /// Logs in with a NATS credentials file. Default: what the address says.
    #[must_use]
    pub fn with_creds_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.login = Some(Login::Creds(path.into()));
        self
    }

    /// What the broker's own tools call this connection; a broker inside the process has none. Default: none.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long one connection attempt may take, up to the end of the login; what a backend asks the broker before it
    /// is ready has the adapter's own deadline, 5 s more at most. Default: 5 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](sinew_core::ErrorKind::Unsupported) when this build lacks the adapter, naming the
    /// feature that adds it; [`ErrorKind::InvalidOptions`](sinew_core::ErrorKind::InvalidOptions) for what the backend
    /// cannot honour and for a file that cannot be read; what the broker says otherwise, as
    /// [`ErrorKind::Unreachable`](sinew_core::ErrorKind::Unreachable),
    /// [`ErrorKind::Denied`](sinew_core::ErrorKind::Denied), [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) or
    /// [`ErrorKind::NotFound`](sinew_core::ErrorKind::NotFound).
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves no connection.
    pub async fn connect(self) -> Result<AnyBackend> {
        let door = Door::of(self.url.scheme())?;
        match door {
            #[cfg(feature = "memory")]
            Door::Memory => crate::memory::connect(&self),
            #[cfg(feature = "nats")]
            Door::Nats => crate::nats::connect(&self).await,
            #[cfg(feature = "nats")]
            Door::JetStream => crate::nats::connect_jetstream(&self).await,
            #[cfg(feature = "amqp")]
            Door::Amqp => crate::amqp::connect(&self).await,
            #[cfg(not(all(feature = "memory", feature = "nats", feature = "amqp")))]
            _ => Err(door.absent(self.url.scheme())),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user, password) => {
                f.debug_tuple("User").field(user).field(password).finish()
            }
            Self::Token(token) => f.debug_tuple("Token").field(token).finish(),
            Self::Creds(path) => f.debug_tuple("Creds").field(path).finish(),
            Self::Certificate => f.write_str("Certificate"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let options = ConnectOptions::new("nats://ann:hush@h").unwrap();
        let token = options.clone().with_token("hush");
        let user = options.clone().with_user("ann", "hush");
        assert!(!format!("{options:?} {token:?} {user:?}").contains("hush"));
    }
}
