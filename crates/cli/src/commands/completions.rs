//! `sinew completions`: what a shell needs to complete the command line.
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{
    args::Cli,
    examples::{Example, section},
    exit::{Outcome, Status},
    session::Session,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("for this session of bash", "source <(sinew completions bash)"),
    (
        "for fish, once and for all",
        "sinew completions fish > ~/.config/fish/completions/sinew.fish",
    ),
];

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = section(EXAMPLES))]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "sinew", &mut script);
        session.output.bytes(&script)?;
        Ok(Status::Done)
    }
}
