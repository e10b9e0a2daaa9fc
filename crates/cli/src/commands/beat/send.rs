//! `sinew beat send`: beats for a process.
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use sinew_beat::{Beat, Heart, HeartOptions, MIN_INTERVAL, Process, Pulse};
use sinew_core::{AnyBackend, AnyPublisher, Event, Link as _};
use tokio::time::{Instant, timeout_at};

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section},
    exit::{Failure, Outcome},
    interrupt::{Ending, Stop},
    json::Time,
    session::{DRAIN, Session},
    time::{clock, parse_duration, parse_positive},
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("beat for billing, for twenty seconds", "sinew beat send billing --for 20s"),
    (
        "three beats that say it is not well",
        "sinew beat send billing --degraded --every 1s --count 3",
    ),
    (
        "vanish as a crash does, without a stop",
        "sinew beat send billing --every 1s --count 2 --no-stop",
    ),
];

/// Beat for a process: start, a beat every so often, stop at the end
#[derive(Args, Debug)]
#[command(after_help = section(EXAMPLES))]
pub(crate) struct Send {
    /// Its name: dot-separated words
    #[arg(value_name = "PROCESS")]
    process: Process,
    /// How often to beat
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_positive)]
    every: Duration,
    /// What the start promises: a beat within this time
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    warmup: Duration,
    /// What each beat promises: the next one within this time [default: as --every]
    #[arg(long, value_name = "DURATION", value_parser = parse_positive)]
    period: Option<Duration>,
    /// Beat as one that works, but not well
    #[arg(long)]
    degraded: bool,
    /// Say no stop at the end, as a crash does not
    #[arg(long)]
    no_stop: bool,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Serialize)]
struct SentLine<'a> {
    time: Time,
    process: &'a str,
    sent: String,
}

impl Send {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let period = self.period.unwrap_or(self.every);
        if period < self.every {
            return Err(Failure::usage(
                "--period: a promise shorter than --every is broken each time",
            ));
        }
        self.process.subject()?;
        let backend = session.connect(self.connection, self.ending.within).await?;
        let options = HeartOptions::default()
            .with_warmup(self.warmup)
            .with_period(period)
            .with_min_interval(MIN_INTERVAL.min(self.every));
        let heart = options.build(backend.publisher()?, self.process.as_str())?;
        let beat = if self.degraded { Beat::Degraded { period } } else { Beat::Beat { period } };
        let deadline = self.ending.deadline();
        let mut sent = 0;
        let mut stop = Stop::Ended;
        send(session, &heart, Beat::Start { warmup: self.warmup }).await?;
        loop {
            sent += u64::from(send(session, &heart, beat).await?);
            // Counted from after the last one, so that none is early enough to be suppressed.
            let next = Instant::now() + self.every;
            if self.ending.reached(sent) {
                break;
            }
            let until = deadline.map_or(next, |deadline| next.min(deadline));
            stop = session.interrupt.or_deadline(Some(until)).await;
            if stop == Stop::Interrupted || deadline == Some(until) {
                break;
            }
        }
        let stopped = if self.no_stop { Ok(()) } else { say_stop(session, &backend, &heart).await };
        session.drain(&backend).await;
        stopped?;
        Ok(self.ending.status(stop, sent))
    }
}

/// Says the stop, without which whoever ends well would be called down: a link that is broken is waited for as long as
/// for a drain.
async fn say_stop(
    session: &Session,
    backend: &AnyBackend,
    heart: &Heart<AnyPublisher>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + DRAIN;
    let attempt = async || {
        // Where it stays broken, the attempt says so.
        let _ = timeout_at(deadline, is_up(backend)).await;
        heart.send(Beat::Stop).await
    };
    let pulse = match attempt().await {
        // What failed may be a beat before it, which a break of the link took along.
        Err(_) if Instant::now() < deadline => attempt().await?,
        pulse => pulse?,
    };
    tell(session, heart, Beat::Stop, pulse).map(drop)
}

/// Ends when the link is up.
async fn is_up(backend: &AnyBackend) {
    let mut link = backend.link().watch();
    while let Some(Ok(event)) = link.next().await {
        if let Event::Up { .. } = event {
            return;
        }
    }
}

/// Sends one; tells whether it was. A broker that is gone does not end a heart.
async fn send(session: &Session, heart: &Heart<AnyPublisher>, beat: Beat) -> Result<bool, Failure> {
    match heart.send(beat).await {
        Ok(pulse) => tell(session, heart, beat, pulse),
        Err(err) => {
            session.output.remark(format_args!("{beat} was not sent: {err}"));
            Ok(false)
        }
    }
}

/// Tells of one that was sent; says whether it was.
fn tell(
    session: &Session,
    heart: &Heart<AnyPublisher>,
    beat: Beat,
    pulse: Pulse,
) -> Result<bool, Failure> {
    let output = session.output;
    match pulse {
        Pulse::Sent if output.json => {
            let process = heart.process().as_str();
            output.object(&SentLine { time: Time::now(), process, sent: beat.to_string() })?;
            Ok(true)
        }
        Pulse::Sent => {
            output.line(format_args!("{} {} {beat}", clock(SystemTime::now()), heart.subject()))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
