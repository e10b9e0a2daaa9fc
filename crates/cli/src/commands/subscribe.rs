//! `sinew sub`: prints what is published.
use std::{fmt, time::SystemTime};

use bytes::Bytes;
use clap::{
    Args,
    builder::styling::{AnsiColor, Style},
};
use sinew_connect::BrokerUrl;
use sinew_core::{
    Event, Incoming, Message, Pattern, Position, Queue, Start, Subscribe as _, Subscription, Value,
};
use tokio::time::timeout;

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section},
    exit::{Failure, Outcome},
    interrupt::{Ending, Stop},
    json::Received,
    output::{Output, printable},
    session::{DRAIN, Session},
    time::{clock, parse_time},
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("everything under orders, for ten seconds", "sinew sub 'orders.>' --for 10s"),
    (
        "the next message, byte for byte, into a file",
        "sinew sub clock --raw --count 1 --for 5s > message",
    ),
    (
        "payloads for another program, one per line",
        "sinew sub 'orders.*' --raw --end '\\n' --for 10s",
    ),
    (
        "share the work with whoever says the same name",
        "sinew sub jobs --queue workers --for 10s --json",
    ),
];

/// Print what is published
#[derive(Args, Debug)]
#[command(after_help = section(EXAMPLES))]
pub(crate) struct Subscribe {
    /// What to hear: a subject, in which `*` stands for a word and a last `>` for all that follow
    #[arg(value_name = "PATTERN")]
    pattern: Pattern,
    /// Share each message with the others of this name, instead of getting a copy
    #[arg(long, value_name = "NAME")]
    queue: Option<Queue>,
    /// Where to start: new, first, last, a number in the URL's stream, LOG@NUMBER, or a time
    /// (2026-03-01T12:00:00Z)
    #[arg(long, value_name = "WHERE", default_value = "new")]
    from: StartAt,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How payloads are written.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shape {
    /// Write the payloads alone, byte for byte
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Write this after each raw payload; \n, \t, \0 and \\ are understood
    #[arg(long, value_name = "TEXT", requires = "raw", default_value = "", hide_default_value = true, value_parser = parse_end)]
    end: Bytes,
}

impl Subscribe {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Self { pattern, queue, from, ending, shape, connection, .. } = self;
        let options = session.options(connection)?;
        let start = from.start(options.url())?;
        let backend = session.connect_with(options, ending.within).await?;
        let mut wanted = Subscription::new(pattern).with_start(start);
        if let Some(queue) = queue {
            wanted = wanted.with_group(queue);
        }
        let subscriber = backend.subscriber()?;
        let subscribing = async { Ok(subscriber.subscribe(wanted).await?) };
        let mut incoming = session.interrupt.unless(subscribing).await?;
        session.output.remark("listening");
        let heard = hear(session, &mut incoming, ending, &shape).await;
        session.drain(&backend).await;
        let (stop, heard) = heard?;
        Ok(ending.status(stop, heard))
    }
}

/// Prints until the end; once interrupted, what had come in is printed still.
async fn hear(
    session: &Session,
    incoming: &mut Incoming<Message>,
    ending: Ending,
    shape: &Shape,
) -> Result<(Stop, u64), Failure> {
    let deadline = ending.deadline();
    let mut heard = 0;
    let mut stop = None;
    while !ending.reached(heard) {
        let event = match stop {
            None => tokio::select! {
                biased;
                why = session.interrupt.or_deadline(deadline) => {
                    incoming.stop();
                    stop = Some(why);
                    continue;
                }
                event = incoming.next() => event,
            },
            Some(_) => timeout(DRAIN, incoming.next()).await.unwrap_or(None),
        };
        match event.transpose()? {
            None => break,
            Some(Event::Item(message)) => {
                shape.print(session.output, || Received::message(&message), &message)?;
                heard += 1;
            }
            Some(other) => remark(session.output, &other),
        }
    }
    Ok((stop.unwrap_or(Stop::Ended), heard))
}

/// Says what else an intake has to say.
pub(crate) fn remark<T>(output: Output, event: &Event<T>) {
    match event {
        Event::Lost(count) => {
            output.remark(format_args!("{count} messages were lost: this reader is too slow"))
        }
        Event::Down => output.remark("the broker is gone; waiting for it to come back"),
        Event::Up { gap: true } => {
            output.remark("the broker is back; messages in between are lost")
        }
        Event::Up { gap: false } => output.remark("the broker is back"),
        _ => {}
    }
}

impl Shape {
    /// Prints one message.
    pub(crate) fn print<'a>(
        &self,
        output: Output,
        object: impl FnOnce() -> Received<'a>,
        message: &Message,
    ) -> Result<(), Failure> {
        if output.json {
            return output.object(&object());
        }
        if self.raw {
            return output.bytes(&[&message.payload, &self.end[..]].concat());
        }
        let time = output.paint(Style::new().dimmed(), clock(SystemTime::now()));
        let name =
            output.paint(AnsiColor::Cyan.on_default(), printable(&message.address.to_string()));
        output.line(format_args!("{time} {name} {}", shown(&message.payload)))?;
        for (name, value) in message.headers.iter() {
            let line = format!("  {}: {}", printable(name), Shown(value));
            output.line(output.paint(Style::new().dimmed(), line))?;
        }
        Ok(())
    }
}

/// A payload on one line: text as text, bytes escaped.
pub(crate) fn shown(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => printable(text),
        Err(_) => payload.escape_ascii().to_string(),
    }
}

/// A header's value on one line.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Text(text) => f.write_str(&printable(text)),
            Value::Integer(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Bool(yes) => yes.fmt(f),
            Value::Bytes(bytes) => bytes.escape_ascii().fmt(f),
            Value::Time(time) => f.write_str(&crate::time::rfc3339(*time)),
            Value::List(list) => list.iter().enumerate().try_for_each(|(index, value)| {
                f.write_str(if index > 0 { ", " } else { "" })?;
                Shown(value).fmt(f)
            }),
            other => f.write_str(other.type_name()),
        }
    }
}

/// Where `--from` starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum StartAt {
    Known(Start),
    /// A number in the stream that the URL names.
    Number(u64),
}

impl std::str::FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let start = match text {
            "new" => Start::New,
            "first" => Start::Earliest,
            "last" => Start::Latest,
            _ => match (text.parse(), text.rsplit_once('@'), parse_time(text)) {
                (Ok(number), ..) => return Ok(Self::Number(number)),
                (_, Some((log, number)), _) if !log.is_empty() => {
                    let number = number.parse().map_err(|_| "write LOG@NUMBER")?;
                    Start::At(Position::new(log, number))
                }
                (.., Some(time)) => Start::Time(time),
                _ => {
                    return Err("write new, first, last, a number, LOG@NUMBER, or a time such as \
                                2026-03-01T12:00:00Z"
                        .to_owned());
                }
            },
        };
        Ok(Self::Known(start))
    }
}

impl StartAt {
    /// The start, at the broker of this address.
    pub(crate) fn start(self, url: &BrokerUrl) -> Result<Start, Failure> {
        match self {
            Self::Known(start) => Ok(start),
            Self::Number(number) => {
                // Elsewhere a path names no log: a virtual host, a broker inside the process.
                let stream = if url.scheme() == "nats+js" { url.path() } else { "" };
                if stream.is_empty() {
                    return Err(Failure::usage(
                        "--from: a number means nothing without its log: write LOG@NUMBER, or name the stream in the URL",
                    ));
                }
                Ok(Start::At(Position::new(stream, number)))
            }
        }
    }
}

fn parse_end(text: &str) -> Result<Bytes, String> {
    let mut end = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => '\0',
                Some('\\') => '\\',
                _ => return Err(r"after \ stands n, t, 0 or \".to_owned()),
            },
            c => c,
        };
        end.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read() {
        let from = |text: &str| text.parse::<StartAt>();
        assert_eq!(from("first"), Ok(StartAt::Known(Start::Earliest)));
        assert_eq!(from("7"), Ok(StartAt::Number(7)));
        assert_eq!(from("LOG@7"), Ok(StartAt::Known(Start::At(Position::new("LOG", 7)))));
        assert_eq!(
            from("1970-01-01T00:00:00Z"),
            Ok(StartAt::Known(Start::Time(SystemTime::UNIX_EPOCH)))
        );
        for text in ["", "yesterday", "@7", "LOG@x", "-1"] {
            assert!(from(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_needs_a_log() {
        let start = |url: &str| StartAt::Number(7).start(&url.parse().unwrap());
        for url in ["nats+js://h", "nats://h", "amqp://h/shop", "memory:shop"] {
            assert!(start(url).is_err(), "{url}");
        }
        assert_eq!(start("nats+js://h/ORDERS").unwrap(), Start::At(Position::new("ORDERS", 7)));
    }

    #[test]
    fn an_end_is_unescaped() {
        assert_eq!(parse_end(r"a\n\0\\").unwrap(), b"a\n\0\\"[..]);
        assert!(parse_end(r"\x").is_err());
        assert!(parse_end(r"\").is_err());
    }
}
