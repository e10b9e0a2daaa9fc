//! A process's state as a small picture, to stand in a README or on a wall.
use sinew_beat::State;
use unicode_width::UnicodeWidthStr;

use super::html::escaped;
use crate::{output::printable, width::shortened};

/// How many columns of a name are shown.
const LONGEST: usize = 40;

/// The picture for a process of that name; its state is none where it is not known.
pub(super) fn svg(name: &str, state: Option<State>) -> String {
    let name = printable(name);
    let name = shortened(&name, LONGEST);
    let word = state.map_or("unknown", State::as_str);
    let colour = colour(state);
    let (left, right) = (width(&name), width(word));
    let (all, middle) = (left + right, left + right / 2);
    let (name_middle, name_length, word_length) = (left / 2, left - 12, right - 12);
    let name = escaped(&name);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{all}" height="20" role="img" aria-label="{name}: {word}"><title>{name}: {word}</title><rect width="{all}" height="20" rx="3" fill="#3a3f47"/><rect x="{left}" width="{right}" height="20" rx="3" fill="{colour}"/><rect x="{left}" width="4" height="20" fill="{colour}"/><g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"><text x="{name_middle}" y="14" textLength="{name_length}">{name}</text><text x="{middle}" y="14" textLength="{word_length}">{word}</text></g></svg>
"##
    )
}

/// Dark enough for white letters on it.
const fn colour(state: Option<State>) -> &'static str {
    match state {
        Some(State::Up) => "#1a7f37",
        Some(State::Starting) => "#0b6bcb",
        Some(State::Degraded) => "#946200",
        Some(State::Late) => "#8b3fc4",
        Some(State::Down) => "#c62828",
        _ => "#6b7280",
    }
}

/// How many pixels a text takes with the room around it.
fn width(text: &str) -> usize {
    text.width() * 7 + 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_and_stays_within_its_half() {
        let hostile = "\"><script>alert('1')</script>&\u{202e}";
        let picture = svg(hostile, Some(State::Down));
        assert!(!picture.contains("<script") && !picture.contains('\u{202e}'), "{picture}");
        assert!(picture.contains("&quot;&gt;&lt;script&gt;") && picture.contains(">down<"));
        let long = svg(&"x".repeat(245), None);
        assert!(long.contains(">unknown<") && long.len() < 1500, "{long}");
        assert!(svg("東京", Some(State::Up)).contains(r#"textLength="28""#));
    }

    #[test]
    fn what_no_picture_may_hold_is_left_out() {
        assert!(!svg("a\u{fffe}b\u{ffff}", None).contains(['\u{fffe}', '\u{ffff}']));
    }
}
