//! Which receiver, and how patient to be with it.
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use rustls::ClientConfig;
use sinew_core::Result;

use super::{
    WebhookFailure, WebhookSecret,
    retry::Policy,
    target::Target,
    tls::{self, Roots},
};

pub(super) type OnFailure = Arc<dyn Fn(&WebhookFailure<'_>) + Send + Sync>;

/// Where notifications are posted to, and how often that is tried.
#[derive(Clone)]
#[non_exhaustive]
pub struct WebhookOptions {
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) secrets: Vec<WebhookSecret>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) timeout: Duration,
    pub(super) retry: Policy,
    pub(super) queue: usize,
    pub(super) on_failure: Option<OnFailure>,
}

impl WebhookOptions {
    /// Posts to `url`, `https://` or `http://`. A login in it, `https://user:password@host/`, with percent-codes, is
    /// sent as basic authentication. [`WebhookOutput::start`](super::WebhookOutput::start) reads it.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let retry = Policy {
            attempts: 40,
            limit: Duration::from_secs(15 * 60),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        };
        Self {
            url: url.into(),
            headers: Vec::new(),
            secrets: Vec::new(),
            ca_file: None,
            timeout: Duration::from_secs(15),
            retry,
            queue: 100,
            on_failure: None,
        }
    }

    /// Signs with `secret`. Given twice, each notification bears a signature by each, so that the receiver can go over
    /// from one secret to the other at its own time. Default: none, and no signature.
    #[must_use]
    pub fn with_secret(mut self, secret: WebhookSecret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Sends a header with every request, such as `authorization: Bearer ...`; what it says is never shown. A later one
    /// of the same name takes its place. Default: none.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Trusts those whose certificates are in `file`, in PEM form, instead of those whom the platform trusts.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// How long an attempt may take, from looking up the host to the answer. Default: 15 s.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a notification is tried; at least once. Default: 40.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.retry.attempts = attempts;
        self
    }

    /// How long after it was handed in a notification's last attempt may begin. The first one is always made, so that
    /// those that waited out their time behind others are tried once. Default: 15 min.
    #[must_use]
    pub const fn with_give_up_after(mut self, limit: Duration) -> Self {
        self.retry.limit = limit;
        self
    }

    /// The longest waits between attempts: after the first one, doubled after each further one, up to the second
    /// figure. Each wait is drawn at random from zero to that. Default: 1 s, 60 s.
    #[must_use]
    pub const fn with_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.retry.first = first;
        self.retry.longest = longest;
        self
    }

    /// How many notifications wait for the one that is sent, at least 1; the alerts of further ones are kept, and joined.
    /// Default: 100.
    #[must_use]
    pub const fn with_queue(mut self, queue: usize) -> Self {
        self.queue = queue;
        self
    }

    /// Tells each attempt that failed, to log it, or to send what is given up by other means. Default: it is only
    /// counted.
    ///
    /// It is called on the task that sends, so it must not block; if it panics, nothing is sent any more.
    #[must_use]
    pub fn with_on_failure(
        mut self,
        tell: impl Fn(&WebhookFailure<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_failure = Some(Arc::new(tell));
        self
    }

    /// Refuses what [`WebhookOutput::start`](super::WebhookOutput::start) would, and connects to nothing. It reads the
    /// CA certificates, so it blocks.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`](sinew_core::ErrorKind::InvalidOptions) when the URL, a header or the CA file is
    /// none.
    pub fn check(&self) -> Result<()> {
        self.read().map(drop)
    }

    /// Whom to post to, and whom to trust.
    pub(super) fn read(&self) -> Result<(Target, ClientConfig)> {
        let target = Target::parse(&self.url, &self.headers)?;
        let tls = tls::config(&match &self.ca_file {
            _ if !target.is_tls() => Roots::None,
            Some(file) => Roots::File(file),
            None => Roots::Native,
        })?;
        Ok((target, tls))
    }
}

impl fmt::Debug for WebhookOptions {
    /// Of the URL scheme, host and port, and of headers the names: the rest may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = Target::parse(&self.url, &[]).map(|target| target.origin);
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WebhookOptions")
            .field("url", &origin.as_deref().unwrap_or("(no URL)"))
            .field("headers", &headers)
            .field("secrets", &self.secrets)
            .field("ca_file", &self.ca_file)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let options =
            WebhookOptions::new("https://user:hunter2@hooks.example:8443/hunter2?t=hunter2")
                .with_secret(WebhookSecret::parse(secret).unwrap())
                .with_header("authorization", "Bearer hunter2");
        let shown = format!("{options:?}");
        assert!(shown.contains("https://hooks.example:8443\""), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("MfKQ9r8G"), "{shown}");
        let unread = format!("{:?}", WebhookOptions::new("hooks.example/hunter2"));
        assert!(!unread.contains("hunter2"), "{unread}");
    }
}
