//! Publishing: pipelined, bounded, and confirmed.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use lapin::{BasicProperties, types::ShortString};
use sinew_core::{Error, ErrorKind, Message, Pending, Publish, Receipt, Result};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, oneshot},
    task::unconstrained,
    time::timeout,
};

use crate::{
    Amqp,
    connect::Inner,
    error::Cause,
    lane::{Answer, Lane},
    names,
    options::Settings,
    properties, queues,
    session::Session,
};

const OPERATION: &str = "amqp publish";
/// How many bytes of payload may, apart from one message that is larger by itself.
const WINDOW_BYTES: u64 = 64 << 20;
/// How many exchanges are published to at once, each by a channel of its own.
const LANES: usize = 128;

/// A message as the wire wants it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
    /// The broker returns it where no queue takes it. It has a message id then.
    pub(crate) mandatory: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: Bytes,
}

/// What all publishers of a link share.
#[derive(Debug)]
pub(crate) struct Publishing {
    /// A place for each message that waits for its confirm.
    window: Arc<Semaphore>,
    places: u32,
    lanes: Mutex<HashMap<ShortString, Arc<Lane>>>,
    /// Held by whoever opens a lane.
    opening: AsyncMutex<()>,
    /// The first failure that nobody has been told.
    unread: Mutex<Option<Cause>>,
    /// Of messages that must be routed and have no id.
    ids: AtomicU64,
    origin: String,
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
            unread: Mutex::default(),
            ids: AtomicU64::new(0),
            origin: queues::random(),
        }
    }

    /// Keeps the failure for the next flush, unless an earlier one waits for it.
    pub(crate) fn keep_unread(&self, cause: Cause) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
    }

    fn take_unread(&self) -> Option<Cause> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// An id that no other message has.
    pub(crate) fn unique_id(&self) -> String {
        format!("{}-{}", self.origin, self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// How many places a message takes: one, or as many as its share of the bytes.
    fn places(&self, payload: &Bytes) -> u32 {
        let share = payload.len() as u64 * u64::from(self.places) / WINDOW_BYTES;
        u32::try_from(share + 1).unwrap_or(u32::MAX).min(self.places)
    }

    fn lane(&self, exchange: &ShortString, session: &Session) -> Option<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get(exchange).filter(|lane| lane.is_open(session)).cloned()
    }

    fn add(&self, exchange: ShortString, lane: &Arc<Lane>, session: &Session) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= LANES {
            lanes.retain(|_, lane| lane.is_open(session));
        }
        if lanes.len() >= LANES {
            // Any will do: it is opened again when it is needed.
            let other = lanes.keys().find(|known| **known != exchange).cloned();
            if let Some(other) = other {
                lanes.remove(&other);
            }
        }
        lanes.insert(exchange, Arc::clone(lane));
    }
}

impl Inner {
    /// A message as the wire wants it.
    pub(crate) fn outbound(&self, message: &Message) -> Result<Outbound, Cause> {
        let route = names::route(&message.address, self.settings.default_exchange.as_str())?;
        let mandatory = message.properties().is_some_and(|properties| properties.must_route);
        let mut properties = properties::outbound(message, route.correlation_id)?;
        properties::check_user(&properties, self.settings.user.as_deref())?;
        if mandatory && properties.message_id().is_none() {
            properties = properties.with_message_id(self.publishes.unique_id().into());
        }
        let payload = message.payload.clone();
        Ok(Outbound { exchange: route.exchange, key: route.key, mandatory, properties, payload })
    }

    /// Where a message can be handed over at once, where nothing need be waited for.
    fn open_door(&self, outbound: &Outbound) -> Option<(Arc<Lane>, OwnedSemaphorePermit)> {
        let session = self.publishing.now().session().ok()?;
        let lane = self.publishes.lane(&outbound.exchange, &session)?;
        if session.is_blocked() {
            return None;
        }
        let places = self.publishes.places(&outbound.payload);
        let place = Arc::clone(&self.publishes.window).try_acquire_many_owned(places).ok()?;
        Some((lane, place))
    }

    /// Hands a message to the client, once there is a place for it and the broker takes it.
    async fn hand_over(
        self: &Arc<Self>,
        outbound: Outbound,
    ) -> Result<oneshot::Receiver<Answer>, Cause> {
        if let Some((lane, place)) = self.open_door(&outbound) {
            return lane.publish(outbound, place);
        }
        let inner = Arc::clone(self);
        self.at_home(async move {
            let session = inner.publishing.now().session()?;
            let place = inner.place(&session, inner.publishes.places(&outbound.payload)).await?;
            let lane = match inner.publishes.lane(&outbound.exchange, &session) {
                Some(lane) => lane,
                None => inner.open_lane(&session, &outbound.exchange).await?,
            };
            lane.publish(outbound, place)
        })
        .await
    }

    /// Publishes, and ends when the broker has confirmed.
    pub(crate) async fn deliver(self: &Arc<Self>, mut outbound: Outbound) -> Result<(), Cause> {
        if outbound.mandatory && outbound.properties.message_id().is_none() {
            let id = self.publishes.unique_id().into();
            outbound.properties = outbound.properties.with_message_id(id);
        }
        answered(self.hand_over(outbound).await?).await
    }

    /// Waits for a place among those that wait for their confirm, and until the broker lifts its block.
    async fn place(&self, session: &Session, places: u32) -> Result<OwnedSemaphorePermit, Cause> {
        let wait = async {
            session.unblocked().await;
            Arc::clone(&self.publishes.window).acquire_many_owned(places).await
        };
        match timeout(self.settings.blocked_timeout, wait).await {
            Ok(place) => place.map_err(|_| Cause::closed()),
            Err(_) => Err(Cause::plain(
                ErrorKind::Overloaded,
                "the broker takes no publishes for now, its memory or disk is short; it was not handed over",
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
        self.ensure_exchange(session, exchange).await?;
        let lane = Lane::open(self, session, exchange.clone()).await?;
        self.publishes.add(exchange.clone(), &lane, session);
        Ok(lane)
    }

    /// Ends when nothing is in flight.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + Send + 'static {
        let window = Arc::clone(&self.publishes.window);
        let places = self.publishes.places;
        // It fails when the window is closed, which nobody does.
        async move { drop(window.acquire_many_owned(places).await) }
    }

    /// Ends when the broker has confirmed all that was handed over before.
    pub(crate) async fn flush_all(&self) -> Result<(), Cause> {
        // All places are free when nothing is in flight.
        let flushed = self.publishes.window.acquire_many(self.publishes.places);
        let flushed = timeout(self.settings.answer_timeout, flushed).await;
        match (self.publishes.take_unread(), flushed) {
            (Some(cause), _) => Err(cause),
            (None, Ok(Ok(_))) => Ok(()),
            (None, Ok(Err(_))) => Err(Cause::closed()),
            (None, Err(_)) => Err(Cause::late()),
        }
    }
}

/// The broker's answer; a lane that ended without one has lost its link.
async fn answered(answer: oneshot::Receiver<Answer>) -> Answer {
    // Not a matter of the caller's fair share: an answer that is there is there at the first look.
    unconstrained(answer).await.unwrap_or_else(|_| Err(Cause::broke()))
}

impl Publish for Amqp {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        let inner = &self.inner;
        inner.capabilities.check_message(&message)?;
        let handing_over = async {
            inner.check_publishing()?;
            inner.hand_over(inner.outbound(&message)?).await
        };
        let failed =
            |address: String| move |cause: Cause| Error::from(cause.during(OPERATION).on(address));
        match handing_over.await {
            Ok(answer) => {
                let address = message.address;
                Ok(Pending::later(async move {
                    answered(answer)
                        .await
                        .map(|()| Receipt::Accepted)
                        .map_err(failed(address.to_string()))
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
