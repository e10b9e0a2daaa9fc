//! What a handler knows of the event that it has, and of who emitted it.
use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use sinew_core::{Attempt, Message, Result, Value};

use crate::{
    call_id::CallId,
    context_data::{ContextData, HeaderPrefix},
    dead_letter::emitted_as,
    names::{HandlerName, Source},
    service::Attachment,
};

/// One run of a handler: its event, its call id, and the caller's [`ContextData`], which it derefs to.
///
/// Cloning it shares everything.
#[derive(Clone)]
pub struct Context {
    call: Arc<Call>,
    data: ContextData,
    attachment: Option<Arc<Attachment>>,
}

#[derive(Clone)]
struct Call {
    /// Made when it is asked for: most runs emit nothing.
    id: OnceLock<CallId>,
    handler: HandlerName,
    source: Source,
    pattern: Arc<str>,
    message: Message,
    attempt: Attempt,
}

impl Context {
    /// A first run of `handler` for the event in `message`, with a call id of its own, headers that begin with `nameko.`, and
    /// nothing known of earlier deliveries: what a test gives to a handler or a layer that it calls itself.
    #[must_use]
    pub fn new(handler: HandlerName, source: Source, message: Message) -> Self {
        let pattern = emitted_as(&message.address, "#").unwrap_or("#").into();
        let prefix = HeaderPrefix::default();
        Self::received(handler, source, pattern, message, Attempt::Unknown, &prefix)
    }

    /// The same for another delivery of the event.
    #[must_use]
    pub fn with_attempt(mut self, attempt: Attempt) -> Self {
        Arc::make_mut(&mut self.call).attempt = attempt;
        self
    }

    /// What a service gives to its handlers.
    pub(crate) fn received(
        handler: HandlerName,
        source: Source,
        pattern: Arc<str>,
        message: Message,
        attempt: Attempt,
        prefix: &HeaderPrefix,
    ) -> Self {
        let data = ContextData::received(&message.headers, prefix);
        let call =
            Arc::new(Call { id: OnceLock::new(), handler, source, pattern, message, attempt });
        Self { call, data, attachment: None }
    }

    /// The same, as part of a running service.
    pub(crate) fn attached(mut self, attachment: Attachment) -> Self {
        self.attachment = Some(Arc::new(attachment));
        self
    }

    pub(crate) fn attachment(&self) -> Option<&Attachment> {
        self.attachment.as_deref()
    }

    /// The id of this run.
    #[must_use]
    pub fn call_id(&self) -> &CallId {
        self.call.id.get_or_init(|| CallId::fresh(&self.call.handler))
    }

    /// The call that emitted the event, where that is said.
    #[must_use]
    pub fn parent_call_id(&self) -> Option<&str> {
        self.data.call_id_stack().last()
    }

    /// The first call of all that led here, as far back as is tracked, where that is said.
    #[must_use]
    pub fn origin_call_id(&self) -> Option<&str> {
        self.data.call_id_stack().next()
    }

    /// Which handler runs.
    #[must_use]
    pub fn handler(&self) -> &HandlerName {
        &self.call.handler
    }

    /// The service that the handler listens to.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.call.source
    }

    /// What the handler listens to, wildcards included.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.call.pattern
    }

    /// What the event was emitted as. `None` where nobody says: it came straight to the queue, as from the delay of a Python
    /// member, and the handler listens to a wildcard; or its name is no text.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        emitted_as(&self.call.message.address, &self.call.pattern)
    }

    /// The event as it came: its address, headers, properties and payload.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.call.message
    }

    /// Which delivery of the event this is.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        self.call.attempt
    }

    /// Sets a key for the events that are emitted with this context, not for its other clones.
    ///
    /// # Errors
    ///
    /// As [`ContextData::insert`] has them.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Result<Self> {
        self.data.insert(key, value)?;
        Ok(self)
    }
}

impl Deref for Context {
    type Target = ContextData;

    fn deref(&self) -> &ContextData {
        &self.data
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("call_id", self.call_id())
            .field("source", &self.source().as_str())
            .field("event_type", &self.event_type())
            .field("attempt", &self.attempt())
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::{Address, Queue};

    use super::*;

    fn context(stack: &[&str]) -> Context {
        let source = Source::parse("orders").unwrap();
        let message = Message::to(source.address("created").unwrap(), "{}")
            .with_header("nameko.call_id_stack", Value::from_iter(stack.iter().copied()))
            .unwrap();
        let handler = HandlerName::new("billing", "on_created").unwrap();
        Context::new(handler, source, message)
    }

    #[test]
    fn a_run_knows_who_called_it_and_who_began() {
        let run = context(&["web.get.1", "orders.create.2"]);
        assert_eq!(run.origin_call_id(), Some("web.get.1"));
        assert_eq!(run.parent_call_id(), Some("orders.create.2"));
        assert!(run.call_id().as_str().starts_with("billing.on_created."));
        assert_eq!(context(&[]).parent_call_id(), None);
    }

    #[test]
    fn an_event_is_of_the_type_that_it_was_emitted_as_whatever_is_listened_to() {
        let source = Source::parse("orders").unwrap();
        let emitted = source.address("created").unwrap();
        let straight = Address::Queue(Queue::parse("evt-orders-created").unwrap());
        for (address, pattern, expected) in [
            (&emitted, "created", Some("created")),
            (&emitted, "#", Some("created")),
            (&straight, "created", Some("created")),
            (&straight, "created.*", None),
            (&straight, "#", None),
        ] {
            let (handler, prefix) = ("billing.on".parse().unwrap(), HeaderPrefix::default());
            let message = Message::to(address.clone(), "{}");
            let run = Context::received(
                handler,
                source.clone(),
                pattern.into(),
                message,
                Attempt::Unknown,
                &prefix,
            );
            assert_eq!((run.event_type(), run.pattern()), (expected, pattern));
        }
    }

    #[test]
    fn what_a_test_makes_listens_to_what_was_emitted_and_is_any_delivery_of_it() {
        let run = context(&["web.get.1"]);
        assert_eq!((run.pattern(), run.event_type()), ("created", Some("created")));
        let again = run.clone().with_attempt(Attempt::Number(2));
        assert_eq!((run.attempt(), again.attempt()), (Attempt::Unknown, Attempt::Number(2)));
        assert_eq!(again.parent_call_id(), Some("web.get.1"));
    }

    #[test]
    fn a_key_that_is_set_is_the_clones_own() {
        let run = context(&[]);
        let emits = run.clone().with("tenant", "acme").unwrap();
        assert_eq!((run.text("tenant"), emits.text("tenant")), (None, Some("acme")));
        assert_eq!(run.call_id(), emits.call_id());
    }
}
