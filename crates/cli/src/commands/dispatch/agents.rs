//! `sinew agents`: who is there to answer.
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sinew_core::Subject;
use sinew_dispatch::Dispatcher;

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section},
    exit::{Failure, Outcome, Status},
    session::Session,
    time::parse_positive,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("who would answer", "sinew agents inspect.wafer"),
    ("the same for a script, with more patience", "sinew agents inspect.wafer --wait 3s --json"),
];

/// List the agents of a topic that say they are there
#[derive(Args, Debug)]
#[command(after_help = section(EXAMPLES))]
pub(crate) struct Agents {
    /// The topic
    #[arg(value_name = "TOPIC")]
    topic: Subject,
    /// How long to wait for them to say so
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_positive)]
    wait: Duration,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Serialize)]
struct Found<'a> {
    agent: &'a str,
    topic: &'a str,
    state: &'a str,
    /// How many answer to that name: more than one is a mistake.
    count: usize,
}

impl Agents {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let backend = session.connect(self.connection, None).await?;
        let dispatcher = Dispatcher::over(&backend)?;
        let looking = async { Ok::<_, Failure>(dispatcher.agents(&self.topic, self.wait).await?) };
        let agents = session.interrupt.unless(looking).await?;
        let output = session.output;
        for found in &agents {
            let (agent, state) = (found.agent.as_str(), found.state.as_str());
            if found.count > 1 {
                output.remark(format_args!("{} agents are called {agent}", found.count));
            }
            if output.json {
                output.object(&Found { agent, topic: &self.topic, state, count: found.count })?;
            } else {
                output.line(format_args!("{agent} {state}"))?;
            }
        }
        if agents.is_empty() {
            output.remark(format_args!("nobody says that they are there under {}", self.topic));
            return Ok(Status::No);
        }
        Ok(Status::Done)
    }
}
