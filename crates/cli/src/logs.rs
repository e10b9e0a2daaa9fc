//! What the libraries below tell, on standard error: warnings, and more with `-v` and `-vv`.
use std::io;

use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{MakeWriter, time::uptime},
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
        .finish();
    // Nobody else in this process installs one.
    let _ = tracing_subscriber::util::SubscriberInitExt::try_init(logs);
}

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
