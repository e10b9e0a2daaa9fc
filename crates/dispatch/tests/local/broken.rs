//! A broker that is away, beside agents that are here.
use std::{future::pending, sync::mpsc, thread, time::Duration};

use futures_util::{StreamExt as _, stream};
use sinew_adapter_memory::MemoryBroker;
use sinew_core::{
    AnyBackend, AnyLink, AnyPublisher, AnyRequester, AnySubscriber, Backend, Capabilities, Confirm,
    Error, ErrorKind, Event, HeaderCarriage, Incoming, Link, Message, Pending, Publish, Receipt,
    Registration, Request, Requests, Result, Subscribe, Subscription,
};
use sinew_dispatch::{AgentId, Dispatcher, Ended, Expect, Gathered, Hedge, Until};
use tokio::task::{JoinError, yield_now};

use crate::common::{ms, quick};

/// Claims everything.
#[derive(Clone, Copy)]
enum Broken {
    /// With this, whatever it is told.
    Fails(ErrorKind),
    /// It never answers.
    Silent,
    /// A request is answered by one agent, again and again.
    Floods,
    /// A request is answered by one agent, once something was lost.
    Loses,
}

impl Broken {
    fn backend(self) -> AnyBackend {
        AnyBackend::new(AnyLink::new(self))
            .with_publisher(AnyPublisher::new(self))
            .with_subscriber(AnySubscriber::new(self))
            .with_requester(AnyRequester::new(self))
    }

    async fn fail<T>(self) -> Result<T> {
        match self {
            Self::Fails(kind) => Err(Error::new(kind, "broken")),
            Self::Silent | Self::Floods | Self::Loses => pending().await,
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
        Incoming::new(stream::pending(), || {})
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
    async fn request(&self, request: Message) -> Result<Incoming<Message>> {
        let answer = Message::to(request.address, "x").with_header("sinew-agent", "a")?;
        let answers = stream::repeat_with(move || Ok(Event::Item(answer.clone())));
        match self {
            Self::Floods => Ok(Incoming::new(answers, || {})),
            Self::Loses => {
                let lost = stream::iter([Ok(Event::Lost(3))]);
                Ok(Incoming::new(lost.chain(answers.take(1)).chain(stream::pending()), || {}))
            }
            Self::Fails(_) | Self::Silent => self.fail().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_keeps_nobody_here_from_answering() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken::Fails(ErrorKind::Disconnected).backend())?;
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
    let dispatcher = Dispatcher::over(&Broken::Fails(ErrorKind::Denied).backend())?;
    let _here = dispatcher.register("t", &quick("here")?)?;
    let err = dispatcher.ask("t", "?").send::<String>().await.unwrap_err();
    assert_eq!((err.kind(), dispatcher.counts().pending), (ErrorKind::Denied, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_says_nothing_holds_up_no_ask_that_has_enough() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken::Silent.backend())?;
    let _here = dispatcher.register("t", &quick("here")?)?;
    let ask = dispatcher.ask("t", "?").until(Until::First(1));
    let Gathered { replies, end, .. } = ask.collect::<String>().await?;
    assert_eq!((replies.len(), end.ended, end.elapsed), (1, Ended::First, ms(0)));
    let err = dispatcher.ask("elsewhere", "?").deadline(ms(100)).send::<String>().await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::Timeout);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_is_here_follows_at_once_where_one_elsewhere_cannot_be_asked() -> Result<()> {
    let kinds = [ErrorKind::Disconnected, ErrorKind::Denied].map(Broken::Fails);
    for (broker, elapsed) in kinds.map(|it| (it, 0)).into_iter().chain([(Broken::Silent, 50)]) {
        let dispatcher = Dispatcher::over(&broker.backend())?;
        let ask = || {
            let there = Expect::Agents(vec![AgentId::parse("there")?]);
            let ask = dispatcher.ask("t", "?").until(Until::First(1)).expect(there);
            Ok::<_, Error>(ask.hedge(Hedge::after(ms(50))).deadline(ms(500)))
        };
        // The first turn goes to nobody else, as nobody else is there.
        assert!(ask()?.send::<String>().await.is_err());
        let _here = dispatcher.register("t", &quick("here")?)?;
        let Gathered { replies, end, .. } = ask()?.collect::<String>().await?;
        assert_eq!((replies.len(), end.ended, end.elapsed), (1, Ended::First, ms(elapsed)));
        assert_eq!(end.missing.len() + end.cancelled.len(), 1);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_on_its_way_is_told_in_the_end() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken::Loses.backend())?;
    let expected = Expect::Agents(vec![AgentId::parse("a")?]);
    let Gathered { end, .. } =
        dispatcher.ask("t", "?").expect(expected).collect::<String>().await?;
    assert_eq!((end.ended, end.ok, end.gap), (Ended::AllKnown, 1, true));
    Ok(())
}

#[test]
fn answers_without_end_hold_up_nobody() {
    let (done, ended) = mpsc::channel();
    // On a thread of its own, which it would hold for good.
    let _held = thread::spawn(move || done.send(flooded()));
    ended.recv_timeout(Duration::from_secs(60)).expect("it ends").expect("it ends well");
}

#[tokio::main(flavor = "current_thread")]
async fn flooded() -> Result<()> {
    let dispatcher = Dispatcher::over(&Broken::Floods.backend())?;
    let asked = dispatcher.ask("t", "?").deadline(ms(300)).send::<String>().await?;
    let collecting = tokio::spawn(asked.collect());
    let other = async {
        for turn in 0.. {
            if collecting.is_finished() {
                return turn;
            }
            yield_now().await;
        }
        0
    };
    assert!(other.await > 1, "others have their turns meanwhile");
    let Gathered { replies, end, .. } = collecting.await.map_err(panicked)??;
    assert_eq!((replies.len(), end.ended, end.ok), (1, Ended::Deadline, 1));
    assert!(end.duplicate > 1, "{end:?}");
    // While what is late is counted, too, and for as long as agents are looked for.
    assert_eq!(dispatcher.agents("t", ms(100)).await?.len(), 1);
    Ok(())
}

fn panicked(err: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "collect").with_source(err)
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
