//! Where notifications go: a URL that was read once, and what of it may be shown.
use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{
    HeaderMap, Uri,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
        TRANSFER_ENCODING, USER_AGENT,
    },
    http::uri::{Authority, Scheme},
};
use percent_encoding::percent_decode_str;
use sinew_core::{Error, ErrorKind, Result};

/// What the protocol says, or we do.
const OURS: [HeaderName; 5] = [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];

#[derive(Clone)]
pub(super) struct Target {
    /// Whom to connect to. Without user and password.
    pub(super) uri: Uri,
    /// What to ask it for.
    pub(super) path: Uri,
    /// Those of every request.
    pub(super) headers: HeaderMap,
    /// Scheme, host and port: all that is ever shown, as paths hold tokens.
    pub(super) origin: String,
    /// Host and port.
    pub(super) host: String,
}

impl Target {
    pub(super) fn parse(url: &str, headers: &[(String, String)]) -> Result<Self> {
        let uri: Uri = url.parse().map_err(|_| invalid("the URL is none; hosts are ASCII"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(invalid("the URL begins with `https://` or `http://`, then a host"));
        };
        if *scheme != Scheme::HTTPS && *scheme != Scheme::HTTP {
            return Err(invalid("the URL begins with `https://` or `http://`"));
        }
        let (login, host) = match authority.as_str().rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority.as_str()),
        };
        check_port(authority, host)?;
        let mut all = HeaderMap::new();
        all.insert(HOST, value(host)?);
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let agent = concat!("sinew-beat/", env!("CARGO_PKG_VERSION"));
        all.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(login) = login {
            all.insert(AUTHORIZATION, basic(login)?);
        }
        for (name, text) in headers {
            let name =
                HeaderName::try_from(name).map_err(|_| invalid("a header's name is none"))?;
            if OURS.contains(&name) || name.as_str().starts_with("webhook-") {
                return Err(invalid("a header is not for the user to set").with_subject(name));
            }
            if name == AUTHORIZATION && login.is_some() {
                return Err(invalid(
                    "the URL holds a login, and there is an `authorization` header too",
                ));
            }
            all.insert(name, value(text)?);
        }
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        let (origin, host) = (format!("{scheme}://{host}"), host.to_owned());
        let uri = Uri::builder().scheme(scheme.clone()).authority(&*host).path_and_query(&*path);
        let uri = uri.build().map_err(|_| invalid("the URL is none"))?;
        let path = path.parse().map_err(|_| invalid("the path of the URL is none"))?;
        Ok(Self { uri, path, headers: all, origin, host })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// The library takes a port that is none for no port.
fn check_port(authority: &Authority, host: &str) -> Result<()> {
    let port = host.strip_prefix(authority.host()).filter(|_| !authority.host().is_empty());
    match port {
        Some("") => Ok(()),
        Some(_) if authority.port_u16().is_some_and(|port| port != 0) => Ok(()),
        _ => Err(invalid("the host or port of the URL is none")),
    }
}

/// `user:password` with percent-codes as the value of `Authorization`.
fn basic(login: &str) -> Result<HeaderValue> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut plain: Vec<u8> = percent_decode_str(user).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    value(&format!("Basic {}", BASE64_STANDARD.encode(plain)))
}

/// A value that the library does not show either.
fn value(text: &str) -> Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| invalid("a header's value cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOptions, "webhook URL").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> Result<Target> {
        Target::parse(url, &[])
    }

    #[test]
    fn a_login_becomes_a_header_and_leaves_the_url() {
        let target = parse("https://page%40er:p%3A%20w@hooks.example:8443/T0/B1?x=1").unwrap();
        assert_eq!(target.uri, "https://hooks.example:8443/T0/B1?x=1");
        assert_eq!(target.origin, "https://hooks.example:8443");
        assert_eq!(target.headers[HOST], "hooks.example:8443");
        let plain = BASE64_STANDARD.encode("page@er:p: w");
        assert_eq!(target.headers[AUTHORIZATION], format!("Basic {plain}"));
    }

    #[test]
    fn a_path_is_asked_for_as_it_is() {
        for (url, path) in [
            ("https://h", "/"),
            ("https://h/", "/"),
            ("https://h/a%20b/?c=d", "/a%20b/?c=d"),
            ("https://h?c=d", "/?c=d"),
            ("https://h/a#b", "/a"),
        ] {
            assert_eq!(parse(url).unwrap().path.to_string(), path, "{url}");
        }
    }

    #[test]
    fn hosts_of_all_forms_are_read() {
        for (url, origin) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://[::1]:9000/x", "http://[::1]:9000"),
            ("HTTPS://hooks.example", "https://hooks.example"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(parse(url).unwrap().origin, origin);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_told() {
        for url in [
            "",
            "hunter2",
            "/hunter2",
            "ftp://hunter2.example/",
            "https:///hunter2",
            "https://u:hunter2@",
            "https://u:hunter2@:80/",
            "https://u:hunter2@h:99999/",
            "https://u:hunter2@h:/",
            "https://u:hunter2@h:0/",
            "https://u:hunter2@hö/",
            "https://u:hunter2@h /",
        ] {
            let refused = parse(url).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidOptions, "{url}");
            assert!(!format!("{refused}{refused:?}").contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn headers_that_are_ours_or_no_headers_are_refused() {
        for (name, value) in [
            ("host", "a"),
            ("Content-Length", "1"),
            ("webhook-id", "a"),
            ("Webhook-Signature", "a"),
            ("a b", "hunter2"),
            ("x", "hunter2\r\nhost: b"),
            ("authorization", "Bearer hunter2"),
        ] {
            let headers = [(name.to_owned(), value.to_owned())];
            let Err(refused) = Target::parse("https://user@h/", &headers) else {
                panic!("{name} is taken")
            };
            assert_eq!(refused.kind(), ErrorKind::InvalidOptions, "{name}");
            assert!(!format!("{refused}{refused:?}").contains("hunter2"), "{name}");
        }
        let token = [("Authorization".to_owned(), "Bearer hunter2".to_owned())];
        let target = Target::parse("https://h/", &token).unwrap();
        assert_eq!(target.headers[AUTHORIZATION], "Bearer hunter2");
        assert!(!format!("{:?}", target.headers).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_no_login_is_shown(
            url in "(https?://)?(\\PC{0,8}:hunter2@)?[a-z0-9.:\\[\\]@%é-]{0,12}[/?#]?\\PC{0,8}",
        ) {
            match parse(&url) {
                Ok(target) => {
                    prop_assert!(!target.origin.contains("hunter2") && !target.origin.contains('@'));
                    prop_assert_eq!(target.uri.authority().map(Authority::as_str), Some(&*target.host));
                    prop_assert!(target.path.path().starts_with('/'));
                }
                Err(refused) => {
                    let shown = format!("{refused}{refused:?}");
                    prop_assert!(!shown.contains("hunter2"));
                }
            }
        }
    }
}
