//! Asking a consumer for messages, and reading what it answers.
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_nats::{Message as WireMessage, Subscriber};
use serde::Serialize;
use sinew_core::{ErrorKind, Position};
use tokio::time::{Instant, sleep_until};

use super::api::json;
use crate::{connect::Inner, error::Cause, mux};

/// How long the server keeps one ask.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often it says that it is still there, while it has nothing.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// After how long without one an ask must be lost.
const SILENCE: Duration = Duration::from_secs(12);

/// The asks of one intake on one connection. The server forgets them with the inbox.
pub(crate) struct Pull {
    inbox: Subscriber,
    address: String,
    next: String,
    /// How many messages are asked for and have neither come nor been given up.
    asked: usize,
    silent_since: Instant,
}

#[derive(Serialize)]
struct Ask {
    batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<usize>,
    expires: u128,
    idle_heartbeat: u128,
}

/// What a consumer has to say.
pub(crate) enum Heard {
    Message(WireMessage, Place),
    /// Nothing that matters.
    Nothing,
    /// The next message is larger than what was asked for.
    TooLarge,
    /// Ask the API whether the consumer is still there.
    Doubt,
    /// It will never answer such an ask.
    Refused(Cause),
    /// The connection is closed.
    Closed,
}

/// Where a message stands, as its reply address has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Which delivery it is, from 1.
    pub(crate) attempt: u32,
    /// Its number in the stream.
    pub(crate) stream: u64,
    /// Its number among the consumer's deliveries.
    pub(crate) consumer: u64,
    /// When the server stored it.
    pub(crate) stored_at: SystemTime,
}

impl Pull {
    /// Starts to ask `next`, the consumer's own subject.
    pub(crate) async fn new(inner: &Inner, next: String) -> Result<Self, Cause> {
        let address = inner.client.new_inbox();
        let inbox = inner.client.subscribe(address.clone()).await?;
        Ok(Self { inbox, address, next, asked: 0, silent_since: Instant::now() })
    }

    pub(crate) const fn asked(&self) -> usize {
        self.asked
    }

    /// Asks for up to `batch` messages more, of up to `max_bytes` in all.
    pub(crate) async fn ask(
        &mut self,
        inner: &Inner,
        batch: usize,
        max_bytes: Option<usize>,
    ) -> Result<(), Cause> {
        let ask = Ask {
            batch,
            max_bytes,
            expires: EXPIRES.as_nanos(),
            idle_heartbeat: HEARTBEAT.as_nanos(),
        };
        let reply = self.address.as_str().into();
        inner.send(self.next.as_str().into(), json(&ask)?, Some(reply)).await?;
        if self.asked == 0 {
            self.silent_since = Instant::now();
        }
        self.asked += batch;
        Ok(())
    }

    /// Forgets what was asked: nothing more will come of it.
    pub(crate) const fn forget(&mut self) {
        self.asked = 0;
    }

    /// The next thing that the consumer says.
    ///
    /// Cancel safe.
    pub(crate) async fn hear(&mut self) -> Heard {
        let silence = sleep_until(self.silent_since + SILENCE);
        let message = tokio::select! {
            biased;
            message = mux::next(&mut self.inbox) => message,
            () = silence, if self.asked > 0 => {
                self.forget();
                return Heard::Doubt;
            }
        };
        let Some(message) = message else { return Heard::Closed };
        self.silent_since = Instant::now();
        let place = message.reply.as_deref().and_then(Place::parse);
        match (message.status, place) {
            (None, Some(place)) => {
                self.asked = self.asked.saturating_sub(1);
                Heard::Message(message, place)
            }
            (Some(status), _) => self.judge(status.as_u16(), &message),
            (None, None) => {
                tracing::warn!(subject = %message.subject, "a consumer's inbox got a message that is not its");
                Heard::Nothing
            }
        }
    }

    /// A status stands for one ask, and says how much of it is left.
    fn judge(&mut self, status: u16, message: &WireMessage) -> Heard {
        let says = message.description.as_deref().unwrap_or_default();
        if status == 100 {
            return Heard::Nothing;
        }
        let left = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"))
            .and_then(|left| left.as_str().parse().ok());
        // Without a number, better to ask once too often than to wait for ever.
        self.asked = left.map_or(0, |left| self.asked.saturating_sub(left));
        match (status, says) {
            (409, "Message Size Exceeds MaxBytes") => Heard::TooLarge,
            (409, says)
                if says.contains("Deleted")
                    || says.contains("Leadership")
                    || says.contains("Shutdown") =>
            {
                self.forget();
                Heard::Doubt
            }
            (409, says) if says.starts_with("Exceeded") || says.contains("push based") => {
                Heard::Refused(Cause::Api {
                    kind: ErrorKind::Conflict,
                    detail: format!("the consumer refuses to be asked so: {says}"),
                    sent: sinew_core::Sent::No,
                })
            }
            (503, _) => {
                self.forget();
                Heard::Doubt
            }
            (400, says) => Heard::Refused(Cause::Api {
                kind: ErrorKind::Protocol,
                detail: format!("the consumer cannot read what is asked: {says}"),
                sent: sinew_core::Sent::No,
            }),
            // 404 and 408: nothing there in that time.
            _ => Heard::Nothing,
        }
    }

    /// Asks no more: what is on its way still comes, then [`Heard::Closed`].
    pub(crate) async fn drain(&mut self) {
        // It fails when the connection is closed, which is as good.
        let _ = self.inbox.drain().await;
    }
}

impl Place {
    /// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer
    /// form that has the domain and the account's hash after `ACK`.
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let numbers = match tokens.len() {
            7 => tokens.get(2..)?,
            9.. => tokens.get(4..)?,
            _ => return None,
        };
        let [attempt, stream, consumer, nanos, ..] = numbers else { return None };
        Some(Self {
            attempt: attempt.parse().ok()?,
            stream: stream.parse().ok()?,
            consumer: consumer.parse().ok()?,
            stored_at: UNIX_EPOCH.checked_add(Duration::from_nanos(nanos.parse().ok()?))?,
        })
    }

    /// Where `stream` has it, and since when.
    pub(crate) fn position(&self, stream: &Arc<str>) -> Position {
        Position::new(Arc::clone(stream), self.stream).with_stored_at(self.stored_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_a_reply_address_are_read() {
        let stored_at = UNIX_EPOCH + Duration::from_secs(17);
        let place = Some(Place { attempt: 2, stream: 30, consumer: 4, stored_at });
        assert_eq!(Place::parse("$JS.ACK.S.c.2.30.4.17000000000.9"), place);
        assert_eq!(Place::parse("$JS.ACK.hub.Xa1b.S.c.2.30.4.17000000000.9"), place);
        assert_eq!(Place::parse("$JS.ACK.hub.Xa1b.S.c.2.30.4.17000000000.9.rnd"), place);
    }

    proptest! {
        #[test]
        fn no_reply_address_makes_it_panic(reply in "(\\$JS\\.ACK\\.)?[a-z0-9.]{0,40}") {
            let _ = Place::parse(&reply);
        }
    }
}
