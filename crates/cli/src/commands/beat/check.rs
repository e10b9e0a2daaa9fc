//! `sinew beat check`: one process, one answer, for cron and probes.
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sinew_beat::{Clock, Process, ProcessStatus, State, Watch, WatchOptions};
use sinew_core::AnyBackend;
use tokio::time::{Instant, timeout_at};

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Health, Outcome, Status},
    json::Time,
    output::printable,
    session::Session,
    time::{parse_positive, spoken, written},
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("is billing alive? exit status 0 if so", "sinew beat check billing"),
    ("one that beats once a minute, for a program", "sinew beat check backup --wait 65s --json"),
];

const NOTE: &str = "Exit status: 0 up or starting, 1 degraded or late, 2 down or stopped, 3 unknown: nothing was heard \
    of it in time, or the broker cannot be reached. Heartbeats are not stored: the first one heard is the answer.";

/// Tell whether one process lives: a status line, and the exit status of a Nagios plugin
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Check {
    /// Its name
    #[arg(value_name = "PROCESS")]
    process: Process,
    /// How long to wait for the broker, and then for a beat: more than the period that it promises (the default
    /// suits one of 5s)
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_positive)]
    wait: Duration,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Serialize)]
struct CheckLine<'a> {
    process: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// What is known in the end.
enum Answer {
    Known(ProcessStatus, Clock),
    Unknown(String),
}

impl Check {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let process = self.process;
        let asking = async {
            let backend = session.connect(self.connection, Some(self.wait)).await?;
            // Nothing of ours is under way, so there is no drain for a silent broker to hold the answer up.
            session.interrupt.unless(listen(&backend, &process, self.wait)).await
        };
        let answer = match asking.await {
            Ok(answer) => answer,
            // Whoever asks reads standard output, and takes what else there is for "unknown".
            Err(Failure { status: Status::Unreachable | Status::TryAgain, message, .. }) => {
                Answer::Unknown(message.unwrap_or_default())
            }
            Err(failure) => return Err(failure),
        };
        tell(session, &process, &answer)?;
        Ok(Status::Health(health(&answer)))
    }
}

/// Waits for the first sign of the process.
async fn listen(
    backend: &AnyBackend,
    process: &Process,
    wait: Duration,
) -> Result<Answer, Failure> {
    let deadline = Instant::now() + wait;
    let nothing =
        |why| Ok(Answer::Unknown(format!("nothing heard within {}; {why}", written(wait))));
    // A name that could be a pattern is one process all the same.
    process.subject()?;
    let options = WatchOptions::default().with_processes(process.as_str());
    let subscriber = backend.subscriber()?;
    let Ok(started) = timeout_at(deadline, Watch::start(&subscriber, options)).await else {
        return nothing("the broker does not answer");
    };
    let mut watch = started?;
    let (table, clock) = (watch.table(), watch.clock());
    loop {
        if let Some(status) = table.process(process.as_str()) {
            return Ok(Answer::Known(status, clock));
        }
        let Ok(event) = timeout_at(deadline, watch.next()).await else {
            let gone = table.is_blind();
            return nothing(if gone { "the broker is gone" } else { "allow more with --wait" });
        };
        if event.transpose()?.is_none() {
            return Ok(Answer::Unknown("the broker ended the subscription".to_owned()));
        }
    }
}

fn health(answer: &Answer) -> Health {
    match answer {
        Answer::Known(status, _) => match status.state {
            State::Up | State::Starting => Health::Ok,
            State::Degraded | State::Late => Health::Warning,
            State::Down | State::Stopped => Health::Critical,
            _ => Health::Unknown,
        },
        Answer::Unknown(_) => Health::Unknown,
    }
}

fn tell(session: &Session, process: &Process, answer: &Answer) -> Result<(), Failure> {
    let output = session.output;
    if output.json {
        let line = match answer {
            Answer::Known(status, clock) => CheckLine {
                process: process.as_str(),
                state: status.state.as_str(),
                last_seen: status.last_seen.map(|at| Time(clock.wall(at))),
                deadline: status.deadline.map(|at| Time(clock.wall(at))),
                reason: None,
            },
            Answer::Unknown(why) => CheckLine {
                process: process.as_str(),
                state: "unknown",
                last_seen: None,
                deadline: None,
                reason: Some(why),
            },
        };
        return output.object(&line);
    }
    let word = match health(answer) {
        Health::Ok => "OK",
        Health::Warning => "WARNING",
        Health::Critical => "CRITICAL",
        Health::Unknown => "UNKNOWN",
    };
    let name = printable(process.as_str());
    match answer {
        Answer::Known(status, clock) => {
            let now = clock.now();
            let promise = match status.deadline {
                Some(deadline) => {
                    format!(", late unless it beats within {}", spoken(deadline.since(now)))
                }
                None => String::new(),
            };
            output.line(format_args!("{word}: {name} is {}{promise}", status.state))
        }
        Answer::Unknown(why) => output.line(format_args!("{word}: {name}: {}", printable(why))),
    }
}
