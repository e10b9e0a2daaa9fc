//! A picture on the terminal that is drawn over itself, and stays in the scrollback when it ends.
use std::fmt::Write;

use crate::{exit::Failure, interrupt::cursor_is_hidden, output::Output};

/// The picture. Dropping it gives the cursor back.
#[derive(Debug)]
pub(crate) struct Live {
    output: Output,
    /// How many lines the picture has now.
    drawn: usize,
}

/// Lines that do not fit are clipped by the terminal, so that a picture never wraps; the rest is drawn at once.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l\x1b[?7l";
const END: &str = "\x1b[?7h\x1b[?2026l";

impl Live {
    pub(crate) fn new(output: Output) -> Self {
        cursor_is_hidden(true);
        Self { output, drawn: 0 }
    }

    /// How many lines there is room for.
    pub(crate) fn rows(&self) -> usize {
        // The cursor stands on a line of its own below.
        height().filter(|rows| *rows > 0).unwrap_or(24).saturating_sub(1)
    }

    /// Draws `lines` where the last picture was.
    pub(crate) fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        self.output.bytes(frame(self.drawn, lines).as_bytes())?;
        self.drawn = lines.len();
        Ok(())
    }
}

#[cfg(unix)]
fn height() -> Option<usize> {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_row.into())
}

#[cfg(not(unix))]
fn height() -> Option<usize> {
    None
}

fn frame(drawn: usize, lines: &[String]) -> String {
    let mut frame = BEGIN.to_owned();
    // Writing to a String cannot fail.
    if drawn > 0 {
        let _ = write!(frame, "\x1b[{drawn}A");
    }
    frame.push('\r');
    for line in lines {
        let _ = writeln!(frame, "{line}\x1b[K");
    }
    frame.push_str("\x1b[J");
    frame.push_str(END);
    frame
}

impl Drop for Live {
    fn drop(&mut self) {
        // Whoever closed the terminal misses nothing.
        let _ = self.output.bytes(b"\x1b[?7h\x1b[?25h");
        cursor_is_hidden(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_drawn_over_the_last_one() {
        let lines = ["a".to_owned(), "b".to_owned()];
        let first = frame(0, &lines);
        assert!(first.contains("\ra\x1b[K\nb\x1b[K\n\x1b[J"), "{first:?}");
        assert!(frame(2, &lines).contains("\x1b[2A\ra"), "{first:?}");
    }
}
