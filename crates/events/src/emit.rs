//! What a handler does with its context: it emits, and learns when to stop.
use serde::Serialize;
use sinew_core::{Error, ErrorKind, Receipt, Result};

use crate::{Context, EmitOptions, EventDispatcher};

impl Context {
    /// Emits an event of this handler's service, caused by this run.
    ///
    /// # Errors
    ///
    /// As [`EventDispatcher::emit`] has them; [`ErrorKind::Unsupported`] outside of a service.
    ///
    /// # Cancel safety
    ///
    /// As [`EventDispatcher::emit`].
    pub async fn emit<Payload: Serialize + Sync + ?Sized>(
        &self,
        event_type: &str,
        payload: &Payload,
    ) -> Result<Receipt> {
        self.emit_with(event_type, payload, &EmitOptions::new()).await
    }

    /// The same, otherwise than the service does.
    ///
    /// # Errors
    ///
    /// As [`EventDispatcher::emit_with`] has them; [`ErrorKind::Unsupported`] outside of a service.
    ///
    /// # Cancel safety
    ///
    /// As [`EventDispatcher::emit`].
    pub async fn emit_with<Payload: Serialize + Sync + ?Sized>(
        &self,
        event_type: &str,
        payload: &Payload,
        options: &EmitOptions,
    ) -> Result<Receipt> {
        let cause = Some((&**self, self.call_id()));
        let dispatcher = self.dispatcher()?;
        dispatcher.emit_for(event_type, dispatcher.encode(payload), options, cause).await
    }

    /// Which run of the handler for this delivery it is, counted from 1: failures are tried again at once, at first.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.attachment().map_or(1, |it| it.run)
    }

    /// Whether to stop: the broker has taken the event back (its link is lost, or it was held for too long), the run was
    /// given up, or the service was ended without waiting.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.attachment().is_some_and(|it| it.cancelled.is_cancelled())
    }

    /// Waits until it is to stop. A handler that awaits is dropped then; this is for what it has started elsewhere, and
    /// for handlers that [block](crate::blocking()).
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn cancelled(&self) {
        match self.attachment() {
            Some(attachment) => attachment.cancelled.cancelled().await,
            None => std::future::pending().await,
        }
    }

    fn dispatcher(&self) -> Result<&EventDispatcher> {
        self.attachment().map(|it| &it.dispatcher).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "emit event")
                .with_detail("this context is part of no service; use an EventDispatcher")
        })
    }
}
