//! The grammar of the command line.
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::{
    commands::{
        backends::Backends,
        beat::BeatCommand,
        completions::Completions,
        consume::Consume,
        demo::Demo,
        dispatch::{agents::Agents, ask::Ask, serve::Serve},
        events::EventsCommand,
        man::Man,
        publish::Publish,
        request::Request,
        subscribe::Subscribe,
    },
    connection::ConnectionArgs,
    examples::{Example, section},
    output::Chatter,
};

const EXAMPLES: &[Example] = &[
    ("watch a small fleet live, degrade and die; needs no broker", "sinew demo"),
    ("what each backend can do", "sinew backends"),
    ("publish a message, and see how far it got", "sinew pub --url memory: greetings hello"),
];

/// Messaging patterns from a terminal: heartbeats, publish and subscribe, queues, requests, agents
#[derive(Debug, Parser)]
#[command(
    name = "sinew",
    version,
    after_help = section(EXAMPLES),
    arg_required_else_help = true,
    disable_help_flag = true,
    disable_help_subcommand = true,
    subcommand_value_name = "COMMAND",
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How much is told on standard error.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Verbosity {
    /// Tell more on standard error: causes of errors (-v), everything (-vv)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Tell errors only
    #[arg(short, global = true)]
    quiet: bool,
    /// Print help
    #[arg(short, long, global = true, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

impl Verbosity {
    pub(crate) fn chatter(self) -> Chatter {
        match self.verbose {
            _ if self.quiet => Chatter::Quiet,
            0 => Chatter::Normal,
            1 => Chatter::Verbose,
            _ => Chatter::Debug,
        }
    }
}

/// One object per line instead of text for people.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Format {
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Backends(Backends),
    Pub(Publish),
    Sub(Subscribe),
    Consume(Consume),
    Request(Request),
    #[command(subcommand)]
    Beat(BeatCommand),
    Ask(Ask),
    Serve(Serve),
    Agents(Agents),
    #[command(subcommand)]
    Events(EventsCommand),
    Completions(Completions),
    #[command(hide = true)]
    Man(Man),
}

impl Command {
    /// Whether it prints JSON.
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Demo(it) => it.format.json,
            Self::Backends(it) => it.format.json,
            Self::Pub(it) => it.format.json,
            Self::Sub(it) => it.format.json,
            Self::Consume(it) => it.format.json,
            Self::Request(it) => it.format.json,
            Self::Beat(it) => it.is_json(),
            Self::Ask(it) => it.format.json,
            Self::Agents(it) => it.format.json,
            Self::Events(it) => it.is_json(),
            Self::Serve(_) | Self::Completions(_) | Self::Man(_) => false,
        }
    }

    /// Whether it talks to a broker that the user names.
    pub(crate) fn connects(&self) -> bool {
        !matches!(self, Self::Demo(_) | Self::Backends(_) | Self::Completions(_) | Self::Man(_))
    }
}

#[cfg(test)]
mod tests;
