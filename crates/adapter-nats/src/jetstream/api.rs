//! JetStream's own requests, over the connection's one inbox.
use async_nats::jetstream::{Error as ApiError, ErrorCode, consumer, response::Response, stream};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sinew_core::{ErrorKind, Sent};

use crate::{connect::Inner, error::Cause, mux::Question};

/// Asks JetStream of one account and domain.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// `$JS.API`, or that of a domain.
    prefix: String,
}

#[derive(Serialize)]
struct CreateConsumer<'a> {
    stream_name: &'a str,
    config: &'a consumer::Config,
    action: &'static str,
}

impl Api {
    pub(crate) fn new(domain: Option<&str>) -> Self {
        let prefix = match domain {
            Some(domain) => format!("$JS.{domain}.API"),
            None => "$JS.API".to_owned(),
        };
        Self { prefix }
    }

    /// The subject that a consumer is asked for its next messages on.
    pub(crate) fn next(&self, stream: &str, consumer: &str) -> String {
        format!("{}.CONSUMER.MSG.NEXT.{stream}.{consumer}", self.prefix)
    }

    pub(crate) async fn stream_info(
        &self,
        inner: &Inner,
        stream: &str,
    ) -> Result<stream::Info, Cause> {
        self.ask(inner, &format!("STREAM.INFO.{stream}"), Bytes::new()).await
    }

    pub(crate) async fn create_stream(
        &self,
        inner: &Inner,
        config: &stream::Config,
    ) -> Result<stream::Info, Cause> {
        self.ask(inner, &format!("STREAM.CREATE.{}", config.name), json(config)?).await
    }

    pub(crate) async fn consumer_info(
        &self,
        inner: &Inner,
        stream: &str,
        consumer: &str,
    ) -> Result<consumer::Info, Cause> {
        self.ask(inner, &format!("CONSUMER.INFO.{stream}.{consumer}"), Bytes::new()).await
    }

    /// Makes a consumer; one of the same name and another configuration is an error.
    pub(crate) async fn create_consumer(
        &self,
        inner: &Inner,
        stream: &str,
        consumer: &str,
        config: &consumer::Config,
    ) -> Result<consumer::Info, Cause> {
        let body = CreateConsumer { stream_name: stream, config, action: "create" };
        self.ask(inner, &format!("CONSUMER.CREATE.{stream}.{consumer}"), json(&body)?).await
    }

    /// Deletes a consumer, without waiting for the answer.
    pub(crate) async fn forget_consumer(&self, inner: &Inner, stream: &str, consumer: &str) {
        let subject = format!("{}.CONSUMER.DELETE.{stream}.{consumer}", self.prefix);
        // The server answers only where it is asked to, and forgets an unused consumer in any case.
        let nowhere = inner.mux.nowhere();
        let _ = inner.send(subject.into(), Bytes::new(), Some(nowhere)).await;
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        inner: &Inner,
        verb: &str,
        body: Bytes,
    ) -> Result<A, Cause> {
        let subject = format!("{}.{verb}", self.prefix);
        let (question, answer) = Question::new(inner.answer_timeout, inner.generation());
        let ticket = inner.mux.once(question.about(subject.as_str().into()));
        inner.send(subject.into(), body, Some(ticket.wire())).await?;
        let message = match answer.await {
            Ok(Ok(message)) => message,
            Ok(Err(cause)) if cause.kind() == ErrorKind::NoResponders => {
                return Err(Cause::plain(
                    ErrorKind::Unsupported,
                    "this server has no JetStream (run it with `-js`), or not in this domain",
                ));
            }
            Ok(Err(cause)) => return Err(cause),
            Err(_) => return Err(Cause::cut_off()),
        };
        match serde_json::from_slice(&message.payload) {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(refusal(&error, Sent::No)),
            Err(_) => Err(Cause::plain(ErrorKind::Protocol, "JetStream's answer cannot be read")),
        }
    }
}

pub(super) fn json(body: &impl Serialize) -> Result<Bytes, Cause> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|_| Cause::plain(ErrorKind::Internal, "a request has no JSON form"))
}

/// What an error of JetStream means.
pub(crate) fn refusal(error: &ApiError, sent: Sent) -> Cause {
    let kind = match error.error_code() {
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND => ErrorKind::NotFound,
        ErrorCode::STREAM_NAME_EXIST | ErrorCode::CONSUMER_ALREADY_EXISTS => ErrorKind::Conflict,
        ErrorCode::CONSUMER_NAME_EXIST | ErrorCode::STREAM_SUBJECT_OVERLAP => ErrorKind::Conflict,
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
            ErrorKind::WrongPosition
        }
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => ErrorKind::TooLarge,
        ErrorCode(TTL_DISABLED | TTL_INVALID) => ErrorKind::Unsupported,
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            ErrorKind::Unsupported
        }
        _ => match error.code() {
            404 => ErrorKind::NotFound,
            // JetStream answers so where a limit of stream, account or server is reached, and where the server fails at
            // it: its disk, or what it has not done with yet, such as removing a stream of that name.
            500..=599 => ErrorKind::Overloaded,
            400 => ErrorKind::InvalidOptions,
            _ => ErrorKind::Protocol,
        },
    };
    Cause::Api { kind, detail: error.to_string(), sent }
}

/// The client has no names for these.
const TTL_INVALID: u64 = 10_165;
const TTL_DISABLED: u64 = 10_166;
