//! How an event is emitted, beside what it says.
use std::time::Duration;

use sinew_core::{Error, ErrorKind, Headers, Result, Value};

use crate::{Compression, context_data::CALL_ID_STACK, dead_letter::header};

/// How an event is emitted: what is unset is as the dispatcher has it.
///
/// What a backend does not carry is refused when it is asked for here, with
/// [`ErrorKind::Unsupported`](sinew_core::ErrorKind::Unsupported). What every event of nameko's has (it outlives the broker,
/// priority 0) is said where the backend carries it, and left out where not.
#[derive(Clone, Debug, Default)]
pub struct EmitOptions {
    pub(crate) must_route: Option<bool>,
    pub(crate) expiration: Option<Duration>,
    pub(crate) priority: Option<u8>,
    pub(crate) durable: Option<bool>,
    pub(crate) confirm: Option<bool>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) compression: Option<Compression>,
    pub(crate) headers: Headers,
}

impl EmitOptions {
    /// Nothing but what the dispatcher has.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Fails the emit as [`Unroutable`](sinew_core::ErrorKind::Unroutable) when no queue takes the event; nameko's
    /// `mandatory`. Default: no: an event that nobody listens to is confirmed, and so is one for a queue whose binding
    /// RabbitMQ has lost, as it may when it is killed right after it was made. Over AMQP such an event has an id in either
    /// profile: by it the broker's return is known.
    #[must_use]
    pub fn with_must_route(mut self, must_route: bool) -> Self {
        self.must_route = Some(must_route);
        self
    }

    /// How long the event is worth delivering; on AMQP in milliseconds on the wire. Default: for ever.
    #[must_use]
    pub fn with_expiration(mut self, expiration: Duration) -> Self {
        self.expiration = Some(expiration);
        self
    }

    /// 0 (last) to 9 (first). Default: 0.
    #[must_use]
    pub fn with_priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Whether it outlives the broker, in a queue that does; nameko's delivery mode 2. Default: yes.
    #[must_use]
    pub fn with_durable(mut self, durable: bool) -> Self {
        self.durable = Some(durable);
        self
    }

    /// Whether to wait for the broker's answer; nameko's `use_confirms`. Without, an emit ends when the event is handed over,
    /// and its failure is told by the next [`flush`](crate::EventDispatcher::flush). Default: yes.
    #[must_use]
    pub fn with_confirm(mut self, confirm: bool) -> Self {
        self.confirm = Some(confirm);
        self
    }

    /// What it answers or belongs to. Default: nothing.
    #[must_use]
    pub fn with_correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = Some(correlation_id.into());
        self
    }

    /// The event's own id, by which handlers know a second copy: of an emit that is made again because its outcome was not
    /// known. It is that of one emit: where options are the default of many, theirs is passed over. Default: in
    /// [`Profile::Safe`](crate::Profile::Safe) a fresh one, in [`Profile::Nameko`](crate::Profile::Nameko) none.
    #[must_use]
    pub fn with_message_id(mut self, message_id: impl Into<String>) -> Self {
        self.message_id = Some(message_id.into());
        self
    }

    /// Compresses the payload. Default: not.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Sets a header; those of the context win over one of the same name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`], as [`Headers::insert`] has it, and for `call_id_stack` and `compression`, with a prefix or
    /// without: a Python process ends for the one, and loses the event for the other, where it is not what it should be; and for
    /// `sinew-redrive`, by which handlers pass over what was redriven to another one.
    pub fn with_header(mut self, name: &str, value: impl Into<Value>) -> Result<Self> {
        let key = name.rsplit('.').next().unwrap_or(name);
        if key == CALL_ID_STACK || key == "compression" || key.starts_with(header::REDRIVE) {
            return Err(Error::new(ErrorKind::InvalidHeader, "set header")
                .with_subject(name)
                .with_detail("a call, a payload or a redrive says this of itself"));
        }
        self.headers.insert(name, value)?;
        Ok(self)
    }

    /// These, and where one is unset that of `defaults`, but for the id: of two events with one id, the second is a copy.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`] when the headers of both are more than a message may have.
    pub(crate) fn or(&self, defaults: &Self) -> Result<Self> {
        let mut headers = defaults.headers.clone();
        for (name, value) in self.headers.iter() {
            headers.insert(name, value.clone())?;
        }
        let correlation_id = self.correlation_id.as_ref().or(defaults.correlation_id.as_ref());
        Ok(Self {
            must_route: self.must_route.or(defaults.must_route),
            expiration: self.expiration.or(defaults.expiration),
            priority: self.priority.or(defaults.priority),
            durable: self.durable.or(defaults.durable),
            confirm: self.confirm.or(defaults.confirm),
            correlation_id: correlation_id.cloned(),
            message_id: self.message_id.clone(),
            compression: self.compression.or(defaults.compression),
            headers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_emit_says_beats_the_default_and_no_two_have_the_default_id() -> Result<()> {
        let defaults = EmitOptions::new()
            .with_priority(1)
            .with_durable(false)
            .with_correlation_id("all")
            .with_message_id("all")
            .with_header("a", 1)?
            .with_header("b", 1)?;
        let own = EmitOptions::new().with_priority(2).with_header("b", 2)?;
        let both = own.or(&defaults)?;
        assert_eq!((both.priority, both.durable), (Some(2), Some(false)));
        assert_eq!(both.correlation_id.as_deref(), Some("all"));
        assert_eq!(both.message_id, None);
        let headers: Vec<_> = both.headers.iter().map(|it| (it.0.to_owned(), it.1)).collect();
        assert_eq!(headers, [("a".to_owned(), &1.into()), ("b".to_owned(), &2.into())]);
        Ok(())
    }

    #[test]
    fn more_headers_than_a_message_has_are_refused_and_not_left_out() -> Result<()> {
        let full = |prefix: &str| {
            (0..Headers::MAX_LEN).try_fold(EmitOptions::new(), |options, number| {
                options.with_header(&format!("{prefix}-{number}"), true)
            })
        };
        let err = full("own")?.or(&full("default")?).err().map(|it| it.kind());
        assert_eq!(err, Some(ErrorKind::InvalidHeader));
        Ok(())
    }

    #[test]
    fn what_a_call_a_payload_and_a_redrive_say_of_themselves_is_no_header_to_set() {
        for name in [
            "call_id_stack",
            "nameko.call_id_stack",
            "acme.call_id_stack",
            "compression",
            "sinew-redrive",
            "sinew-redrive-id",
        ] {
            let refused = EmitOptions::new().with_header(name, "x").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidHeader, "{name}");
        }
        let set = EmitOptions::new().with_header("call_id", 1).unwrap();
        assert_eq!(set.headers.integer("call_id"), Some(1));
    }
}
