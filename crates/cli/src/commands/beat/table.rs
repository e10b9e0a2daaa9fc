//! The live table of `beat watch`.
use std::collections::VecDeque;

use clap::builder::styling::Style;
use sinew_beat::{MonitorEvent, ProcessStatus, State, Timestamp, WatchTable};

use super::{Report, painted, tally};
use crate::{
    exit::Failure,
    live::Live,
    output::{Output, printable},
    time::spoken,
    width::{padded, shortened},
};

/// How many of the last events stand below the table.
const NEWS: usize = 6;

/// The table of who lives, and what happened last.
pub(super) struct Table {
    live: Live,
    table: WatchTable,
    report: Report,
    news: VecDeque<String>,
}

impl Table {
    pub(super) fn new(table: WatchTable, report: Report) -> Self {
        Self { live: Live::new(report.output), table, report, news: VecDeque::new() }
    }

    pub(super) fn hear(&mut self, event: &MonitorEvent) {
        if self.news.len() == NEWS {
            self.news.pop_front();
        }
        self.news.push_back(self.report.line(event, 20));
    }

    /// Draws the state of now.
    pub(super) fn draw(&mut self) -> Result<(), Failure> {
        let output = self.report.output;
        let now = self.report.clock.now();
        let mut processes = self.table.processes();
        let counts = self.table.counts();
        let states = tally(processes.iter().map(|it| it.state));
        let bold = |text: &str| output.paint(Style::new().bold(), text);

        let mut lines =
            vec![bold("PROCESS                     STATE      FOR        LAST BEAT    DUE")];
        let room = self.live.rows().saturating_sub(self.news.len() + 5).max(1);
        order(&mut processes, room);
        for it in processes.iter().take(room) {
            lines.push(row(output, it, now));
        }
        if processes.len() > room {
            lines.push(format!("... and {} more", processes.len() - room));
        }
        lines.push(String::new());
        lines.extend(self.news.iter().cloned());
        lines.push(String::new());
        let eyes = if self.table.is_blind() { "BLIND, the broker is gone | " } else { "" };
        let malformed = match counts.malformed {
            0 => String::new(),
            count => format!(", {count} malformed"),
        };
        lines.push(bold(&format!(
            "{eyes}{states} | {} beats{malformed} | Ctrl-C ends",
            counts.beats
        )));
        self.live.draw(&lines)
    }
}

fn row(output: Output, it: &ProcessStatus, now: Timestamp) -> String {
    let name = padded(&shortened(&printable(it.process.as_str()), 27), 27);
    let state = painted(output, it.state, 9);
    let since = spoken(now.since(it.since));
    let last = it
        .last_seen
        .map_or_else(|| "never".to_owned(), |at| format!("{} ago", spoken(now.since(at))));
    let due = match it.deadline {
        Some(deadline) if deadline >= now => format!("in {}", spoken(deadline.since(now))),
        Some(deadline) => format!("{} ago", spoken(now.since(deadline))),
        None => "-".to_owned(),
    };
    format!("{name} {state}  {since:9}  {last:11}  {due}")
}

/// By name; where not all fit, those who need a look come first.
fn order(processes: &mut [ProcessStatus], room: usize) {
    let crowded = processes.len() > room;
    processes.sort_by(|a, b| {
        let rank = |it: &ProcessStatus| crowded && matches!(it.state, State::Up | State::Stopped);
        rank(a).cmp(&rank(b)).then_with(|| a.process.cmp(&b.process))
    });
}

#[cfg(test)]
mod tests {
    use sinew_beat::{Process, Watch, WatchOptions};

    use super::*;
    use crate::output::Chatter;

    #[tokio::test]
    async fn a_wide_name_shifts_neither_its_row_nor_its_news() {
        let backend = sinew_connect::connect("memory:wide-names").await.unwrap();
        let names = ["tokyo", "東京", "e\u{301}", &"東".repeat(30)];
        let expected = names.map(|name| Process::parse(name).unwrap());
        let options =
            expected.into_iter().fold(WatchOptions::default(), WatchOptions::with_expected);
        let mut watch = Watch::start(&backend.subscriber().unwrap(), options).await.unwrap();
        let output = Output::new(false, Chatter::Normal);
        let report = Report { output, clock: watch.clock() };
        for status in watch.table().processes() {
            let row = row(output, &status, watch.clock().now());
            assert_eq!(column(&row, "expected"), 28, "{row}");
            let event = watch.next().await.unwrap().unwrap();
            let news = report.line(&event, 20);
            assert_eq!(column(&news, "->"), 44, "{news}");
        }
    }

    /// Where `word` begins on a terminal.
    fn column(line: &str, word: &str) -> usize {
        unicode_width::UnicodeWidthStr::width(line.split_once(word).unwrap().0)
    }
}
