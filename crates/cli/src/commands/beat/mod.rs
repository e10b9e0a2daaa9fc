//! `sinew beat`: heartbeats, and who watches them.
mod check;
mod config;
mod look;
mod own_heart;
mod report;
mod run;
mod send;
mod serve;
mod table;
mod watch;

use clap::Subcommand;
use sinew_beat::Process;
use sinew_core::{Pattern, Subject};

pub(crate) use self::{
    look::{painted, style, tally},
    report::Report,
    serve::{LISTEN, StatusPage},
};
use crate::{
    examples::{Example, section},
    exit::{Failure, Outcome},
    output::printable,
    session::Session,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("say that this host lives, for twenty seconds", "sinew beat send $(hostname) --for 20s"),
    ("who lives, and who does not", "sinew beat watch --for 20s"),
];

/// Heartbeats: send them, watch them, check one process
#[derive(Debug, Subcommand)]
#[command(after_help = section(EXAMPLES))]
pub(crate) enum BeatCommand {
    Send(send::Send),
    Run(run::Run),
    Watch(watch::Watch),
    Serve(serve::Serve),
    Check(check::Check),
}

impl BeatCommand {
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Send(it) => it.format.json,
            // Its output is that of the command that it runs.
            Self::Run(_) => false,
            Self::Watch(it) => it.format.json,
            Self::Serve(it) => it.format.json,
            Self::Check(it) => it.format.json,
        }
    }

    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Send(it) => it.run(session).await,
            Self::Run(it) => it.run(session).await,
            Self::Watch(it) => it.run(session).await,
            Self::Serve(it) => it.run(session).await,
            Self::Check(it) => it.run(session).await,
        }
    }
}

/// One process that should be there. Who could say no beat under its name is expected in vain, as a pattern is.
fn parse_expected(text: &str) -> sinew_core::Result<Process> {
    let process = Process::parse(text)?;
    process.subject()?;
    Ok(process)
}

/// Refuses a process that is expected and never heard, as `pattern` leaves it out: it would be down for sure.
fn hears_expected<'a>(
    pattern: Option<&str>,
    expected: impl IntoIterator<Item = &'a Process>,
) -> Result<(), Failure> {
    let Some(text) = pattern else { return Ok(()) };
    let pattern = Pattern::parse(text)?;
    for process in expected {
        if !pattern.matches(&Subject::parse(process.as_str())?) {
            let name = printable(process.as_str());
            return Err(Failure::usage(format!(
                "{name} is expected, but is not among those watched, {text}: watch it too, or do not expect it"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) const ALL_EXAMPLES: [&[Example]; 6] =
    [EXAMPLES, send::EXAMPLES, run::EXAMPLES, watch::EXAMPLES, serve::EXAMPLES, check::EXAMPLES];
