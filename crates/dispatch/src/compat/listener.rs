//! Result listeners: what is told of every response.
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use sinew_core::{Error, ErrorKind, Result, Value};

use crate::{AgentError, AgentId, End};

/// Which request it was.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub(super) u64);

/// What a response or failure is about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct About {
    /// The topic that was asked.
    pub topic: Arc<str>,
    /// Which request: what `send_request` returned.
    pub request: RequestId,
    /// Whose response it is.
    pub producer: AgentId,
    /// From when it was sent until this came.
    pub elapsed: Duration,
}

/// Is told of the responses under the topics that it is registered for, one at a time, in the order in which they
/// came, on a thread of its own. It may block.
///
/// A closure over what a response is about, and the response, is a listener.
pub trait ResultListener: Send + 'static {
    /// A producer responded.
    fn process_dispatcher_result(&mut self, about: &About, response: &Value);

    /// A producer failed: the original tells nobody. Does nothing by default.
    fn process_dispatcher_failure(&mut self, about: &About, failure: &AgentError) {
        let _ = (about, failure);
    }

    /// A request is over: every producer has responded, or its time is up. The original never says so. Does nothing by
    /// default.
    fn process_dispatcher_end(&mut self, topic: &str, request: RequestId, end: &End) {
        let _ = (topic, request, end);
    }
}

impl<Function: FnMut(&About, &Value) + Send + 'static> ResultListener for Function {
    fn process_dispatcher_result(&mut self, about: &About, response: &Value) {
        self(about, response);
    }
}

/// What a listener is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Result(About, Arc<Value>),
    Failure(About, AgentError),
    End(Arc<str>, RequestId, Arc<End>),
}

/// How many responses may wait for a listener.
const LINE: usize = 65_536;

/// A listener that can be registered, under any number of topics. Cloning it shares it; it ends when the last clone and
/// its last registration are gone, after it was told what waits.
#[derive(Clone)]
pub struct ListenerHandle {
    line: Sender<Told>,
    /// How much is in the line: a channel that bounds itself takes room for all of it from the start.
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    panics: Arc<AtomicU64>,
}

impl ListenerHandle {
    /// Starts its thread.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] when no thread can be started.
    pub fn new(listener: impl ResultListener) -> Result<Self> {
        let (line, told) = channel();
        let (waiting, panics) = (Arc::default(), Arc::default());
        let counters = (Arc::clone(&waiting), Arc::clone(&panics));
        thread::Builder::new()
            .name("dispatch-listener".to_owned())
            .spawn(move || listen(listener, &told, &counters.0, &counters.1))
            .map_err(|err| {
                Error::new(ErrorKind::Internal, "start listener")
                    .with_detail("cannot start its thread")
                    .with_source(err)
            })?;
        Ok(Self { line, waiting, lost: Arc::default(), panics })
    }

    /// How much it was not told, because 65,536 things waited for it already.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// How often it panicked; it goes on with what comes next.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    pub(super) fn tell(&self, told: Told) {
        let has_room = |it| (it < LINE).then_some(it + 1);
        let room = self.waiting.fetch_update(SeqCst, SeqCst, has_room);
        if room.is_err() || self.line.send(told).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lost, &other.lost)
    }
}

fn listen(
    mut listener: impl ResultListener,
    line: &Receiver<Told>,
    waiting: &AtomicUsize,
    panics: &AtomicU64,
) {
    while let Ok(told) = line.recv() {
        waiting.fetch_sub(1, SeqCst);
        let heard = catch_unwind(AssertUnwindSafe(|| match &told {
            Told::Result(about, response) => listener.process_dispatcher_result(about, response),
            Told::Failure(about, failure) => listener.process_dispatcher_failure(about, failure),
            Told::End(topic, request, end) => listener.process_dispatcher_end(topic, *request, end),
        }));
        if heard.is_err() {
            panics.fetch_add(1, Relaxed);
            crate::trace::listener_panicked();
        }
    }
}

impl fmt::Debug for ListenerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerHandle")
            .field("lost", &self.lost())
            .field("panics", &self.panics())
            .finish_non_exhaustive()
    }
}
