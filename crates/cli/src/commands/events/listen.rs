//! `sinew events listen`: a handler of a service, in a terminal.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde::{Serialize, de::IgnoredAny};
use sinew_core::{Attempt, Queue};
use sinew_events::{
    AnySerializer, Context, EventHandler, HandlerError, HandlerKind, HandlerName, PayloadOptions,
    Profile, Running, Service, ServiceEvent, ServiceEvents, SettledAs,
};
use tokio::{
    process::Command,
    sync::{Notify, Semaphore, watch},
};

use crate::{
    args::Format,
    commands::exec,
    connection::ConnectionArgs,
    examples::{Example, section_with_note},
    exit::{Failure, Outcome},
    interrupt::{Ending, Stop},
    json::{self, Payload, Time},
    output::{Output, printable},
    session::Session,
    time::clock,
};

pub(crate) const EXAMPLES: &[Example] = &[
    (
        "as one more instance of billing, which handles what it is given",
        "sinew events listen orders created --as billing.on_created --exec 'wc -c' \\\n    --url memory: --for 1s",
    ),
    (
        "see what goes by, and take nothing away from anybody",
        "sinew events listen orders '#' --as shell.hear --kind broadcast \\\n    --unreliable --url memory: --for 1s",
    ),
];

const NOTE: &str = "An event is handled once it is printed; with --exec, once its command has ended with status 0. A \
    failure is tried again, at last after five minutes, and then put into the error queue: see `sinew events errors`. Exit status 65 says \
    that trying again does not help. The command finds SINEW_SERVICE, SINEW_EVENT, SINEW_CALL_ID and SINEW_ATTEMPT in \
    its environment; an interrupt, or the end of --for, leaves it 30 s. Over RabbitMQ the exchange SERVICE.events has to \
    be there, or the URL ends with ?declare_exchanges.";

/// How long a command may go on once the listener should end.
const GRACE: Duration = Duration::from_secs(30);
/// What a command ends with to say that its input is bad: EX_DATAERR.
const BAD_DATA: i32 = 65;

/// Handle the events of a service, as a method of another
#[derive(Args, Debug)]
#[command(after_help = section_with_note(NOTE, EXAMPLES))]
pub(crate) struct Listen {
    /// Whose events
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Which: words joined by dots, of which `*` is any one and `#` any number
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// In whose place; all that say the same share the events, nameko's instances included
    #[arg(long = "as", value_name = "SERVICE.METHOD")]
    name: HandlerName,
    /// Who of several instances has each event
    #[arg(long, value_name = "KIND", default_value = "pool")]
    kind: Kind,
    /// What tells this instance from the others of a broadcast, the same after a restart
    #[arg(long, value_name = "NAME")]
    identifier: Option<String>,
    /// Miss what is emitted while nobody listens, and keep nothing that fails
    #[arg(long)]
    unreliable: bool,
    /// Have a failed event again at once, as often as it fails, as nameko does where it is told to
    #[arg(long)]
    requeue_on_error: bool,
    /// Run this by `sh -c` for each event, its payload on standard input
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Who has each event.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// One instance of each service
    Pool,
    /// One instance of one service
    Singleton,
    /// Every instance
    Broadcast,
}

impl From<Kind> for HandlerKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Pool => Self::ServicePool,
            Kind::Singleton => Self::Singleton,
            Kind::Broadcast => Self::Broadcast,
        }
    }
}

/// What one event is handled with.
#[derive(Debug)]
struct Desk {
    output: Output,
    exec: Option<Box<str>>,
    payload: PayloadOptions,
    /// How many may be handled still.
    left: Semaphore,
    handled: watch::Sender<u64>,
    /// Told when an event has come that there is none left for: the one before it is settled by then.
    enough: Notify,
    /// Why nothing more can be printed.
    failure: Mutex<Option<Failure>>,
}

/// What `events listen` prints.
#[derive(Debug, Serialize)]
struct Heard<'a> {
    time: Time,
    service: &'a str,
    r#type: &'a str,
    #[serde(flatten)]
    payload: Payload<'a>,
    context: BTreeMap<&'a str, serde_json::Value>,
    /// In each line: null where it is not known.
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redelivered: Option<bool>,
}

impl Listen {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if self.identifier.is_some() && !matches!(self.kind, Kind::Broadcast) {
            // It would take events away from the members of a pool.
            return Err(Failure::usage("--identifier is for --kind broadcast"));
        }
        if matches!(self.kind, Kind::Broadcast) && self.identifier.is_none() && !self.unreliable {
            let what = "a broadcast needs --identifier, the same after a restart, or --unreliable";
            return Err(Failure::usage(what));
        }
        let ending = self.ending;
        let most = ending.count.and_then(|count| usize::try_from(count).ok());
        let payload = PayloadOptions::default().with_accept(AnySerializer::message_pack());
        let desk = Arc::new(Desk {
            output: session.output,
            exec: self.exec.as_deref().map(Into::into),
            payload: payload.clone(),
            left: Semaphore::new(most.unwrap_or(Semaphore::MAX_PERMITS)),
            handled: watch::Sender::new(0),
            enough: Notify::new(),
            failure: Mutex::new(None),
        });
        let service = self.service(&desk, payload)?;
        // From before its start: what is handled at once is told, too.
        let mut events = service.events();
        let backend = session.connect(self.connection, ending.within).await?;
        let starting = async { Ok(service.start(&backend).await?) };
        let mut running = session.interrupt.unless(starting).await?;
        for (_, queue, _) in running.counts() {
            session.output.remark(format_args!("listening; queue {queue}"));
        }
        let stopped = hear(session, ending, &desk, &mut running, &mut events).await;
        // Whoever has come too late goes back to the queue, for somebody else.
        tokio::select! {
            biased;
            () = desk.enough.notified() => {}
            drained = running.drain(GRACE) => if let Err(err) = drained {
                session.output.remark(err);
            }
        }
        session.drain(&backend).await;
        if let Some(failure) = desk.failed().take() {
            return Err(failure);
        }
        let done = *desk.handled.borrow();
        Ok(ending.status(stopped?, done))
    }

    fn service(&self, desk: &Arc<Desk>, payload: PayloadOptions) -> Result<Service, Failure> {
        let desk = Arc::clone(desk);
        let handle = move |context: Context, _: IgnoredAny| {
            let desk = Arc::clone(&desk);
            async move { desk.handle(&context).await }
        };
        let method = self.name.method();
        let mut handler = EventHandler::new(&self.service, &self.event_type, method, handle)
            .with_kind(self.kind.into())
            .with_reliable_delivery(!self.unreliable)
            .with_requeue_on_error(self.requeue_on_error);
        if let Some(identifier) = &self.identifier {
            handler = handler.with_broadcast_identifier(identifier);
        }
        let profile = if self.requeue_on_error { Profile::Nameko } else { Profile::Safe };
        let service = Service::new(self.name.service())?
            .with_max_workers(1)
            .with_profile(profile)
            .with_payload(payload);
        Ok(service.with_handler(handler)?)
    }
}

/// Waits for the end.
async fn hear(
    session: &Session,
    ending: Ending,
    desk: &Desk,
    running: &mut Running,
    events: &mut ServiceEvents,
) -> Result<Stop, Failure> {
    let deadline = ending.deadline();
    let mut handled = desk.handled.subscribe();
    loop {
        tokio::select! {
            biased;
            why = session.interrupt.or_deadline(deadline) => return Ok(why),
            // The sender lives as long as the desk.
            _ = handled.wait_for(|&count| ending.reached(count)) => return Ok(Stop::Ended),
            () = desk.enough.notified() => {
                desk.enough.notify_one();
                return Ok(Stop::Ended);
            }
            Some(ended) = running.ended() => {
                ended.result?;
                return Ok(Stop::Ended);
            }
            Some(event) = events.next() => match event {
                Ok(event) => remark(session.output, running, &event),
                Err(missed) => session.output.detail(format_args!("{missed} remarks left out")),
            },
        }
    }
}

fn remark(output: Output, running: &Running, event: &ServiceEvent) {
    match event {
        ServiceEvent::Down { .. } => {
            output.remark("the broker is gone; waiting for it to come back");
        }
        ServiceEvent::Up { gap: true, .. } => {
            output.remark("the broker is back; events may have been missed");
        }
        ServiceEvent::Up { .. } => output.remark("the broker is back"),
        ServiceEvent::Lost { count, .. } => {
            output.remark(format_args!("{count} events were lost: this listener is too slow"));
        }
        ServiceEvent::Settled(settled) => {
            let what = match settled.outcome {
                SettledAs::DeadLettered => {
                    let queue = running.counts().find(|it| *it.0 == settled.handler).map(|it| it.1);
                    let queue = queue.map_or("", Queue::as_str);
                    format!("in the error queue; see: sinew events errors list {}", quoted(queue))
                }
                SettledAs::Dropped => "given up".to_owned(),
                SettledAs::Requeued | SettledAs::Delayed(_) => "tried again".to_owned(),
                _ => return,
            };
            let why = settled.error.as_deref().unwrap_or("it failed");
            output.remark(format_args!("{}: {why}: {what}", settled.message.address));
        }
        _ => {}
    }
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Desk {
    async fn handle(&self, context: &Context) -> Result<(), HandlerError> {
        let Ok(permit) = self.left.try_acquire() else { return self.end().await };
        let body = self.payload.open(context.message())?;
        match &self.exec {
            Some(command) => run(command, context, body.bytes().clone()).await?,
            None => {
                if let Err(failure) = self.print(context, body.bytes()) {
                    self.failed().replace(failure);
                    return self.end().await;
                }
            }
        }
        permit.forget();
        self.handled.send_modify(|count| *count += 1);
        Ok(())
    }

    /// A panic elsewhere leaves it whole.
    fn failed(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the event until the service ends, which hands it back.
    async fn end(&self) -> Result<(), HandlerError> {
        self.enough.notify_one();
        std::future::pending().await
    }

    fn print(&self, context: &Context, payload: &Bytes) -> Result<(), Failure> {
        let (service, event) = (context.source().as_str(), event_type(context));
        if self.output.json {
            let (attempt, redelivered) = json::attempt(context.attempt());
            return self.output.object(&Heard {
                time: Time::now(),
                service,
                r#type: event,
                payload: payload.into(),
                context: context.iter().map(|(key, it)| (key, super::value(key, it))).collect(),
                attempt,
                redelivered,
            });
        }
        let (time, text) = (clock(SystemTime::now()), String::from_utf8_lossy(payload));
        self.output.line(printable(&format!("{time} {service}/{event} {text}")))
    }
}

/// What the event was emitted as; where nobody says, what is listened to.
fn event_type(context: &Context) -> &str {
    context.event_type().unwrap_or_else(|| context.pattern())
}

async fn run(command: &str, context: &Context, payload: Bytes) -> Result<(), HandlerError> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    shell.env("SINEW_SERVICE", context.source().as_str());
    shell.env("SINEW_EVENT", event_type(context));
    shell.env("SINEW_CALL_ID", context.call_id().as_str());
    match context.attempt() {
        Attempt::Number(number) => shell.env("SINEW_ATTEMPT", number.to_string()),
        _ => shell.env_remove("SINEW_ATTEMPT"),
    };
    let status = exec::fed(shell, payload).await?;
    let why = || format!("the command {}", exec::describe(status));
    match status.code() {
        Some(0) => Ok(()),
        Some(BAD_DATA) => Err(HandlerError::permanent(why())),
        _ => Err(HandlerError::new(why())),
    }
}
