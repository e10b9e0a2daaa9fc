//! The demo's picture: a row per service, and the news below.
use std::{collections::VecDeque, env, time::Duration};

use clap::builder::styling::Style;
use sinew_beat::{ProcessStatus, State, WatchTable};

use super::{
    cast::CAST,
    story::{STRIP, Story, bar},
};
use crate::{
    commands::beat::{Report, painted, style, tally},
    exit::Failure,
    live::Live,
};

/// How many of the last news are shown.
const NEWS: usize = 6;

/// The picture on the terminal.
pub(super) struct Screen {
    live: Live,
    report: Report,
    news: VecDeque<String>,
    unicode: bool,
}

impl Screen {
    pub(super) fn new(report: Report) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self { live: Live::new(report.output), report, news: VecDeque::new(), unicode }
    }

    pub(super) fn hear(&mut self, line: String) {
        if self.news.len() == NEWS {
            self.news.pop_front();
        }
        self.news.push_back(line);
    }

    pub(super) fn draw(
        &mut self,
        table: &WatchTable,
        story: &Story,
        elapsed: Duration,
        length: Duration,
    ) -> Result<(), Failure> {
        let output = self.report.output;
        let bold = |text: String| output.paint(Style::new().bold(), text);
        let processes = table.processes();
        let mut lines = vec![
            format!(
                "{}: {} services beat, one monitor watches {:>21}",
                bold("sinew demo".to_owned()),
                CAST.len(),
                format!("{:.0} s of {:.0} s", elapsed.as_secs_f64(), length.as_secs_f64()),
            ),
            String::new(),
            bold(format!(
                "{:10} {:9} {:>10}  {:>6}  {}",
                "SERVICE", "STATE", "LAST BEAT", "DUE IN", "THE LAST 20 SECONDS"
            )),
        ];
        for (role, memory) in CAST.iter().zip(&story.services) {
            let status = processes.iter().find(|it| it.process.as_str() == role.name);
            let strip = self.strip(memory.strip.iter().copied());
            lines.push(format!("{:10} {}  {strip}", role.name, self.row(status)));
        }
        lines.push(String::new());
        lines.push(bold("WHAT HAPPENS, AND WHAT THE MONITOR MAKES OF IT".to_owned()));
        // News are blank at first, so that the picture does not grow while somebody reads it.
        let blank = std::iter::repeat_n(String::new(), NEWS - self.news.len());
        lines.extend(self.news.iter().cloned().chain(blank));
        lines.push(bold(format!("{} | Ctrl-C ends", tally(processes.iter().map(|it| it.state)))));
        let rows = self.live.rows();
        if lines.len() > rows {
            // On a low terminal the news go first.
            let (from, to) = (CAST.len() + 3, lines.len() - 1);
            let surplus = (lines.len() - rows).min(to - from);
            lines.drain(from..from + surplus);
        }
        lines.truncate(rows);
        self.live.draw(&lines)
    }

    fn row(&self, status: Option<&ProcessStatus>) -> String {
        let now = self.report.clock.now();
        let Some(it) = status else { return format!("{:9} {:>10}  {:>6}", "", "", "") };
        let last = it.last_seen.map_or_else(
            || "never".to_owned(),
            |at| format!("{:.1} s ago", now.since(at).as_secs_f64()),
        );
        let due = match it.deadline {
            Some(deadline) if it.state != State::Expected => {
                format!("{:.1} s", deadline.since(now).as_secs_f64())
            }
            _ => "-".to_owned(),
        };
        format!("{} {last:>10}  {due:>6}", painted(self.report.output, it.state, 9))
    }

    /// One bar per sample, each run of a state in its colour.
    fn strip(&self, states: impl Iterator<Item = Option<State>>) -> String {
        let mut strip = String::with_capacity(STRIP * 4);
        let mut states = states.peekable();
        while let Some(state) = states.next() {
            let mut run = String::from(bar(state, self.unicode));
            while states.next_if_eq(&state).is_some() {
                run.push(bar(state, self.unicode));
            }
            match state {
                Some(state) => strip.push_str(&self.report.output.paint(style(state), run)),
                None => strip.push_str(&run),
            }
        }
        strip
    }
}
