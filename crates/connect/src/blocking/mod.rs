//! The blocking door: the same backends and contracts for code without an async runtime.
//!
//! Every call says how long it may take. A call on a thread of an async runtime, which it would stall, is refused
//! as [`ErrorKind::InsideRuntime`](sinew_core::ErrorKind::InsideRuntime).
mod background;
mod intake;

use std::{fmt, sync::Arc, time::Duration};

use sinew_core::{
    AnyBackend, Backend, Capabilities, Consume, Consumption, Delivery, Link, Message, Publish,
    PublishExt, Receipt, Request, Result, Sent, Subscribe, Subscription, Verdict,
};

use self::background::Background;
pub use self::intake::Intake;
use crate::ConnectOptions;

/// A connection for code without an async runtime. Cloning shares it.
///
/// It owns one thread, which ends with the last clone and the last [`Intake`]; [`Blocking::drain`] before that, or
/// what is still on its way is lost.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::time::Duration;
/// use sinew_connect::blocking::Blocking;
/// use sinew_core::{Message, Pattern, Subject, Subscription};
///
/// let second = Duration::from_secs(1);
/// let connection = Blocking::connect("memory:blocking-example", second)?;
/// let mut orders = connection.subscribe(Subscription::new(Pattern::parse("orders.*")?), second)?;
/// connection.publish(Message::new(Subject::parse("orders.created")?, "42"), second)?;
/// let order = orders.next_item(second)?.expect("one was published");
/// assert_eq!(order.payload, "42");
/// connection.drain(second)?;
/// # }
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Blocking {
    backend: AnyBackend,
    background: Arc<Background>,
}

impl Blocking {
    /// Connects to `url`.
    ///
    /// # Errors
    ///
    /// As [`connect`](crate::connect), [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) after `within`, and
    /// [`ErrorKind::Internal`](sinew_core::ErrorKind::Internal) when no thread can be started.
    pub fn connect(url: &str, within: Duration) -> Result<Self> {
        Self::with_options(ConnectOptions::new(url)?, within)
    }

    /// Connects as `options` say.
    ///
    /// # Errors
    ///
    /// As [`Blocking::connect`].
    pub fn with_options(options: ConnectOptions, within: Duration) -> Result<Self> {
        let background = Background::start()?;
        let backend = background.wait("blocking connect", within, options.connect())?;
        Ok(Self { backend, background: Arc::new(background) })
    }

    /// The connection itself, for patterns that bring a blocking door of their own.
    #[must_use]
    pub fn backend(&self) -> &AnyBackend {
        &self.backend
    }

    /// Publishes, and waits for the broker's answer.
    ///
    /// # Errors
    ///
    /// As [`Publish::publish`] has them, and [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) after `within`,
    /// when it may have been sent.
    pub fn publish(&self, message: Message, within: Duration) -> Result<Receipt> {
        let publisher = self.backend.publisher()?;
        self.wait("blocking publish", within, publisher.send(message))
            .map_err(|err| if timed_out(&err) { err.with_sent(Sent::Maybe) } else { err })
    }

    /// Ends when all that was published is answered.
    ///
    /// # Errors
    ///
    /// As [`Publish::flush`] has them, and [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) after `within`.
    pub fn flush(&self, within: Duration) -> Result<()> {
        self.wait("blocking flush", within, self.backend.publisher()?.flush())
    }

    /// Takes messages in without settling them.
    ///
    /// # Errors
    ///
    /// As [`Subscribe::subscribe`] has them, and [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) after
    /// `within`.
    pub fn subscribe(&self, wanted: Subscription, within: Duration) -> Result<Intake<Message>> {
        let subscriber = self.backend.subscriber()?;
        let incoming = self.wait("blocking subscribe", within, subscriber.subscribe(wanted))?;
        Ok(Intake::new(incoming, Arc::clone(&self.background)))
    }

    /// Takes deliveries in from a named queue; settle each with [`Blocking::settle`].
    ///
    /// # Errors
    ///
    /// As [`Consume::consume`] has them, and [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) after `within`.
    pub fn consume(&self, wanted: Consumption, within: Duration) -> Result<Intake<Delivery>> {
        let consumer = self.backend.consumer()?;
        let incoming = self.wait("blocking consume", within, consumer.consume(wanted))?;
        Ok(Intake::new(incoming, Arc::clone(&self.background)))
    }

    /// Settles a delivery, and waits for the broker's answer.
    ///
    /// # Errors
    ///
    /// As [`Delivery::settle`] has them, and [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) after `within`:
    /// the verdict was handed over all the same.
    pub fn settle(&self, delivery: Delivery, verdict: Verdict, within: Duration) -> Result<()> {
        self.wait("blocking settle", within, async { delivery.settle(verdict).await })
    }

    /// Asks; the intake yields one reply or many until dropped.
    ///
    /// # Errors
    ///
    /// As [`Request::request`] has them, and [`ErrorKind::Timeout`](sinew_core::ErrorKind::Timeout) after `within`,
    /// when it may have been sent.
    pub fn request(&self, message: Message, within: Duration) -> Result<Intake<Message>> {
        let requester = self.backend.requester()?;
        let incoming = self
            .wait("blocking request", within, requester.request(message))
            .map_err(|err| if timed_out(&err) { err.with_sent(Sent::Maybe) } else { err })?;
        Ok(Intake::new(incoming, Arc::clone(&self.background)))
    }

    /// Ends the connection for every clone, as [`Link::drain`] does.
    ///
    /// # Errors
    ///
    /// As [`Link::drain`] has them.
    pub fn drain(&self, within: Duration) -> Result<()> {
        // The drain keeps its own time; the second is for a busy machine.
        let limit = within.saturating_add(Duration::from_secs(1));
        self.wait("blocking drain", limit, self.backend.link().drain(within))
    }

    fn wait<T>(
        &self,
        operation: &'static str,
        within: Duration,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.background.wait(operation, within, future)
    }
}

fn timed_out(err: &sinew_core::Error) -> bool {
    err.kind() == sinew_core::ErrorKind::Timeout
}

impl Backend for Blocking {
    fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocking").field(&self.backend).finish()
    }
}
