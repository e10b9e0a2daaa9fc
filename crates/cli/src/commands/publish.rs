//! `sinew pub`: publishes, and tells how far it got.
use std::{collections::VecDeque, time::Duration};

use clap::Args;
use sinew_core::{AnyPublisher, Message, Pending, Publish as _, Receipt, Subject};
use tokio::time::Instant;

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, NUMBER, section},
    exit::{Failure, Outcome, Status},
    interrupt::Stop,
    json::Published,
    message::Content,
    output::Output,
    payload::numbered,
    session::Session,
    time::parse_duration,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("one message", "sinew pub orders.created '{\"id\": 7}'"),
    ("what another program prints", "date | sinew pub clock"),
    ("ten, numbered, two a second", "sinew pub ticks 'tick {n}' --count 10 --every 500ms"),
    (
        "without a broker, to see what a receipt looks like",
        "sinew pub --url memory: greetings hello --json",
    ),
];

/// How many publishes may wait for the broker's answer.
const WINDOW: usize = 256;

/// Publish messages, and tell how far they got
#[derive(Args, Debug)]
#[command(after_help = section(EXAMPLES))]
pub(crate) struct Publish {
    /// Where to: dot-separated words
    #[arg(value_name = "SUBJECT")]
    subject: Subject,
    #[command(flatten)]
    content: Content,
    /// How many times
    #[arg(long, value_name = "N", help = format!("Publish it N times; {NUMBER} in the payload is the number, from 1 on"))]
    count: Option<u64>,
    /// Wait so long between two: 500ms, 2s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Duration>,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Publish {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let message = self.content.message(session, &self.subject).await?;
        let backend = session.connect(self.connection, None).await?;
        let publisher = backend.publisher()?;
        let mut receipts = Receipts::new(session.output, self.subject);
        let times = Times { count: self.count, every: self.every };
        let sent = times.publish(session, &publisher, &message, &mut receipts).await;
        // What was handed over before a failure is seen through all the same.
        let told = receipts.finish().await;
        let flushed = publisher.flush().await;
        session.drain(&backend).await;
        let stop = sent?;
        told?;
        flushed?;
        Ok(if stop == Stop::Interrupted { Status::Interrupted } else { Status::Done })
    }
}

/// How many, and how far apart.
struct Times {
    count: Option<u64>,
    every: Option<Duration>,
}

impl Times {
    async fn publish(
        &self,
        session: &Session,
        publisher: &AnyPublisher,
        message: &Message,
        receipts: &mut Receipts,
    ) -> Result<Stop, Failure> {
        for n in 1..=self.count.unwrap_or(1) {
            let mut message = message.clone();
            if self.count.is_some() {
                message.payload = numbered(&message.payload, n);
            }
            if n > 1 && self.pause(session).await == Stop::Interrupted {
                return Ok(Stop::Interrupted);
            }
            receipts.add(publisher.publish(message).await?).await?;
            if self.every.is_some() {
                receipts.finish().await?;
            }
        }
        Ok(Stop::Ended)
    }

    async fn pause(&self, session: &Session) -> Stop {
        match self.every {
            Some(every) => session.interrupt.or_deadline(Some(Instant::now() + every)).await,
            None if session.interrupt.is_set() => Stop::Interrupted,
            None => Stop::Ended,
        }
    }
}

/// Answers of the broker, told in order as they come.
struct Receipts {
    output: Output,
    subject: Subject,
    waiting: VecDeque<Pending<Receipt>>,
}

impl Receipts {
    fn new(output: Output, subject: Subject) -> Self {
        Self { output, subject, waiting: VecDeque::new() }
    }

    async fn add(&mut self, pending: Pending<Receipt>) -> Result<(), Failure> {
        self.waiting.push_back(pending);
        if self.waiting.len() > WINDOW { self.tell().await } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            self.tell().await?;
        }
        Ok(())
    }

    async fn tell(&mut self) -> Result<(), Failure> {
        let Some(pending) = self.waiting.pop_front() else { return Ok(()) };
        let (receipt, subject) = (pending.await?, &self.subject);
        if self.output.json {
            return self.output.object(&Published::new(subject.as_str(), &receipt));
        }
        match receipt {
            Receipt::Persisted(at) => {
                self.output.line(format_args!("{subject}: persisted at {at}"))
            }
            Receipt::Accepted => self.output.line(format_args!("{subject}: accepted")),
            _ => self.output.line(format_args!("{subject}: buffered")),
        }
    }
}
