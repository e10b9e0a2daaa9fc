//! Publishing to a stream: each message is answered with where it is stored.
use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_nats::{client::traits::Publisher, jetstream::Error as ApiError};
use serde::Deserialize;
use sinew_core::{Error, ErrorKind, Message, Pending, Position, Publish, Receipt, Result, Sent};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{JetStream, api, check};
use crate::{
    error::Cause,
    mux::{Answer, Mux, Question},
};

const OPERATION: &str = "nats jetstream publish";

impl Publish for JetStream {
    async fn publish(&self, mut message: Message) -> Result<Pending<Receipt>> {
        let inner = &self.nats.inner;
        self.stream.capabilities.check_message(&message)?;
        let failed = |cause: Cause| Error::from(cause.during(OPERATION));
        if let Some(expected) = message.properties().and_then(|it| it.expected_position.as_ref()) {
            check::offset_in(expected, &self.stream.name).map_err(failed)?;
        }
        let mut outbound = inner.translate(&mut message, OPERATION)?;
        let place = Arc::clone(&inner.in_flight)
            .acquire_owned()
            .await
            .map_err(|_| failed(Cause::closed()))?;
        let stream = Arc::clone(&self.stream.name);
        let (question, receipt) =
            Question::stored(inner.answer_timeout, inner.generation(), stream, place);
        let ticket = inner.mux.once(question.about(outbound.subject.clone()));
        outbound.reply = Some(ticket.wire());
        inner
            .hand_over(pin!(inner.client.publish_message(outbound)))
            .await
            .map_err(|cause| cause.during(OPERATION).on(message.address.to_string()))?;
        ticket.keep();
        Ok(Pending::later(Stored { receipt, mux: Arc::clone(&inner.mux), read: false }))
    }

    async fn flush(&self) -> Result<()> {
        self.nats.inner.flush_all().await
    }
}

/// A receipt to come. Dropped before it was read, it leaves a failure to the next flush.
struct Stored {
    receipt: oneshot::Receiver<Result<Receipt>>,
    mux: Arc<Mux>,
    read: bool,
}

impl Future for Stored {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // What is there is there, even for a task that has used up its turn.
        let receipt = match self.receipt.try_recv() {
            Err(TryRecvError::Empty) => ready!(Pin::new(&mut self.receipt).poll(cx)).ok(),
            receipt => receipt.ok(),
        };
        self.read = true;
        Poll::Ready(receipt.unwrap_or_else(|| Err(Cause::cut_off().during(OPERATION).into())))
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if self.read {
            return;
        }
        self.receipt.close();
        if let Ok(Err(err)) = self.receipt.try_recv() {
            self.mux.keep_unread(err);
        }
    }
}

#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    error: Option<ApiError>,
}

/// What the server says about a message for `stream`.
pub(crate) fn receipt(answer: Answer, stream: &Arc<str>, subject: &str) -> Result<Receipt> {
    read(answer, stream).map_err(|cause| cause.during(OPERATION).on(subject).into())
}

fn read(answer: Answer, stream: &Arc<str>) -> Result<Receipt, Cause> {
    let message = match answer {
        Ok(message) => message,
        Err(cause) if cause.kind() == ErrorKind::NoResponders => {
            return Err(Cause::Plain {
                kind: ErrorKind::NotFound,
                detail: "no stream takes this subject",
                sent: Sent::Yes,
            });
        }
        Err(cause) => return Err(cause),
    };
    let ack: PubAck = serde_json::from_slice(&message.payload).map_err(|_| Cause::Plain {
        kind: ErrorKind::Protocol,
        detail: "the answer cannot be read; does a responder share the stream's subjects?",
        sent: Sent::Maybe,
    })?;
    match ack.error {
        Some(error) => Err(api::refusal(&error, Sent::Yes)),
        None if ack.stream == **stream => {
            Ok(Receipt::Persisted(Position::new(Arc::clone(stream), ack.seq)))
        }
        None => Err(Cause::Api {
            kind: ErrorKind::NotFound,
            detail: format!("another stream, `{}`, takes this subject, and stored it", ack.stream),
            sent: Sent::Yes,
        }),
    }
}
