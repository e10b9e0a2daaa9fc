//! A broker that is away, beside agents that are here.
use std::time::Duration;

use sinew_core::{
    AnyBackend, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Backend, Capabilities, Confirm,
    Error, ErrorKind, HeaderCarriage, Incoming, Link, Message, Pending, Publish, Receipt,
    Registration, Request, Requests, Result, Subscribe, Subscription,
};
use sinew_dispatch::{Dispatcher, Ended};

use crate::common::{ms, quick};

/// Claims everything, and fails at every request.
#[derive(Clone, Copy)]
struct Broken(ErrorKind);

impl Broken {
    fn backend(self) -> AnyBackend {
        AnyBackend::new(AnyLink::new(self))
            .with_publisher(AnyPublisher::new(self))
            .with_subscriber(AnySubscriber::new(self))
            .with_requester(AnyRequester::new(self))
    }

    fn fail<T>(self) -> Result<T> {
        Err(Error::new(self.0, "broken"))
    }
}

impl Backend for Broken {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("broken")
            .with_confirm(Confirm::Buffered)
            .with_registration(Registration::Confirmed)
            .with_headers(HeaderCarriage::Text)
            .with_request(Requests::NoResponders)
    }
}

impl Link for Broken {
    fn watch(&self) -> Incoming<()> {
        Incoming::new(futures_util::stream::pending(), || {})
    }

    async fn drain(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

impl Publish for Broken {
    async fn publish(&self, _: Message) -> Result<Pending<Receipt>> {
        self.fail()
    }

    async fn flush(&self) -> Result<()> {
        self.fail()
    }
}

impl Subscribe for Broken {
    async fn subscribe(&self, _: Subscription) -> Result<Incoming<Message>> {
        self.fail()
    }
}

impl Request for Broken {
    async fn request(&self, _: Message) -> Result<Incoming<Message>> {
        self.fail()
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_keeps_nobody_here_from_answering() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken(ErrorKind::Disconnected).backend())?;
    let err = dispatcher.ask("t", "?").send::<String>().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Disconnected);
    let _here = dispatcher.register("t", &quick("here")?)?;
    let (replies, end) = dispatcher.ask("t", "?").collect::<String>().await?;
    assert_eq!((replies.len(), end.ended, end.gap), (1, Ended::AllKnown, true));
    assert_eq!(end.elapsed, ms(0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_no_time_mends_is_told_whoever_is_here() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken(ErrorKind::Denied).backend())?;
    let _here = dispatcher.register("t", &quick("here")?)?;
    let err = dispatcher.ask("t", "?").send::<String>().await.unwrap_err();
    assert_eq!((err.kind(), dispatcher.counts().pending), (ErrorKind::Denied, 0));
    Ok(())
}
