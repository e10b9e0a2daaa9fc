//! How to reach a server, and who to be there.
use std::{borrow::Cow, fmt, path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use sinew_core::Result;
use url::Url;

use crate::{Nats, error::Cause};

/// Where a NATS server is and how to connect to it; the fallible step is [`NatsOptions::connect`].
///
/// ```
/// use std::time::Duration;
/// use sinew_adapter_nats::NatsOptions;
///
/// let options = NatsOptions::new("nats://billing:s3cret@localhost:4222")
///     .with_name("billing")
///     .with_connect_timeout(Duration::from_secs(2));
/// assert!(!format!("{options:?}").contains("s3cret"));
/// ```
#[derive(Clone)]
pub struct NatsOptions {
    pub(crate) servers: Vec<String>,
    pub(crate) login: Login,
    pub(crate) tls: bool,
    pub(crate) tls_first: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_cert: Option<(PathBuf, PathBuf)>,
    pub(crate) name: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) inbox_prefix: String,
    pub(crate) retry_first: bool,
}

/// Who to be.
#[derive(Clone)]
pub(crate) enum Login {
    Anonymous,
    Password(String, String),
    Token(String),
    Nkey(String),
    Credentials(PathBuf),
}

impl NatsOptions {
    /// Connects to `url`: `nats://host:4222`, `tls://host`, or `host`. It may carry `user:password@` or `token@`.
    ///
    /// Several servers of one cluster may stand in it, separated by commas; behind the first, one with a login starts
    /// with its scheme. What of a password has a meaning in a URL is written as `%XX`: `,` is `%2C`, `@` is `%40`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            servers: url.into().split(',').map(|server| server.trim().to_owned()).collect(),
            login: Login::Anonymous,
            tls: false,
            tls_first: false,
            ca_file: None,
            client_cert: None,
            name: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            inbox_prefix: "_INBOX".to_owned(),
            retry_first: false,
        }
    }

    /// Logs in with a name and a password. Default: what the URL says, else nothing.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Login::Password(user.into(), password.into());
        self
    }

    /// Logs in with a token. Default: what the URL says, else nothing.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.login = Login::Token(token.into());
        self
    }

    /// Logs in by signing the server's nonce with the seed of an nkey (`SU...`). Default: not so.
    #[must_use]
    pub fn with_nkey(mut self, seed: impl Into<String>) -> Self {
        self.login = Login::Nkey(seed.into());
        self
    }

    /// Logs in with a `.creds` file: a JWT and the seed that signs for it. Default: not so.
    #[must_use]
    pub fn with_credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.login = Login::Credentials(path.into());
        self
    }

    /// Requires TLS, with the platform's root certificates unless [`NatsOptions::with_ca_file`] says otherwise.
    /// Default: as the URL's scheme says; a server that requires TLS of a client that does not is an error.
    #[must_use]
    pub fn with_tls(mut self, required: bool) -> Self {
        self.tls = required;
        self
    }

    /// Starts with the TLS handshake, for servers that have `handshake_first`. It implies TLS. Default: no.
    #[must_use]
    pub fn with_tls_first(mut self, first: bool) -> Self {
        self.tls_first = first;
        self.tls |= first;
        self
    }

    /// Trusts the certificates of this PEM file, and no others. It implies TLS. Default: the platform's roots.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self.tls = true;
        self
    }

    /// Shows the certificate chain of one PEM file, with the key of another. It implies TLS. Default: none.
    #[must_use]
    pub fn with_client_cert(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_cert = Some((cert.into(), key.into()));
        self.tls = true;
        self
    }

    /// The connection's name, as the server's monitoring shows it. Default: none.
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

    /// How long the server's answer to a subscribe, a flush or a stored publish may take. At most a year. Default: 5 s.
    #[must_use]
    pub fn with_answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout.min(LONGEST);
        self
    }

    /// How often a silent server is pinged. One that stays silent for three of these is taken for dead, which is
    /// how a frozen server or a cut line is noticed. More than zero, and at most a year. Default: 5 s, hence noticed
    /// within 15 s.
    #[must_use]
    pub fn with_ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval.min(LONGEST);
        self
    }

    /// The subject that this connection's reply addresses start with, for users who may not use the default one.
    /// Default: `_INBOX`.
    #[must_use]
    pub fn with_inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.inbox_prefix = prefix.into();
        self
    }

    /// Waits in [`NatsOptions::connect`] for a server that is not there yet, for as long as it takes, instead of
    /// failing, and logs each attempt as a warning. What waiting does not mend fails all the same: a refused login, a
    /// certificate that is not trusted, a peer of another protocol. Default: no.
    #[must_use]
    pub fn with_retry_first(mut self, retry: bool) -> Self {
        self.retry_first = retry;
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`](sinew_core::ErrorKind::InvalidOptions) for options that make no sense,
    /// [`ErrorKind::Unreachable`](sinew_core::ErrorKind::Unreachable) when nobody listens there or TLS fails,
    /// [`ErrorKind::Denied`](sinew_core::ErrorKind::Denied) for credentials that the server refuses,
    /// [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) when it stays silent,
    /// [`ErrorKind::Protocol`](sinew_core::ErrorKind::Protocol) when it is no NATS server.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves no connection.
    pub async fn connect(self) -> Result<Nats> {
        Nats::connect(self).await
    }

    /// The servers without their secrets, for errors and for [`fmt::Debug`].
    pub(crate) fn redacted(&self) -> String {
        redact(&self.servers).join(",")
    }

    /// The addresses without secrets, and the login that they or the options name.
    pub(crate) fn resolve(&self) -> Result<(Vec<async_nats::ServerAddr>, Login), Cause> {
        if self.ping_interval.is_zero() {
            return Err(Cause::Options("a ping interval of zero would ping without an end".into()));
        }
        let mut login = self.login.clone();
        let mut addresses = Vec::with_capacity(self.servers.len());
        for (server, shown) in self.servers.iter().zip(redact(&self.servers)) {
            let url = parse(server).filter(|_| shown != HIDDEN);
            let mut url = url.filter(|url| SCHEMES.contains(&url.scheme())).ok_or_else(|| {
                Cause::Options(format!(
                    "`{shown}` is no NATS URL; write `nats://host:4222` or `tls://host:4222`, each with its scheme \
                     where there are several, and `%2C`, `%2F`, `%40` for `,`, `/`, `@` in a password"
                ))
            })?;
            if let Some(found) = take_login(&mut url)
                && matches!(login, Login::Anonymous)
            {
                login = found;
            }
            addresses.push(
                async_nats::ServerAddr::from_url(url)
                    .map_err(|_| Cause::Options("a NATS URL is `nats://` or `tls://`".into()))?,
            );
        }
        Ok((addresses, login))
    }
}

/// The longest wait: no clock that it is added to overflows.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What the server is spoken to by.
const SCHEMES: [&str; 2] = ["nats", "tls"];
/// Stands for what cannot be shown.
const HIDDEN: &str = "***";

/// Reads one address: a host, perhaps a scheme, a login and a port, and nothing behind. A path is refused, as it is the
/// rest of a login that holds `/`, and the client would log it.
fn parse(server: &str) -> Option<Url> {
    let url = if server.contains("://") {
        Url::parse(server)
    } else {
        Url::parse(&format!("nats://{server}"))
    };
    url.ok().filter(|url| {
        url.has_host()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// Takes user, password or token out of `url`: the client prints URLs into its logs.
fn take_login(url: &mut Url) -> Option<Login> {
    let user = percent_decode(url.username());
    let login = match url.password() {
        Some(password) => Some(Login::Password(user, percent_decode(password))),
        None if user.is_empty() => None,
        None => Some(Login::Token(user)),
    };
    // Neither fails for a URL that has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    login
}

/// Undoes `%xx`; what is no code, or no UTF-8 after it, is kept as it is.
fn percent_decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

/// The addresses as they may be shown.
///
/// A login that holds `,` unescaped was taken for several addresses: those before its `@` are pieces of it, back to
/// the scheme that it started with.
fn redact(servers: &[String]) -> Vec<String> {
    let mut in_login = false;
    let shown = servers.iter().rev().map(|server| {
        let shown = if in_login { HIDDEN.to_owned() } else { redact_one(server) };
        in_login = !starts_with_scheme(server) && (in_login || server.contains('@'));
        shown
    });
    let mut shown: Vec<_> = shown.collect();
    shown.reverse();
    shown
}

/// Cuts out what stands before the host. A login may hold `@` or `/` unescaped: everything before the last `@` may be a
/// secret, and so may all of what is no address.
fn redact_one(server: &str) -> String {
    match server.rsplit_once('@') {
        Some((login, host)) if starts_with_scheme(login) => {
            let scheme = login.split("://").next().unwrap_or_default();
            format!("{scheme}://{HIDDEN}@{host}")
        }
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None if server.is_empty() || parse(server).is_some() => server.to_owned(),
        None => HIDDEN.to_owned(),
    }
}

fn starts_with_scheme(server: &str) -> bool {
    server.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "none",
            Self::Password(..) => "user and password",
            Self::Token(_) => "token",
            Self::Nkey(_) => "nkey",
            Self::Credentials(_) => "credentials file",
        })
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("servers", &self.redacted())
            .field("login", &self.login)
            .field("tls", &self.tls)
            .field("name", &self.name)
            .field("connect_timeout", &self.connect_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("ping_interval", &self.ping_interval)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sign_is_no_hexadecimal_digit() {
        assert_eq!(percent_decode("a%+fb%40"), "a%+fb@");
    }

    #[test]
    fn a_login_is_taken_out_of_the_url() {
        let options = NatsOptions::new("nats://me:p%40ss%2Fword@h:4222,nats://h2");
        let (addresses, login) = options.resolve().unwrap();
        assert!(addresses.iter().all(|address| !address.has_user_pass()));
        assert!(
            matches!(login, Login::Password(user, password) if user == "me" && password == "p@ss/word")
        );
        let (_, login) = NatsOptions::new("nats://t0ken@h").resolve().unwrap();
        assert!(matches!(login, Login::Token(token) if token == "t0ken"));
    }

    #[test]
    fn an_option_beats_the_url() {
        let options = NatsOptions::new("nats://a:b@h").with_token("t");
        assert!(matches!(options.resolve().unwrap().1, Login::Token(_)));
    }

    #[test]
    fn no_secret_is_ever_shown() {
        for url in [
            "nats://me:s3cret@h",
            "me:s3cret@h",
            "nats://s3cret@h",
            "nats://me:s3cr:et@s3cret@h",
            "bogus://a:s3cret@h",
            "nats://a:s3cret@",
            "nats://a:s3cret/x@h:4222",
        ] {
            let options = NatsOptions::new(url).with_nkey("s3cret");
            assert!(!format!("{options:?}").contains("s3cret"), "{url}");
            if let Err(err) = options.resolve() {
                let err = sinew_core::Error::from(err.during("nats connect"));
                assert!(!format!("{err} {err:?}").contains("s3cret"), "{url}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for (url, shown) in [
            ("h", "h"),
            ("nats://h1:4222, tls://h2", "nats://h1:4222,tls://h2"),
            ("nats://h1,nats://me:s3cret@h2,h3", "nats://h1,nats://***@h2,h3"),
            ("nats://h1,nats://me:s3,cret@h2", "nats://h1,***,***@h2"),
            ("http://h", "http://h"),
            ("", ""),
        ] {
            assert_eq!(NatsOptions::new(url).redacted(), shown);
        }
    }

    #[test]
    fn a_login_that_may_be_a_piece_of_one_is_refused() {
        for url in
            ["nats://me:12,34@h", "h1,me:s3cret@h2", "nats://me:12/34@h", "nats://me:12?34@h"]
        {
            let refused = NatsOptions::new(url).resolve();
            assert!(matches!(refused, Err(Cause::Options(text)) if text.contains("%2C")), "{url}");
        }
        assert!(NatsOptions::new("nats://a:b@h1,nats://a:b@h2").resolve().is_ok());
    }

    proptest! {
        /// `q` and `z` stand in nothing that is said but the password.
        #[test]
        fn no_piece_of_a_password_is_shown(password in r"[qz][qz0-9,@:/?#%&=;\[\] .+-]{0,12}") {
            for url in [
                format!("nats://me:{password}@host:4222"),
                format!("tls://{password}@host"),
                format!("me:{password}@host"),
                format!("nats://h1,nats://me:{password}@host"),
                format!("nats://me:{password}@host,h2,nats://h3"),
                format!("bogus://me:{password}@host"),
            ] {
                let options = NatsOptions::new(url);
                let mut said = format!("{options:?} {}", options.redacted());
                prop_assert!(said.contains("host"), "{}", said);
                match options.resolve() {
                    Ok((addresses, _)) => said.extend(addresses.iter().map(|address| address.as_url_str())),
                    Err(cause) => {
                        let err = sinew_core::Error::from(cause.during("nats connect"));
                        said.push_str(&format!("{err} {err:?}"));
                    }
                }
                prop_assert!(!said.contains(['q', 'z', 'Q', 'Z']), "{}", said);
            }
        }
    }

    #[test]
    fn a_wait_without_an_end_is_one_of_a_year() {
        let options = NatsOptions::new("h")
            .with_answer_timeout(Duration::MAX)
            .with_ping_interval(Duration::MAX);
        assert_eq!((options.answer_timeout, options.ping_interval), (LONGEST, LONGEST));
    }

    #[test]
    fn a_ping_without_an_interval_is_refused() {
        assert!(NatsOptions::new("h").with_ping_interval(Duration::ZERO).resolve().is_err());
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for url in ["", "http://h", "nats://", "nats://h:notaport", "://", "nats://h,,"] {
            assert!(NatsOptions::new(url).resolve().is_err(), "{url}");
        }
    }
}
