//! Which broker to talk to, how to get in, and what to say when that fails.
use std::{env, error::Error as StdError, fs, path::PathBuf, time::Duration};

use clap::Args;
use sinew_connect::ConnectOptions;
use sinew_core::{AnyBackend, Error, ErrorKind};
use tokio::time::timeout;

use crate::{
    exit::{Failure, Status, plain},
    time::written,
};

/// Where a broker is looked for when nobody says.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

const URL_HELP: &str = "Broker: nats://[USER:PASSWORD@]HOST[:PORT], nats+js://HOST/STREAM, \
    amqp[s]://[USER:PASSWORD@]HOST[:PORT][/VHOST][?exchange=NAME], memory: \
    [env: SINEW_URL] [default: nats://127.0.0.1:4222]";

/// Which broker to talk to.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Which broker: its address
    #[arg(long, value_name = "URL", help = URL_HELP)]
    url: Option<String>,
    /// Require TLS
    #[arg(long)]
    tls: bool,
    /// Trust these certificates (PEM) and no others
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Show this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Log in with this name
    #[arg(long, value_name = "NAME", requires = "password_file", conflicts_with_all = ["token_file", "creds"])]
    user: Option<String>,
    /// And the password in this file
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Log in with the token in this file
    #[arg(long, value_name = "FILE", conflicts_with = "creds")]
    token_file: Option<PathBuf>,
    /// Log in with this NATS credentials file
    #[arg(long, value_name = "FILE")]
    creds: Option<PathBuf>,
}

impl ConnectionArgs {
    /// What stands after the command's name beats what stands before it.
    pub(crate) fn or(self, before: Self) -> Self {
        let has_login =
            self.password_file.is_some() || self.token_file.is_some() || self.creds.is_some();
        let (login, cert) = (
            if has_login { self.clone() } else { before.clone() },
            if self.tls_cert.is_some() { self.clone() } else { before.clone() },
        );
        Self {
            url: self.url.or(before.url),
            tls: self.tls || before.tls,
            tls_ca: self.tls_ca.or(before.tls_ca),
            tls_cert: cert.tls_cert,
            tls_key: cert.tls_key,
            user: login.user,
            password_file: login.password_file,
            token_file: login.token_file,
            creds: login.creds,
        }
    }

    /// Whether nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        self.url.is_none() && !self.tls && self.files().next().is_none()
    }

    /// The files that it names.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let Self { tls_ca, tls_cert, tls_key, password_file, token_file, creds, .. } = self;
        [tls_ca, tls_cert, tls_key, password_file, token_file, creds].into_iter().flatten()
    }

    /// The options of the connection.
    pub(crate) fn options(self) -> Result<ConnectOptions, Failure> {
        self.files().try_for_each(|path| {
            fs::File::open(path).map(drop).map_err(|err| Failure::file("read", path.display(), err))
        })?;
        let from_env = || env::var("SINEW_URL").ok().filter(|url| !url.is_empty());
        let url = self.url.or_else(from_env);
        let mut options = ConnectOptions::new(url.as_deref().unwrap_or(DEFAULT_URL))?
            .with_name(concat!("sinew ", env!("CARGO_PKG_VERSION")));
        if self.tls {
            options = options.with_tls(true);
        }
        if let Some(path) = self.tls_ca {
            options = options.with_ca_file(path);
        }
        if let (Some(cert), Some(key)) = (self.tls_cert, self.tls_key) {
            options = options.with_client_cert(cert, key);
        }
        if let (Some(user), Some(path)) = (self.user, self.password_file) {
            options = options.with_password_file(user, path);
        }
        if let Some(path) = self.token_file {
            options = options.with_token_file(path);
        }
        Ok(match self.creds {
            Some(path) => options.with_creds_file(path),
            None => options,
        })
    }
}

/// Connects, or says in one line why not and what to do. A command that has a time of its own waits no longer than
/// `within`, whatever the adapter would; the rest leave it to the adapter.
pub(crate) async fn connect(
    options: ConnectOptions,
    within: Option<Duration>,
) -> Result<AnyBackend, Failure> {
    let url = options.url().clone();
    let connecting = options.connect();
    let connected = match within {
        None => connecting.await,
        Some(within) => timeout(within, connecting).await.unwrap_or_else(|_| {
            let detail = format!("no answer within {}", written(within));
            Err(Error::new(ErrorKind::Timeout, "connect").with_detail(detail))
        }),
    };
    connected.map_err(|err| refusal(&url.to_string(), url.scheme(), err))
}

fn refusal(url: &str, scheme: &str, err: Error) -> Failure {
    if let Some(why) = tls_fault(&err) {
        let message = format!(
            "cannot trust or be trusted by {url}: {why}; check --tls-ca, --tls-cert and --tls-key"
        );
        return Failure::new(Status::Unreachable, message).with_source(err);
    }
    let why = why(&err);
    let (program, logins) = match scheme {
        "nats" | "nats+js" => {
            ("nats-server", "--user and --password-file, --token-file or --creds")
        }
        "amqp" | "amqps" | "pyamqp" => ("RabbitMQ", "--user and --password-file"),
        _ => ("the broker", "the login"),
    };
    let message = match err.kind() {
        ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Disconnected => {
            // The cause may ask a question already.
            let hint =
                if why.ends_with('?') { String::new() } else { format!("; is {program} running?") };
            format!("cannot reach {url}: {why}{hint} try: sinew demo (needs no broker)")
        }
        ErrorKind::Denied => format!("{url} refuses us: {why}; check {logins}"),
        ErrorKind::NotFound => format!("cannot use {url}: {why}"),
        _ => return Failure::from(err),
    };
    Failure::new(Status::Unreachable, message).with_source(err)
}

/// What the TLS library complains of. Its complaints are of many kinds; what to do about all of them is the same.
fn tls_fault(err: &Error) -> Option<String> {
    let why = plain(innermost(err)?);
    let is_told = ["certificate", "tls"].iter().any(|it| why.to_lowercase().contains(it));
    (is_told && matches!(err.kind(), ErrorKind::Unreachable | ErrorKind::Denied)).then_some(why)
}

fn innermost(err: &Error) -> Option<&(dyn StdError + 'static)> {
    let mut innermost = err.source();
    while let Some(source) = innermost.and_then(StdError::source) {
        innermost = Some(source);
    }
    innermost
}

/// The innermost cause, which is what happened; else what the error says of itself.
fn why(err: &Error) -> String {
    match (err.detail(), innermost(err)) {
        // What a broker says may be a sentence; here it is a part of one.
        (Some(detail), _) if err.kind() != ErrorKind::Unreachable => {
            detail.trim_end_matches('.').to_owned()
        }
        (_, Some(cause)) => plain(cause),
        (Some(detail), None) => detail.to_owned(),
        (None, None) => match err.kind() {
            ErrorKind::Timeout => "it stays silent".to_owned(),
            _ => "no reason given".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_unreachable_broker_is_told_with_what_to_do() {
        let err = Error::new(ErrorKind::Unreachable, "nats connect")
            .with_source(io::Error::from_raw_os_error(111));
        let failure = refusal("nats://127.0.0.1:4222", "nats", err);
        assert_eq!(
            failure.message.unwrap(),
            "cannot reach nats://127.0.0.1:4222: connection refused; is nats-server running? \
             try: sinew demo (needs no broker)"
        );
        assert_eq!(failure.status, Status::Unreachable);
    }

    #[test]
    fn one_question_is_enough() {
        let err =
            Error::new(ErrorKind::Timeout, "nats connect").with_detail("is it a NATS server?");
        assert_eq!(
            refusal("nats://h", "nats", err).message.unwrap(),
            "cannot reach nats://h: is it a NATS server? try: sinew demo (needs no broker)"
        );
    }

    #[test]
    fn options_after_the_command_beat_those_before_it() {
        let before = ConnectionArgs {
            url: Some("nats://a".to_owned()),
            user: Some("ann".to_owned()),
            password_file: Some("/p".into()),
            ..ConnectionArgs::default()
        };
        let after = ConnectionArgs { token_file: Some("/t".into()), ..ConnectionArgs::default() };
        let both = after.or(before);
        assert_eq!(both.url.as_deref(), Some("nats://a"));
        assert_eq!((both.user, both.token_file), (None, Some("/t".into())));
    }
}
