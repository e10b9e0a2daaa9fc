//! The answers to an ask, and how it ended, as lines and as objects.
use std::time::Duration;

use bytes::Bytes;
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use sinew_dispatch::{AgentError, AgentId, End, Ended, Gathering, Reply};

use crate::{
    exit::Failure,
    json::Payload,
    output::{Output, printable},
    session::Session,
    time::spoken,
};

/// Prints the answers until the end, or an interrupt.
pub(crate) async fn tell(
    session: &Session,
    gathering: &mut Gathering<Bytes>,
) -> Result<(), Failure> {
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

/// How an ask of nobody ended.
pub(crate) const NOBODY: &str = "nobody is there to answer";

/// How an ask ended, in a line.
pub(crate) fn conclusion(end: &End) -> String {
    let names =
        |agents: &[AgentId]| agents.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", ");
    let mut text = match end.ended {
        Ended::NoAgents => NOBODY.to_owned(),
        ended => format!(
            "{} after {}: {} answered, {} failed",
            ended.as_str().replace('_', " "),
            after(end.elapsed),
            end.ok,
            end.failed
        ),
    };
    for (what, agents) in [("missing", &end.missing), ("called off", &end.cancelled)] {
        if !agents.is_empty() {
            text = format!("{text}; {what}: {}", names(agents));
        }
    }
    // None of them is shown: an agent was too slow, or two are called the same.
    for (what, count) in [("late", end.late), ("duplicate", end.duplicate)] {
        if count > 0 {
            text = format!("{text}; {what}: {count}");
        }
    }
    if end.gap {
        text.push_str("; answers may have been lost");
    }
    text
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

/// Most asks take less than a second.
fn after(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0 => format!("{} ms", elapsed.as_millis()),
        _ => spoken(elapsed),
    }
}

/// The same, as an object.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Conclusion<'a> {
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
    pub(crate) fn new(end: &'a End) -> Self {
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

    /// Of an ask of nobody.
    pub(crate) fn nobody() -> Self {
        Self { end: Ended::NoAgents.as_str(), ..Self::default() }
    }
}
