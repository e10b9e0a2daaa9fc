//! `sinew demo`: a small fleet lives, degrades and dies, wafers are inspected, or orders handled; no broker, no setup.
mod asking;
mod cast;
mod handling;
mod screen;
mod stage;
mod story;

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use clap::{Args, ValueEnum, builder::styling::Style};
use serde_json::json;
use sinew_beat::{MonitorEvent, MonitorOptions, Patience, Process, Watch, WatchOptions};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    cast::{CAST, Fate},
    screen::Screen,
    stage::Happening,
    story::{Chapter, SAMPLE, Story, sentence},
};
use super::beat::{LISTEN, Report, StatusPage, painted, tally};
use crate::{
    args::Format,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome, Status},
    interrupt::Stop,
    json::Time,
    session::Session,
    time::parse_positive,
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("twenty seconds in the life of a fleet", "sinew demo"),
    ("ten seconds of it on its status page, too", "sinew demo --serve --for 10s"),
    ("ten of them, as lines that another program can read", "sinew demo --for 10s --json"),
    ("agents are asked, and answer, fail, or keep silent", "sinew demo --act dispatch"),
    ("orders are handled, fail, and are tried again", "sinew demo --act events"),
];

const NOTE: &str = "A dozen simulated services run in this process. Their hearts are real, and so is the monitor that \
    watches them over the broker inside this process: it knows nothing but what it hears. Each beat promises the next \
    one within a second; who is silent for two is late, who is silent for four is down. With --act dispatch, six agents \
    inspect wafers: each is served over a connection of its own, and each ask says when it has enough. With --act \
    events, five instances of three services handle orders, and what one of them cannot handle is kept and redriven.";

/// Watch a small fleet live, degrade and die, agents answer, or events be handled; needs no broker
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Demo {
    /// How long
    #[arg(long = "for", value_name = "DURATION", default_value = "20s", value_parser = parse_positive)]
    within: Duration,
    /// What to show
    #[arg(long, value_name = "ACT", default_value = "beat")]
    act: Act,
    /// Show its status page, too, at http://127.0.0.1:2328/ or, where that port is taken, at any other
    #[arg(long)]
    serve: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// What the demo shows.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Act {
    /// Heartbeats and the monitor
    Beat,
    /// Asks, and agents that answer them
    Dispatch,
    /// Events, and services that handle them
    Events,
}

/// How long the demo's monitor waits for one that is expected: not the minute that real fleets need.
const LEARNING: Duration = Duration::from_secs(10);

/// How often the picture is drawn.
const REDRAW: Duration = Duration::from_millis(100);

impl Demo {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.act {
            Act::Beat => beat(session, self.within, self.serve).await,
            Act::Dispatch | Act::Events if self.serve => {
                Err(Failure::usage("--serve shows the page of the fleet; leave --act out"))
            }
            Act::Dispatch => asking::run(session, self.within).await,
            Act::Events => handling::run(session, self.within).await,
        }
    }
}

async fn beat(session: &Session, length: Duration, serve: bool) -> Outcome {
    // A broker of its own, which nothing else in this process connects to.
    let backend = sinew_connect::connect("memory:sinew-demo").await?;
    let mut options = WatchOptions::default().with_monitor(
        MonitorOptions::default().with_patience(Patience::default().with_learning(LEARNING)),
    );
    for role in &CAST {
        options = options.with_expected(Process::parse(role.name)?);
    }
    let mut watch = Watch::start(&backend.subscriber()?, options).await?;
    let report = Report { output: session.output, clock: watch.clock() };
    let page = match serve {
        true => Some(page(&watch, session).await?),
        false => None,
    };
    let (tell, mut happenings) = mpsc::channel(64);
    // That they are expected goes without saying; the play begins after it.
    for _ in &CAST {
        let event = watch.next().await.transpose()?;
        page.iter().zip(&event).for_each(|(page, event)| page.hear(event));
    }
    let play = tokio::spawn(stage::play(backend.publisher()?, tell));
    let mut audience = Audience::new(report, length, page);
    let stop = audience.attend(session, &mut watch, &mut happenings).await;
    play.abort();
    let stop = stop?;
    audience.summary(&watch)?;
    if let Some(page) = audience.page {
        page.end().await;
    }
    session.drain(&backend).await;
    Ok(if stop == Stop::Interrupted { Status::Interrupted } else { Status::Done })
}

/// The page, where the usual one is or, if that port is taken, at any other.
async fn page(watch: &Watch, session: &Session) -> Result<StatusPage, Failure> {
    let any = SocketAddr::new(LISTEN.ip(), 0);
    let page = match StatusPage::start(watch, LISTEN, session.output).await {
        Ok(page) => page,
        Err(_) => StatusPage::start(watch, any, session.output).await?,
    };
    session.output.remark(format_args!("serving http://{}/", page.address()));
    Ok(page)
}

/// Who looks on: a picture on a terminal, else lines.
struct Audience {
    report: Report,
    story: Story,
    screen: Option<Screen>,
    page: Option<StatusPage>,
    began: Instant,
    wall: SystemTime,
    length: Duration,
}

impl Audience {
    fn new(report: Report, length: Duration, page: Option<StatusPage>) -> Self {
        let screen = report.output.is_terminal().then(|| Screen::new(report));
        Self {
            report,
            story: Story::new(),
            screen,
            page,
            began: Instant::now(),
            wall: SystemTime::now(),
            length,
        }
    }

    async fn attend(
        &mut self,
        session: &Session,
        watch: &mut Watch,
        happenings: &mut mpsc::Receiver<Happening>,
    ) -> Result<Stop, Failure> {
        let table = watch.table();
        let deadline = self.began + self.length;
        let mut samples = interval(SAMPLE);
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                stop = session.interrupt.or_deadline(Some(deadline)) => {
                    self.draw(&table)?;
                    return Ok(stop);
                }
                Some(happening) = happenings.recv() => self.happened(happening)?,
                event = watch.next() => match event.transpose()? {
                    Some(event) => self.heard(&event)?,
                    None => return Ok(Stop::Ended),
                },
                _ = samples.tick() => {
                    self.story.sample(|name| table.process(name).map(|it| it.state));
                }
                _ = redraw.tick() => self.draw(&table)?,
            }
        }
    }

    fn draw(&mut self, table: &sinew_beat::WatchTable) -> Result<(), Failure> {
        let elapsed = self.began.elapsed().min(self.length);
        match &mut self.screen {
            Some(screen) => screen.draw(table, &self.story, elapsed, self.length),
            None => Ok(()),
        }
    }

    /// Something really happened.
    fn happened(&mut self, Happening { whom, what }: Happening) -> Result<(), Failure> {
        let at = SystemTime::now();
        self.story.happened(whom, what, at);
        let (output, name) = (self.report.output, CAST.get(whom).map_or("", |role| role.name));
        if output.json {
            let happened = format!("{what:?}").to_lowercase();
            return output
                .object(&json!({ "time": Time(at), "service": name, "happened": happened }));
        }
        let what = output.paint(Style::new().bold(), what.describe());
        let line = format!("{} {name:10} {what}", self.time(at));
        self.news(line)
    }

    /// The time since the beginning, at the beginning of a line.
    fn time(&self, at: SystemTime) -> String {
        let since = at.duration_since(self.wall).unwrap_or_default();
        let text = format!("{:5.1} s ", since.as_secs_f64());
        self.report.output.paint(Style::new().dimmed(), text)
    }

    fn news(&mut self, line: String) -> Result<(), Failure> {
        match &mut self.screen {
            Some(screen) => {
                screen.hear(line);
                Ok(())
            }
            None => self.report.output.line(line),
        }
    }

    /// The monitor says something.
    fn heard(&mut self, event: &MonitorEvent) -> Result<(), Failure> {
        if let Some(page) = &self.page {
            page.hear(event);
        }
        let at = self.report.clock.wall(event.at());
        let Some(it) = event.transition() else { return self.report.tell(event) };
        self.story.told(it, at);
        let output = self.report.output;
        if output.json {
            return self.report.tell(event);
        }
        let (time, name) = (self.time(at), it.process.as_str());
        let from = it.from.map_or("", |state| state.as_str());
        let to = painted(output, it.to, 0);
        self.news(format!(
            "{time} {name:10}   the monitor calls it {to} (was {from}; {})",
            it.reason
        ))
    }

    /// What happened against what the monitor saw.
    fn summary(&mut self, watch: &Watch) -> Result<(), Failure> {
        self.screen = None;
        let output = self.report.output;
        let table = watch.table();
        let (counts, processes) = (table.counts(), table.processes());
        if output.json {
            let states = processes.iter().map(|it| (it.process.as_str(), it.state.as_str()));
            return output.object(&json!({
                "summary": {
                    "elapsed": self.began.elapsed().as_secs_f64(),
                    "beats": counts.beats,
                    "transitions": self.story.transitions,
                    "states": states.collect::<std::collections::BTreeMap<_, _>>(),
                }
            }));
        }
        let soon = self.wall + Duration::from_secs(1);
        let bold = |text: &str| output.paint(Style::new().bold(), text);
        output.line(format_args!("\n{}", bold("What happened, and when the monitor saw it")))?;
        for (role, memory) in CAST.iter().zip(&self.story.services) {
            // That they start in the first second goes without saying.
            let ordinary = |chapter: &Chapter| chapter.what == Fate::Start && chapter.at < soon;
            let mut name = role.name;
            for chapter in memory.chapters.iter().filter(|chapter| !ordinary(chapter)) {
                output.line(format_args!("  {name:10} {}", sentence(chapter)))?;
                name = "";
            }
        }
        let states = tally(processes.iter().map(|it| it.state));
        output.line(format_args!(
            "\n{} beats heard, {} changes of state told.\nIn the end: {states}.",
            counts.beats, self.story.transitions
        ))?;
        output.line("With a nats-server: sinew beat watch, and beside it sinew beat send NAME")
    }
}
