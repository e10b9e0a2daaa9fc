//! Consuming a queue: a durable consumer, asked for as much as there is room for.
use std::sync::Arc;

use async_nats::{
    Message as WireMessage,
    jetstream::consumer::{Config, Info},
};
use bytes::Bytes;
use sinew_core::{
    Attempt, Buffer, Consume, Consumption, Delivery, Error, ErrorKind, Incoming, Overflow, Queue,
    QueueStatus, Result, encode_name,
};
use tokio::sync::{
    Notify,
    mpsc::{self, Sender},
};

use super::{
    JetStream, check,
    pull::{Place, Pull},
    run::{Runner, Source},
    settle::{Command, Lease, Leases, Settlements, Settler, lease_length},
};
use crate::{
    control::{Control, Intake, Unsettled},
    error::Cause,
    names::Filters,
    subscribe::Converter,
};

impl Consume for JetStream {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        let Self { nats, stream } = self;
        let inner = &nats.inner;
        stream.capabilities.check_consumption(&wanted)?;
        let failed =
            |cause: Cause| Error::from(cause.during(Member::OPERATION).on(wanted.queue.as_str()));
        inner.check_open().map_err(failed)?;
        let (durable, filters) = self.durable(&wanted).map_err(failed)?;
        let prefetch = usize::from(wanted.prefetch.max(1));
        let (room, commands) = mpsc::channel(prefetch);
        let bounds = Buffer::default()
            .with_messages(prefetch)
            .with_bytes(usize::MAX)
            .with_overflow(Overflow::Block);
        let control = Control::new(bounds, Vec::new());
        let mut member = Member {
            durable,
            converter: Converter::new(filters.clone()),
            filters,
            prefetch,
            room,
            leases: Arc::default(),
            freed: Arc::default(),
            control: Arc::clone(&control),
        };
        let (view, seen) = (inner.view.subscribe(), *inner.view.borrow());
        let (pull, _) = member.join().await.map_err(failed)?;
        let settlements = Settlements {
            commands,
            leases: Arc::clone(&member.leases),
            inner: Arc::clone(inner),
            view: inner.view.subscribe(),
            ack_wait: stream.options.ack_wait,
            freed: Arc::clone(&member.freed),
        };
        let runner = Runner {
            source: member,
            control: Arc::clone(&control),
            inner: Arc::clone(inner),
            view,
            seen,
            running: Unsettled::new(&inner.unsettled),
        };
        let intake: Arc<dyn Intake> = Arc::clone(&control) as _;
        inner.register(Arc::downgrade(&intake));
        inner.handle.spawn(settlements.run());
        inner.handle.spawn(runner.run(pull));
        Ok(control.incoming())
    }

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        self.stream.capabilities.check_consumption(&wanted)?;
        let declaring = async {
            self.nats.inner.check_open()?;
            self.durable(&wanted)?.0.declare().await
        };
        match declaring.await {
            // Who consumes is known by what it asks for, which says nothing of one that is full.
            Ok((info, _)) => Ok(QueueStatus::new().with_messages(info.num_pending)),
            Err(cause) => {
                Err(cause.during("nats jetstream declare").on(wanted.queue.as_str()).into())
            }
        }
    }

    async fn inspect(&self, queue: &Queue) -> Result<QueueStatus> {
        let Self { nats, stream } = self;
        let (inner, name) = (&nats.inner, consumer_name(queue));
        let looking = async {
            inner.check_open()?;
            stream.api.consumer_info(inner, &stream.name, &name).await
        };
        match looking.await {
            Ok(info) => Ok(QueueStatus::new().with_messages(info.num_pending)),
            Err(cause) => Err(cause.during("nats jetstream inspect").on(queue.as_str()).into()),
        }
    }
}

impl JetStream {
    /// The consumer behind a queue, and what it filters by.
    fn durable(&self, wanted: &Consumption) -> Result<(Durable, Filters), Cause> {
        let Self { nats, stream } = self;
        let name = consumer_name(&wanted.queue);
        let filters = nats.inner.names.filters(wanted.scope.as_ref(), &wanted.patterns)?;
        let config = check::queue(&name, wanted, &filters, &stream.options)?;
        Ok((Durable { js: self.clone(), name, config }, filters))
    }
}

/// The server makes a format string of a consumer's name, so `%` would spoil every ack; `=` is as free.
fn consumer_name(queue: &Queue) -> String {
    encode_name(queue.as_str()).replace('%', "=")
}

/// The durable consumer that a queue is.
struct Durable {
    js: JetStream,
    name: String,
    config: Config,
}

/// One member of a queue.
struct Member {
    durable: Durable,
    filters: Filters,
    converter: Converter,
    prefetch: usize,
    /// Room for the verdicts of what was delivered: hence the bound of it.
    room: Sender<Command>,
    leases: Arc<Leases>,
    freed: Arc<Notify>,
    control: Arc<Control<Delivery>>,
}

impl Durable {
    /// Makes the consumer, or checks the one that is there. Says how it is, and whether it was made.
    async fn declare(&self) -> Result<(Info, bool), Cause> {
        let Self { js: JetStream { nats, stream }, name, config, .. } = self;
        let find = || stream.api.consumer_info(&nats.inner, &stream.name, name);
        let (found, made) = match find().await {
            Ok(info) => (info, false),
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                match stream.api.create_consumer(&nats.inner, &stream.name, name, config).await {
                    Ok(info) => (info, true),
                    // Another member was quicker, and may have asked for something else.
                    Err(cause) if cause.kind() == ErrorKind::Conflict => (find().await?, false),
                    Err(cause) => return Err(cause),
                }
            }
            Err(cause) => return Err(cause),
        };
        check::compare(config, &found.config, made)?;
        Ok((found, made))
    }
}

impl Member {
    /// Settles without anyone having seen it.
    async fn settle(&self, message: WireMessage, verdict: &'static [u8]) {
        if let Some(to) = message.reply {
            // Unsettled, it is delivered again.
            let _ = self.durable.js.nats.inner.send(to, Bytes::from_static(verdict), None).await;
        }
    }
}

impl Source for Member {
    type Item = Delivery;
    const OPERATION: &'static str = "nats jetstream consume";
    const SETTLED: bool = true;

    async fn join(&mut self) -> Result<(Pull, bool), Cause> {
        let (_, made) = self.durable.declare().await?;
        if made {
            self.leases.revoke_all();
        }
        let Durable { js: JetStream { nats, stream }, name, .. } = &self.durable;
        let pull = Pull::new(&nats.inner, stream.api.next(&stream.name, name)).await?;
        Ok((pull, made))
    }

    /// Unless there is little room, and some is on its way.
    async fn ask(&mut self, pull: &mut Pull) -> Result<(), Cause> {
        let free = self.room.capacity().saturating_sub(pull.asked());
        if free == 0 || pull.asked() > 0 && free < self.prefetch / 2 {
            return Ok(());
        }
        pull.ask(&self.durable.js.nats.inner, free, None).await
    }

    async fn room(&self) {
        self.freed.notified().await;
    }

    async fn take(&mut self, message: WireMessage, place: Place) -> bool {
        if !self.filters.wants(&message.subject) {
            // The filters reach further than the patterns: nobody wants it.
            self.settle(message, b"+ACK").await;
            return true;
        }
        let (Ok(room), Some(to)) = (self.room.clone().try_reserve_owned(), message.reply.clone())
        else {
            // More came than was asked for: an ask that we gave up was answered after all.
            self.settle(message, b"-NAK").await;
            return true;
        };
        let JetStream { nats, stream } = &self.durable.js;
        let lease = Lease::new(to, lease_length(stream.options.ack_wait));
        self.leases.add(&lease);
        let settler = Settler {
            room,
            lease,
            unsettled: Unsettled::new(&nats.inner.unsettled),
            inner: Arc::clone(&nats.inner),
            freed: Arc::clone(&self.freed),
        };
        let size = message.payload.len();
        let mut message =
            self.converter.convert(message).with_position(place.position(&stream.name));
        // It is where the server takes the verdict.
        message.reply_to = None;
        let delivery = Delivery::new(message, Attempt::Number(place.attempt), settler);
        self.control.buffer.extend([(delivery, size)]);
        true
    }

    async fn leave(&mut self) {}
}
