//! `sinew backends`: what each backend in this build can do.
use clap::Args;
use serde_json::{Value, json};
use sinew_core::Capabilities;

use crate::{
    args::Format,
    examples::{Example, section},
    exit::{Outcome, Status},
    session::Session,
    time::written,
};

pub(crate) const EXAMPLES: &[Example] =
    &[("the table", "sinew backends"), ("for a program", "sinew backends --json")];

/// Show what each backend in this build can do
#[derive(Args, Debug)]
#[command(after_help = section(EXAMPLES))]
pub(crate) struct Backends {
    #[command(flatten)]
    pub(crate) format: Format,
    /// Print the table of the project's front page
    #[arg(long, hide = true, conflicts_with = "json")]
    markdown: bool,
}

impl Backends {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let backends = sinew_connect::backends();
        let output = session.output;
        if output.json {
            backends.iter().map(object).try_for_each(|object| output.object(&object))?;
        } else if self.markdown {
            output.bytes(markdown(&backends).as_bytes())?;
        } else {
            output.bytes(tables(&backends).as_bytes())?;
        }
        Ok(Status::Done)
    }
}

/// One row per capability: its name, and its value for a backend in words.
fn rows(it: &Capabilities) -> [(&'static str, String); 21] {
    [
        ("publish confirmed as", it.confirm.to_string()),
        ("registration", it.registration.to_string()),
        ("delivery", it.delivery.to_string()),
        ("settlement", it.settlement.to_string()),
        ("requeue", it.requeue.to_string()),
        ("longest delay", it.max_delay.map_or_else(|| "-".to_owned(), written)),
        ("attempts", it.attempts.to_string()),
        ("ordering", it.ordering.to_string()),
        ("groups", it.groups.to_string()),
        ("wildcards", it.wildcards.to_string()),
        ("names", it.names.to_string()),
        ("scopes", it.scopes.to_string()),
        ("headers", it.headers.to_string()),
        ("persistence", it.persistence.to_string()),
        ("starts, beside new", it.starts.to_string()),
        ("queues", it.queues.to_string()),
        ("publish straight to a queue", it.queue_addressing.to_string()),
        ("requests", it.request.to_string()),
        ("properties", it.properties.to_string()),
        ("for a slow reader", it.overflow.to_string()),
        ("largest payload", it.max_payload.map_or_else(|| "the broker's".to_owned(), bytes)),
    ]
}

/// One entry per capability: its name, and each backend's value.
fn compared(backends: &[Capabilities]) -> Vec<(&'static str, Vec<String>)> {
    let mut rows = backends.iter().map(rows).map(Vec::from);
    let Some(first) = rows.next() else { return Vec::new() };
    let mut table: Vec<_> = first.into_iter().map(|(name, value)| (name, vec![value])).collect();
    for backend in rows {
        for ((_, values), (_, value)) in table.iter_mut().zip(backend) {
            values.push(value);
        }
    }
    table
}

fn bytes(count: usize) -> String {
    match count {
        0 => "0 B".to_owned(),
        count if count % (1 << 20) == 0 => format!("{} MiB", count >> 20),
        count if count % (1 << 10) == 0 => format!("{} KiB", count >> 10),
        count => format!("{count} B"),
    }
}

/// What a terminal shows of a line.
const WIDTH: usize = 80;
/// The column of the capabilities' names.
const NAMES: usize = 20;
/// How many columns of values stand beside each other: with more, most values would run over several lines.
const ABREAST: usize = 3;

/// The tables for a terminal, as few and as even as they can be; long values run over several lines.
fn tables(backends: &[Capabilities]) -> String {
    let count = backends.len().div_ceil(ABREAST).max(1);
    let tables = backends.chunks(backends.len().div_ceil(count).max(1)).map(table);
    tables.collect::<Vec<_>>().join("\n")
}

fn table(backends: &[Capabilities]) -> String {
    let names: Vec<_> = backends.iter().map(|it| it.backend.to_owned()).collect();
    let mut text = String::new();
    row(&mut text, "", &names);
    for (name, values) in compared(backends) {
        row(&mut text, name, &values);
    }
    text
}

fn row(text: &mut String, name: &str, values: &[String]) {
    let width = (WIDTH - NAMES) / values.len().max(1) - 2;
    let cells: Vec<_> = values.iter().map(|value| wrapped(value, width)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(1);
    for line in 0..height {
        let mut row = format!("{:NAMES$}", if line == 0 { name } else { "" });
        for cell in &cells {
            let part = cell.get(line).map_or("", String::as_str);
            row.push_str(&format!("  {part:width$}"));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
}

/// Breaks at spaces.
fn wrapped(value: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in value.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn markdown(backends: &[Capabilities]) -> String {
    let names: Vec<_> = backends.iter().map(|it| it.backend).collect();
    let mut text = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (name, values) in compared(backends) {
        text.push_str(&format!("| {name} | {} |\n", values.join(" | ")));
    }
    text
}

fn object(it: &Capabilities) -> Value {
    let delay = it.max_delay.map(|delay| delay.as_secs_f64());
    json!({
        "backend": it.backend,
        "confirm": it.confirm.describe(),
        "registration": it.registration.describe(),
        "delivery": it.delivery.describe(),
        "settlement": it.settlement.describe(),
        "requeue": it.requeue.describe(),
        "max_delay": delay,
        "attempts": it.attempts.describe(),
        "ordering": it.ordering.describe(),
        "groups": it.groups.describe(),
        "wildcards": it.wildcards.describe(),
        "names": it.names.describe(),
        "scopes": it.scopes.describe(),
        "headers": it.headers.describe(),
        "persistence": it.persistence.describe(),
        "starts": it.starts.iter().map(|it| it.describe()).collect::<Vec<_>>(),
        "queues": it.queues.iter().map(|it| it.describe()).collect::<Vec<_>>(),
        "queue_addressing": it.queue_addressing.describe(),
        "request": it.request.describe(),
        "properties": it.properties.iter().map(|it| it.describe()).collect::<Vec<_>>(),
        "overflow": it.overflow.iter().map(|it| it.describe()).collect::<Vec<_>>(),
        "max_payload": it.max_payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<Capabilities> {
        let a = Capabilities::new("a").with_max_payload(Some(1 << 20));
        vec![a.with_starts(sinew_core::StartPoints::all()), Capabilities::new("b")]
    }

    #[test]
    fn the_tables_fit_80_columns_and_show_every_backend_once() {
        for count in 1..8 {
            let names = ["a", "b", "c", "d", "e", "f", "g"];
            let backends = names.iter().take(count).map(|name| {
                let it = Capabilities::new(name).with_max_payload(Some(1 << 20));
                it.with_starts(sinew_core::StartPoints::all())
            });
            let text = tables(&backends.collect::<Vec<_>>());
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
            let heads = text.lines().filter(|line| line.starts_with(&" ".repeat(NAMES + 2)));
            let heads: Vec<_> = heads.flat_map(str::split_whitespace).collect();
            assert!(names[..count].iter().all(|name| heads.contains(name)), "{text}");
            assert_eq!(text.matches("1 MiB").count(), count, "{text}");
            assert_eq!(text.matches("largest payload").count(), count.div_ceil(ABREAST), "{text}");
        }
    }

    #[test]
    fn the_front_pages_table_has_a_column_per_backend() {
        let text = markdown(&two());
        assert!(text.starts_with("| | a | b |\n|---|---|---|\n"), "{text}");
        assert!(text.lines().all(|line| line.matches('|').count() == 4), "{text}");
    }

    #[test]
    fn every_capability_is_an_entry() {
        let object = object(&two()[0]);
        assert_eq!(object.as_object().unwrap().len(), rows(&two()[0]).len() + 1);
        assert_eq!(object["max_payload"], 1 << 20);
    }
}
