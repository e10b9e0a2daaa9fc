//! Which events were handled already: by their id, for each handler.
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sinew_core::{BoxFuture, Result};
use tokio::time::Instant;

/// What a store knows of an event that is about to be handled.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Begun {
    /// Nothing: it is to be handled, and is claimed.
    Fresh,
    /// Somebody else has claimed it: it is looked at again later, after a second first and after 30 s at last. Each look costs it a
    /// delivery: see [`DedupStore`].
    Running,
    /// It was handled: it is acknowledged and not handled again.
    Done,
}

/// Remembers which events a handler has handled. It is written after the handler has succeeded: what fails is tried again.
///
/// `handler` is the name of the handler's queue, `id` the message's id. While a store cannot
/// say what it knows, events go back to the broker and come again, after a second first and after 30 s at last, in either
/// profile; where nothing goes back (plain NATS) they are dropped. One that fails to note a success is logged, as the event was handled.
///
/// Each time that an event goes back without a run costs it one of the deliveries that [`RetryPolicy`](crate::RetryPolicy)
/// counts. With the default, after a crash whose claim lasts for 15 s, or a store that was away for as long, the first delivery that
/// fails is the last: the event goes to the error queue.
pub trait DedupStore: Send + Sync {
    /// Says what is known, and where that is nothing, claims the event: until it is finished or forgotten, whoever asks is
    /// told [`Begun::Running`].
    ///
    /// # Errors
    ///
    /// The store's own.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have claimed it: a claim must not last for ever, as whoever has it may have died.
    fn begin(&self, handler: &str, id: &str) -> impl Future<Output = Result<Begun>> + Send;

    /// Notes that it was handled.
    ///
    /// # Errors
    ///
    /// The store's own.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have noted it.
    fn finish(&self, handler: &str, id: &str) -> impl Future<Output = Result<()>> + Send;

    /// Takes the claim of [`DedupStore::begin`] back: it was not handled. It is called for a claim that was said to be fresh
    /// alone; where that has taken longer than a claim lasts, another may have one by now, or have handled it, which must
    /// stay noted.
    ///
    /// # Errors
    ///
    /// The store's own.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have taken it back.
    fn forget(&self, handler: &str, id: &str) -> impl Future<Output = Result<()>> + Send;
}

/// Any store, its type erased.
#[derive(Clone)]
pub(crate) struct AnyDedupStore(Arc<dyn DedupStoreDyn>);

trait DedupStoreDyn: Send + Sync {
    fn begin_dyn<'a>(&'a self, handler: &'a str, id: &'a str) -> BoxFuture<'a, Result<Begun>>;
    fn finish_dyn<'a>(&'a self, handler: &'a str, id: &'a str) -> BoxFuture<'a, Result<()>>;
    fn forget_dyn<'a>(&'a self, handler: &'a str, id: &'a str) -> BoxFuture<'a, Result<()>>;
}

impl<S: DedupStore> DedupStoreDyn for S {
    fn begin_dyn<'a>(&'a self, handler: &'a str, id: &'a str) -> BoxFuture<'a, Result<Begun>> {
        Box::pin(self.begin(handler, id))
    }

    fn finish_dyn<'a>(&'a self, handler: &'a str, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.finish(handler, id))
    }

    fn forget_dyn<'a>(&'a self, handler: &'a str, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.forget(handler, id))
    }
}

impl AnyDedupStore {
    pub(crate) fn new(store: impl DedupStore + 'static) -> Self {
        Self(Arc::new(store))
    }

    pub(crate) async fn begin(&self, handler: &str, id: &str) -> Result<Begun> {
        self.0.begin_dyn(handler, id).await
    }

    pub(crate) async fn finish(&self, handler: &str, id: &str) -> Result<()> {
        self.0.finish_dyn(handler, id).await
    }

    pub(crate) async fn forget(&self, handler: &str, id: &str) -> Result<()> {
        self.0.forget_dyn(handler, id).await
    }
}

impl fmt::Debug for AnyDedupStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DedupStore")
    }
}

/// A store in this process: bounded, and gone with it. Cloning shares it.
///
/// It keeps duplicates off that a redelivery, a reconnect or a second emit makes within its memory; those that come to another
/// process, or after a restart, take a store that is shared.
#[derive(Clone, Debug)]
pub struct MemoryDedupStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    ttl: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    entries: HashMap<Arc<Key>, Entry>,
    /// Oldest first. What no longer stands in `entries` under the same number is passed over.
    order: VecDeque<(Arc<Key>, u64)>,
    next: u64,
}

#[derive(Debug, Eq, Hash, PartialEq)]
struct Key {
    handler: Box<str>,
    id: Box<str>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    is_done: bool,
    at: Instant,
}

/// How long a claim lasts, if nobody takes it back.
const LEASE: Duration = Duration::from_secs(3600);
/// How many places beyond twice the entries the order may have before it is swept.
const SLACK: usize = 64;

impl Default for MemoryDedupStore {
    fn default() -> Self {
        Self::new(65_536, Duration::from_secs(3600))
    }
}

impl MemoryDedupStore {
    /// Remembers `capacity` events, the newest, each for `ttl`. Default: 65,536, for 1 h. A claim lasts for 1 h: of a handler
    /// that takes longer a second copy is not known.
    #[must_use]
    pub fn new(capacity: usize, ttl: Duration) -> Self {
        Self(Arc::new(Shared { capacity: capacity.max(1), ttl, seen: Mutex::default() }))
    }

    /// How many events it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn is_over(&self, entry: &Entry, now: Instant) -> bool {
        let lasts = if entry.is_done { self.ttl } else { LEASE };
        now.saturating_duration_since(entry.at) >= lasts
    }
}

impl Seen {
    fn note(&mut self, key: Key, is_done: bool, now: Instant) {
        let (key, number) = (Arc::new(key), self.next);
        self.next += 1;
        self.entries.insert(Arc::clone(&key), Entry { number, is_done, at: now });
        self.order.push_back((key, number));
        // What was taken back leaves its place in the order, which is swept before it takes more than the entries do.
        if self.order.len() > 2 * self.entries.len() + SLACK {
            let entries = &self.entries;
            self.order.retain(|(key, number)| {
                entries.get(key).is_some_and(|entry| entry.number == *number)
            });
        }
    }

    /// Lets go of what is over, and of the oldest where there is too much.
    fn trim(&mut self, bounds: &Shared, now: Instant) {
        while let Some((key, number)) = self.order.front() {
            let entry = self.entries.get(key).filter(|entry| entry.number == *number);
            match entry {
                Some(entry)
                    if self.entries.len() <= bounds.capacity && !bounds.is_over(entry, now) =>
                {
                    break;
                }
                Some(_) => drop(self.entries.remove(key)),
                None => {}
            }
            self.order.pop_front();
        }
    }
}

impl Key {
    fn new(handler: &str, id: &str) -> Self {
        Self { handler: handler.into(), id: id.into() }
    }
}

impl DedupStore for MemoryDedupStore {
    async fn begin(&self, handler: &str, id: &str) -> Result<Begun> {
        let (key, now) = (Key::new(handler, id), Instant::now());
        let mut seen = self.lock();
        seen.trim(&self.0, now);
        match seen.entries.get(&key) {
            Some(entry) if self.0.is_over(entry, now) => {}
            Some(Entry { is_done: true, .. }) => return Ok(Begun::Done),
            Some(_) => return Ok(Begun::Running),
            None => {}
        }
        seen.note(key, false, now);
        seen.trim(&self.0, now);
        Ok(Begun::Fresh)
    }

    async fn finish(&self, handler: &str, id: &str) -> Result<()> {
        let now = Instant::now();
        let mut seen = self.lock();
        seen.note(Key::new(handler, id), true, now);
        seen.trim(&self.0, now);
        Ok(())
    }

    async fn forget(&self, handler: &str, id: &str) -> Result<()> {
        let (key, mut seen) = (Key::new(handler, id), self.lock());
        if seen.entries.get(&key).is_some_and(|entry| !entry.is_done) {
            seen.entries.remove(&key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_handled_is_known_until_its_time_is_over() {
        let store = MemoryDedupStore::new(10, Duration::from_secs(60));
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Running);
        assert_eq!(store.begin("other", "1").await.unwrap(), Begun::Fresh);
        store.finish("q", "1").await.unwrap();
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Done);
        advance(Duration::from_secs(60)).await;
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_lasted_too_long_takes_back_nothing_that_another_has_handled() {
        let store = MemoryDedupStore::default();
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
        advance(Duration::from_secs(24 * 60 * 60)).await;
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
        store.finish("q", "1").await.unwrap();
        store.forget("q", "1").await.unwrap();
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Done);
    }

    #[tokio::test]
    async fn what_failed_may_be_handled_again() {
        let store = MemoryDedupStore::default();
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
        store.forget("q", "1").await.unwrap();
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_takes_no_more_than_so_much() {
        let store = MemoryDedupStore::new(100, Duration::from_secs(60));
        for id in 0..10_000 {
            let id = id.to_string();
            assert_eq!(store.begin("q", &id).await.unwrap(), Begun::Fresh);
            match id.ends_with('7') {
                true => store.forget("q", &id).await.unwrap(),
                false => store.finish("q", &id).await.unwrap(),
            }
        }
        assert_eq!(store.len(), 100);
        assert!(store.lock().order.len() <= 2 * 100 + SLACK);
        assert_eq!(store.begin("q", "9999").await.unwrap(), Begun::Done, "the newest are known");
        assert_eq!(store.begin("q", "0").await.unwrap(), Begun::Fresh);
    }

    #[tokio::test]
    async fn an_event_that_fails_for_ever_leaves_no_more_than_its_place() {
        let store = MemoryDedupStore::default();
        store.finish("q", "oldest").await.unwrap();
        for _ in 0..10_000 {
            assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
            store.forget("q", "1").await.unwrap();
        }
        assert!(store.lock().order.len() <= 2 + SLACK + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_took_back_is_not_in_hand_for_ever() {
        let store = MemoryDedupStore::default();
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
        advance(LEASE).await;
        assert_eq!(store.begin("q", "1").await.unwrap(), Begun::Fresh);
    }
}
