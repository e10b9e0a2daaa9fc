//! `sinew beat serve`: the monitor with a status page.
mod access;
mod badge;
mod board;
mod events;
mod html;
mod metrics;
mod routes;
mod server;
mod uptime;
mod view;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;
use sinew_beat::{MonitorEvent, Process, Watch, WatchOptions};
use sinew_core::Backend as _;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use self::{
    access::{Gate, Token},
    board::Board,
    server::Limits,
};
use super::Report;
use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome, plain},
    interrupt::{Ending, Stop},
    output::Output,
    session::Session,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("everyone, at http://127.0.0.1:2328/ for twenty seconds", "sinew beat serve --for 20s"),
    (
        "those of one region, one of which should be there",
        "sinew beat serve 'eu.>' --expect eu.billing --listen 127.0.0.1:0 --for 20s",
    ),
];

const NOTE: &str = "The page needs nothing from elsewhere. Beside it: /api/processes (?state=, ?q=, ?limit=, ?offset=), \
    /api/processes/PROCESS, /api/events, /metrics, /badge/PROCESS.svg, /healthz (we live) and /readyz (we see). \
    Whoever can reach it can read all of it: that is this machine, unless --listen says otherwise.";

/// How many events may wait to be printed.
const UNPRINTED: usize = 4096;

/// Show who lives on a status page, with metrics, badges and JSON; print each change as `beat watch` does
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Serve {
    /// Whom to watch: a process's name, in which `*` stands for a word and a last `>` for all that follow
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
    /// A process that should be there: down when not heard of within a minute. May be given more than once
    #[arg(long, value_name = "PROCESS")]
    expect: Vec<Process>,
    /// Where to serve the page: an IP address and a port, 0 for any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2328", value_parser = parse_address)]
    listen: SocketAddr,
    /// Show the page only to who has the token in this file: as a bearer token, or as the password that a browser
    /// asks for. Put a proxy with TLS before it: it is sent as it is
    #[arg(long, value_name = "FILE")]
    access_token_file: Option<PathBuf>,
    /// Show the page to everybody who can reach ADDR
    #[arg(long, conflicts_with = "access_token_file")]
    open: bool,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, as 127.0.0.1:2328 or [::1]:2328".to_owned())
}

impl Serve {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let token = self.access_token_file.as_deref().map(Token::read).transpose()?;
        let gate = Gate::new(self.listen, token, self.open)?;
        let is_open = gate.is_open();
        let (listener, address) = bind(self.listen).await?;
        let backend = session.connect(self.connection, self.ending.within).await?;
        let mut options = WatchOptions::default();
        if let Some(pattern) = self.pattern {
            options = options.with_processes(pattern);
        }
        options = self.expect.iter().cloned().fold(options, WatchOptions::with_expected);
        let subscriber = backend.subscriber()?;
        let starting = async { Ok(Watch::start(&subscriber, options).await?) };
        let watch = session.interrupt.unless(starting).await?;

        let board = Arc::new(Board::new(watch.table()));
        let report = Report { output: session.output, clock: watch.clock() };
        let stop = watch::Sender::new(false);
        let router = routes::router(Arc::clone(&board), gate, stop.subscribe());
        let server = server::serve(listener, router, Limits::default(), stop.subscribe());
        let mut server = Owned(tokio::spawn(server));
        let (events, mut printing) = mpsc::channel(UNPRINTED);
        let mut hearing = Owned(tokio::spawn(hear(watch, Arc::clone(&board), events)));
        session
            .output
            .remark(format_args!("serving http://{address}/ ({})", backend.capabilities().backend));
        if is_open {
            session.output.remark("everybody who can reach it can read all of it");
        }

        let printed = print(session, &mut printing, report, self.ending).await;
        stop.send_replace(true);
        let _ = (&mut server.0).await;
        session.drain(&backend).await;
        let (stop, told) = printed?;
        if stop == Stop::Ended && !self.ending.reached(told) {
            // The intake has ended: nothing new will ever be shown.
            heard((&mut hearing.0).await, session.output)?;
        }
        Ok(self.ending.status(stop, told))
    }
}

/// Binds the address, and tells which one it is.
async fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let refused = |err: std::io::Error| {
        let why = plain(&err);
        Failure::usage(format!(
            "cannot listen on {wanted}: {why}; choose another one with --listen"
        ))
        .with_source(err)
    };
    let listener = TcpListener::bind(wanted).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// Takes in what the monitor tells, whoever reads it, until the end. How many events could not wait to be printed.
async fn hear(
    mut watch: Watch,
    board: Arc<Board>,
    events: mpsc::Sender<MonitorEvent>,
) -> Result<u64, sinew_core::Error> {
    let mut unprinted = 0;
    let end = loop {
        match watch.next().await {
            Some(Ok(event)) => {
                board.hear(&event);
                unprinted += u64::from(events.try_send(event).is_err());
            }
            Some(Err(err)) => break Err(err),
            None => break Ok(unprinted),
        }
    };
    board.end();
    end
}

/// What ended the hearing.
fn heard(
    end: Result<Result<u64, sinew_core::Error>, tokio::task::JoinError>,
    output: Output,
) -> Result<(), Failure> {
    match end {
        Ok(Ok(0)) | Err(_) => Ok(()),
        Ok(Ok(unprinted)) => {
            output.remark(format_args!(
                "{unprinted} events were not printed: nobody read them in time"
            ));
            Ok(())
        }
        Ok(Err(err)) => Err(err.into()),
    }
}

/// Prints what happens until the end. Whoever reads it may be slow: the page does not wait for it.
async fn print(
    session: &Session,
    events: &mut mpsc::Receiver<MonitorEvent>,
    report: Report,
    ending: Ending,
) -> Result<(Stop, u64), Failure> {
    let deadline = ending.deadline();
    let mut told = 0;
    while !ending.reached(told) {
        tokio::select! {
            biased;
            why = session.interrupt.or_deadline(deadline) => return Ok((why, told)),
            event = events.recv() => {
                let Some(event) = event else { break };
                report.tell(&event)?;
                told += u64::from(event.transition().is_some());
            }
        }
    }
    Ok((Stop::Ended, told))
}

/// A task that ends with whoever started it.
struct Owned<T>(JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
