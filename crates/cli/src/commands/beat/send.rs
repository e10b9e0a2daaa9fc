//! `sinew beat send`: beats for a process.
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use sinew_beat::{Beat, Heart, HeartOptions, MIN_INTERVAL, Process, Pulse};
use sinew_core::AnyPublisher;
use tokio::time::Instant;

use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section},
    exit::{Failure, Outcome},
    interrupt::{Ending, Stop},
    json::Time,
    session::Session,
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
    /// How often to beat; at least 1s
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
        if self.every < MIN_INTERVAL {
            return Err(Failure::usage(
                "--every: a heart beats at most once a second; write 1s or more",
            ));
        }
        if period < self.every {
            return Err(Failure::usage(
                "--period: a promise shorter than --every is broken each time",
            ));
        }
        self.process.subject()?;
        let backend = session.connect(self.connection, self.ending.within).await?;
        let options = HeartOptions::default().with_warmup(self.warmup).with_period(period);
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
        if !self.no_stop {
            send(session, &heart, Beat::Stop).await?;
        }
        session.drain(&backend).await;
        Ok(self.ending.status(stop, sent))
    }
}

/// Sends one; tells whether it was. A broker that is gone does not end a heart.
async fn send(session: &Session, heart: &Heart<AnyPublisher>, beat: Beat) -> Result<bool, Failure> {
    let output = session.output;
    match heart.send(beat).await {
        Ok(Pulse::Sent) if output.json => {
            let process = heart.process().as_str();
            output.object(&SentLine { time: Time::now(), process, sent: beat.to_string() })?;
            Ok(true)
        }
        Ok(Pulse::Sent) => {
            output.line(format_args!("{} {} {beat}", clock(SystemTime::now()), heart.subject()))?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(err) => {
            output.remark(format_args!("{beat} was not sent: {err}"));
            Ok(false)
        }
    }
}
