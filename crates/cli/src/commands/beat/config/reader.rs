//! Reads TOML key by key: what is asked for is known, what is left over is refused by name, and each flaw has its line.
use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use sinew_core::Pattern;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    output::printable,
    time::{parse_duration, parse_positive},
};

/// Keys that are longer are shown cut off, and nothing is guessed of them.
const LONGEST_KEY: usize = 64;

/// What is wrong with a file: what to mend first, and how much more there is.
#[derive(Debug)]
pub(super) struct Flaws {
    pub(super) line: usize,
    pub(super) what: String,
    pub(super) more: usize,
}

/// One reading of a file. Flaws keep where they begin: a file may be full of them, and only the first one's line and
/// hint are looked for.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    known: RefCell<BTreeSet<String>>,
    flaws: RefCell<Vec<(usize, String)>>,
    unknown: RefCell<Vec<Unknown>>,
    doubts: RefCell<Vec<Doubt>>,
}

/// What stands in a line and may yet come right: a program that is not there now.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) line: usize,
    pub(super) what: String,
}

#[derive(Debug)]
struct Unknown {
    section: &'static str,
    key: String,
    at: usize,
}

/// A table of the file, and what of it was asked for. One that is not there is read as an empty one: so what it would
/// hold is known, too.
#[derive(Debug)]
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    name: &'static str,
    table: Option<&'a DeTable<'a>>,
    at: usize,
    asked: Vec<&'static str>,
}

/// What was read, and what is doubtful of it.
type Read<T> = Result<(T, Vec<Doubt>), Flaws>;

/// What is read with what is doubtful of it, unless something is wrong, and every key that there could be.
pub(super) fn read<T>(
    text: &str,
    with: impl FnOnce(&mut Section<'_>) -> T,
) -> (Read<T>, BTreeSet<String>) {
    let reader = Reader {
        text,
        known: RefCell::default(),
        flaws: RefCell::default(),
        unknown: RefCell::default(),
        doubts: RefCell::default(),
    };
    let read = match DeTable::parse(text) {
        Ok(table) => {
            let read = reader.section("", Some(table.get_ref()), 0, with);
            reader.flaws().map_or_else(|| Ok((read, reader.doubts.take())), Err)
        }
        Err(err) => {
            let line = reader.line(err.span().map_or(0, |it| it.start));
            let what = err.message().split_whitespace().collect::<Vec<_>>().join(" ");
            Err(Flaws { line, what, more: 0 })
        }
    };
    (read, reader.known.into_inner())
}

impl Reader<'_> {
    fn section<'a, T>(
        &'a self,
        name: &'static str,
        table: Option<&'a DeTable<'a>>,
        at: usize,
        with: impl FnOnce(&mut Section<'a>) -> T,
    ) -> T {
        let mut section = Section { reader: self, name, table, at, asked: Vec::new() };
        let read = with(&mut section);
        section.end();
        read
    }

    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn flaws(&self) -> Option<Flaws> {
        let (unknown, flaws) = (self.unknown.borrow(), self.flaws.borrow());
        // A key that is not known explains most of what else is wrong, so it comes first.
        let (at, what) = match unknown.iter().min_by_key(|it| it.at) {
            Some(first) => (first.at, self.name_unknown(first)),
            None => flaws.iter().min_by_key(|(at, _)| *at).cloned()?,
        };
        let more = (unknown.len() + flaws.len()).saturating_sub(1);
        Some(Flaws { line: self.line(at), what, more })
    }

    /// Says of a key that is not known what may have been meant: one of its section, or the same in another one.
    fn name_unknown(&self, Unknown { section, key, .. }: &Unknown) -> String {
        if key.len() > LONGEST_KEY {
            let begin: String = key.chars().take(LONGEST_KEY).collect();
            return format!("unknown key `{}...`", path(section, &printable(&begin)));
        }
        let known = self.known.borrow();
        let siblings = known.iter().filter_map(|it| own(section, it));
        let near = siblings
            .map(|it| (strsim::osa_distance(it, key), it))
            .filter(|(distance, it)| *distance <= (it.len() / 3).max(1))
            .min();
        let elsewhere = known.iter().find(|it| it.rsplit('.').next() == Some(key));
        let hint = match (near, elsewhere.and_then(|it| it.split_once('.'))) {
            (Some((_, near)), _) => format!("; did you mean `{near}`?"),
            (None, _) if section.is_empty() && key == "url" => {
                "; the broker is named by --url or SINEW_URL".to_owned()
            }
            (None, Some((section, _))) => format!("; it belongs into [{section}]"),
            (None, None) => String::new(),
        };
        format!("unknown key `{}`{hint}", path(section, &printable(key)))
    }
}

/// The key of a path, if it is one of `section` itself.
fn own<'a>(section: &str, path: &'a str) -> Option<&'a str> {
    let key = match section {
        "" => path,
        _ => path.strip_prefix(section)?.strip_prefix('.')?,
    };
    Some(key).filter(|it| !it.contains('.'))
}

fn path(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

impl<'a> Section<'a> {
    /// The value of a key, as `read` reads it; none where it is not there or flawed.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let found = self.find(key)?;
        match read(found.get_ref()) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(found.span().start, key, &why);
                None
            }
        }
    }

    /// The same; that it is missing is a flaw.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if self.table.is_some() && !self.has(key) {
            self.refuse(self.at, key, "is missing");
        }
        self.value(key, read)
    }

    /// The table called `key`; an empty one where there is none.
    pub(super) fn table<T>(&mut self, key: &'static str, with: impl FnOnce(&mut Self) -> T) -> T {
        let (mut table, mut at) = (None, self.at);
        if let Some(found) = self.find(key) {
            at = found.span().start;
            match found.get_ref() {
                DeValue::Table(it) => table = Some(it),
                other => self.refuse(at, key, &unlike(&format!("a table: [{key}]"), other)),
            }
        }
        self.reader.section(key, table, at, with)
    }

    /// The tables called `key`, `most` at most, without those that are flawed.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        most: usize,
        with: impl Fn(&mut Self) -> Option<T>,
    ) -> Vec<T> {
        let Some(found) = self.find(key) else {
            self.reader.section(key, None, self.at, with);
            return Vec::new();
        };
        let at = found.span().start;
        let DeValue::Array(all) = found.get_ref() else {
            self.refuse(at, key, &unlike(&format!("tables: [[{key}]]"), found.get_ref()));
            return Vec::new();
        };
        if all.len() > most {
            self.refuse(at, key, &format!("there are {}; at most {most} are taken", all.len()));
            return Vec::new();
        }
        let mut read = Vec::new();
        for it in all.iter() {
            let at = it.span().start;
            match it.get_ref() {
                DeValue::Table(table) => {
                    read.extend(self.reader.section(key, Some(table), at, &with));
                }
                other => self.refuse(at, key, &unlike(&format!("tables: [[{key}]]"), other)),
            }
        }
        read
    }

    /// Says what is doubtful of a key.
    pub(super) fn doubt(&self, key: &str, why: &str) {
        if let Some(line) = self.line(key) {
            let what = format!("{}: {why}", path(self.name, key));
            self.reader.doubts.borrow_mut().push(Doubt { line, what });
        }
    }

    /// Says what is wrong with a key beside another one.
    pub(super) fn wrong(&self, key: &str, why: &str) {
        if let Some(it) = self.get(key) {
            self.refuse(it.span().start, key, why);
        }
    }

    /// In which line the value of this key begins.
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.get(key).map(|it| self.reader.line(it.span().start))
    }

    /// Whether the file has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether nothing was found wrong yet, here or before.
    pub(super) fn is_flawless(&self) -> bool {
        self.reader.flaws.borrow().is_empty()
    }

    /// Says what is wrong with the section as a whole.
    pub(super) fn flaw(&self, what: &str) {
        let name = if self.name.is_empty() { String::new() } else { format!("[{}]: ", self.name) };
        if self.table.is_some() {
            self.reader.flaws.borrow_mut().push((self.at, format!("{name}{what}")));
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.get(key)
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn refuse(&self, at: usize, key: &str, why: &str) {
        self.reader.flaws.borrow_mut().push((at, format!("{}: {why}", path(self.name, key))));
    }

    /// What is left over was not asked for.
    fn end(self) {
        self.reader.known.borrow_mut().extend(self.asked.iter().map(|key| path(self.name, key)));
        for (key, _) in self.table.into_iter().flatten() {
            if !self.asked.iter().any(|it| it == key.get_ref()) {
                let (section, at) = (self.name, key.span().start);
                let key = key.get_ref().clone().into_owned();
                self.reader.unknown.borrow_mut().push(Unknown { section, key, at });
            }
        }
    }
}

fn unlike(wanted: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or a time of day",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("{wanted} is wanted, not {found}")
}

pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| unlike("a text in quotes", value))
}

pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| unlike("true or false", value))
}

/// A time, perhaps none.
pub(super) fn span(value: &DeValue<'_>) -> Result<Duration, String> {
    parse_duration(value.as_str().ok_or_else(|| unlike("a time such as \"10s\"", value))?)
}

/// A time of at least `least`.
pub(super) fn at_least(
    least: Duration,
    told: &'static str,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| match span(value)? {
        it if it < least => Err(format!("at least {told}")),
        it => Ok(it),
    }
}

/// A time that is more than nothing.
pub(super) fn positive(value: &DeValue<'_>) -> Result<Duration, String> {
    parse_positive(value.as_str().ok_or_else(|| unlike("a time such as \"10s\"", value))?)
}

/// A whole number from `least` to `most`.
pub(super) fn number<T: Copy + Into<u64> + TryFrom<u64>>(
    least: T,
    most: T,
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    let (low, high) = (least.into(), most.into());
    move |value| {
        let it = value.as_integer().ok_or_else(|| unlike("a whole number", value))?;
        let it = u64::from_str_radix(it.as_str(), it.radix()).ok();
        let it = it.filter(|it| (low..=high).contains(it)).and_then(|it| T::try_from(it).ok());
        it.ok_or_else(|| format!("from {low} to {high}"))
    }
}

/// A list of what `read` reads, `most` at most.
pub(super) fn list<T>(
    most: usize,
    read: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> impl Fn(&DeValue<'_>) -> Result<Vec<T>, String> {
    move |value| {
        let all = value.as_array().ok_or_else(|| unlike("a list", value))?;
        if all.len() > most {
            return Err(format!("there are {}; at most {most} are taken", all.len()));
        }
        all.iter().map(|it| read(it.get_ref())).collect()
    }
}

/// A pattern of names.
pub(super) fn pattern(value: &DeValue<'_>) -> Result<Pattern, String> {
    Pattern::parse(&text(value)?).map_err(|err| said(&err))
}

/// What one of our own errors says: its advice, which never repeats the value, where it has one.
pub(super) fn said(err: &sinew_core::Error) -> String {
    err.detail().map_or_else(|| err.to_string(), str::to_owned)
}
