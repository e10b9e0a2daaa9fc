//! What runs an intake from outside: its owner and the drain.
use std::{
    ops::Deref,
    sync::{Arc, PoisonError, Weak},
};

use sinew_core::{Buffer, Incoming, IntakeBuffer, IntakeReader};
use tokio::sync::watch;

use crate::{connect::Inner, error::Cause};

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
    stop: watch::Sender<bool>,
}

impl<T: Send + 'static> Control<T> {
    pub(crate) fn new(bounds: Buffer) -> Arc<Self> {
        let buffer = Arc::new(IntakeBuffer::new(bounds, INTAKE));
        Arc::new(Self { buffer, stop: watch::Sender::new(false) })
    }

    /// Whether it was told to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Ends once it was told to stop.
    pub(crate) async fn stopped(&self) {
        // The sender is ours.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// The reader's end; dropped, it stops the intake.
    pub(crate) fn incoming(self: Arc<Self>) -> Incoming<T> {
        let reader = IntakeReader::new(Arc::clone(&self.buffer));
        Incoming::new(reader, move || self.stop())
    }
}

impl<T: Send + 'static> Intake for Control<T> {
    fn stop(&self) {
        self.stop.send_replace(true);
    }

    fn end(&self) {
        self.buffer.end(None);
        self.stop();
    }
}

/// The end of an intake that its task has. A task that goes without having ended the intake went with its runtime, and
/// nobody else would tell the reader.
#[derive(Debug)]
pub(crate) struct Filler<T: Send + 'static> {
    control: Arc<Control<T>>,
    operation: &'static str,
}

impl<T: Send + 'static> Filler<T> {
    pub(crate) fn new(control: &Arc<Control<T>>, operation: &'static str) -> Self {
        Self { control: Arc::clone(control), operation }
    }
}

impl<T: Send + 'static> Deref for Filler<T> {
    type Target = Control<T>;

    fn deref(&self) -> &Control<T> {
        &self.control
    }
}

impl<T: Send + 'static> Drop for Filler<T> {
    fn drop(&mut self) {
        // The first end counts.
        self.buffer.end(Some(Cause::gone().during(self.operation).into()));
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
