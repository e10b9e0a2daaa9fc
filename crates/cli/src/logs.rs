//! What the libraries below tell, on standard error: warnings, and more with `-v` and `-vv`.
use std::io;

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{MakeWriter, time::uptime},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::output::{Chatter, printable, say};

/// Turns the libraries' own logs on. Each line is masked and escaped on its way out.
pub(crate) fn install(chatter: Chatter) {
    let level = match chatter {
        // What matters of a link comes as events, and is remarked upon in our own words.
        Chatter::Quiet | Chatter::Normal => return,
        Chatter::Verbose => LevelFilter::INFO,
        Chatter::Debug => LevelFilter::DEBUG,
    };
    let logs = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_timer(uptime())
        .with_ansi(false)
        .with_writer(Masked)
        .finish()
        .with(Targets::new().with_default(level).with_targets(UNHEARD));
    // Nobody else in this process installs one.
    let _ = logs.try_init();
}

/// The AMQP client shows a message that the broker returns, its payload byte by byte; we tell what became of it.
const UNHEARD: [(&str, LevelFilter); 1] = [("lapin::returned_messages", LevelFilter::OFF)];

/// Writes whole lines through [`say`].
#[derive(Clone, Copy)]
struct Masked;

impl io::Write for Masked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        say(&printable(String::from_utf8_lossy(bytes).trim_end_matches('\n')));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Masked {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
