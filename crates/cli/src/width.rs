//! How much room text takes on a terminal, where some characters take two columns and some none.
use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// How many columns `text` takes; as terminals count, character by character.
fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Filled up with spaces to `room` columns.
pub(crate) fn padded(text: &str, room: usize) -> String {
    let blank = room.saturating_sub(width(text));
    format!("{text}{:blank$}", "")
}

/// Cut to `room` columns, one of which is then a `~`.
pub(crate) fn shortened(text: &str, room: usize) -> Cow<'_, str> {
    if width(text) <= room {
        return text.into();
    }
    let mut left = room.saturating_sub(1);
    let fits = |c: &char| match left.checked_sub(columns(*c)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{kept}~").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abcde~");
        assert_eq!(shortened("äöüäöüä", 6), "äöüäö~");
    }

    #[test]
    fn a_wide_name_is_cut_by_its_columns() {
        assert_eq!(shortened("東京都", 6), "東京都");
        assert_eq!(shortened("東京都庁", 6), "東京~");
        assert_eq!(shortened("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}~");
    }

    #[test]
    fn a_name_is_filled_up_by_its_columns() {
        assert_eq!(padded("東京", 6), "東京  ");
        assert_eq!(padded("e\u{301}", 3), "e\u{301}  ");
        assert_eq!(padded("abc", 2), "abc");
    }
}
