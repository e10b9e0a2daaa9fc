//! `sinew consume`: takes deliveries from a queue and settles each by what became of it.
use std::time::Duration;

use clap::{Args, ValueEnum};
use sinew_core::{
    Consume as _, Consumption, Delivery, Event, Incoming, Lifetime, Pattern, Queue, Verdict,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    exec::{self, Ran},
    subscribe::{Shape, StartAt, remark},
};
use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome},
    interrupt::{Ending, Stop},
    json::Received,
    session::{DRAIN, Session},
    time::{parse_duration, written},
};

pub(crate) const EXAMPLES: &[Example] = &[
    (
        "one delivery, printed and acknowledged; the stream ORDERS holds orders.>",
        "sinew consume billing --bind 'orders.*' --count 1 --for 10s \\\n    --url nats+js://127.0.0.1:4222/ORDERS",
    ),
    (
        "a command for each; what fails comes again after five seconds",
        "sinew consume billing --bind 'orders.*' --exec 'wc -c' --retry-after 5s \\\n    --url nats+js://127.0.0.1:4222/ORDERS --for 10s",
    ),
    (
        "see how it waits, without a broker",
        "sinew consume billing --bind 'orders.*' --url memory: --for 1s",
    ),
];

const NOTE: &str = "A delivery is acknowledged once it is printed; with --exec, once its command has ended with \
    status 0. The command finds SINEW_SUBJECT, SINEW_ATTEMPT and SINEW_POSITION in its environment; an interrupt, or \
    the end of --for, leaves it 30 s.";

/// Take deliveries from a queue, and settle each by what became of it
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Consume {
    /// The queue; made if it is not there
    #[arg(value_name = "QUEUE")]
    queue: Queue,
    /// What the queue takes; may be given more than once
    #[arg(long, value_name = "PATTERN", required = true)]
    bind: Vec<Pattern>,
    /// Let the queue go some time after its last consumer
    #[arg(long)]
    transient: bool,
    /// How many deliveries may be on their way to us, unsettled
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    prefetch: u16,
    /// Where a queue that is made starts: new, first, last, a number in the URL's stream, LOG@NUMBER, a time
    #[arg(long, value_name = "WHERE", default_value = "new")]
    from: StartAt,
    /// Run this by `sh -c` for each delivery, its payload on standard input, and settle by its exit status
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// What becomes of a delivery whose command fails
    #[arg(long, value_name = "WHAT", default_value = "requeue", requires = "exec")]
    on_error: OnError,
    /// Requeue after this time, not at once; the backend must be able to
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "exec")]
    retry_after: Option<Duration>,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What becomes of a delivery whose command fails.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnError {
    /// Somebody gets it again
    Requeue,
    /// Nobody does
    Discard,
}

/// How deliveries are worked on.
struct Work {
    exec: Option<String>,
    on_failure: Verdict,
    shape: Shape,
    deadline: Option<Instant>,
}

/// How long a command may go on once its consumer should end.
const GRACE: Duration = Duration::from_secs(30);

impl Consume {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Self { queue, bind, from, ending, shape, connection, exec, .. } = self;
        let on_failure = match (self.on_error, self.retry_after) {
            (OnError::Discard, None) => Verdict::Discard,
            (OnError::Discard, Some(_)) => {
                return Err(Failure::usage(
                    "--retry-after requeues, --on-error discard does not; keep one",
                ));
            }
            (OnError::Requeue, None) => Verdict::Requeue,
            (OnError::Requeue, Some(after)) => Verdict::RequeueAfter(after),
        };
        let options = session.options(connection)?;
        let start = from.start(options.url())?;
        let mut patterns = bind.into_iter();
        let first =
            patterns.next().ok_or_else(|| Failure::usage("--bind says what the queue takes"))?;
        let lifetime = if self.transient { Lifetime::UntilUnused } else { Lifetime::Durable };
        let wanted = Consumption::new(queue, first)
            .with_lifetime(lifetime)
            .with_prefetch(self.prefetch)
            .with_start(start);
        let wanted = patterns.fold(wanted, Consumption::and);
        let backend = session.connect_with(options, ending.within).await?;
        let consumer = backend.consumer()?;
        let consuming = async { Ok(consumer.consume(wanted).await?) };
        let mut incoming = session.interrupt.unless(consuming).await?;
        session.output.remark("consuming");
        let work = Work { exec, on_failure, shape, deadline: ending.deadline() };
        let worked = work.through(session, &mut incoming, ending).await;
        // What nobody has begun with goes back to the queue, however this ends.
        drop(incoming);
        session.drain(&backend).await;
        let (stop, settled) = worked?;
        Ok(ending.status(stop, settled))
    }
}

impl Work {
    /// Works until the end.
    async fn through(
        &self,
        session: &Session,
        incoming: &mut Incoming<Delivery>,
        ending: Ending,
    ) -> Result<(Stop, u64), Failure> {
        let mut settled = 0;
        let mut stop = Stop::Ended;
        while !ending.reached(settled) {
            let event = tokio::select! {
                biased;
                why = session.interrupt.or_deadline(self.deadline) => {
                    stop = why;
                    break;
                }
                event = incoming.next() => event,
            };
            match event.transpose()? {
                None => break,
                Some(Event::Item(delivery)) => {
                    self.settle(session, delivery).await?;
                    settled += 1;
                }
                Some(other) => remark(session.output, &other),
            }
        }
        Ok((stop, settled))
    }

    async fn settle(&self, session: &Session, delivery: Delivery) -> Result<(), Failure> {
        let verdict = match &self.exec {
            None => {
                let object = || Received::delivery(&delivery);
                self.shape.print(session.output, object, &delivery.message)?;
                Verdict::Ack
            }
            Some(command) => match self.run(session, command, &delivery).await? {
                Ran::Well => Verdict::Ack,
                Ran::Badly(why) => {
                    let name = &delivery.message.address;
                    session.output.remark(format_args!("{name}: the command {why}"));
                    self.on_failure
                }
                Ran::Revoked => {
                    let name = &delivery.message.address;
                    session
                        .output
                        .remark(format_args!("{name}: the broker took the delivery back"));
                    return Ok(());
                }
            },
        };
        match timeout(DRAIN, delivery.settle(verdict)).await {
            Ok(outcome) => Ok(outcome?),
            // It was handed over; whether it arrived shows in a redelivery.
            Err(_) => {
                session.output.remark("the broker does not answer; a delivery may come again");
                Ok(())
            }
        }
    }

    /// Runs the command; once the consumer should end, for the time of grace at most.
    async fn run(
        &self,
        session: &Session,
        command: &str,
        delivery: &Delivery,
    ) -> Result<Ran, Failure> {
        let out_of_grace = async {
            session.interrupt.or_deadline(self.deadline).await;
            sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            ran = exec::run(command, delivery) => ran,
            () = out_of_grace => {
                Ok(Ran::Badly(format!("was ended {} after its consumer should have", written(GRACE))))
            }
        }
    }
}
