//! `sinew events`: events as nameko's services have them.
mod emit;
mod errors;
mod listen;

use clap::Subcommand;

use crate::{
    examples::{Example, section},
    exit::Outcome,
    json,
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

/// A value of the context, or of the header that carries it under any prefix; what proves who the caller is stays between
/// the services.
fn value(name: &str, it: &sinew_core::Value) -> serde_json::Value {
    let key = name.rsplit_once('.').map_or(name, |(_, key)| key);
    if key == "auth_token" { "********".into() } else { json::value(it) }
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn what_proves_who_the_caller_is_is_shown_under_no_prefix() {
        for name in ["auth_token", "nameko.auth_token", "acme.x.auth_token"] {
            assert_eq!(value(name, &"s3cret".into()), "********", "{name}");
        }
        assert_eq!(value("nameko.language", &"en".into()), "en");
    }
}
