//! Addresses of brokers: split, checked, and shown without their secrets.
use std::{borrow::Cow, fmt, str::FromStr};

use percent_encoding::percent_decode_str;
use sinew_core::{Error, ErrorKind, Result};

use crate::secret::Secret;

/// A broker's address: `nats://user:password@host:4222`, `nats+js://host/ORDERS`, `memory:name`.
///
/// ```text
/// scheme : [ // [ user [ : password ] @ ] host [ : port ] [ , host ... ] ] [ / path ] [ ? option = value [ & ... ] ]
/// ```
///
/// User, password, path and option values are percent-decoded; a `%` that begins no code, and a space, stand for
/// themselves there. Neither `Display` nor `Debug` shows what could be
/// a secret: the password, and a user without one, which some brokers take for a token.
///
/// ```
/// use sinew_connect::BrokerUrl;
///
/// let url = BrokerUrl::parse("nats://ann:s3cret@localhost:4222")?;
/// assert_eq!(url.scheme(), "nats");
/// assert_eq!(url.to_string(), "nats://ann:***@localhost:4222");
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct BrokerUrl {
    scheme: String,
    user: Option<String>,
    password: Option<Secret>,
    hosts: Option<String>,
    path: String,
    options: Vec<(String, String)>,
}

impl BrokerUrl {
    /// Splits `text`. Whether its scheme is known, and its options too, turns out when connecting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when it is no address. The error never shows `text`, which may hold a secret.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme))
        else {
            return Err(invalid("a URL starts with a scheme: nats://127.0.0.1:4222, memory:"));
        };
        if rest.contains(char::is_control) {
            return Err(invalid("it holds a control character, such as a line end"));
        }
        if rest.contains('#') {
            return Err(invalid("it holds a #; write %23 in a password or a path"));
        }
        // The last `@` ends the user's part, wherever it stands: a password with a bare `/` or `?` in it must not be
        // taken for a host, which is shown.
        let (slashes, rest) = match rest.strip_prefix("//") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (userinfo, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        if userinfo.contains(['/', '?']) || (!slashes && !userinfo.is_empty()) {
            return Err(invalid(
                "write %2F, %3F and %40 for /, ? and @ before the host, and %40 after it",
            ));
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (hosts, path) = match rest.split_once('/') {
            _ if !slashes => (None, rest),
            Some((hosts, path)) => (Some(hosts.to_owned()), path),
            None => (Some(rest.to_owned()), ""),
        };
        if hosts.as_ref().is_some_and(|hosts| hosts.contains(char::is_whitespace)) {
            return Err(invalid("a host has no space in its name"));
        }
        let (user, password) = match userinfo.split_once(':') {
            Some((user, password)) => (user, Some(Secret::Text(decode(password)?))),
            None => (userinfo, None),
        };
        let user = if user.is_empty() && password.is_none() { None } else { Some(decode(user)?) };
        let mut options = Vec::new();
        for pair in query.into_iter().flat_map(|it| it.split('&')).filter(|it| !it.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.push((decode(name)?, decode(value)?));
        }
        let scheme = scheme.to_ascii_lowercase();
        Ok(Self { scheme, user, password, hosts, path: decode(path)?, options })
    }

    /// The scheme, in lower case: `nats+js`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The hosts as written, ports included; none for an address within the process.
    #[must_use]
    pub fn hosts(&self) -> Option<&str> {
        self.hosts.as_deref()
    }

    /// What follows the hosts, without its slash: a stream, a broker's name. Empty when there is nothing.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    pub(crate) fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromStr for BrokerUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Without secrets, and without options.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        let Some(hosts) = &self.hosts else { return f.write_str(&self.path) };
        f.write_str("//")?;
        match (&self.user, &self.password) {
            (Some(user), Some(_)) => write!(f, "{}:***@", user.escape_debug())?,
            (Some(_), None) => f.write_str("***@")?,
            (None, _) => {}
        }
        f.write_str(hosts)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path.escape_debug()) }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOptions, "parse URL").with_detail(detail)
}

/// Undoes percent-encoding. What is no such code stands for itself, as in `50%off`.
fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| invalid("what is percent-encoded in it is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> BrokerUrl {
        BrokerUrl::parse(text).unwrap()
    }

    #[test]
    fn every_part_is_found() {
        let url = parse("nats+js://ann:p%40ss%2F@h1:4222,h2:4223/ORDERS?tls&tls_ca=/etc/ca.pem");
        assert_eq!((url.scheme(), url.hosts()), ("nats+js", Some("h1:4222,h2:4223")));
        assert_eq!((url.path(), url.user()), ("ORDERS", Some("ann")));
        assert_eq!(url.password(), Some(&Secret::Text("p@ss/".to_owned())));
        assert_eq!(url.options().collect::<Vec<_>>(), [("tls", ""), ("tls_ca", "/etc/ca.pem")]);
    }

    #[test]
    fn a_space_and_a_percent_sign_may_stand_for_themselves() {
        for (password, meant) in [
            ("p ss", "p ss"),
            ("50%off", "50%off"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%+4a", "%+4a"),
            ("%%41", "%A"),
            ("%é1", "%é1"),
        ] {
            let url = parse(&format!("nats://ann:{password}@h"));
            assert_eq!(url.password(), Some(&Secret::Text(meant.to_owned())), "{password}");
        }
    }

    #[test]
    fn an_address_within_the_process_has_no_hosts() {
        assert_eq!((parse("memory:").path(), parse("memory:").hosts()), ("", None));
        assert_eq!(parse("memory:fleet").path(), "fleet");
        assert_eq!(parse("memory:fleet").to_string(), "memory:fleet");
    }

    #[test]
    fn what_could_be_a_secret_is_not_shown() {
        for (url, shown) in [
            ("nats://ann:hush@h:4222/x", "nats://ann:***@h:4222/x"),
            ("nats://hush@h", "nats://***@h"),
            ("nats://:hush@h", "nats://:***@h"),
            ("nats://ann:hu@sh@h", "nats://ann:***@h"),
            ("NATS://h?creds=hush", "nats://h"),
        ] {
            let url = parse(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("BrokerUrl({shown})"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_shown() {
        for text in [
            "",
            "hush",
            "://hush",
            "nats://u:hush@a b",
            "nats://u:hush@h\n",
            "nats://u:%ffhush@h",
            "nats://u:hush#@h",
            "nats://u:hush/x@h",
            "nats://u:hush?x@h",
            "memory:hush@h",
        ] {
            let err = BrokerUrl::parse(text).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidOptions);
            assert!(!format!("{err} {err:?}").contains("hush"), "{err:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,64}") {
            let _ = BrokerUrl::parse(&text);
        }

        #[test]
        fn a_password_of_any_kind_survives_and_stays_hidden(password in "[ -~]{4,20}") {
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let url = BrokerUrl::parse(&format!("nats://x:{encoded}@h")).unwrap();
            prop_assert_eq!(url.to_string(), "nats://x:***@h");
            prop_assert_eq!(url.password(), Some(&Secret::Text(password)));
        }
    }
}
