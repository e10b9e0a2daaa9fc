//! `sinew ask`: asks every agent of a topic, and prints what they answer.
use std::{str::FromStr, time::Duration};

use bytes::Bytes;
use clap::Args;
use sinew_core::{ErrorKind, Headers, Subject};
use sinew_dispatch::{AgentId, Dispatcher, Ended, Expect, Until};

use super::answers::{self, Conclusion};
use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Outcome, Status},
    message::Content,
    session::{DRAIN, Session},
    time::parse_positive,
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
        let mut expect = match self.expect.is_empty() {
            true => Expect::Nobody,
            false => Expect::Agents(self.expect),
        };
        if self.enough.all_known && matches!(expect, Expect::Nobody) {
            let looking = async { Ok(dispatcher.agents(&self.topic, LOOK.min(self.ttl)).await?) };
            let found = session.interrupt.unless(looking).await?;
            expect = Expect::Agents(found.into_iter().map(|it| it.agent).collect());
        }
        let is_goal = self.enough.is_goal(!matches!(expect, Expect::Nobody));
        let ask = dispatcher.ask(&self.topic, message.payload).deadline(self.ttl);
        let ask = with_headers(ask.until(self.enough.until()), &message.headers);
        let sending = async { Ok(ask.expect(expect).send::<Bytes>().await) };
        let mut gathering = match session.interrupt.unless(sending).await? {
            // Nobody said that they are there; a broker that knows of nobody says it in the end of an ask.
            Err(err) if err.kind() == ErrorKind::NoResponders => {
                match session.output.json {
                    true => session.output.object(&Conclusion::nobody())?,
                    false => session.output.remark(answers::NOBODY),
                }
                session.drain(&backend).await;
                return Ok(Status::No);
            }
            sent => sent?,
        };
        let told = answers::tell(session, &mut gathering).await;
        let is_interrupted = session.interrupt.is_set();
        let end = gathering.finish();
        let told = told.and_then(|()| match session.output.json {
            true => session.output.object(&Conclusion::new(&end)),
            false => {
                session.output.remark(answers::conclusion(&end));
                Ok(())
            }
        });
        // Those whom nobody waits for are told, however soon we are gone, and also where nobody reads what we print.
        if let Err(err) = dispatcher.drained(DRAIN).await {
            session.output.detail(err);
        }
        session.drain(&backend).await;
        told?;
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
