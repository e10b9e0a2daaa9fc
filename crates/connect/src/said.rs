//! What an address says besides where the broker is: its login and its options.
use std::{borrow::Cow, path::PathBuf, time::Duration};

use sinew_core::{Error, ErrorKind, Result};

use crate::{
    BrokerUrl,
    door::Door,
    options::{Login, OfAmqp, Security},
    secret::Secret,
};

/// What an address says, read and checked; each thing once.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) security: Security,
    pub(crate) login: Option<Login>,
    pub(crate) name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) amqp: OfAmqp,
}

/// Halves of what goes together.
#[derive(Default)]
struct Halves {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    creds: Option<PathBuf>,
    mechanism: Option<Mechanism>,
}

/// How RabbitMQ is told who we are.
#[derive(Clone, Copy, PartialEq)]
enum Mechanism {
    Plain,
    External,
}

impl Said {
    /// Reads what `url` says to the backend behind `door`.
    pub(crate) fn by(url: &BrokerUrl, door: Door) -> Result<Self> {
        let (mut said, mut halves) = (Self::default(), Halves::default());
        for (name, value) in url.options() {
            if !door.options().contains(&name) {
                return Err(stranger(url, door, name));
            }
            if value.is_empty() && !FLAGS.contains(&name) {
                return Err(refuse(format!("`{name}` has no value; write {name}=VALUE")));
            }
            if said.take(&mut halves, name, value)? {
                return Err(refuse(format!("`{name}` is given twice; keep one")));
            }
        }
        said.security.client_cert = match (halves.cert.take(), halves.key.take()) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(refuse("a certificate and its key go together")),
        };
        said.login = halves.login(inline(url, door))?;
        Ok(said)
    }

    /// Takes an option that the backend knows. Says whether it was taken before, under this name or another.
    fn take(&mut self, halves: &mut Halves, name: &str, value: &str) -> Result<bool> {
        let file = || PathBuf::from(value);
        Ok(match name {
            "tls" => self.security.tls.replace(flag(name, value)?).is_some(),
            "tls_ca" | "cacertfile" => self.security.ca_file.replace(file()).is_some(),
            "tls_cert" | "certfile" => halves.cert.replace(file()).is_some(),
            "tls_key" | "keyfile" => halves.key.replace(file()).is_some(),
            "user" => halves.user.replace(value.to_owned()).is_some(),
            "password_file" => halves.password_file.replace(file()).is_some(),
            "token_file" => halves.token_file.replace(file()).is_some(),
            "creds" => halves.creds.replace(file()).is_some(),
            "auth_mechanism" => halves.mechanism.replace(mechanism(value)?).is_some(),
            "name" | "connection_name" => self.name.replace(value.to_owned()).is_some(),
            "connection_timeout" => {
                let timeout = Duration::from_millis(number(name, value, "milliseconds")?);
                self.connect_timeout.replace(timeout).is_some()
            }
            "heartbeat" => {
                let interval = Duration::from_secs(number(name, value, "seconds")?);
                self.amqp.heartbeat.replace(interval).is_some()
            }
            "exchange" => self.amqp.exchange.replace(value.to_owned()).is_some(),
            "declare_exchanges" => {
                self.amqp.declare_exchanges.replace(flag(name, value)?).is_some()
            }
            _ => return Err(refuse(format!("`{name}` is not understood"))),
        })
    }
}

/// Options that may stand alone, which is to say that they are true.
const FLAGS: [&str; 2] = ["tls", "declare_exchanges"];

impl Halves {
    fn login(self, inline: Option<Login>) -> Result<Option<Login>> {
        let user = match (self.user, self.password_file) {
            (Some(user), Some(file)) => Some(Login::User(user, Secret::File(file))),
            (None, None) => None,
            _ => return Err(refuse("user and password_file go together")),
        };
        let token = self.token_file.map(|file| Login::Token(Secret::File(file)));
        let creds = self.creds.map(Login::Creds);
        let certificate =
            (self.mechanism == Some(Mechanism::External)).then_some(Login::Certificate);
        let mut logins = [inline, user, token, creds, certificate].into_iter().flatten();
        match (logins.next(), logins.next()) {
            (login, None) => Ok(login),
            _ => Err(refuse("the URL names two logins; keep one")),
        }
    }
}

/// The login that stands before the host. Half of one is a token to NATS, and completed by `guest` to RabbitMQ.
fn inline(url: &BrokerUrl, door: Door) -> Option<Login> {
    let user = url.user()?;
    if door == Door::Amqp {
        let user = if user.is_empty() { GUEST } else { user };
        let password = url.password().filter(|password| !password.is_empty()).cloned();
        let password = password.unwrap_or_else(|| Secret::Text(GUEST.to_owned()));
        return Some(Login::User(user.to_owned(), password));
    }
    Some(match url.password() {
        Some(password) => Login::User(user.to_owned(), password.clone()),
        None => Login::Token(Secret::Text(user.to_owned())),
    })
}

const GUEST: &str = "guest";

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "" => Ok(true),
        "false" => Ok(false),
        _ => Err(refuse(format!("{name} is true or false"))),
    }
}

fn number(name: &str, value: &str, unit: &str) -> Result<u64> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| refuse(format!("{name} is a whole number of {unit}, 1 or more")))
}

fn mechanism(value: &str) -> Result<Mechanism> {
    match value.to_ascii_lowercase().as_str() {
        "plain" => Ok(Mechanism::Plain),
        "external" => Ok(Mechanism::External),
        _ => Err(refuse("auth_mechanism is plain or external")),
    }
}

/// The refusal of an option that means nothing to its backend, with the one that may have been meant.
fn stranger(url: &BrokerUrl, door: Door, name: &str) -> Error {
    let known = door.options();
    let advice = match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "leave it out".to_owned(),
        None => format!("there are {}", known.join(", ")),
    };
    let name: String = name.escape_debug().take(LONGEST_NAME).collect();
    refuse(format!("{} takes no option `{name}`; {advice}", url.scheme()))
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
    use crate::ConnectOptions;

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
    fn half_a_login_is_completed_as_rabbitmq_and_kombu_complete_it() {
        for (url, user, password) in [
            ("amqp://ann:b@h", "ann", "b"),
            ("amqp://ann@h", "ann", "guest"),
            ("amqp://ann:@h", "ann", "guest"),
            ("amqp://:b@h", "guest", "b"),
        ] {
            let Some(Login::User(its, Secret::Text(word))) =
                ConnectOptions::new(url).unwrap().login
            else {
                panic!("{url}")
            };
            assert_eq!((its.as_str(), word.as_str()), (user, password), "{url}");
        }
        assert!(ConnectOptions::new("amqp://h").unwrap().login.is_none());
    }

    #[test]
    fn rabbitmqs_own_words_are_understood_and_mean_the_same() {
        let options = ConnectOptions::new(
            "amqps://h/v?cacertfile=/ca.pem&certfile=/c.pem&keyfile=/k.pem&connection_name=billing\
             &auth_mechanism=EXTERNAL&heartbeat=7&connection_timeout=1500&exchange=orders&declare_exchanges",
        )
        .unwrap();
        assert_eq!(options.security.ca_file, Some("/ca.pem".into()));
        assert_eq!(options.security.client_cert, Some(("/c.pem".into(), "/k.pem".into())));
        assert!(matches!(options.login, Some(Login::Certificate)));
        assert_eq!(options.name.as_deref(), Some("billing"));
        assert_eq!(options.connect_timeout, Some(Duration::from_millis(1500)));
        let OfAmqp { heartbeat, exchange, declare_exchanges } = options.amqp;
        assert_eq!(heartbeat, Some(Duration::from_secs(7)));
        assert_eq!((exchange.as_deref(), declare_exchanges), (Some("orders"), Some(true)));
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
            "amqp://h?name=a&connection_name=b",
            "amqp://h?tls_ca=/a&cacertfile=/b",
            "amqps://h?certfile=/c.pem&tls_ca=/ca.pem",
            "amqps://a:b@h?auth_mechanism=external",
            "amqp://h?auth_mechanism=hush",
            "amqp://h?heartbeat=0",
            "amqp://h?heartbeat=hush",
            "amqp://h?connection_timeout=0",
            "amqp://h?declare_exchanges=hush",
            "amqp://h?exchange",
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
            ("nats://h?cacertfile=x", "`cacertfile`; there are tls"),
            ("amqp://h?cacert=x", "amqp takes no option `cacert`; did you mean `cacertfile`?"),
            (
                "amqps://h?connect_timeout=x",
                "amqps takes no option `connect_timeout`; did you mean `connection_timeout`?",
            ),
            ("pyamqp://h?token_file=x", "`token_file`; there are tls, tls_ca, "),
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
                let value = match *name {
                    "tls" | "declare_exchanges" => "true",
                    "heartbeat" | "connection_timeout" => "1",
                    "auth_mechanism" => "external",
                    _ => "x",
                };
                let (mut said, mut halves) = (Said::default(), Halves::default());
                assert!(!said.take(&mut halves, name, value).unwrap(), "{name}");
                assert!(said.take(&mut halves, name, value).unwrap(), "{name}");
            }
        }
    }
}
