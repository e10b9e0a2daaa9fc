//! What is sent: JSON, in the form that the documentation of [`WebhookOutput`](super::WebhookOutput) gives.
use std::time::SystemTime;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{Alert, Clock, Notification, Reason, State, Timestamp};

/// A notification as it is sent, however often.
#[derive(Debug)]
pub(super) struct Body {
    /// What tells it from every other one. It is made of what is said, so that those who say the same have the same.
    pub(super) id: String,
    pub(super) json: Bytes,
}

impl Body {
    pub(super) fn of(clock: &Clock, notification: &Notification) -> serde_json::Result<Self> {
        let Notification { group, alerts, .. } = notification;
        let latest = alerts.iter().map(|alert| alert.at).max().unwrap_or_default();
        let text: Vec<_> = alerts.iter().map(ToString::to_string).collect();
        let json = serde_json::to_vec(&NotificationJson {
            r#type: "beat.alerts",
            version: 1,
            timestamp: rfc3339(clock, latest),
            text: text.join("\n"),
            group: group.as_deref(),
            alerts: alerts.iter().map(|alert| AlertJson::of(clock, alert)).collect(),
        })?;
        let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&json));
        Ok(Self { id: format!("msg_{digest}"), json: json.into() })
    }
}

#[derive(Serialize)]
struct NotificationJson<'a> {
    r#type: &'static str,
    version: u32,
    timestamp: String,
    text: String,
    group: Option<&'a str>,
    alerts: Vec<AlertJson<'a>>,
}

#[derive(Serialize)]
struct AlertJson<'a> {
    kind: &'static str,
    key: &'a str,
    process: Option<&'a str>,
    condition: &'static str,
    state: Option<&'static str>,
    previous: Option<&'static str>,
    reason: Option<&'static str>,
    instances: Option<[&'a str; 2]>,
    since: String,
    at: String,
    text: String,
}

impl<'a> AlertJson<'a> {
    fn of(clock: &Clock, alert: &'a Alert) -> Self {
        Self {
            kind: alert.kind.as_str(),
            key: alert.key.as_str(),
            process: alert.process.as_ref().map(|it| it.as_str()),
            condition: alert.condition.as_str(),
            state: alert.state.map(State::as_str),
            previous: alert.previous.map(State::as_str),
            reason: alert.reason.map(Reason::as_str),
            instances: alert.instances.as_ref().map(|it| [it.one.as_str(), it.other.as_str()]),
            since: rfc3339(clock, alert.since),
            at: rfc3339(clock, alert.at),
            text: alert.to_string(),
        }
    }
}

/// UTC to the millisecond: `2026-01-01T00:00:12.250Z`.
fn rfc3339(clock: &Clock, at: Timestamp) -> String {
    written(clock.wall(at))
}

fn written(wall: SystemTime) -> String {
    // A clock outside of the years that can be written is as good as none.
    let wall = jiff::Timestamp::try_from(wall).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{wall:.3}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_utc_to_the_millisecond() {
        let at = |seconds| written(UNIX_EPOCH + Duration::from_secs_f64(seconds));
        assert_eq!(at(1_767_225_612.25), "2026-01-01T00:00:12.250Z");
        assert_eq!(at(0.0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1e12), "1970-01-01T00:00:00.000Z");
    }
}
