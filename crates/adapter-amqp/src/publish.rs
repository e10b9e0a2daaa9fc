//! Publishing: pipelined, bounded, and confirmed.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use lapin::types::ShortString;
use sinew_core::{Error, ErrorKind, Message, Pending, Publish, Receipt, Result, Sent};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Amqp,
    connect::Inner,
    error::Cause,
    fields,
    lane::{Lane, Outcome},
    names, properties,
    session::Session,
    settings::Settings,
    wire::Outbound,
};

const OPERATION: &str = "amqp publish";
/// How many bytes of payload may wait for their confirm at once, apart from one message that is larger by itself.
const WINDOW_BYTES: u64 = 64 << 20;
/// How many exchanges are published to at once, each by a channel of its own.
const LANES: usize = 128;

/// What all publishers of a link share.
#[derive(Debug)]
pub(crate) struct Publishing {
    /// A place for each message that waits for its confirm.
    window: Arc<Semaphore>,
    places: u32,
    lanes: Mutex<Lanes>,
    /// Held by whoever opens a lane.
    opening: AsyncMutex<()>,
    unread: Unread,
    /// How many places are taken by what is overdue.
    overdue: Arc<AtomicUsize>,
}

/// A place among those that wait for their confirm, or several; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: OwnedSemaphorePermit,
    /// Set once what takes it is overdue.
    overdue: Option<Arc<AtomicUsize>>,
}

impl Place {
    const fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { permit, overdue: None }
    }

    /// Counts it, once, among those that are taken by what is overdue.
    pub(crate) fn note_overdue(&mut self, overdue: &Arc<AtomicUsize>) {
        if self.overdue.is_none() {
            overdue.fetch_add(self.permit.num_permits(), Ordering::Relaxed);
            self.overdue = Some(Arc::clone(overdue));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(overdue) = &self.overdue {
            overdue.fetch_sub(self.permit.num_permits(), Ordering::Relaxed);
        }
    }
}

/// What is published through, each to one exchange.
#[derive(Debug, Default)]
struct Lanes {
    open: BTreeMap<ShortString, Arc<Lane>>,
    /// Those that take no more, and have messages that are not answered: a flush asks them, too.
    leaving: Vec<Arc<Lane>>,
}

/// The first failure that nobody has been told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Arc<Mutex<Option<Cause>>>);

impl Unread {
    /// Keeps the failure for the next flush, unless an earlier one waits for it.
    pub(crate) fn keep(&self, cause: Cause) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
    }

    fn take(&self) -> Option<Cause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Publishing {
    pub(crate) fn new(settings: &Settings) -> Self {
        let places = settings.confirm_window.min(Semaphore::MAX_PERMITS);
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        Self {
            window: Arc::new(Semaphore::new(places as usize)),
            places,
            lanes: Mutex::default(),
            opening: AsyncMutex::default(),
            unread: Unread::default(),
            overdue: Arc::default(),
        }
    }

    /// How many places are taken by what is overdue, on every channel of the link.
    pub(crate) fn overdue(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.overdue)
    }

    /// Whether what is overdue takes half of the places: then whoever keeps some of it is given up.
    pub(crate) fn is_clogged(&self) -> bool {
        self.overdue.load(Ordering::Relaxed) > self.places as usize / 2
    }

    pub(crate) fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// How many places a message takes: one, or as many as its share of the bytes.
    pub(crate) fn cost(&self, payload: &Bytes) -> u32 {
        let share = payload.len() as u64 * u64::from(self.places) / WINDOW_BYTES;
        u32::try_from(share + 1).unwrap_or(u32::MAX).min(self.places)
    }

    fn lane(&self, exchange: &ShortString, session: &Session) -> Option<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.open.get(exchange).filter(|lane| lane.is_open(session)).cloned()
    }

    fn add(&self, exchange: ShortString, lane: &Arc<Lane>, session: &Session) -> Result<(), Cause> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let Lanes { open, leaving } = &mut *lanes;
        let gone = |(exchange, lane): (&ShortString, &Arc<Lane>)| {
            (!lane.is_open(session)).then(|| exchange.clone())
        };
        let gone: Vec<_> = open.iter().filter_map(gone).collect();
        leaving.extend(gone.iter().filter_map(|exchange| open.remove(exchange)));
        leaving.retain(|lane| !lane.is_idle());
        if open.len() >= LANES {
            // One with messages in flight stays: the next message would overtake them.
            // So does one that somebody holds, to hand over the next message.
            let idle = open
                .iter_mut()
                .find_map(|(known, lane)| Arc::get_mut(lane)?.is_idle().then(|| known.clone()));
            let Some(idle) = idle else {
                return Err(Cause::plain(
                    ErrorKind::Overloaded,
                    "messages to 128 exchanges wait for their confirm; wait, or connect once more",
                ));
            };
            open.remove(&idle);
        }
        // Whoever opens one has seen that there is none, or that it takes no more.
        leaving.extend(open.insert(exchange, Arc::clone(lane)));
        Ok(())
    }

    fn all_lanes(&self) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.open.values().chain(&lanes.leaving).map(Arc::clone).collect()
    }
}

impl Inner {
    /// A message as the wire wants it. Its properties are taken out of it.
    pub(crate) fn outbound(&self, message: &mut Message) -> Result<Box<Outbound>, Cause> {
        let route = names::route(&message.address, self.settings.default_exchange.as_str())?;
        let mandatory = message.properties().is_some_and(|properties| properties.must_route);
        let room = || self.room_for_headers();
        let mut properties = properties::outbound(message, route.correlation_id, room)?;
        properties::check(&properties, self.settings.user.as_deref())?;
        if mandatory && properties.message_id().is_none() {
            properties = properties.with_message_id(self.unique_id());
        }
        let payload = message.payload.clone();
        // Boxed: it is large, and goes through many hands.
        Ok(Box::new(Outbound {
            exchange: route.exchange,
            key: route.key,
            mandatory,
            properties,
            payload,
        }))
    }

    /// How many bytes the headers of a message may take, on the connection that it would go by now.
    pub(crate) fn room_for_headers(&self) -> usize {
        let session = self.publishing.session();
        // Without a connection it goes nowhere.
        session.map_or(fields::MAX_BYTES, |session| fields::room(session.frame_max()))
    }

    fn unique_id(&self) -> ShortString {
        self.ids.text(self.ids.next()).into()
    }

    /// Where a message can be handed over at once, where nothing need be waited for.
    fn open_door(&self, outbound: &Outbound) -> Option<Door> {
        let session = self.publishing.session().ok()?;
        let lane = self.publishes.lane(&outbound.exchange, &session)?;
        if session.is_blocked() {
            return None;
        }
        let cost = self.publishes.cost(&outbound.payload);
        let place = Arc::clone(&self.publishes.window).try_acquire_many_owned(cost).ok()?;
        Some((lane, Place::new(place)))
    }

    /// Hands a message to the client, once there is a place for it and the broker takes it; its answer is waited for `until`
    /// then at most.
    ///
    /// A dropped call has handed nothing over.
    async fn hand_over(
        self: &Arc<Self>,
        outbound: Box<Outbound>,
        until: Option<Instant>,
    ) -> Result<Outcome, Cause> {
        let (lane, place) = match self.open_door(&outbound) {
            Some(door) => door,
            None => {
                let cost = self.publishes.cost(&outbound.payload);
                let exchange = outbound.exchange.clone();
                // Boxed: it is large, and most calls need not wait.
                let waiting = Box::pin(Arc::clone(self).door(exchange, cost));
                self.while_wanted(waiting).await?
            }
        };
        lane.publish(outbound, place, until)
    }

    /// Waits until a message can be handed over.
    async fn door(self: Arc<Self>, exchange: ShortString, cost: u32) -> Result<Door, Cause> {
        let place = self.place(cost).await?;
        // The one before the wait may be gone.
        let session = self.publishing.session()?;
        let lane = match self.publishes.lane(&exchange, &session) {
            Some(lane) => lane,
            None => self.open_lane(&session, &exchange).await?,
        };
        Ok((lane, place))
    }

    /// Publishes a message of our own, and ends when the broker has confirmed, or has not `within` that. What becomes of it is told
    /// here: the next flush tells what is the user's.
    pub(crate) async fn deliver(
        self: &Arc<Self>,
        mut outbound: Box<Outbound>,
        within: Duration,
    ) -> Result<(), Cause> {
        if outbound.mandatory && outbound.properties.message_id().is_none() {
            outbound.properties = outbound.properties.with_message_id(self.unique_id());
        }
        let until = Instant::now() + within;
        let handed = timeout_at(until, self.hand_over(outbound, Some(until))).await;
        // Not cut off: a failure that nobody hears is kept for the flush.
        handed.unwrap_or_else(|_| Err(Cause::late().with_sent(Sent::No)))?.await
    }

    /// Waits for a place among those that wait for their confirm, and until the broker lifts its block.
    pub(crate) async fn place(&self, cost: u32) -> Result<Place, Cause> {
        let session = self.publishing.session()?;
        let wait = async {
            session.unblocked().await;
            Arc::clone(&self.publishes.window).acquire_many_owned(cost).await
        };
        match timeout(self.settings.blocked_timeout, wait).await {
            Ok(place) => place.map(Place::new).map_err(|_| Cause::closed()),
            Err(_) if session.is_blocked() => Err(Cause::plain(
                ErrorKind::Overloaded,
                "the broker takes no publishes for now, its memory or disk is short; it was not handed over",
            )),
            Err(_) => Err(Cause::plain(
                ErrorKind::Overloaded,
                "as many messages as may wait for their confirm; it was not handed over",
            )),
        }
    }

    async fn open_lane(
        self: &Arc<Self>,
        session: &Session,
        exchange: &ShortString,
    ) -> Result<Arc<Lane>, Cause> {
        let _opening = self.publishes.opening.lock().await;
        if let Some(lane) = self.publishes.lane(exchange, session) {
            return Ok(lane);
        }
        let opening = async {
            self.ensure_exchange(session, exchange).await?;
            Lane::open(self, session, exchange.as_str()).await
        };
        // Whatever becomes of that, nothing was published by it.
        let lane = opening.await.map_err(|cause| cause.with_sent(Sent::No))?;
        self.publishes.add(exchange.clone(), &lane, session)?;
        Ok(lane)
    }

    /// Ends when nothing is in flight.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let window = Arc::clone(&self.publishes.window);
        let places = self.publishes.places;
        // It fails when the window is closed, which nobody does.
        async move { drop(window.acquire_many_owned(places).await) }
    }

    /// Ends when all that was handed over before is answered; with the first failure that nobody has been told.
    pub(crate) async fn flush_all(&self) -> Result<(), Cause> {
        let lanes: Vec<_> = self.publishes.all_lanes().iter().map(|lane| lane.flushed()).collect();
        for flushed in lanes {
            flushed.await;
        }
        self.publishes.unread.take().map_or(Ok(()), Err)
    }
}

/// Where a message is handed over, and the place that it takes.
type Door = (Arc<Lane>, Place);

impl Publish for Amqp {
    async fn publish(&self, mut message: Message) -> Result<Pending<Receipt>> {
        let inner = &self.inner;
        inner.capabilities.check_message(&message)?;
        let handing_over = async {
            inner.check_publishing()?;
            let outbound = inner.outbound(&mut message)?;
            inner.hand_over(outbound, None).await
        };
        let failed =
            |address: String| move |cause: Cause| Error::from(cause.during(OPERATION).on(address));
        match handing_over.await {
            Ok(outcome) => {
                let address = message.address;
                Ok(Pending::later(async move {
                    match outcome.await {
                        Ok(()) => Ok(Receipt::Accepted),
                        Err(cause) => Err(failed(address.to_string())(cause)),
                    }
                }))
            }
            Err(cause) => Err(failed(message.address.to_string())(cause)),
        }
    }

    async fn flush(&self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let flushing = async move {
            inner.check_publishing()?;
            inner.flush_all().await
        };
        self.inner.at_home(flushing).await.map_err(|cause| cause.during("amqp flush").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AmqpOptions;

    #[test]
    fn what_is_overdue_takes_its_places_until_it_goes() {
        let settings = AmqpOptions::new("amqp://127.0.0.1").settings().unwrap();
        let publishing = Publishing::new(&settings);
        let overdue = publishing.overdue();
        let half = publishing.places / 2;
        let places = |count| {
            let window = Arc::clone(&publishing.window);
            Place::new(window.try_acquire_many_owned(count).unwrap())
        };
        // Of one channel or of several, by count or by size: what counts is what they take.
        let (mut large, mut small) = (places(half), places(1));
        for _ in 0..2 {
            large.note_overdue(&overdue);
        }
        assert!(!publishing.is_clogged());
        small.note_overdue(&overdue);
        assert!(publishing.is_clogged());
        drop(large);
        assert_eq!(overdue.load(Ordering::Relaxed), 1);
        drop(small);
        assert_eq!(overdue.load(Ordering::Relaxed), 0);
    }
}
