//! What is told to people, and when not.
use std::time::{Duration, SystemTime};

use sinew_beat::{AlertOptions, InhibitionRule, Mute, State, Weekday};
use toml::de::DeValue;

use super::reader::{Section, at_least, list, number, pattern, positive, said, span, text};
use crate::time::parse_time;

/// How many rules of inhibition are taken.
const MOST_RULES: usize = 1000;

/// How many windows are taken. A reload has the old and the new ones at once.
pub(crate) const MOST_WINDOWS: usize = 500;

/// How many silences there may be at once.
pub(crate) const MOST_SILENCES: usize = 500;

/// How many mutes there may be: two files' windows, and silences.
const MOST_MUTES: usize = 2 * MOST_WINDOWS + MOST_SILENCES;

const SECOND: Duration = Duration::from_secs(1);

/// The states that can be told beside `down`, which always is.
const STATES: [State; 4] = [State::Down, State::Late, State::Degraded, State::Stopped];

const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

pub(super) fn read(section: &mut Section<'_>) -> AlertOptions {
    let options = AlertOptions::default().with_max_mutes(MOST_MUTES);
    let options = section.table("alerts", |it| told(it, options));
    let rules = section.tables("inhibition", MOST_RULES, |it| {
        let source = it.required("source", pattern);
        let target = it.required("target", text);
        match InhibitionRule::new(source?, &target?) {
            Ok(rule) => Some(rule),
            Err(err) => {
                it.flaw(&said(&err));
                None
            }
        }
    });
    rules.into_iter().fold(options, AlertOptions::with_inhibition)
}

fn told(section: &mut Section<'_>, mut options: AlertOptions) -> AlertOptions {
    if let Some(name) = section.value("monitor", name) {
        options = options.with_monitor(&name);
    }
    if let Some(states) = section.value("states", list(STATES.len(), state)) {
        options = options.with_states(states);
    }
    if let Some(delay) = section.value("delay", span) {
        options = options.with_delay(delay);
    }
    if let Some(tokens) = section.value("group_by", number(0_u8, 64)) {
        options = options.with_grouping(tokens.into());
    }
    if let Some(interval) = section.value("renotify", at_least(SECOND, "1s")) {
        options = options.with_renotify(interval);
    }
    if let Some(most) = section.value("max_alerts", number(1_u16, 10_000)) {
        options = options.with_max_alerts(most.into());
    }
    if let Some(granularity) = section.value("key_granularity", at_least(SECOND, "1s")) {
        options = options.with_key_granularity(granularity);
    }
    if let Some(grace) = section.value("inhibition_grace", span) {
        options = options.with_inhibition_grace(grace);
    }
    options
}

fn name(value: &DeValue<'_>) -> Result<String, String> {
    let name = text(value)?;
    let is_name = !name.is_empty() && name.len() <= 245 && !name.chars().any(char::is_control);
    if is_name { Ok(name) } else { Err("1 to 245 bytes without control characters".to_owned()) }
}

fn state(value: &DeValue<'_>) -> Result<State, String> {
    let word = text(value)?;
    STATES.iter().find(|it| it.as_str() == word).copied().ok_or_else(|| {
        let known: Vec<_> = STATES.iter().map(|it| it.as_str()).collect();
        format!("each is one of {}", known.join(", "))
    })
}

fn day(value: &DeValue<'_>) -> Result<Weekday, String> {
    let word = text(value)?;
    DAYS.iter().find(|(name, _)| *name == word).map(|(_, day)| *day).ok_or_else(|| {
        let known = DAYS.map(|(name, _)| name);
        format!("each is one of {}", known.join(", "))
    })
}

/// The maintenance windows.
pub(super) fn windows(section: &mut Section<'_>) -> Vec<Mute> {
    section.tables("window", MOST_WINDOWS, window)
}

fn window(section: &mut Section<'_>) -> Option<Mute> {
    let processes = section.required("processes", pattern);
    let author = section.value("author", text).unwrap_or_default();
    let comment = section.value("comment", text).unwrap_or_default();
    let is_weekly = ["days", "start", "length"].map(|key| section.has(key)).contains(&true);
    let is_once = ["from", "until"].map(|key| section.has(key)).contains(&true);
    let days = section.value("days", list(DAYS.len(), day));
    let (start, length) = (section.value("start", time_of_day), section.value("length", positive));
    let (from, until) = (section.value("from", instant), section.value("until", instant));
    let window = match (is_weekly, is_once) {
        (true, false) => {
            let all = DAYS.map(|(_, day)| day).to_vec();
            if !section.has("start") || !section.has("length") {
                section.flaw("a weekly window has a `start` and a `length`");
            }
            Mute::weekly(processes?, days.unwrap_or(all), start?, length?)
        }
        (false, true) => {
            if !section.has("from") || !section.has("until") {
                section.flaw("a window that is once has a `from` and an `until`");
            }
            Mute::maintenance(processes?, from?, until?)
        }
        _ => {
            section.flaw("either `days`, `start` and `length`, or `from` and `until`");
            return None;
        }
    };
    let made = window.and_then(|it| it.with_author(&author)?.with_comment(&comment));
    made.map_err(|err| section.flaw(&said(&err))).ok()
}

/// A time of day, as a time since midnight.
fn time_of_day(value: &DeValue<'_>) -> Result<Duration, String> {
    const WANTED: &str = "a time of day in UTC without quotes is wanted, such as 22:30:00";
    let found = value.as_datetime().filter(|it| it.date.is_none() && it.offset.is_none());
    let time = found.and_then(|it| it.time).ok_or(WANTED)?;
    let minutes = u64::from(time.hour) * 60 + u64::from(time.minute);
    Ok(Duration::from_secs(minutes * 60 + u64::from(time.second.unwrap_or(0))))
}

/// A moment, with the offset of its zone.
fn instant(value: &DeValue<'_>) -> Result<SystemTime, String> {
    const WANTED: &str = "a moment without quotes is wanted, such as 2026-03-01T22:30:00Z";
    let found = value.as_datetime().filter(|it| it.date.is_some() && it.time.is_some());
    let moment = found.ok_or(WANTED)?;
    if moment.offset.is_none() {
        return Err("say of which zone: add Z for UTC, or an offset such as +02:00".to_owned());
    }
    parse_time(&moment.to_string()).ok_or_else(|| WANTED.to_owned())
}
