//! Producers: what answers requests.
use std::{fmt, sync::Arc};

use sinew_core::{BoxFuture, Result, Value};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{Call, call::Whole};
use crate::{AgentError, AgentId, AnyAgent, Context};

/// Answers requests, one at a time, in the order in which they came. It may block.
///
/// A closure is a producer.
pub trait Producer: Send + 'static {
    /// The response to one request of `topic`. An `Err` and a panic are told to the listeners as failures; the next
    /// request is answered all the same. `context` has the deadline, and whether anybody still waits.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from answering.
    fn produce_dispatcher_output(
        &mut self,
        topic: &str,
        call: &Call,
        context: &Context,
    ) -> Result<Value, AgentError>;
}

impl<Function> Producer for Function
where
    Function: FnMut(&str, &Call, &Context) -> Result<Value, AgentError> + Send + 'static,
{
    fn produce_dispatcher_output(
        &mut self,
        topic: &str,
        call: &Call,
        context: &Context,
    ) -> Result<Value, AgentError> {
        self(topic, call, context)
    }
}

/// A producer that can be registered, under any number of topics. Cloning it shares it.
#[derive(Clone)]
pub struct ProducerHandle(AnyAgent);

impl ProducerHandle {
    /// A producer named `name`, which is how listeners know whose response it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`](sinew_core::ErrorKind::InvalidName), as [`AgentId::parse`] has it.
    pub fn new(name: &str, producer: impl Producer) -> Result<Self> {
        // tokio's is fair: requests are answered in their order.
        let producer = Arc::new(Mutex::new(producer));
        AnyAgent::new(name, move |context: Context, call: Call| {
            produce(Arc::clone(&producer), context, call)
        })
        .map(Self)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &AgentId {
        self.0.id()
    }

    pub(super) fn agent(&self) -> &AnyAgent {
        &self.0
    }
}

fn produce<P: Producer>(
    producer: Arc<Mutex<P>>,
    context: Context,
    call: Call,
) -> BoxFuture<'static, Result<Whole, AgentError>> {
    Box::pin(async move {
        let over = || AgentError::new(AgentError::CANCELLED, "its time is up");
        let mut producer = tokio::select! {
            biased;
            () = context.cancelled() => return Err(over()),
            producer = producer.lock_owned() => producer,
        };
        // What expired while it stood in line is not worked on.
        if context.is_cancelled() {
            return Err(over());
        }
        let work = spawn_blocking(move || {
            let topic = super::dispatcher::topic_of(context.topic());
            let response = producer.produce_dispatcher_output(&topic, &call, &context);
            (response, producer)
        });
        match work.await {
            // It is given back here, not there: the next response cannot overtake this one.
            Ok((response, _producer)) => response.map(Whole),
            Err(err) if err.is_panic() => std::panic::resume_unwind(err.into_panic()),
            Err(_) => Err(AgentError::new(AgentError::CANCELLED, "the dispatcher stops")),
        }
    })
}

impl fmt::Debug for ProducerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProducerHandle").field(self.name()).finish()
    }
}
