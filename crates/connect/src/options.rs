//! What a connection is made with: an address, and what does not fit into one.
use std::{borrow::Cow, fmt, path::PathBuf, time::Duration};

use sinew_core::{AnyBackend, Error, ErrorKind, Result};

use crate::{BrokerUrl, door::Door, secret::Secret};

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
}

/// How the link is protected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    pub(crate) tls: Option<bool>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_cert: Option<(PathBuf, PathBuf)>,
}

/// Who to be.
#[derive(Clone)]
pub(crate) enum Login {
    User(String, Secret),
    Token(Secret),
    Creds(PathBuf),
}

impl ConnectOptions {
    /// Connects to `url`, with what it says itself and the backend's own defaults.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when `url` is no address, its scheme is unknown, one of its options means nothing
    /// to its backend or is given twice, or it names two logins.
    pub fn new(url: &str) -> Result<Self> {
        Self::to(BrokerUrl::parse(url)?)
    }

    /// The same for an address that is parsed already.
    ///
    /// # Errors
    ///
    /// As [`ConnectOptions::new`].
    pub fn to(url: BrokerUrl) -> Result<Self> {
        let door = Door::of(url.scheme())?;
        let mut said = Said::default();
        for (index, (name, value)) in url.options().enumerate() {
            if !door.options().contains(&name) {
                return Err(stranger(door, name));
            }
            if url.options().take(index).any(|(earlier, _)| earlier == name) {
                return Err(refuse(format!("`{name}` is given twice; keep one")));
            }
            said.take(name, value)?;
        }
        let inline = match (url.user(), url.password()) {
            (Some(user), Some(password)) => Some(Login::User(user.to_owned(), password.clone())),
            (Some(token), None) => Some(Login::Token(Secret::Text(token.to_owned()))),
            (None, _) => None,
        };
        let (login, client_cert) = (said.login(inline)?, said.client_cert()?);
        let security = Security { tls: said.tls, ca_file: said.ca_file, client_cert };
        Ok(Self { url, security, login, name: said.name, connect_timeout: None })
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

    /// How long connecting may take. Default: the adapter's own, 5 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when this build lacks the adapter, naming the feature that adds it;
    /// [`ErrorKind::InvalidOptions`] for what the backend cannot honour and for a file that cannot be read;
    /// [`ErrorKind::Unreachable`], [`ErrorKind::Denied`], [`ErrorKind::Timeout`], [`ErrorKind::NotFound`] and what
    /// else the broker says.
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
            #[cfg(not(all(feature = "memory", feature = "nats")))]
            _ => Err(door.absent()),
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
        }
    }
}

/// What the options of an address say.
#[derive(Default)]
struct Said {
    tls: Option<bool>,
    ca_file: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    creds: Option<PathBuf>,
    name: Option<String>,
}

impl Said {
    /// Takes one that the backend knows.
    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        if value.is_empty() && name != "tls" {
            return Err(refuse(format!("`{name}` has no value; write {name}=VALUE")));
        }
        let file = || Some(PathBuf::from(value));
        match name {
            "tls" => self.tls = Some(flag(value)?),
            "tls_ca" => self.ca_file = file(),
            "tls_cert" => self.cert = file(),
            "tls_key" => self.key = file(),
            "user" => self.user = Some(value.to_owned()),
            "password_file" => self.password_file = file(),
            "token_file" => self.token_file = file(),
            "creds" => self.creds = file(),
            "name" => self.name = Some(value.to_owned()),
            _ => return Err(refuse(format!("`{name}` is not understood"))),
        }
        Ok(())
    }

    fn login(&mut self, inline: Option<Login>) -> Result<Option<Login>> {
        let user = match (self.user.take(), self.password_file.take()) {
            (Some(user), Some(file)) => Some(Login::User(user, Secret::File(file))),
            (None, None) => None,
            _ => return Err(refuse("user and password_file go together")),
        };
        let token = self.token_file.take().map(|file| Login::Token(Secret::File(file)));
        let creds = self.creds.take().map(Login::Creds);
        let mut logins = [inline, user, token, creds].into_iter().flatten();
        match (logins.next(), logins.next()) {
            (login, None) => Ok(login),
            _ => Err(refuse("the URL names two logins; keep one")),
        }
    }

    fn client_cert(&mut self) -> Result<Option<(PathBuf, PathBuf)>> {
        match (self.cert.take(), self.key.take()) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => Err(refuse("tls_cert and tls_key go together")),
        }
    }
}

fn flag(value: &str) -> Result<bool> {
    match value {
        "true" | "" => Ok(true),
        "false" => Ok(false),
        _ => Err(refuse("tls is true or false")),
    }
}

/// The refusal of an option that means nothing to its backend, with the one that may have been meant.
fn stranger(door: Door, name: &str) -> Error {
    let known = door.options();
    let advice = match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "leave it out".to_owned(),
        None => format!("there are {}", known.join(", ")),
    };
    let name: String = name.escape_debug().take(LONGEST_NAME).collect();
    refuse(format!("{} takes no option `{name}`; {advice}", door.scheme()))
}

/// How much of an unknown name is shown.
const LONGEST_NAME: usize = 32;

/// The one of `known` that begins and ends most like `name`: by more than half, or all of the shorter one.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let alike = |known: &str| {
        let begin = name.bytes().zip(known.bytes()).take_while(|(a, b)| a == b).count();
        let end = name.bytes().rev().zip(known.bytes().rev()).take_while(|(a, b)| a == b).count();
        let (shorter, longer) = (name.len().min(known.len()), name.len().max(known.len()));
        let alike = (begin + end).min(shorter);
        (alike > 0 && (alike == shorter || alike * 2 > longer)).then_some(alike)
    };
    // The first of equals, as the more common ones stand first.
    let scored = known.iter().rev().filter_map(|known| Some((alike(known)?, *known)));
    scored.max_by_key(|(alike, _)| *alike).map(|(_, known)| known)
}

fn refuse(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOptions, "parse URL").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_carries_its_options() {
        let options = ConnectOptions::new(
            "nats://h?tls&tls_ca=/ca.pem&tls_cert=/c.pem&tls_key=/k.pem&user=ann&password_file=/p&name=billing",
        )
        .unwrap();
        assert_eq!(options.security.tls, Some(true));
        assert_eq!(options.security.ca_file, Some("/ca.pem".into()));
        assert_eq!(options.security.client_cert, Some(("/c.pem".into(), "/k.pem".into())));
        assert!(matches!(options.login, Some(Login::User(user, Secret::File(_))) if user == "ann"));
        assert_eq!(options.name.as_deref(), Some("billing"));
    }

    #[test]
    fn what_stands_before_the_host_is_a_login() {
        let login = |url| ConnectOptions::new(url).unwrap().login;
        assert!(matches!(login("nats://a:b@h"), Some(Login::User(..))));
        assert!(matches!(login("nats://t@h"), Some(Login::Token(_))));
        assert!(login("nats://h").is_none());
    }

    #[test]
    fn halves_doubles_and_strangers_are_refused() {
        for url in [
            "nats://h?user=ann",
            "nats://h?tls_cert=/c.pem",
            "nats://a:b@h?token_file=/t",
            "nats://h?creds=/c&token_file=/t",
            "nats://h?tls=maybe",
            "nats://h?password=hush",
            "nats://h?token=hush",
            "nats://h?creds",
            "nats://h?name=",
            "nats://h?name=a&name=b",
        ] {
            let err = ConnectOptions::new(url).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidOptions, "{url}");
            assert!(!format!("{err:?}").contains("hush"));
        }
    }

    #[test]
    fn an_option_that_means_nothing_is_refused_by_its_name() {
        for (url, told) in [
            ("memory:?name=x", "memory takes no option `name`; leave it out"),
            ("nats://h?tsl_ca=x", "nats takes no option `tsl_ca`; did you mean `tls_ca`?"),
            ("nats+js://h/S?ca=x", "nats+js takes no option `ca`; did you mean `tls_ca`?"),
            ("nats://h?username=x", "`username`; did you mean `user`?"),
            ("nats://h?password=x", "`password`; did you mean `password_file`?"),
            ("nats://h?token=x", "`token`; did you mean `token_file`?"),
            ("nats://h?heartbeat=x", "`heartbeat`; there are tls, tls_ca, "),
            ("nats://h?%1b[2J", "`\\u{1b}[2J`; there are tls"),
            ("nats://h?=x", "``; there are tls"),
        ] {
            let err = ConnectOptions::new(url).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidOptions, "{url}");
            assert!(err.to_string().contains(told), "{err}");
        }
    }

    #[test]
    fn every_option_of_a_backend_is_understood() {
        for door in Door::ALL {
            for name in door.options() {
                let value = if *name == "tls" { "true" } else { "x" };
                Said::default().take(name, value).unwrap();
            }
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = ConnectOptions::new("nats://ann:hush@h").unwrap();
        let token = options.clone().with_token("hush");
        let user = options.clone().with_user("ann", "hush");
        assert!(!format!("{options:?} {token:?} {user:?}").contains("hush"));
    }
}
