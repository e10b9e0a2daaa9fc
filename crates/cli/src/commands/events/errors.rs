//! `sinew events errors`: the events that a handler gave up.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::{Args, Subcommand};
use serde::Serialize;
use sinew_core::{AnyBackend, Attempts, Backend as _, ErrorKind, Message, Queue};
use sinew_events::{DeadLetter, ErrorQueue};

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section, section_with_note},
    exit::{Failure, Outcome, Status},
    json::{self, Payload, Time},
    output::{Output, escaped, printable},
    session::Session,
    time::{date, parse_positive},
};

pub(crate) const EXAMPLES: &[Example] = &[
    (
        "what billing could not handle, and why",
        "sinew events errors list evt-orders-created--billing.on_created",
    ),
    (
        "once it is mended: have billing handle it all",
        "sinew events errors redrive evt-orders-created--billing.on_created --all",
    ),
];

const NOTE: &str = "Looking counts. What is listed, shown, or not picked goes back, and RabbitMQ's quorum queues count that as \
    a delivery: beyond their delivery-limit (20 by default from RabbitMQ 4 on) the broker drops the event. A policy lifts it \
    from error queues:\n\n  \
    rabbitmqctl set_policy errors '\\.errors$' '{\"delivery-limit\": 1000000}' --priority 10";

/// From which delivery on it is said that there may be a last one: half of what RabbitMQ 4 allows.
const OFTEN: u32 = 10;

/// Look after the events that a handler gave up: list, show, redrive, drop
#[derive(Debug, Subcommand)]
#[command(after_help = section(EXAMPLES))]
pub(crate) enum ErrorsCommand {
    /// List them, oldest first
    #[command(after_help = section_with_note(NOTE, EXAMPLES))]
    List(Look),
    /// Show one whole, or all
    #[command(after_help = section_with_note(NOTE, EXAMPLES))]
    Show(Pick),
    /// Send them to their handler again, and to no other
    #[command(after_help = section_with_note(NOTE, EXAMPLES))]
    Redrive(Pick),
    /// Take them out, for good
    #[command(after_help = section_with_note(NOTE, EXAMPLES))]
    Drop(Pick),
}

/// Where to look.
#[derive(Args, Debug)]
pub(crate) struct Look {
    /// The handler's queue, as `listen` and the broker call it
    #[arg(value_name = "QUEUE")]
    queue: Queue,
    /// How many to look at, from the oldest on; while they are, nobody else has them
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// How long to wait for the broker to hand them over
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_positive)]
    wait: Duration,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Which of them.
#[derive(Args, Debug)]
pub(crate) struct Pick {
    #[command(flatten)]
    look: Look,
    /// By id, or by the number that `list` gives
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<String>,
    /// All that are looked at: see --limit
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// One of them, as programs read it.
#[derive(Debug, Serialize)]
struct Kept<'a> {
    number: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
    service: Option<&'a str>,
    r#type: Option<&'a str>,
    handler: Option<&'a str>,
    kind: Option<&'a str>,
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<i64>,
    /// Which delivery out of the error queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// What became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<&'static str>,
    #[serde(flatten)]
    whole: Option<Whole<'a>>,
}

/// The event itself.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    headers: BTreeMap<&'a str, serde_json::Value>,
    #[serde(flatten)]
    payload: Payload<'a>,
}

impl<'a> Kept<'a> {
    fn new(number: usize, event: &'a DeadLetter) -> Self {
        Self {
            number,
            id: event.id(),
            time: event.last().map(Time),
            service: event.source(),
            r#type: event.event_type(),
            handler: event.handler(),
            kind: event.kind(),
            error: event.error(),
            deliveries: event.deliveries(),
            runs: event.runs(),
            attempt: json::attempt(event.attempt()).0,
            done: None,
            whole: None,
        }
    }

    fn whole(number: usize, event: &'a DeadLetter) -> Self {
        let message = event.message();
        let whole = Whole { headers: headers(message), payload: (&message.payload).into() };
        Self { whole: Some(whole), ..Self::new(number, event) }
    }
}

fn headers(message: &Message) -> BTreeMap<&str, serde_json::Value> {
    message.headers.iter().map(|(name, it)| (name, super::value(name, it))).collect()
}

/// A line for people.
fn line(number: usize, event: &DeadLetter) -> String {
    let time = event.last().map_or_else(|| "-".to_owned(), date);
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let name = format!("{}/{}", or_dash(event.source()), or_dash(event.event_type()));
    let (kind, error) = (or_dash(event.kind()), or_dash(event.error()));
    let id = or_dash(event.id());
    let looks = json::attempt(event.attempt()).0.map(|it| format!(", delivery {it}"));
    let looks = looks.unwrap_or_default();
    printable(&format!("{number} {time} {name} {kind}: {error} (id {id}{looks})"))
}

impl ErrorsCommand {
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::List(look) => look.format.json,
            Self::Show(pick) | Self::Redrive(pick) | Self::Drop(pick) => pick.look.format.json,
        }
    }

    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let (doing, look, which) = match self {
            Self::List(look) => (Doing::List, look, Which::All),
            Self::Show(pick) => (Doing::Show, pick.look, Which::of(pick.all, pick.ids)),
            Self::Redrive(pick) => (Doing::Redrive, pick.look, Which::of(pick.all, pick.ids)),
            Self::Drop(pick) => (Doing::Drop, pick.look, Which::of(pick.all, pick.ids)),
        };
        let backend = session.connect(look.connection, None).await?;
        let done =
            doing.through(session, &backend, look.queue, look.limit, look.wait, &which).await;
        session.drain(&backend).await;
        done
    }
}

/// What is done with them.
#[derive(Clone, Copy, Debug)]
enum Doing {
    List,
    Show,
    Redrive,
    Drop,
}

/// With which of them.
#[derive(Debug)]
enum Which {
    All,
    These(Vec<String>),
}

impl Which {
    fn of(all: bool, ids: Vec<String>) -> Self {
        if all { Self::All } else { Self::These(ids) }
    }

    /// The numbers of those that are wanted, and what is wanted and not there. A number that is the id of an event is that
    /// event alone: what is dropped is gone.
    fn among(&self, ids: &[Option<&str>]) -> (BTreeSet<usize>, Vec<&str>) {
        let Self::These(these) = self else { return ((1..=ids.len()).collect(), Vec::new()) };
        let (mut found, mut missing) = (BTreeSet::new(), Vec::new());
        for wanted in these {
            let by_id = (1..).zip(ids).filter(|(_, id)| **id == Some(wanted)).map(|it| it.0);
            let by_id: Vec<usize> = by_id.collect();
            let is_number = |it: &usize| it.to_string() == *wanted;
            let by_number = (1..=ids.len()).find(is_number).filter(|_| by_id.is_empty());
            if by_id.is_empty() && by_number.is_none() {
                missing.push(wanted.as_str());
            }
            found.extend(by_id.into_iter().chain(by_number));
        }
        (found, missing)
    }
}

impl Doing {
    /// Does it with those that are wanted, and says which of them are not there.
    async fn through(
        self,
        session: &Session,
        backend: &AnyBackend,
        queue: Queue,
        limit: u16,
        wait: Duration,
        which: &Which,
    ) -> Outcome {
        let errors = ErrorQueue::new(backend, queue)?;
        // What is not there is no fault of the broker's: nothing is found.
        let taking = async {
            errors.take(limit, wait).await.map_err(|err| match err.kind() {
                ErrorKind::NotFound => Failure::new(Status::No, err.to_string()).with_source(err),
                _ => err.into(),
            })
        };
        let events = session.interrupt.unless(taking).await?;
        if events.len() == usize::from(limit) {
            session
                .output
                .remark(format_args!("looked at the {limit} oldest, and no further: see --limit"));
        }
        let ids: Vec<_> = events.iter().map(DeadLetter::id).collect();
        let (wanted, missing) = which.among(&ids);
        let mut status = if events.is_empty() { Status::No } else { Status::Done };
        for it in &missing {
            session.output.remark(format_args!("not found: {it}"));
            status = Status::No;
        }
        if events.is_empty() && missing.is_empty() {
            session.output.remark("none found");
        }
        let leaves_all = matches!(self, Self::List | Self::Show);
        let left = (1..).zip(&events).filter(|it| leaves_all || !wanted.contains(&it.0));
        let most = left.map(|(_, event)| event.attempt().at_least()).max();
        warn(session.output, backend, most.unwrap_or_default());
        for (number, event) in (1..).zip(events).filter(|it| wanted.contains(&it.0)) {
            self.with(session, number, event).await?;
        }
        Ok(status)
    }

    async fn with(
        self,
        session: &Session,
        number: usize,
        event: DeadLetter,
    ) -> Result<(), Failure> {
        let output = session.output;
        let word = match self {
            Self::List | Self::Show => None,
            Self::Redrive => Some("redriven"),
            Self::Drop => Some("dropped"),
        };
        let said = match (output.json, self) {
            (true, Self::Show) => object(&Kept::whole(number, &event))?,
            (true, _) => object(&Kept { done: word, ..Kept::new(number, &event) })?,
            (false, Self::Show) => shown(number, &event),
            (false, _) => {
                let word = word.map(|word| format!(": {word}")).unwrap_or_default();
                line(number, &event) + &word
            }
        };
        match self {
            // Dropped, it stays where it is.
            Self::List | Self::Show => drop(event),
            Self::Redrive => event.redrive().await?,
            Self::Drop => event.discard().await?,
        }
        // Said only now: what failed is not said to be done.
        output.line(said)
    }
}

/// Says that the broker may drop what goes back, where it was delivered so often.
fn warn(output: Output, backend: &AnyBackend, most: u32) {
    // Who counts whatever the queue has no limit to it.
    let has_limits = backend.capabilities().attempts < Attempts::Counted;
    if has_limits && most >= OFTEN {
        output.remark(format_args!(
            "delivered {most} times out of this queue: each look counts, and RabbitMQ 4 drops an event after 20 unless a \
             policy says otherwise; see: sinew events errors list --help"
        ));
    }
}

fn object(kept: &Kept<'_>) -> Result<String, Failure> {
    let json = serde_json::to_string(kept)
        .map_err(|err| Failure::new(Status::Fault, "cannot write JSON").with_source(err))?;
    Ok(escaped(&json))
}

/// The event whole, for people.
fn shown(number: usize, event: &DeadLetter) -> String {
    let message = event.message();
    let mut lines = vec![line(number, event)];
    for (name, value) in headers(message) {
        lines.push(printable(&format!("  {name}: {value}")));
    }
    lines.push(printable(&String::from_utf8_lossy(&message.payload)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_picked_by_its_id_or_by_its_number() {
        let there = [Some("x"), None, Some("a-b"), Some("a-b")];
        let these = ["2", "a-b", "22", "y"].map(str::to_owned).to_vec();
        let which = Which::of(false, these);
        assert_eq!(which.among(&there), (BTreeSet::from([2, 3, 4]), vec!["22", "y"]));
        assert_eq!(which.among(&[]).1.len(), 4);
        assert_eq!(
            Which::of(true, Vec::new()).among(&there),
            (BTreeSet::from([1, 2, 3, 4]), vec![])
        );
    }

    #[test]
    fn a_number_that_is_an_id_picks_that_event_alone() {
        let which = Which::of(false, vec!["1".to_owned()]);
        assert_eq!(which.among(&[Some("x"), Some("1")]), (BTreeSet::from([2]), vec![]));
    }
}
