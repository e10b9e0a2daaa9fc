//! `sinew events`: events as nameko's services have them.
mod emit;
mod errors;
mod listen;

use clap::Subcommand;

use crate::{
    examples::{Example, section},
    exit::Outcome,
    session::Session,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("emit one", "sinew events emit orders created '{\"id\": 7}' --url memory:"),
    (
        "hear each of them, in place of nobody",
        "sinew events listen orders created --as shell.hear --kind broadcast \\\n    --unreliable --for 10s",
    ),
];

#[cfg(test)]
pub(crate) const ALL_EXAMPLES: [&[Example]; 4] =
    [EXAMPLES, emit::EXAMPLES, listen::EXAMPLES, errors::EXAMPLES];

/// Events of services, as nameko has them: emit, listen, look after those that failed
#[derive(Debug, Subcommand)]
#[command(after_help = section(EXAMPLES))]
pub(crate) enum EventsCommand {
    Emit(emit::Emit),
    Listen(listen::Listen),
    #[command(subcommand)]
    Errors(errors::ErrorsCommand),
}

impl EventsCommand {
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Emit(it) => it.format.json,
            Self::Listen(it) => it.format.json,
            Self::Errors(it) => it.is_json(),
        }
    }

    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Emit(it) => it.run(session).await,
            Self::Listen(it) => it.run(session).await,
            Self::Errors(it) => it.run(session).await,
        }
    }
}
