//! `sinew serve`: an agent that answers each ask by a command.
use std::{
    fs,
    process::{self, ExitStatus},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use sinew_beat::HeartOptions;
use sinew_core::Subject;
use sinew_dispatch::{AgentError, AgentId, AnyAgent, Context, Dispatcher};
use tokio::{process::Command, sync::watch};

use crate::{
    commands::exec,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome, Status},
    interrupt::{Ending, Stop},
    output::Output,
    session::Session,
};

pub(crate) const EXAMPLES: &[Example] = &[
    (
        "an agent that says how long its request is",
        "sinew serve inspect.wafer --name visual --exec 'wc -c' --for 10s",
    ),
    (
        "one that can do four at once, and refuses more",
        "sinew serve labels.print --concurrency 4 --exec 'cat' --for 10s",
    ),
];

const NOTE: &str = "The command reads the request and prints the answer; an exit status other than 0 is an error that \
    the asker is told, with what the command complained of, and 75 says that trying again may help. It finds \
    SINEW_TOPIC, SINEW_AGENT and SINEW_REMAINING, in seconds, in its environment. When the asker has enough, or the \
    time is over, the command is killed, and what it started with it, unless that left its process group. Ctrl-C, \
    SIGTERM and SIGHUP leave it 30 s.";

/// How long commands may go on once the service should end.
const GRACE: Duration = Duration::from_secs(30);
/// How long an answer that is as good as there may take once its ask is over: it is late then, not lost.
const LATE: Duration = Duration::from_millis(250);
/// How many bytes a command may answer.
const MOST: usize = 64 << 20;
/// What a command ends with to say that trying again may help: EX_TEMPFAIL.
const TRY_AGAIN: i32 = 75;

/// Answer what a topic is asked, by a command
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Serve {
    /// What to answer
    #[arg(value_name = "TOPIC")]
    topic: Subject,
    /// The name to answer under: one word, unlike the others' of the topic [default: host and process id]
    #[arg(long, value_name = "AGENT")]
    name: Option<AgentId>,
    /// How many commands may run at once; what comes beyond is refused as busy
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Run this by `sh -c` for each request, which it finds on its standard input
    #[arg(long, value_name = "CMD")]
    exec: String,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Serve {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let name = self.name.map_or_else(own_name, Ok)?;
        let (tell, mut answered) = watch::channel(0);
        let agent = agent(&name, self.exec, session.output, tell)?
            .with_concurrency(self.concurrency.into())
            .with_grace(LATE);
        let backend = session.connect(self.connection, self.ending.within).await?;
        let dispatcher = Dispatcher::over(&backend)?;
        let serving = async {
            Ok(dispatcher.serve_beating(&self.topic, &agent, HeartOptions::default()).await?)
        };
        let mut service = session.interrupt.unless(serving).await?;
        session.output.remark(format_args!("serving {} as {name}", self.topic));
        let deadline = self.ending.deadline();
        let enough = async {
            // The sender lives as long as the agent.
            drop(answered.wait_for(|&count| self.ending.reached(count)).await);
        };
        let stop = tokio::select! {
            biased;
            why = session.interrupt.or_deadline(deadline) => why,
            () = enough => Stop::Ended,
            ended = service.ended() => {
                ended?;
                Stop::Ended
            }
        };
        let counts = service.counts();
        if let Err(err) = service.drained(GRACE).await {
            session.output.remark(err);
        }
        session.output.detail(format_args!("{counts:?}"));
        session.drain(&backend).await;
        let done = *answered.borrow();
        Ok(self.ending.status(stop, done))
    }
}

/// The agent, which tells how many it has answered.
fn agent(
    name: &AgentId,
    command: String,
    output: Output,
    tell: watch::Sender<u64>,
) -> Result<AnyAgent, Failure> {
    let (command, tell): (Arc<str>, _) = (command.into(), Arc::new(tell));
    let agent = AnyAgent::new(name.as_str(), move |context: Context, request: Bytes| {
        let (command, tell) = (Arc::clone(&command), Arc::clone(&tell));
        async move {
            let answer = run(&command, &context, request).await;
            if let Err(err) = &answer {
                output.remark_aside(&format!("{}: {err}", context.topic())).await;
            }
            tell.send_modify(|count| *count += 1);
            answer
        }
    })?;
    Ok(agent)
}

async fn run(command: &str, context: &Context, request: Bytes) -> Result<Bytes, AgentError> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    shell.env("SINEW_TOPIC", context.topic().as_str());
    shell.env("SINEW_AGENT", context.agent().as_str());
    shell.env("SINEW_REMAINING", format!("{:.3}", context.remaining().as_secs_f64()));
    let answer = exec::answer(shell, request, MOST).await.map_err(|err| {
        AgentError::new(AgentError::FAILED, format!("cannot run the command: {err}"))
    })?;
    if !answer.status.success() {
        return Err(failed(answer.status, answer.complaint));
    }
    let output = answer.output.ok_or_else(|| {
        AgentError::new(
            AgentError::TOO_LARGE,
            format!("the command printed more than {MOST} bytes"),
        )
    })?;
    Ok(output.into())
}

fn failed(status: ExitStatus, complaint: String) -> AgentError {
    let code = match status.code() {
        Some(code) => format!("exit-{code}"),
        None => "killed".to_owned(),
    };
    let text = match complaint.is_empty() {
        true => format!("the command {}", exec::describe(status)),
        false => complaint,
    };
    AgentError::new(code, text).with_retryable(status.code() == Some(TRY_AGAIN))
}

/// The host and this process, in the letters that a name may have.
fn own_name() -> Result<AgentId, Failure> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let host: String = host.trim().chars().take(64).map(plain).collect();
    let host = if host.is_empty() { "agent" } else { &host };
    AgentId::parse(&format!("{host}-{}", process::id())).map_err(|err| {
        Failure::new(Status::Usage, "give the agent a name by --name").with_source(err)
    })
}
