//! Reading a stream from any position, without acks and without losing the place.
use std::sync::Arc;

use async_nats::{
    Message as WireMessage,
    datetime::DateTime,
    jetstream::{consumer::DeliverPolicy, stream},
};
use sinew_core::{
    Error, ErrorKind, Event, Incoming, Message, Overflow, Result, Start, Subscribe, Subscription,
};

use super::{
    JetStream, check,
    pull::{Place, Pull},
    run::{Runner, Source},
};
use crate::{
    control::{Control, Intake, Unsettled},
    error::Cause,
    names::Filters,
    subscribe::Converter,
};

/// How many messages a reader that does not wait for room asks for at once.
const BATCH: usize = 1024;

impl Subscribe for JetStream {
    async fn subscribe(&self, wanted: Subscription) -> Result<Incoming<Message>> {
        let Self { nats, stream } = self;
        let inner = &nats.inner;
        stream.capabilities.check_subscription(&wanted)?;
        let failed = |cause: Cause| Error::from(cause.during(Reader::OPERATION));
        inner.check_open().map_err(failed)?;
        let filters =
            inner.names.filters(wanted.scope.as_ref(), &wanted.patterns).map_err(failed)?;
        let control = Control::new(wanted.buffer, Vec::new());
        let mut reader = Reader {
            js: self.clone(),
            converter: Converter::new(filters.clone()),
            filters,
            control: Arc::clone(&control),
            blocks: wanted.buffer.overflow == Overflow::Block,
            start: Some(wanted.start),
            made: None,
            consumer: String::new(),
            last: 0,
            expected: 1,
            oversize: false,
            starved: false,
        };
        let (view, seen) = (inner.view.subscribe(), *inner.view.borrow());
        let (pull, _) = reader.join().await.map_err(failed)?;
        let runner = Runner {
            source: reader,
            control: Arc::clone(&control),
            inner: Arc::clone(inner),
            view,
            seen,
            running: Unsettled::new(&inner.unsettled),
        };
        let intake: Arc<dyn Intake> = Arc::clone(&control) as _;
        inner.register(Arc::downgrade(&intake));
        inner.handle.spawn(runner.run(pull));
        Ok(control.incoming())
    }
}

/// A reader of its own place in the stream.
struct Reader {
    js: JetStream,
    filters: Filters,
    converter: Converter,
    control: Arc<Control<Message>>,
    /// Asks only for what there is room for.
    blocks: bool,
    /// Where to start, until it has.
    start: Option<Start>,
    /// When the stream was made that it has read: one of the same name, made anew, counts from 1 again.
    made: Option<DateTime>,
    /// The server's name of the consumer of now.
    consumer: String,
    /// The number of the last message that came, or that was there before the first.
    last: u64,
    /// The consumer's number of the next delivery.
    expected: u64,
    /// The next message does not fit into what is left.
    oversize: bool,
    /// There was no room at the last ask.
    starved: bool,
}

impl Reader {
    /// Where to go on, and whether that leaves a gap.
    fn resume(&self, found: &stream::Info) -> (DeliverPolicy, bool) {
        let next = self.last.saturating_add(1);
        // A server that crashed may have lost the newest, and given their numbers to others.
        let is_known = self.made == Some(found.created) && self.last <= found.state.last_sequence;
        if is_known {
            (check::at(next), found.state.first_sequence > next)
        } else {
            (DeliverPolicy::All, true)
        }
    }
}

/// The number of the first message that is wanted, where one is named. One beyond the next that the stream will have
/// is of another stream of this name, and what it has now is no continuation.
fn first_wanted(start: &Start, found: &stream::Info) -> Result<Option<u64>, Cause> {
    let first = match start {
        Start::At(position) => position.offset.max(1),
        Start::After(position) => position.offset.saturating_add(1),
        _ => return Ok(None),
    };
    if first <= found.state.last_sequence.saturating_add(1) {
        return Ok(Some(first));
    }
    Err(Cause::plain(
        ErrorKind::NotFound,
        "the stream ends before that position: it was made anew since; start with the earliest",
    ))
}

impl Source for Reader {
    type Item = Message;
    const OPERATION: &'static str = "nats jetstream subscribe";
    const SETTLED: bool = false;

    async fn join(&mut self) -> Result<(Pull, bool), Cause> {
        let JetStream { nats, stream } = &self.js;
        let inner = &nats.inner;
        let found = stream.api.stream_info(inner, &stream.name).await?;
        let (policy, gap, first) = match &self.start {
            Some(start) => {
                let policy = check::deliver(start, &stream.name)?;
                (policy, false, first_wanted(start, &found)?)
            }
            None => {
                let (policy, gap) = self.resume(&found);
                (policy, gap, None)
            }
        };
        let unique = inner.client.new_inbox();
        let name = format!("sinew-{}", unique.rsplit('.').next().unwrap_or_default());
        let mut config = check::reader(policy, &self.filters);
        config.name = Some(name.clone());
        let info = stream.api.create_consumer(inner, &stream.name, &name, &config).await?;
        check::compare(&config, &info.config, true)?;
        let joined = stream.api.stream_info(inner, &stream.name).await?;
        if joined.created != found.created {
            stream.api.forget_consumer(inner, &stream.name, &name).await;
            return Err(Cause::plain(
                ErrorKind::Disconnected,
                "the stream was made anew while it was joined; try again",
            ));
        }
        let pull = Pull::new(inner, stream.api.next(&stream.name, &name)).await?;
        let missing = first.map_or(0, |first| joined.state.first_sequence.saturating_sub(first));
        if missing > 0 {
            self.control.buffer.tell(Event::Lost(missing));
        }
        self.start = None;
        self.made = Some(joined.created);
        self.last = info.delivered.stream_sequence;
        self.consumer = name;
        self.expected = 1;
        Ok((pull, gap))
    }

    async fn ask(&mut self, pull: &mut Pull) -> Result<(), Cause> {
        let inner = &self.js.nats.inner;
        if !self.blocks {
            return match pull.asked() {
                asked if asked > BATCH / 2 => Ok(()),
                _ => pull.ask(inner, BATCH, None).await,
            };
        }
        self.starved = false;
        if pull.asked() > 0 {
            return Ok(());
        }
        let Some((messages, bytes)) = self.control.buffer.try_room() else {
            self.starved = true;
            return Ok(());
        };
        if std::mem::take(&mut self.oversize) {
            return pull.ask(inner, 1, None).await;
        }
        pull.ask(inner, messages.min(BATCH), Some(bytes)).await
    }

    async fn room(&self) {
        if !self.starved {
            std::future::pending::<()>().await;
        }
        self.control.buffer.room().await;
    }

    async fn take(&mut self, message: WireMessage, place: Place) -> bool {
        if place.consumer != self.expected {
            return false;
        }
        self.expected += 1;
        self.last = place.stream;
        if self.filters.wants(&message.subject) {
            let size = message.payload.len();
            let mut message =
                self.converter.convert(message).with_position(place.position(&self.js.stream.name));
            message.reply_to = None;
            self.control.buffer.extend([(message, size)]);
        }
        true
    }

    fn too_large(&mut self) {
        self.oversize = true;
    }

    /// The server would forget the consumer by itself, but later.
    async fn leave(&mut self) {
        let JetStream { nats, stream } = &self.js;
        stream.api.forget_consumer(&nats.inner, &stream.name, &self.consumer).await;
    }
}
