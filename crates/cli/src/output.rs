//! Where results and remarks go: results to standard output, the rest to standard error.
use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
    sync::LazyLock,
};

use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use tokio::{
    io::{AsyncWriteExt as _, Stderr, stderr},
    sync::Mutex,
};

use crate::{
    exit::{Failure, Status},
    redact::redact,
};

/// Standard error as tasks write to it: a write that nobody reads holds up one thread, which has nothing else to do, and not
/// one for each task.
static ASIDE: LazyLock<Mutex<Stderr>> = LazyLock::new(|| Mutex::new(stderr()));

/// Writes to standard error, and waits while nobody reads it.
///
/// Dropped, it may have written.
pub(crate) async fn write_aside(bytes: &[u8]) {
    let mut stderr = ASIDE.lock().await;
    // Who closed it wants no words.
    let _ = stderr.write_all(bytes).await;
    let _ = stderr.flush().await;
}

/// How much is remarked upon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Chatter {
    /// Errors only.
    Quiet,
    /// What a person should know.
    #[default]
    Normal,
    /// The causes of errors, and what the libraries tell.
    Verbose,
    /// All of it.
    Debug,
}

/// The command's voice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    chatter: Chatter,
    terminal: bool,
    colour: bool,
}

impl Output {
    pub(crate) fn new(json: bool, chatter: Chatter) -> Self {
        let stdout = io::stdout();
        let colour = !json && AutoStream::choice(&stdout) != ColorChoice::Never;
        // What cannot move its cursor gets lines, too.
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { json, chatter, terminal: !json && !dumb && stdout.is_terminal(), colour }
    }

    /// Whether people look at standard output as it is written.
    pub(crate) fn is_terminal(self) -> bool {
        self.terminal
    }

    /// `text` in `style`, where colours are wanted.
    pub(crate) fn paint(self, style: Style, text: impl fmt::Display) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    /// A line for people.
    pub(crate) fn line(self, text: impl fmt::Display) -> Result<(), Failure> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// A line for programs.
    pub(crate) fn object(self, object: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(object)
            .map_err(|err| Failure::new(Status::Fault, "cannot write JSON").with_source(err))?;
        self.line(escaped(&line))
    }

    /// Bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::output)
    }

    /// A remark on how it goes, unless `-q`.
    pub(crate) fn remark(self, text: impl fmt::Display) {
        if self.chatter != Chatter::Quiet {
            say(&format!("sinew: {}", printable(&text.to_string())));
        }
    }

    /// A remark by a task that others do not wait for: while nobody reads standard error it waits, and holds up no thread of
    /// the runtime.
    pub(crate) async fn remark_aside(self, text: &str) {
        if self.chatter != Chatter::Quiet {
            let line = format!("{}\n", redact(&format!("sinew: {}", printable(text))));
            write_aside(line.as_bytes()).await;
        }
    }

    /// A remark for who asks for more, with `-v`.
    pub(crate) fn detail(self, text: impl fmt::Display) {
        if matches!(self.chatter, Chatter::Verbose | Chatter::Debug) {
            self.remark(text);
        }
    }

    /// The last words: one line, and with `-v` the causes.
    pub(crate) fn failure(self, failure: &Failure) {
        let Some(message) = &failure.message else { return };
        let error = if io::stderr().is_terminal() && self.colour {
            let style = AnsiColor::Red.on_default().bold();
            format!("{style}error:{style:#}")
        } else {
            "error:".to_owned()
        };
        say(&format!("{error} {}", printable(message)));
        if matches!(self.chatter, Chatter::Verbose | Chatter::Debug) {
            for cause in failure.causes() {
                say(&format!("  because: {}", printable(&cause)));
            }
        }
    }
}

/// A line on standard error. Who closed it wants no words.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", redact(text));
}

/// Text from elsewhere for a terminal or a log: what could forge a line, or make it read as another, is escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if deceives(c) {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// The same for a line of JSON, which stays what it was to who parses it: outside of strings nothing deceives.
pub(crate) fn escaped(json: &str) -> String {
    let mut units = [0; 2];
    json.chars().fold(String::with_capacity(json.len()), |mut shown, c| {
        if deceives(c) {
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = fmt::Write::write_fmt(&mut shown, format_args!("\\u{unit:04x}"));
            }
        } else {
            shown.push(c);
        }
        shown
    })
}

/// Whether `c` commands a terminal, turns the direction of what follows, or is not seen at all.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc é"), "a\\u{1b}[2Jb\\nc é");
        assert_eq!(printable("\u{9b}2J"), "\\u{9b}2J");
    }

    #[test]
    fn a_name_does_not_read_as_another() {
        assert_eq!(printable("a\u{202e}b\u{200b}c\u{feff}"), "a\\u{202e}b\\u{200b}c\\u{feff}");
        assert_eq!(printable("Zoë, 東京, \u{1f600}"), "Zoë, 東京, \u{1f600}");
    }

    #[test]
    fn json_is_escaped_and_means_the_same() {
        let text = "\u{9b}2J\u{7f} \u{202e} \u{e0041} é \u{1f600} \\ \"";
        let line = escaped(&serde_json::to_string(text).unwrap());
        assert!(!line.chars().any(deceives), "{line:?}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn nothing_is_painted_for_programs() {
        let output = Output::new(true, Chatter::Normal);
        assert_eq!(output.paint(AnsiColor::Red.on_default(), "x"), "x");
    }
}
