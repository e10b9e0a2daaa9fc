//! Producers that take their time, and listeners that tell what they heard.
use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use sinew_core::{Error, ErrorKind, Result, Value};
use sinew_dispatch::{
    AgentError, Context, End,
    compat::{
        About, AteDispatcher, Call, ListenerHandle, ProducerHandle, RequestId, ResultListener,
    },
};
use tokio::{
    runtime::{Builder, Handle},
    time::advance,
};

/// Within which everything happens that a test waits for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What a listener was told.
#[derive(Debug)]
pub(crate) enum Heard {
    Result(About, Value),
    Failure(About, AgentError),
    End(RequestId, End),
}

struct Ear(Sender<Heard>);

impl ResultListener for Ear {
    fn process_dispatcher_result(&mut self, about: &About, response: &Value) {
        let _ = self.0.send(Heard::Result(about.clone(), response.clone()));
    }

    fn process_dispatcher_failure(&mut self, about: &About, failure: &AgentError) {
        let _ = self.0.send(Heard::Failure(about.clone(), failure.clone()));
    }

    fn process_dispatcher_end(&mut self, _: &str, request: RequestId, end: &End) {
        let _ = self.0.send(Heard::End(request, end.clone()));
    }
}

/// A listener, and what it hears.
pub(crate) struct Listener {
    pub(crate) handle: ListenerHandle,
    heard: Receiver<Heard>,
}

impl Listener {
    pub(crate) fn new() -> Result<Self> {
        let (ear, heard) = channel();
        Ok(Self { handle: ListenerHandle::new(Ear(ear))?, heard })
    }

    pub(crate) fn on(dispatcher: &AteDispatcher, topics: &[&str]) -> Result<Self> {
        let it = Self::new()?;
        for topic in topics {
            dispatcher.register_result_listener(&it.handle, topic)?;
        }
        Ok(it)
    }

    /// The next thing that it hears.
    pub(crate) fn next(&self) -> Result<Heard> {
        let nothing = |err| Error::new(ErrorKind::Timeout, "listen").with_source(err);
        self.heard.recv_timeout(LIMIT).map_err(nothing)
    }

    /// Results as topic and response, until the end of a request.
    pub(crate) fn until_end(&self) -> Result<(Vec<(String, Value)>, End)> {
        let mut results = Vec::new();
        loop {
            match self.next()? {
                Heard::Result(about, response) => results.push((about.topic.to_string(), response)),
                Heard::Failure(_, failure) => {
                    return Err(Error::new(ErrorKind::Protocol, "listen").with_source(failure));
                }
                Heard::End(_, end) => return Ok((results, end)),
            }
        }
    }

    /// A response, under which topic, and how long after the request it came.
    pub(crate) fn response(&self) -> Result<(String, Value, Duration)> {
        match self.next()? {
            Heard::Result(about, it) => Ok((about.topic.to_string(), it, about.elapsed)),
            other => {
                Err(Error::new(ErrorKind::Protocol, "listen").with_detail(format!("{other:?}")))
            }
        }
    }

    pub(crate) fn hears_nothing(&self) -> bool {
        self.heard.try_recv().is_err()
    }
}

/// What time it is for a dispatcher. It moves by itself only while no producer works.
pub(crate) struct Clock(Handle);

impl Clock {
    pub(crate) fn pass(&self, millis: u64) -> Result<()> {
        let passing = self.0.spawn(advance(Duration::from_millis(millis)));
        let failed = |err| Error::new(ErrorKind::Internal, "pass time").with_source(err);
        self.0.block_on(passing).map_err(failed)
    }
}

/// A dispatcher whose time passes when the test says so.
pub(crate) fn start() -> Result<(AteDispatcher, Clock)> {
    let failed = |err: io::Error| Error::new(ErrorKind::Internal, "start").with_source(err);
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().map_err(failed)?;
    let clock = Clock(runtime.handle().clone());
    Ok((AteDispatcher::on(runtime)?, clock))
}

/// The original's example: says what it was called with, at once.
pub(crate) fn example(id: i64) -> Result<ProducerHandle> {
    ProducerHandle::new(&id.to_string(), move |topic: &str, call: &Call, _: &Context| {
        Ok(expected(id, topic, call))
    })
}

/// The same, each time once it is let, where the original's sleeps.
pub(crate) struct Slow {
    pub(crate) handle: ProducerHandle,
    gate: Sender<()>,
}

impl Slow {
    pub(crate) fn new(id: i64) -> Result<Self> {
        let (gate, waits) = channel();
        let name = id.to_string();
        let handle = ProducerHandle::new(&name, move |topic: &str, call: &Call, _: &Context| {
            let _ = waits.recv();
            Ok(expected(id, topic, call))
        })?;
        Ok(Self { handle, gate })
    }

    /// Lets it answer one request.
    pub(crate) fn answers(&self) {
        let _ = self.gate.send(());
    }
}

pub(crate) fn expected(id: i64, topic: &str, call: &Call) -> Value {
    Value::from(vec![
        ("producer".to_owned(), Value::from(id)),
        ("topic".to_owned(), Value::from(topic)),
        ("args".to_owned(), Value::from(call.args.clone())),
        ("kwargs".to_owned(), Value::from(call.kwargs.clone())),
    ])
}

/// `3, 4, 5, keyword='b'`.
pub(crate) fn call() -> Call {
    let mut call = Call::default();
    call.args.extend([3, 4, 5].map(Value::from));
    call.kwargs.push(("keyword".to_owned(), Value::from("b")));
    call
}

pub(crate) fn send(
    dispatcher: &AteDispatcher,
    topic: &str,
    ttl_ms: impl Into<Option<u64>>,
) -> Result<RequestId> {
    let Call { args, kwargs, .. } = call();
    dispatcher.send_request(topic, args, kwargs, ttl_ms.into())
}
