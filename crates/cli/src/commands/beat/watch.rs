//! `sinew beat watch`: who lives, as it changes.
use std::time::Duration;

use clap::Args;
use sinew_beat::{Process, WatchOptions, WatchTable};
use sinew_core::Backend as _;
use tokio::time::{MissedTickBehavior, interval};

use super::{Report, config::HeartConfig, own_heart::OwnHeart, table::Table};
use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome, Status},
    interrupt::{Ending, Stop},
    session::Session,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("everyone, for twenty seconds", "sinew beat watch --for 20s"),
    ("those of one region, for a program", "sinew beat watch 'eu.>' --json --for 20s"),
    (
        "exit status 1 unless billing is alive in the end",
        "sinew beat watch --expect billing --for 10s",
    ),
];

const NOTE: &str = "A process is late once it broke its promise by a second, and down after three promises and a \
    second. While the broker is gone nobody is judged.";

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// Tell who lives, and each change of it; a live table on a terminal
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Watch {
    /// Whom to watch: a process's name, in which `*` stands for a word and a last `>` for all that follow
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
    /// A process that should be there: down when not heard of within a minute; exit status 1 unless it is alive in
    /// the end. May be given more than once
    #[arg(long, value_name = "PROCESS", value_parser = super::parse_expected)]
    expect: Vec<Process>,
    #[command(flatten)]
    heart: OwnHeart,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Watch {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        super::hears_expected(self.pattern.as_deref(), &self.expect)?;
        let backend = session.connect(self.connection, self.ending.within).await?;
        let mut options = WatchOptions::default();
        if let Some(pattern) = self.pattern {
            options = options.with_processes(pattern);
        }
        options = self.expect.iter().cloned().fold(options, WatchOptions::with_expected);
        let (own, config) = (self.heart, HeartConfig::default());
        let (watch, _trying) =
            own.watch(session, &backend, &config, options, self.ending.within).await?;
        let table = watch.table();
        let report = Report { output: session.output, clock: watch.clock() };
        let backend_name = backend.capabilities().backend;
        if !session.output.is_terminal() {
            session.output.remark(format_args!("watching ({backend_name})"));
        }
        let watched = show(session, watch, report, self.ending).await;
        session.drain(&backend).await;
        let (stop, told) = watched?;
        let status = self.ending.status(stop, told);
        Ok(if status == Status::Done && !all_alive(&table, &self.expect) {
            Status::No
        } else {
            status
        })
    }
}

/// Whether all of `expected` are alive by what is known in the end.
fn all_alive(table: &WatchTable, expected: &[Process]) -> bool {
    expected.iter().all(|process| {
        table.process(process.as_str()).is_some_and(|status| status.state.is_alive())
    })
}

/// Shows what happens until the end, on a terminal as a table that is drawn again and again.
async fn show(
    session: &Session,
    mut watch: sinew_beat::Watch,
    report: Report,
    ending: Ending,
) -> Result<(Stop, u64), Failure> {
    let deadline = ending.deadline();
    let mut table = report.output.is_terminal().then(|| Table::new(watch.table(), report));
    let mut redraw = interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut stop) = (0, Stop::Ended);
    while !ending.reached(told) {
        tokio::select! {
            biased;
            why = session.interrupt.or_deadline(deadline) => {
                stop = why;
                break;
            }
            _ = redraw.tick(), if table.is_some() => table.as_mut().map_or(Ok(()), Table::draw)?,
            event = watch.next() => {
                let Some(event) = event.transpose()? else { break };
                match &mut table {
                    Some(table) => table.hear(&event),
                    None => report.tell(&event)?,
                }
                told += u64::from(event.transition().is_some());
            }
        }
    }
    // What stays in the scrollback is the state at the end.
    table.as_mut().map_or(Ok(()), Table::draw)?;
    Ok((stop, told))
}
