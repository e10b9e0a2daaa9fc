//! `sinew events emit`: an event of a service, from a terminal.
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde::Serialize;
use sinew_core::{Error, Headers, Receipt};
use sinew_events::{
    AnySerializer, Compression, ContextData, EmitOptions, Encoded, EventDispatcher, PayloadError,
    PayloadOptions, Profile,
};

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome, Status},
    json::{Place, receipt},
    message::{Content, parse_header},
    session::Session,
    time::parse_positive,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("as the service orders would", "sinew events emit orders created '{\"id\": 7}' --url memory:"),
    (
        "what another program prints, on behalf of a tenant",
        "echo '{\"id\": 7}' | sinew events emit orders created -C tenant=acme \\\n    --url memory: --json",
    ),
];

const NOTE: &str = "JSON is sent as it is given, once it is known to be some. Over RabbitMQ the events of a service go \
    to its exchange, SERVICE.events: it is there if the service, or a handler of its events, ever was, and is made where \
    the URL ends with ?declare_exchanges.";

/// Emit an event of a service, and tell how far it got
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Emit {
    /// Whose event it is
    #[arg(value_name = "SERVICE")]
    service: String,
    /// What it is called
    #[arg(value_name = "TYPE")]
    event_type: String,
    #[command(flatten)]
    content: Content,
    /// Put a key into the context that handlers have; may be given more than once
    #[arg(short = 'C', long = "context", value_name = "K=V", value_parser = parse_header)]
    context: Vec<(String, String)>,
    /// What the payload is, and becomes: msgpack is made of JSON
    #[arg(long, value_name = "WHAT", default_value = "json")]
    serializer: Form,
    /// Compress the payload, as kombu does by this name
    #[arg(long)]
    gzip: bool,
    /// Fail with exit status 1 when no handler has a queue for it; the backend must be able to tell
    #[arg(long)]
    must_route: bool,
    /// How long it is worth delivering
    #[arg(long, value_name = "DURATION", value_parser = parse_positive)]
    expires: Option<Duration>,
    /// 0 (last) to 9 (first), where queues have priorities
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..=9))]
    priority: Option<u8>,
    /// Say nothing that nameko does not: neither id nor time
    #[arg(long)]
    parity: bool,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What a payload is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// application/json
    Json,
    /// application/x-msgpack, given as JSON
    Msgpack,
    /// application/data, as text
    Text,
    /// application/data, as bytes
    Bytes,
}

/// What `events emit` prints.
#[derive(Debug, Serialize)]
struct Emitted<'a> {
    service: &'a str,
    r#type: &'a str,
    receipt: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place<'a>>,
}

impl Emit {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let (payload, headers) = self.content.parts(session).await?;
        let payload = self.serializer.encode(payload)?;
        let mut context = ContextData::default();
        for (key, value) in self.context {
            context.insert(&key, value)?;
        }
        let mut options = options(&headers)?.with_must_route(self.must_route);
        if let Some(expires) = self.expires {
            options = options.with_expiration(expires);
        }
        if let Some(priority) = self.priority {
            options = options.with_priority(priority);
        }
        if self.gzip {
            options = options.with_compression(Compression::Gzip);
        }
        let profile = if self.parity { Profile::Nameko } else { Profile::Safe };
        let backend = session.connect(self.connection, None).await?;
        let dispatcher = EventDispatcher::new(&backend, &self.service)?
            .with_profile(profile)
            .with_context(context);
        let emitting =
            async { Ok(dispatcher.emit_encoded(&self.event_type, payload, &options).await?) };
        let emitted = session.interrupt.unless(emitting).await;
        session.drain(&backend).await;
        tell(session, &self.service, &self.event_type, &emitted?)?;
        Ok(Status::Done)
    }
}

fn options(headers: &Headers) -> Result<EmitOptions, Failure> {
    let with = |options: EmitOptions, (name, value): (&str, &sinew_core::Value)| {
        options.with_header(name, value.clone())
    };
    Ok(headers.iter().try_fold(EmitOptions::new(), with)?)
}

fn tell(
    session: &Session,
    service: &str,
    event_type: &str,
    receipt_of: &Receipt,
) -> Result<(), Failure> {
    let (how_far, position) = receipt(receipt_of);
    if session.output.json {
        let emitted = Emitted { service, r#type: event_type, receipt: how_far, position };
        return session.output.object(&emitted);
    }
    match receipt_of {
        Receipt::Persisted(at) => {
            session.output.line(format_args!("{service}/{event_type}: persisted at {at}"))
        }
        _ => session.output.line(format_args!("{service}/{event_type}: {how_far}")),
    }
}

impl Form {
    fn encode(self, payload: Bytes) -> Result<Encoded, Failure> {
        let encoded = match self {
            Self::Json => {
                json(&payload).map(|_| Encoded::new(payload, "application/json", "utf-8"))
            }
            Self::Msgpack => json(&payload).and_then(|value| {
                let options =
                    PayloadOptions::default().with_serializer(AnySerializer::message_pack());
                options.encode(&value)
            }),
            Self::Text => match String::from_utf8(payload.to_vec()) {
                Ok(text) => Ok(Encoded::text(text)),
                Err(_) => Err(PayloadError::malformed("it is not UTF-8; see --serializer bytes")),
            },
            Self::Bytes => Ok(Encoded::bytes(payload)),
        };
        encoded.map_err(|err| Error::from(err).into())
    }
}

/// What the payload says, where it is JSON that Python reads as the same.
fn json(payload: &Bytes) -> Result<serde_json::Value, PayloadError> {
    let value = AnySerializer::json().decode(payload)?;
    AnySerializer::json().encode(&value)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_sent_as_it_is_given_and_nothing_else_as_json() {
        let given = Bytes::from_static(b"{\"a\":1.50 }");
        let sent = Form::Json.encode(given.clone()).unwrap();
        assert_eq!(sent, Encoded::new(given, "application/json", "utf-8"));
        for bad in [&b"{a: 1}"[..], b"NaN", b"\xff", br#"{"__type__": "x", "__value__": 1}"#] {
            let failure = Form::Json.encode(Bytes::from_static(bad)).unwrap_err();
            assert_eq!(failure.status, Status::BadData);
        }
    }

    #[test]
    fn a_payload_becomes_what_it_is_said_to_be() {
        let given = || Bytes::from_static(b"[7]");
        let packed = Encoded::new(&b"\x91\x07"[..], "application/x-msgpack", "binary");
        assert_eq!(Form::Msgpack.encode(given()).unwrap(), packed);
        assert_eq!(Form::Text.encode(given()).unwrap(), Encoded::text("[7]"));
        assert_eq!(Form::Bytes.encode(given()).unwrap(), Encoded::bytes("[7]"));
        assert!(Form::Text.encode(Bytes::from_static(b"\xff")).is_err());
    }
}
