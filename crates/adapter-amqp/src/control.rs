//! What runs an intake from outside: its owner and the drain.
use std::sync::{Arc, PoisonError, Weak};

use sinew_core::{Buffer, Incoming, IntakeBuffer, IntakeReader};
use tokio::sync::{Notify, watch};

use crate::connect::Inner;

/// What an intake is called in errors.
const INTAKE: &str = "amqp intake";

/// An intake, whatever it yields.
pub(crate) trait Intake: Send + Sync {
    /// Takes in no more; what was received is still yielded.
    fn stop(&self);
    /// Ends it now.
    fn end(&self);
}

/// The handle of an intake, shared by its task, its owner and the connection.
#[derive(Debug)]
pub(crate) struct Control<T> {
    pub(crate) buffer: Arc<IntakeBuffer<T>>,
    stop: Notify,
}

impl<T: Send + 'static> Control<T> {
    pub(crate) fn new(bounds: Buffer) -> Arc<Self> {
        let buffer = Arc::new(IntakeBuffer::new(bounds, INTAKE));
        Arc::new(Self { buffer, stop: Notify::new() })
    }

    /// Ends once it was told to stop.
    pub(crate) async fn stopped(&self) {
        self.stop.notified().await;
    }

    /// The reader's end; dropped, it stops the intake.
    pub(crate) fn incoming(self: Arc<Self>) -> Incoming<T> {
        let reader = IntakeReader::new(Arc::clone(&self.buffer));
        Incoming::new(reader, move || self.stop.notify_one())
    }
}

impl<T: Send + 'static> Intake for Control<T> {
    fn stop(&self) {
        self.stop.notify_one();
    }

    fn end(&self) {
        self.buffer.end(None);
        self.stop.notify_one();
    }
}

/// One delivery that waits for its verdict, as the drain counts it.
#[derive(Debug)]
pub(crate) struct Unsettled(watch::Sender<usize>);

impl Unsettled {
    pub(crate) fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Inner {
    /// Lets the connection reach `intake`, for as long as anyone else does.
    pub(crate) fn register(&self, intake: Weak<dyn Intake>) {
        let mut intakes = self.intakes.lock().unwrap_or_else(PoisonError::into_inner);
        intakes.retain(|intake| intake.strong_count() > 0);
        intakes.push(intake);
    }

    /// The intakes that there are.
    pub(crate) fn intakes(&self) -> Vec<Arc<dyn Intake>> {
        let intakes = self.intakes.lock().unwrap_or_else(PoisonError::into_inner);
        intakes.iter().filter_map(Weak::upgrade).collect()
    }
}
