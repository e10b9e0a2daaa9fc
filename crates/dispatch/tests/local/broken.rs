//! A broker that is away, beside agents that are here.
use std::{future::pending, time::Duration};

use sinew_adapter_memory::MemoryBroker;
use sinew_core::{
    AnyBackend, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Backend, Capabilities, Confirm,
    Error, ErrorKind, HeaderCarriage, Incoming, Link, Message, Pending, Publish, Receipt,
    Registration, Request, Requests, Result, Subscribe, Subscription,
};
use sinew_dispatch::{Dispatcher, Ended, Expect, Gathered, Until};

use crate::common::{ms, quick};

/// Claims everything, and fails at every request; or with none, never says anything to one.
#[derive(Clone, Copy)]
struct Broken(Option<ErrorKind>);

impl Broken {
    fn backend(self) -> AnyBackend {
        AnyBackend::new(AnyLink::new(self))
            .with_publisher(AnyPublisher::new(self))
            .with_subscriber(AnySubscriber::new(self))
            .with_requester(AnyRequester::new(self))
    }

    async fn fail<T>(self) -> Result<T> {
        match self.0 {
            Some(kind) => Err(Error::new(kind, "broken")),
            None => pending().await,
        }
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
        self.fail().await
    }

    async fn flush(&self) -> Result<()> {
        self.fail().await
    }
}

impl Subscribe for Broken {
    async fn subscribe(&self, _: Subscription) -> Result<Incoming<Message>> {
        self.fail().await
    }
}

impl Request for Broken {
    async fn request(&self, _: Message) -> Result<Incoming<Message>> {
        self.fail().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_keeps_nobody_here_from_answering() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken(Some(ErrorKind::Disconnected)).backend())?;
    let err = dispatcher.ask("t", "?").send::<String>().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Disconnected);
    let _here = dispatcher.register("t", &quick("here")?)?;
    let Gathered { replies, end, .. } = dispatcher.ask("t", "?").collect::<String>().await?;
    assert_eq!((replies.len(), end.ended, end.gap), (1, Ended::AllKnown, true));
    assert_eq!(end.elapsed, ms(0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_no_time_mends_is_told_whoever_is_here() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken(Some(ErrorKind::Denied)).backend())?;
    let _here = dispatcher.register("t", &quick("here")?)?;
    let err = dispatcher.ask("t", "?").send::<String>().await.unwrap_err();
    assert_eq!((err.kind(), dispatcher.counts().pending), (ErrorKind::Denied, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_says_nothing_holds_up_no_ask_that_has_enough() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken(None).backend())?;
    let _here = dispatcher.register("t", &quick("here")?)?;
    let ask = dispatcher.ask("t", "?").until(Until::First(1));
    let Gathered { replies, end, .. } = ask.collect::<String>().await?;
    assert_eq!((replies.len(), end.ended, end.elapsed), (1, Ended::First, ms(0)));
    let err = dispatcher.ask("elsewhere", "?").deadline(ms(100)).send::<String>().await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::Timeout);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_expects_those_of_an_empty_list_asks_nobody() -> Result<()> {
    let broker = MemoryBroker::new();
    let (here, there) = (broker.connect().into_any(), broker.connect().into_any());
    let (asker, serving) = (Dispatcher::over(&here)?, Dispatcher::over(&there)?);
    let ask = || asker.ask("t", "?").expect(Expect::Agents(Vec::new())).deadline(ms(500));
    let service = serving.serve("t", &quick("there")?).await?;
    assert_eq!(ask().collect::<String>().await.unwrap_err().kind(), ErrorKind::NoResponders);
    assert_eq!(service.counts().ok, 0);
    // Beside one who is here there is nobody to wait for.
    let _here = asker.register("t", &quick("here")?)?;
    let Gathered { end, .. } = ask().collect::<String>().await?;
    assert_eq!((end.ended, end.elapsed), (Ended::AllKnown, ms(0)));
    Ok(())
}
