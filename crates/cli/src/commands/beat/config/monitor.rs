//! How patient the monitor is with whom, and how much it holds.
use std::time::Duration;

use sinew_beat::{MonitorOptions, Patience};

use super::reader::{Section, number, pattern, positive, span};

/// How many rules are taken. Each name is looked up in all of them, once.
const MOST_RULES: usize = 1000;

const FEWEST: u64 = 1;
const MOST_PROCESSES: u64 = 10_000_000;

/// The options, and how many processes there may be.
pub(super) fn read(section: &mut Section<'_>) -> (MonitorOptions, usize) {
    let everyone = section.table("patience", |it| patience(it, Knobs::default()));
    let rules = section.tables("rule", MOST_RULES, |it| {
        let processes = it.required("processes", pattern);
        let knobs = patience(it, everyone);
        Some((processes?, knobs))
    });
    let (begin, end) = section.table("flapping", |it| {
        let begin = it.value("begin", number(1_u8, 101)).unwrap_or(50);
        let end = it.value("end", number(1_u8, 100)).unwrap_or(25);
        if end > begin {
            it.flaw("`end` is at most `begin`: flapping would end as it begins");
        }
        (begin, end)
    });
    let reap_after = section.value("reap_after", positive);
    let most = section.value("max_processes", number(FEWEST, MOST_PROCESSES)).unwrap_or(100_000);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let options = MonitorOptions::default()
        .with_patience(everyone.build())
        .with_flapping(begin, end)
        .with_reap_after(reap_after)
        .with_max_processes(most);
    let options = rules
        .into_iter()
        .fold(options, |options, (processes, knobs)| options.with_rule(processes, knobs.build()));
    (options, most)
}

/// The figures of a [`Patience`], which shows none of them.
#[derive(Clone, Copy, Default)]
struct Knobs {
    grace: Option<Duration>,
    missed: Option<u32>,
    learning: Option<Duration>,
    recoveries: Option<u32>,
}

impl Knobs {
    fn build(self) -> Patience {
        let mut patience = Patience::default();
        if let Some(grace) = self.grace {
            patience = patience.with_grace(grace);
        }
        if let Some(missed) = self.missed {
            patience = patience.with_missed(missed);
        }
        if let Some(learning) = self.learning {
            patience = patience.with_learning(learning);
        }
        if let Some(recoveries) = self.recoveries {
            patience = patience.with_recoveries(recoveries);
        }
        patience
    }
}

/// What the section says, and else what holds for everyone.
fn patience(section: &mut Section<'_>, everyone: Knobs) -> Knobs {
    Knobs {
        grace: section.value("grace", span).or(everyone.grace),
        missed: section.value("missed", number(1, 1_000_000)).or(everyone.missed),
        learning: section.value("learning", positive).or(everyone.learning),
        recoveries: section.value("recoveries", number(1, 1_000_000)).or(everyone.recoveries),
    }
}
