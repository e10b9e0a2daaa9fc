//! The page as it is sent: whole and readable without its script, which then keeps it up to date.
use std::{fmt::Write, time::SystemTime};

use sinew_beat::{InstancePair, ProcessStatus, State, Timestamp};

use super::{
    board::{Board, Change, News, Picture},
    desk::silences::Silence,
    routes::Shown,
    uptime::Shares,
    view::{Query, View, rounded},
};
use crate::{output::printable, time::rfc3339};

pub(super) const STYLE: &str = include_str!("page/page.css");
pub(super) const SCRIPT: &str = include_str!("page/page.js");
const FRAME: &str = include_str!("page/page.html");

/// How many of the last transitions are shown.
pub(super) const NEWS: usize = 20;

/// Text for HTML, XML and their attributes. What XML cannot hold becomes a replacement character.
pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
        escaped
    })
}

/// A name for a part of an address: whatever has a meaning there is escaped.
pub(super) fn in_url(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut url, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            byte => drop(write!(url, "%{byte:02X}")),
        }
        url
    })
}

/// The whole page.
pub(super) fn page(shown: &Shown, picture: &Picture, query: &Query, view: &View) -> String {
    let board = &shown.board;
    let silences = shown.desk.silences();
    let now = board.clock().now();
    let (matched, shown) = view.of(picture);
    let shares = board.shares(shown.iter().copied(), now);
    let rows: String =
        shown.iter().zip(shares).map(|(it, shares)| row(board, it, shares, now)).collect();
    let news: String = board
        .news(NEWS, |process| view.wants(process))
        .iter()
        .map(|it| happened(board, it, now))
        .collect();
    let (eyes, word) = match board.is_ready() {
        true => ("seeing", "listening"),
        false => ("blind", "blind: the broker is gone, nobody is judged"),
    };
    let parts = [
        ("{eyes}", eyes.to_owned()),
        ("{word}", word.to_owned()),
        ("{total}", picture.tally.total().to_string()),
        ("{tally}", tally(picture, query)),
        ("{search}", escaped(&query.q)),
        ("{state}", escaped(&query.state)),
        ("{rows}", rows),
        ("{range}", range(view, matched, shown.len())),
        ("{pager}", pager(query, view, matched)),
        ("{news}", news),
        ("{quiet}", if silences.is_empty() { " hidden" } else { "" }.to_owned()),
        ("{silences}", silences.iter().map(|it| silence(it, board.clock().wall(now))).collect()),
        ("{time}", rfc3339(board.clock().wall(now))),
        ("{version}", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    fill(FRAME, &parts)
}

/// Puts each part where its mark stands. What is put in is not looked at again, so no name can be a mark.
fn fill(frame: &str, parts: &[(&str, String)]) -> String {
    let mut page =
        String::with_capacity(frame.len() + parts.iter().map(|it| it.1.len()).sum::<usize>());
    let mut rest = frame;
    while let Some((before, after)) = rest.split_once('{') {
        page.push_str(before);
        let found = parts
            .iter()
            .find_map(|(mark, part)| Some((part, after.strip_prefix(mark.strip_prefix('{')?)?)));
        rest = if let Some((part, after)) = found {
            page.push_str(part);
            after
        } else {
            page.push('{');
            after
        };
    }
    page.push_str(rest);
    page
}

/// A tile for each state that there is, each a link to those in it.
fn tally(picture: &Picture, query: &Query) -> String {
    picture.tally.iter().fold(String::new(), |mut tiles, (state, count)| {
        let current = if query.state == state.as_str() { " aria-current=\"true\"" } else { "" };
        let target = if current.is_empty() { state.as_str() } else { "" };
        let hidden = if count == 0 && current.is_empty() { " hidden" } else { "" };
        let _ = write!(
            tiles,
            "<a class=\"tile {state}\" data-state=\"{state}\" href=\"{}\"{current}{hidden}><b>{count}</b> <span>{state}</span></a>",
            escaped(&address(query, target, 0)),
        );
        tiles
    })
}

/// The address of this page with the same search, in this state, from there on.
fn address(query: &Query, state: &str, offset: usize) -> String {
    let offset = if offset == 0 { String::new() } else { offset.to_string() };
    let limit = query.limit.map_or_else(String::new, |limit| limit.to_string());
    let asked = [("q", query.q.as_str()), ("state", state), ("limit", &limit), ("offset", &offset)];
    let asked = asked.into_iter().filter(|(_, value)| !value.is_empty());
    let asked: Vec<_> = asked.map(|(key, value)| format!("{key}={}", in_url(value))).collect();
    format!("/?{}", asked.join("&"))
}

fn range(view: &View, matched: usize, shown: usize) -> String {
    match (matched, shown) {
        (0, _) => "nobody".to_owned(),
        (_, 0) => format!("{matched} in all, none from here on"),
        _ => format!("{}\u{2013}{} of {matched}", view.offset + 1, view.offset + shown),
    }
}

fn pager(query: &Query, view: &View, matched: usize) -> String {
    let link = |word: &str, offset: Option<usize>| {
        let href = offset.map_or_else(String::new, |offset| {
            format!(" href=\"{}\"", escaped(&address(query, &query.state, offset)))
        });
        let hidden = if offset.is_none() { " hidden" } else { "" };
        format!("<a data-page=\"{word}\"{href}{hidden}>{word}</a>")
    };
    let previous = (view.offset > 0).then(|| view.offset.saturating_sub(view.limit));
    let next = view.offset.saturating_add(view.limit);
    format!(
        "{} {}",
        link("previous", previous),
        link("next", Some(next).filter(|it| *it < matched))
    )
}

fn row(board: &Board, it: &ProcessStatus, shares: Shares, now: Timestamp) -> String {
    let name = it.process.as_str();
    let last = it.last_seen.map_or_else(|| "never".to_owned(), |at| time(board, at, now));
    let due = it.deadline.map_or_else(|| "\u{2013}".to_owned(), |at| time(board, at, now));
    let flapping = if it.is_flapping { "" } else { " hidden" };
    let conflict = it.conflict.as_ref().map(|InstancePair { one, other, .. }| {
        format!("two instances: {} and {}", escaped(one.as_str()), escaped(other.as_str()))
    });
    let no_conflict = if conflict.is_some() { "" } else { " hidden" };
    let conflict = conflict.unwrap_or_default();
    let mut row = format!(
        "<tr class=\"{state}\"><th scope=\"row\"><a href=\"/api/processes/{url}\"><bdi>{shown}</bdi></a></th><td class=\"state\"><b>{state}</b> <i{flapping}>flapping</i> <i{no_conflict}>{conflict}</i></td><td data-label=\"for\">{since}</td><td data-label=\"seen\">{last}</td><td data-label=\"due\">{due}</td>",
        state = it.state,
        url = in_url(name),
        shown = escaped(&printable(name)),
        since = time(board, it.since, now),
    );
    for (label, share) in [("up 1 h", shares.hour), ("24 h", shares.day), ("7 d", shares.week)] {
        let _ = write!(row, "<td class=\"uptime\" data-label=\"{label}\">{}</td>", percent(share));
    }
    row + "</tr>\n"
}

fn happened(board: &Board, it: &News, now: Timestamp) -> String {
    let Change { from, to, at, reason } = it.change;
    format!(
        "<li><span class=\"when\">{}</span> <bdi>{}</bdi> <span class=\"from\">{} \u{2192}</span> <b class=\"{to}\">{to}</b> <i>{reason}</i></li>\n",
        time(board, at, now),
        escaped(&printable(it.process.as_str())),
        from.map_or("", State::as_str),
    )
}

/// Who is silent until when, by whom and why.
fn silence(it: &Silence, now: SystemTime) -> String {
    format!(
        "<li><bdi>{}</bdi> {} <b>{}</b> <i>{}</i></li>\n",
        escaped(&printable(&it.processes)),
        moment(it.until, now),
        escaped(&it.author),
        escaped(&it.comment),
    )
}

/// A point in time by its distance from now, which the script keeps right.
fn time(board: &Board, at: Timestamp, now: Timestamp) -> String {
    moment(board.clock().wall(at), board.clock().wall(now))
}

fn moment(at: SystemTime, now: SystemTime) -> String {
    let when = rfc3339(at);
    let distance = match at.duration_since(now) {
        Ok(ahead) if !ahead.is_zero() => format!("in {}", short(ahead.as_secs())),
        _ => short(now.duration_since(at).unwrap_or_default().as_secs()),
    };
    format!("<time datetime=\"{when}\" title=\"{when}\">{distance}</time>")
}

/// A span as the script has it: `12s`, `5m 10s`, `3h 20m`, `2d 4h`.
fn short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Two digits, cut off: what was not all of the time does not read as all of it.
fn percent(share: Option<f64>) -> String {
    match share.map(rounded) {
        None => "\u{2013}".to_owned(),
        Some(1.0) => "100%".to_owned(),
        Some(share) => format!("{:.2}%", (share * 10_000.0).floor() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_never_a_mark() {
        let parts = [("{a}", "{b} {".to_owned()), ("{b}", "two".to_owned())];
        assert_eq!(fill("<{a}|{b}|{c}|{>", &parts), "<{b} {|two|{c}|{>");
    }

    #[test]
    fn every_mark_of_the_frame_is_filled() {
        for mark in [
            "eyes", "word", "total", "tally", "search", "state", "rows", "range", "pager", "quiet",
            "silences", "news",
        ] {
            assert_eq!(FRAME.matches(&format!("{{{mark}}}")).count(), 1, "{mark}");
        }
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escaped("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
        assert_eq!(in_url("a/b?c#d é%.."), "a%2Fb%3Fc%23d%20%C3%A9%25..");
        let query = Query { q: "a&b".to_owned(), limit: Some(7), ..Query::default() };
        assert_eq!(address(&query, "down", 0), "/?q=a%26b&state=down&limit=7");
        assert_eq!(address(&Query::default(), "", 7), "/?offset=7");
    }

    #[test]
    fn uptime_is_cut_and_not_rounded() {
        assert_eq!(percent(None), "\u{2013}");
        assert_eq!(percent(Some(1.0)), "100%");
        assert_eq!(percent(Some(0.999_999_9)), "99.99%");
        assert_eq!(percent(Some(0.5)), "50.00%");
    }
}
