//! The `sinew` command: every messaging pattern from a terminal.
mod args;
mod commands;
mod connection;
mod examples;
mod exit;
mod interrupt;
mod json;
mod live;
mod logs;
mod message;
mod output;
mod payload;
mod redact;
mod session;
mod time;
mod usage;
mod width;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime;

use crate::{
    args::{Cli, Command},
    exit::{Failure, Outcome, Status},
    output::{Chatter, Output},
    session::Session,
};

fn main() -> ExitCode {
    let parsed = Cli::try_parse();
    let (json, chatter) = match &parsed {
        Ok(cli) => (cli.command.is_json(), cli.verbosity.chatter()),
        Err(_) => (false, Chatter::Normal),
    };
    logs::install(chatter);
    let outcome = parsed.map_or_else(|err| usage::tell(&err), start);
    let status = outcome.unwrap_or_else(|failure| {
        Output::new(json, chatter).failure(&failure);
        failure.status
    });
    status.code().into()
}

fn start(cli: Cli) -> Outcome {
    let fault = |err| Failure::new(Status::Fault, "cannot start the runtime").with_source(err);
    // Signals are heard on the worker threads, even while this one waits for a slow reader of its output.
    let mut builder = runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().map_err(fault)?;
    let outcome = runtime.block_on(run(cli));
    // A thread that still reads standard input must not keep us.
    runtime.shutdown_background();
    outcome
}

async fn run(cli: Cli) -> Outcome {
    let Cli { verbosity, connection, command } = cli;
    if !command.connects() && !connection.is_empty() {
        return Err(Failure::usage(
            "this command talks to no broker; leave the connection options out",
        ));
    }
    let session = Session::new(verbosity.chatter(), command.is_json(), connection)?;
    match command {
        Command::Demo(it) => it.run(&session).await,
        Command::Backends(it) => it.run(&session),
        Command::Pub(it) => it.run(&session).await,
        Command::Sub(it) => it.run(&session).await,
        Command::Consume(it) => it.run(&session).await,
        Command::Request(it) => it.run(&session).await,
        Command::Beat(it) => it.run(&session).await,
        Command::Ask(it) => it.run(&session).await,
        Command::Serve(it) => it.run(&session).await,
        Command::Agents(it) => it.run(&session).await,
        Command::Events(it) => it.run(&session).await,
        Command::Completions(it) => it.run(&session),
        Command::Man(it) => it.run(),
    }
}
