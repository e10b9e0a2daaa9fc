//! `sinew ask`: asks every agent of a topic, and prints what they answer.
use std::{str::FromStr, time::Duration};

use bytes::Bytes;
use clap::{
    Args,
    builder::styling::{AnsiColor, Style},
};
use serde::Serialize;
use sinew_core::{Headers, Subject};
use sinew_dispatch::{
    AgentError, AgentId, Dispatcher, End, Ended, Expect, Gathering, Reply, Until,
};

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome, Status},
    json::Payload,
    message::Content,
    output::{Output, printable},
    session::Session,
    time::{parse_positive, spoken},
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("all that answer within two seconds", "sinew ask inspect.wafer W-7 --ttl 2s"),
    ("the first good answer is enough", "sinew ask inspect.wafer W-7 --first 1"),
    (
        "until both have answered; who has not is named",
        "sinew ask inspect.wafer W-7 --expect visual --expect probe --json",
    ),
];

const NOTE: &str = "Without --first, --quorum, --quiet and --all-known it waits for all that are expected, or until \
    the end of --ttl where nobody is. Exit status: 0 when it ended as wanted and somebody answered well, 75 when time \
    ran out before that, 1 when nobody answered well or nobody is there.";

/// How long it waits for agents to say that they are there, where all of them are wanted and none is named.
const LOOK: Duration = Duration::from_millis(500);

/// Ask every agent of a topic, and print their answers as they come
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Ask {
    /// What to ask about
    #[arg(value_name = "TOPIC")]
    topic: Subject,
    #[command(flatten)]
    content: Content,
    /// How long to wait for the broker, and then for answers
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_positive)]
    ttl: Duration,
    #[command(flatten)]
    enough: Enough,
    /// Expect this agent to answer; may be given more than once
    #[arg(long, value_name = "AGENT")]
    expect: Vec<AgentId>,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// When there are answers enough.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
struct Enough {
    /// End after N good answers
    #[arg(long, value_name = "N", value_parser = parse_count)]
    first: Option<usize>,
    /// End after N good answers of M agents, or when so many failed that there cannot be N
    #[arg(long, value_name = "N/M")]
    quorum: Option<Quorum>,
    /// End when nobody has answered for so long since the last answer
    #[arg(long = "quiet", value_name = "DURATION", value_parser = parse_positive)]
    silence: Option<Duration>,
    /// End when all have answered: those of --expect, or else all that say that they are there
    #[arg(long)]
    all_known: bool,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Quorum {
    n: usize,
    of: usize,
}

impl FromStr for Quorum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (n, of) = text.split_once('/').ok_or("write N/M, such as 2/3")?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text} is no number"));
        match (number(n)?, number(of)?) {
            (n, of) if (1..=of).contains(&n) => Ok(Self { n, of }),
            (n, of) => Err(format!("{n} of {of} is no quorum: at least 1, at most all")),
        }
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a number, at least 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

impl Enough {
    fn until(self) -> Until {
        match self {
            Self { first: Some(n), .. } => Until::First(n),
            Self { quorum: Some(Quorum { n, of }), .. } => Until::Quorum { n, of },
            Self { silence: Some(time), .. } => Until::Quiet(time),
            _ => Until::AllKnown,
        }
    }

    /// Whether an end by the deadline is not what was wanted.
    fn is_goal(self, expects: bool) -> bool {
        self.first.is_some() || self.quorum.is_some() || self.all_known || expects
    }
}

impl Ask {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let message = self.content.message(session, &self.topic).await?;
        let backend = session.connect(self.connection, Some(self.ttl)).await?;
        let dispatcher = Dispatcher::over(&backend)?;
        let mut expected = self.expect;
        if self.enough.all_known && expected.is_empty() {
            let looking = async { Ok(dispatcher.agents(&self.topic, LOOK.min(self.ttl)).await?) };
            expected = session.interrupt.unless(looking).await?.into_keys().collect();
        }
        let is_goal = self.enough.is_goal(!expected.is_empty());
        let ask = dispatcher.ask(&self.topic, message.payload).deadline(self.ttl);
        let ask = with_headers(ask.until(self.enough.until()), &message.headers);
        let ask = match expected.is_empty() {
            true => ask,
            false => ask.expect(Expect::Agents(expected)),
        };
        let sending = async { Ok(ask.send::<Bytes>().await?) };
        let mut gathering = session.interrupt.unless(sending).await?;
        let told = tell(session, &mut gathering).await;
        let is_interrupted = session.interrupt.is_set();
        let end = gathering.finish();
        told?;
        conclude(session.output, &end)?;
        // What calls the agents off still leaves.
        session.drain(&backend).await;
        Ok(match end.ended {
            _ if is_interrupted => Status::Interrupted,
            Ended::Disconnected => Status::Unreachable,
            Ended::Deadline if is_goal => Status::TryAgain,
            _ if end.ok == 0 || end.ended == Ended::OutOfReach => Status::No,
            _ => Status::Done,
        })
    }
}

fn with_headers(ask: sinew_dispatch::Ask, headers: &Headers) -> sinew_dispatch::Ask {
    headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value.clone()))
}

/// Prints the answers until the end, or an interrupt.
async fn tell(session: &Session, gathering: &mut Gathering<Bytes>) -> Result<(), Failure> {
    loop {
        let reply = tokio::select! {
            biased;
            () = session.interrupt.wait() => return Ok(()),
            reply = gathering.next() => reply,
        };
        match reply {
            None => return Ok(()),
            Some(reply) if session.output.json => session.output.object(&Answer::new(&reply))?,
            Some(reply) => print(session.output, &reply)?,
        }
    }
}

fn print(output: Output, reply: &Reply<Bytes>) -> Result<(), Failure> {
    let who = reply.agent.as_ref().map_or("(no name)", AgentId::as_str);
    let who = output.paint(Style::new().bold(), who);
    match &reply.result {
        Ok(payload) => {
            let text = match std::str::from_utf8(payload) {
                Ok(text) => printable(text.trim_end_matches('\n')),
                Err(_) => format!("({} bytes that are no text)", payload.len()),
            };
            output.line(format_args!("{who}: {text}"))
        }
        Err(err) => {
            let err = output.paint(AnsiColor::Red.on_default(), printable(&err.to_string()));
            output.line(format_args!("{who} failed: {err}"))
        }
    }
}

fn conclude(output: Output, end: &End) -> Result<(), Failure> {
    if output.json {
        return output.object(&Conclusion::new(end));
    }
    let names =
        |agents: &[AgentId]| agents.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", ");
    let mut text = match end.ended {
        Ended::NoAgents => "nobody is there to answer".to_owned(),
        ended => format!(
            "{} after {}: {} answered, {} failed",
            ended.as_str().replace('_', " "),
            spoken(end.elapsed),
            end.ok,
            end.failed
        ),
    };
    for (what, agents) in [("missing", &end.missing), ("called off", &end.cancelled)] {
        if !agents.is_empty() {
            text = format!("{text}; {what}: {}", names(agents));
        }
    }
    if end.gap {
        text.push_str("; answers may have been lost");
    }
    output.remark(text);
    Ok(())
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    agent: Option<&'a str>,
    elapsed: f64,
    ok: bool,
    #[serde(flatten)]
    payload: Option<Payload<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Fault<'a>>,
}

#[derive(Debug, Serialize)]
struct Fault<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
}

impl<'a> Answer<'a> {
    fn new(reply: &'a Reply<Bytes>) -> Self {
        let fault = |err: &'a AgentError| Fault {
            code: err.code(),
            message: err.message(),
            retryable: err.is_retryable(),
        };
        Self {
            agent: reply.agent.as_ref().map(AgentId::as_str),
            elapsed: reply.elapsed.as_secs_f64(),
            ok: reply.result.is_ok(),
            payload: reply.result.as_ref().ok().map(Payload::from),
            error: reply.result.as_ref().err().map(fault),
        }
    }
}

#[derive(Debug, Serialize)]
struct Conclusion<'a> {
    end: &'a str,
    elapsed: f64,
    ok: usize,
    failed: usize,
    missing: Vec<&'a str>,
    late: u64,
    duplicate: u64,
    cancelled: usize,
    gap: bool,
}

impl<'a> Conclusion<'a> {
    fn new(end: &'a End) -> Self {
        Self {
            end: end.ended.as_str(),
            elapsed: end.elapsed.as_secs_f64(),
            ok: end.ok,
            failed: end.failed,
            missing: end.missing.iter().map(AgentId::as_str).collect(),
            late: end.late,
            duplicate: end.duplicate,
            cancelled: end.cancelled.len(),
            gap: end.gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_some_of_some() {
        assert_eq!("2/3".parse(), Ok(Quorum { n: 2, of: 3 }));
        for text in ["", "2", "0/3", "4/3", "a/3", "2/", "-1/3"] {
            assert!(text.parse::<Quorum>().is_err(), "{text}");
        }
    }
}
