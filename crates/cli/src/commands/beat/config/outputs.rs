//! Where alerts go.
use std::time::Duration;

use sinew_beat::CommandOptions;

use super::reader::{Section, list, number, positive, text};

/// How many of each kind are taken.
const MOST: usize = 16;

/// How many arguments a program may have.
const MOST_WORDS: usize = 256;

/// A program that is run for each notification.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CommandConfig {
    program: String,
    args: Vec<String>,
    timeout: Duration,
    queue: u16,
}

impl CommandConfig {
    pub(crate) fn options(&self) -> CommandOptions {
        CommandOptions::new(&self.program)
            .with_args(&self.args)
            .with_timeout(self.timeout)
            .with_queue(self.queue.into())
    }
}

pub(super) fn commands(section: &mut Section<'_>) -> Vec<CommandConfig> {
    section.tables("command", MOST, |it| {
        let words = it.required("run", |value| match list(MOST_WORDS, text)(value)? {
            words if words.first().is_none_or(String::is_empty) => {
                Err("its first word is the program".to_owned())
            }
            words if words.iter().any(|word| word.contains('\0')) => {
                Err("no word holds a zero byte".to_owned())
            }
            words => Ok(words),
        });
        let timeout = it.value("timeout", positive).unwrap_or(Duration::from_secs(30));
        let queue = it.value("queue", number(1_u16, 10_000)).unwrap_or(100);
        let words = words?;
        let (program, args) = words.split_first()?;
        Some(CommandConfig { program: program.clone(), args: args.to_vec(), timeout, queue })
    })
}
