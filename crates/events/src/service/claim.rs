//! The claim on one event in the store of what was handled: made before a run, made good or taken back after it.
use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use sinew_core::{Error, ErrorKind, Message, Result};
use tokio::time::timeout;

use super::processor::{Processor, panicked};
use crate::{Begun, trace};

/// How long the store of what was handled may take to answer.
const STORE: Duration = Duration::from_secs(10);
/// The longest id by which a second copy is known.
const MAX_ID: usize = 512;

/// Whether one event is claimed.
pub(super) struct Claim<'a> {
    processor: &'a Processor,
    id: Option<Box<str>>,
}

impl<'a> Claim<'a> {
    /// None yet.
    pub(super) const fn none(processor: &'a Processor) -> Self {
        Self { processor, id: None }
    }

    /// Makes it, if nobody else has it.
    pub(super) async fn begin(&mut self, message: &Message) -> Result<Begun> {
        let Some(store) = &self.processor.dedup else { return Ok(Begun::Fresh) };
        let id = message.properties().and_then(|it| it.id.as_deref());
        let Some(id) = id.filter(|id| (1..=MAX_ID).contains(&id.len())) else {
            self.processor.meter.without_id(1);
            return Ok(Begun::Fresh);
        };
        let begun = within_store(store.begin(self.processor.queue.as_str(), id)).await;
        // Only then it is ours. One that was made unheard ends with its time: taken back, it might be another's by now, or
        // the note that another has handled it.
        self.id = matches!(begun, Ok(Begun::Fresh)).then(|| id.into());
        begun
    }

    /// It was handled.
    pub(super) async fn finish(&mut self) {
        if let (Some(store), Some(id)) = (&self.processor.dedup, self.id.take()) {
            self.told(within_store(store.finish(self.processor.queue.as_str(), &id)).await);
        }
    }

    /// It was not.
    pub(super) async fn forget(&mut self) {
        if let (Some(store), Some(id)) = (&self.processor.dedup, self.id.take()) {
            self.told(within_store(store.forget(self.processor.queue.as_str(), &id)).await);
        }
    }

    fn told(&self, answer: Result<()>) {
        if let Err(err) = answer {
            let handler = self.processor.name.as_str();
            tracing::warn!(target: trace::TARGET, handler, error = %err, "not noted whether an event was handled");
        }
    }
}

/// Waits for the store's answer, for so long; a store that panics has failed.
async fn within_store<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let failed = |kind| Error::new(kind, "look up event");
    match timeout(STORE, AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => Err(failed(ErrorKind::Internal).with_detail(panicked(&*panic))),
        Err(_) => Err(failed(ErrorKind::Timeout)),
    }
}
