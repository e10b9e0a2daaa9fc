//! Addresses of brokers, read as kombu reads them, so that one URL serves a fleet of both kinds.
use std::{borrow::Cow, fmt, net::Ipv6Addr, path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;

use crate::{error::Cause, login::Mechanism};

#[cfg(test)]
#[path = "../tests/kombu/mod.rs"]
mod kombu;

/// What an AMQP URL says. Reading it again, or showing it, is never needed: the text holds a secret.
///
/// ```text
/// amqp | amqps | pyamqp :// [ user [ : password ] @ ] [ host [ : port ] ] [ / vhost ] [ ? option = value [ & ... ] ]
/// ```
///
/// No path and `/` are the virtual host `/`, where RabbitMQ's own rule makes the latter one without a name.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Address {
    /// `amqps`, or a certificate among the options.
    pub(crate) tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) vhost: String,
    pub(crate) query: Query,
}

/// The options that RabbitMQ's URLs have and we know, and the connection's name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Query {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) mechanism: Option<Mechanism>,
    pub(crate) name: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
}

impl Address {
    /// Reads `text`.
    ///
    /// # Errors
    ///
    /// Of kind `InvalidOptions`, without any part of `text` that could be of a password.
    pub(crate) fn parse(text: &str) -> Result<Self, Cause> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| Cause::options(NO_URL))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "amqp" | "pyamqp" => false,
            "amqps" => true,
            _ => return Err(Cause::options(NO_URL)),
        };
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority);
        // A password with a bare `/` in it looks like a host and its path, which may be shown.
        if rest.contains('@') {
            return Err(Cause::options(
                "write %2F, %3F and %23 for /, ? and # before the host, and %40 for @ after it",
            ));
        }
        if rest.contains('#') {
            return Err(Cause::options("a broker's URL has no fragment; write %23 for #"));
        }
        // A password may hold a bare `@`.
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        // Several brokers, as kombu writes them; it would be a strange virtual host, too.
        if place.contains([',', ';']) || path.contains(';') {
            return Err(Cause::options(
                "one URL names one broker; put a load balancer or a DNS name before several",
            ));
        }
        let (host, port) = split_port(place)?;
        let vhost = some(decode(path.strip_prefix('/').unwrap_or(path))?);
        let vhost = vhost.unwrap_or_else(|| "/".to_owned());
        if vhost.chars().any(char::is_control) {
            return Err(Cause::options("a virtual host's name has no control characters"));
        }
        let query = Query::parse(query)?;
        Ok(Self {
            tls: tls || query.ca_file.is_some() || query.client_cert.is_some(),
            user: some(decode(user)?),
            password: some(decode(password)?),
            host: read_host(host)?,
            port,
            vhost,
            query,
        })
    }
}

/// Without the login and the options.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "amqps://" } else { "amqp://" })?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if self.vhost == "/" { Ok(()) } else { write!(f, "/{}", self.vhost.escape_debug()) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Query {
    fn parse(text: &str) -> Result<Self, Cause> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key)?, decode(value)?);
            match key.as_str() {
                "heartbeat" => query.heartbeat = Some(Duration::from_secs(number(&key, &value)?)),
                "connection_timeout" => {
                    query.connect_timeout = Some(Duration::from_millis(number(&key, &value)?));
                }
                "auth_mechanism" => query.mechanism = Some(read_mechanism(&value)?),
                "connection_name" => query.name = Some(value),
                "cacertfile" => query.ca_file = Some(value.into()),
                "certfile" => query.client_cert = Some(value.into()),
                "keyfile" => query.client_key = Some(value.into()),
                _ => return Err(stranger(&key)),
            }
        }
        if query.client_cert.is_some() != query.client_key.is_some() {
            return Err(Cause::options("certfile and keyfile go together"));
        }
        Ok(query)
    }
}

const NO_URL: &str =
    "write amqp://host:5672/vhost, amqps://host:5671/vhost or pyamqp://host:5672/vhost";
/// How much of an unknown option's name is shown.
const LONGEST_NAME: usize = 32;

/// Parts `host:port`, `[address]:port`; without a port the rest is none, too: `host:` is `host`.
fn split_port(place: &str) -> Result<(&str, Option<u16>), Cause> {
    let end_of_address = place.rfind(']').unwrap_or(0);
    let Some(colon) = place.rfind(':').filter(|colon| *colon > end_of_address) else {
        return Ok((place, None));
    };
    let (host, port) = place.split_at(colon);
    let port = match port.trim_start_matches(':') {
        "" => None,
        // What stands there without a host before it may be a password.
        digits => match digits.parse() {
            Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(port),
            _ => return Err(Cause::options("the port is no number from 1 to 65535")),
        },
    };
    Ok((host, port))
}

fn read_host(text: &str) -> Result<String, Cause> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Result<Ipv6Addr, _> = address.parse();
        return address
            .map(|address| address.to_string())
            .map_err(|_| Cause::options("what stands in brackets is no IPv6 address"));
    }
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    match text {
        "" => Ok("localhost".to_owned()),
        _ if is_name => Ok(text.to_ascii_lowercase()),
        _ => Err(Cause::options(
            "a host is a DNS name, an IPv4 address, or an IPv6 address in brackets",
        )),
    }
}

fn number(key: &str, value: &str) -> Result<u64, Cause> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        let unit = if key == "heartbeat" { "seconds" } else { "milliseconds" };
        Cause::options(format!("{key} is a whole number of {unit}, 1 or more"))
    })
}

fn read_mechanism(value: &str) -> Result<Mechanism, Cause> {
    match value.to_ascii_lowercase().as_str() {
        "plain" => Ok(Mechanism::Plain),
        "external" => Ok(Mechanism::External),
        _ => Err(Cause::options("auth_mechanism is plain or external")),
    }
}

/// The refusal of an option that is none of ours. Its value may be a secret.
fn stranger(key: &str) -> Cause {
    let key: String = key.escape_debug().take(LONGEST_NAME).collect();
    Cause::options(format!(
        "an AMQP URL takes no option `{key}`; there are heartbeat (seconds), connection_timeout (milliseconds), \
         auth_mechanism, connection_name, cacertfile, certfile and keyfile"
    ))
}

fn some(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

/// Undoes `%xx`. What is no such code stands for itself, as in `50%off`.
fn decode(text: &str) -> Result<String, Cause> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| Cause::options("what is percent-encoded in the URL is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sinew_core::{Error, ErrorKind};

    use super::{kombu::KOMBU, *};
    use crate::{AmqpOptions, login::Login};

    #[test]
    fn a_url_means_what_it_means_to_kombu() {
        for (url, host, port, user, password, vhost) in KOMBU.iter().copied() {
            let target = AmqpOptions::new(url).target().unwrap();
            let login = Login::Password { user: user.to_owned(), password: password.to_owned() };
            assert!(target.login == login, "the login of {url}");
            let place = (target.host.as_str(), target.port, target.vhost.as_str());
            assert_eq!(place, (host, port, vhost), "{url}");
            assert_eq!(target.tls.is_some(), url.starts_with("amqps"), "{url}");
        }
    }

    #[test]
    fn options_follow_the_path() {
        let address = Address::parse(
            "amqp://h/v?heartbeat=7&connection_timeout=1500&auth_mechanism=EXTERNAL\
             &connection_name=a%20b&cacertfile=/ca.pem&certfile=/c.pem&keyfile=/k.pem",
        )
        .unwrap();
        let query = Query {
            heartbeat: Some(Duration::from_secs(7)),
            connect_timeout: Some(Duration::from_millis(1500)),
            mechanism: Some(Mechanism::External),
            name: Some("a b".to_owned()),
            ca_file: Some("/ca.pem".into()),
            client_cert: Some("/c.pem".into()),
            client_key: Some("/k.pem".into()),
        };
        assert_eq!((address.query, address.tls), (query, true));
    }

    #[test]
    fn an_unknown_option_is_refused_by_its_name_but_not_its_value() {
        let err = refused("amqp://h?connect_timeout=hush");
        assert!(err.contains("`connect_timeout`") && err.contains("connection_timeout (milli"));
        assert!(!err.contains("hush"), "{err}");
        let long = "k".repeat(1 << 16);
        assert!(!refused(&format!("amqp://h?{long}=1")).contains(&long[..=LONGEST_NAME]));
    }

    #[test]
    fn what_is_no_broker_of_ours_is_refused_and_not_shown() {
        for url in [
            "",
            "hush",
            "h:5672",
            "http://hush",
            "pyamqps://hush",
            "amqp://hush,i",
            "amqp://hush;amqp://i",
            "amqp://h/hush;x",
            "amqp://h:hush",
            "amqp://h:0",
            "amqp://h:65536",
            "amqp://h:+1",
            "amqp://::1",
            "amqp://[hush]",
            "amqp://[::1]hush",
            "amqp://hu sh",
            "amqp://h%75sh",
            "amqp://h/v#hush",
            "amqp://h/a@hush",
            "amqp://h/hush\n",
            "amqp://h/%ff",
            "amqp://u:%ffhush@h",
            "amqp://u:hush/x@h",
            "amqp://u:hush?x@h",
            "amqp://u:hush#x@h",
            "amqp://h?heartbeat=0",
            "amqp://h?heartbeat=hush",
            "amqp://h?connection_timeout=0",
            "amqp://h?auth_mechanism=hush",
            "amqp://h?certfile=hush",
        ] {
            let err = refused(url);
            assert!(!err.contains("hush"), "{url:?}: {err}");
        }
    }

    /// The refusal of `url`, with all that can be shown of it.
    fn refused(url: &str) -> String {
        let options = AmqpOptions::new(url);
        let cause = options.target().unwrap_err();
        let err = Error::from(cause.clone().during("amqp connect").on(options.redacted()));
        assert_eq!(err.kind(), ErrorKind::InvalidOptions, "{url:?}");
        format!("{options:?} {cause:?} {err} {err:?}")
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(amqps?://)?[-a:@/?#%;,&=.\\[\\] \\PC]{0,48}") {
            let _ = AmqpOptions::new(&text).target();
        }

        #[test]
        fn a_password_is_never_shown_whatever_it_breaks(
            password in "[Z@/,:;%# ?&=\\[\\]]{4,16}",
            rest in "(h|h:1|h:x|\\[::1|h,i)(/v|/%ff|//)?(\\?(heartbeat=x|nope=1))?",
        ) {
            let url = format!("amqp://u:{password}@{rest}");
            let options = AmqpOptions::new(&url);
            let mut shown = format!("{options:?}");
            match options.target() {
                Ok(target) => {
                    shown.push_str(&format!("{target:?}"));
                    let Login::Password { password: read, .. } = target.login else { panic!() };
                    prop_assert_eq!(read, decode(&password).unwrap());
                }
                Err(cause) => {
                    shown.push_str(&format!("{cause:?}"));
                    let err = Error::from(cause.during("amqp connect").on(options.redacted()));
                    shown.push_str(&format!("{err} {err:?}"));
                }
            }
            // No text of ours has this letter.
            let part = shown.to_ascii_uppercase().contains('Z');
            prop_assert!(!part, "{shown} shows a part of {password}");
        }

        #[test]
        fn an_encoded_password_arrives(password in "[^\\x00]{1,16}") {
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let address = Address::parse(&format!("amqp://u:{encoded}@h")).unwrap();
            prop_assert_eq!(address.password, Some(password));
        }
    }
}
