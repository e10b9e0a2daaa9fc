//! Who may look: this machine, who has the token, or everybody if that was asked for.
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use axum::http::{
    HeaderMap, StatusCode, Uri,
    header::{AUTHORIZATION, HOST},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;

use crate::exit::{Failure, Status};

/// A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// A longer one is some other file.
const LONGEST_TOKEN: usize = 4096;

/// Lets a request in or not.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// Whether we listen on this machine only, where a page from elsewhere must not get in by a name that it made
    /// point here (DNS rebinding).
    is_local: bool,
    token: Option<Token>,
}

/// A secret that opens the gate.
#[derive(Clone)]
pub(super) struct Token(Box<[u8]>);

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// It was meant for another host.
    WrongHost,
    /// It shows no token, or a wrong one.
    NoToken,
    /// It changes something, and a page from elsewhere had a browser make it.
    Elsewhere,
    /// It changes something where everybody may look, and nobody shows a token.
    ReadOnly,
}

impl Refusal {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::Elsewhere | Self::ReadOnly => StatusCode::FORBIDDEN,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::WrongHost => {
                "this page is for this machine only: call it by localhost or its loopback address\n"
            }
            Self::NoToken => {
                "show the token: as a bearer token, or as the password of a login with any name\n"
            }
            Self::Elsewhere => "another page made this request: nothing is changed\n",
            Self::ReadOnly => {
                "where everybody may look, nobody may change anything: use an access token\n"
            }
        }
    }
}

impl Gate {
    /// The gate of `address`. One that others can reach needs a token, or `open`.
    pub(super) fn new(
        address: SocketAddr,
        token: Option<Token>,
        open: bool,
    ) -> Result<Self, Failure> {
        let is_local = address.ip().to_canonical().is_loopback();
        if !is_local && token.is_none() && !open {
            return Err(Failure::usage(format!(
                "others can reach {address}: ask them for a token with --access-token-file FILE, or say --open \
                (in a file: `access_token_file`, or `open = true`)"
            )));
        }
        Ok(Self { is_local, token })
    }

    /// Whether it lets everybody in who can reach it from elsewhere.
    pub(super) const fn is_open(&self) -> bool {
        !self.is_local && self.token.is_none()
    }

    /// Lets a request in, or says why not. Who asks `is_probe` only learns whether we live, and needs no token.
    pub(super) fn check(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        is_probe: bool,
    ) -> Result<(), Refusal> {
        if self.is_local && !is_for_this_machine(uri, headers) {
            return Err(Refusal::WrongHost);
        }
        match &self.token {
            Some(token) if !is_probe && !token.is_shown(headers) => Err(Refusal::NoToken),
            _ => Ok(()),
        }
    }

    /// Lets a request in that [`check`](Self::check) let in, and that changes something, or says why not.
    ///
    /// A browser shows a password by itself, whoever's page makes the request; so one that comes from a browser must
    /// come from our own page.
    pub(super) fn check_change(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.is_open() {
            return Err(Refusal::ReadOnly);
        }
        let text = |name: &str| headers.get(name).map(|it| it.to_str().unwrap_or("?"));
        // Newer browsers say it outright; others name the page's origin.
        let is_own = match (text("sec-fetch-site"), text("origin")) {
            (Some(site), _) => matches!(site, "same-origin" | "none"),
            (None, Some(origin)) => {
                origin.split_once("://").is_some_and(|(_, host)| text(HOST.as_str()) == Some(host))
            }
            (None, None) => true,
        };
        if is_own { Ok(()) } else { Err(Refusal::Elsewhere) }
    }
}

/// Whether each host that the request names is this machine. One that names none comes from no browser, nor from
/// anything else that speaks HTTP/1.1.
fn is_for_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(is_local_host) && uri.host().is_none_or(is_local_host)
}

/// Whether `host`, perhaps with a port, is a name for this machine that nobody else can give out.
fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((ip, rest)) if rest.is_empty() || rest.starts_with(':') => ip,
        Some(_) => return false,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

impl Token {
    /// Reads it from a file, without the white space around it.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|err| Failure::file("read", path.display(), err))?;
        let token = text.trim();
        let why = if token.len() < SHORTEST_TOKEN {
            "it is shorter than 16 characters; try: openssl rand -hex 32"
        } else if token.len() > LONGEST_TOKEN {
            "it is longer than 4096 characters"
        } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            "it holds more than one line of visible ASCII characters"
        } else {
            return Ok(Self(token.as_bytes().into()));
        };
        Err(Failure::new(Status::Usage, format!("{} holds no token to use: {why}", path.display())))
    }

    /// Whether the request shows it: as a bearer token, or as the password of a login, which is what browsers can do.
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let Some(shown) = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok()) else {
            return false;
        };
        let Some((scheme, credentials)) = shown.split_once(' ') else { return false };
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is(credentials.as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(login) = STANDARD.decode(credentials) else { return false };
        let colon = login.iter().position(|byte| *byte == b':');
        colon.and_then(|at| login.get(at + 1..)).is_some_and(|password| self.is(password))
    }

    /// Compares in a time that tells the length at most.
    fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hush-7431-hush-7431";

    fn gate(address: &str, token: bool) -> Gate {
        let token = token.then(|| Token(SECRET.as_bytes().into()));
        Gate::new(address.parse().unwrap(), token, true).unwrap()
    }

    fn headers(pairs: &[(axum::http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_others_can_reach_needs_a_token_or_a_word() {
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let address = address.parse().unwrap();
            let refused = Gate::new(address, None, false).unwrap_err();
            assert_eq!(refused.status, Status::Usage);
            assert!(refused.message.unwrap().contains("--open"));
            assert!(Gate::new(address, None, true).is_ok());
            assert!(Gate::new(address, Some(Token(Box::default())), false).is_ok());
        }
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(Gate::new(address.parse().unwrap(), None, false).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_name_that_somebody_made_point_here_is_refused() {
        let gate = gate("127.0.0.1:2328", false);
        let check = |uri: &str, hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| (HOST, *host)).collect();
            let mut headers = HeaderMap::new();
            for (name, value) in hosts {
                headers.append(name, value.parse().unwrap());
            }
            gate.check(&uri.parse().unwrap(), &headers, false)
        };
        for host in
            ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:2328", "[::1]:9", "127.1.2.3"]
        {
            assert_eq!(check("/", &[host]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:2328",
            "10.0.0.1",
            "",
            "[::1",
            "[::1]evil",
            "evil@localhost",
            "0.0.0.0",
        ] {
            assert_eq!(check("/", &[host]), Err(Refusal::WrongHost), "{host}");
        }
        assert_eq!(check("/", &[]), Err(Refusal::WrongHost));
        assert_eq!(check("/", &["localhost", "evil.example"]), Err(Refusal::WrongHost));
        assert_eq!(check("http://evil.example/", &["localhost"]), Err(Refusal::WrongHost));
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let gate = gate("0.0.0.0:2328", true);
        let check = |shown: &str, is_probe| {
            gate.check(&"/".parse().unwrap(), &headers(&[(AUTHORIZATION, shown)]), is_probe)
        };
        let basic = |login: &str| format!("Basic {}", STANDARD.encode(login));
        let bearer = |token: &str| format!("Bearer {token}");
        for shown in [
            bearer(SECRET),
            format!("bEARER {SECRET}"),
            basic(&format!("ann:{SECRET}")),
            basic(&format!(":{SECRET}")),
        ] {
            assert_eq!(check(&shown, false), Ok(()), "{shown}");
        }
        for shown in [
            SECRET.to_owned(),
            bearer(""),
            bearer("hush"),
            bearer(&SECRET.to_uppercase()),
            bearer(&format!("{SECRET}x")),
            format!("Token {SECRET}"),
            basic(SECRET),
            basic(&format!("{SECRET}:")),
            "Basic !".to_owned(),
        ] {
            assert_eq!(check(&shown, false), Err(Refusal::NoToken), "{shown}");
            assert_eq!(check(&shown, true), Ok(()));
        }
        let url = format!("/?token={SECRET}&access_token={SECRET}").parse().unwrap();
        assert_eq!(gate.check(&url, &HeaderMap::new(), false), Err(Refusal::NoToken));
    }

    #[test]
    fn nothing_is_changed_by_a_page_from_elsewhere() {
        let gate = gate("127.0.0.1:2328", false);
        let check = |pairs: &[(&'static str, &str)]| {
            let name = |name: &'static str| axum::http::HeaderName::from_static(name);
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (name(key), *value)).collect();
            gate.check_change(&headers(&pairs))
        };
        let host = ("host", "localhost:2328");
        for own in [
            &[host][..],
            &[host, ("origin", "http://localhost:2328")],
            &[host, ("sec-fetch-site", "same-origin"), ("origin", "https://page.example")],
            &[host, ("sec-fetch-site", "none")],
        ] {
            assert_eq!(check(own), Ok(()), "{own:?}");
        }
        for elsewhere in [
            &[host, ("origin", "http://evil.example")][..],
            &[host, ("origin", "http://localhost:2329")],
            &[host, ("origin", "null")],
            &[("origin", "null")],
            &[host, ("sec-fetch-site", "cross-site")],
            &[host, ("sec-fetch-site", "same-site"), ("origin", "http://localhost:2328")],
        ] {
            assert_eq!(check(elsewhere), Err(Refusal::Elsewhere), "{elsewhere:?}");
        }
    }

    #[test]
    fn nobody_changes_anything_where_everybody_may_look() {
        let refused = gate("0.0.0.0:2328", false).check_change(&HeaderMap::new());
        assert_eq!(refused, Err(Refusal::ReadOnly));
        assert_eq!(gate("0.0.0.0:2328", true).check_change(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn a_token_is_read_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Token::read(&path)
        };
        let token = read(&format!("{SECRET}\n")).unwrap();
        assert!(token.is(SECRET.as_bytes()));
        assert!(!format!("{token:?}").contains("hush"));
        let long = "x".repeat(4097);
        for text in
            ["", "\n", "hush-7431", "hush-7431-hush-7431 two", "hush-7431-hush-7431é", &long]
        {
            let failure = read(text).unwrap_err();
            assert_eq!(failure.status, Status::Usage);
            assert!(!failure.message.unwrap().contains("hush"));
        }
        assert_eq!(Token::read(&folder.path().join("none")).unwrap_err().status, Status::Disk);
    }
}
