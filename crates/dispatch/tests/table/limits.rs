//! How much is taken, and for how long.
use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use sinew_core::{
    Address, Backend as _, Message, Property, Publish as _, PublishExt as _, Request as _,
    Requests, Result, Subject, Subscribe as _, Subscription,
};
use sinew_dispatch::{
    AgentError, AnyAgent, Context, Dispatcher, Ended, Gathered, Hedge, Until, blocking,
    heads::AskHead,
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    behaviours,
    broker::Kind,
    failed,
    scene::{SOON, Scene, Served, by_hand, echo, expect, gated, soon, tally, until},
};

behaviours![
    time_travels_as_what_remains_of_it,
    no_instant_travels_so_that_clocks_need_not_agree,
    what_is_expired_is_not_begun,
    what_was_taken_back_before_it_came_is_not_begun,
    an_agent_at_its_limit_refuses_at_once,
    a_second_copy_of_an_ask_is_not_worked_on,
    a_reply_of_64_mib_has_a_typed_outcome,
    agents_that_block_hold_up_nobody,
    a_call_that_waits_holds_up_no_quick_one,
    nothing_stays_subscribed_by_asks_that_are_dropped,
    a_service_that_is_drained_answers_what_has_come,
];

async fn time_travels_as_what_remains_of_it(scene: Scene) -> Result<()> {
    let inner = Dispatcher::local();
    let remaining = |_: String, context: &Context| context.remaining().as_millis().to_string();
    let nested = AnyAgent::new("nested", move |context: Context, asked: String| async move {
        Ok(remaining(asked, &context))
    })?;
    let registered = inner.register("inner", &nested)?;
    let agent = AnyAgent::new("outer", move |context: Context, _: String| {
        let (inner, _registered) = (inner.clone(), &registered);
        async move {
            let ask = inner.ask("inner", "x").deadline(Duration::from_secs(600)).within(&context);
            let Gathered { replies, .. } = ask.collect::<String>().await?;
            let nested = replies[0].result.clone()?;
            Ok(format!("{} {nested}", context.remaining().as_millis()))
        }
    })?;
    let _served = scene.serve(agent).await?;
    let ask = scene.dispatcher().await?.ask(scene.topic(), "x").until(Until::First(1));
    let Gathered { replies, .. } = ask.deadline(Duration::from_secs(9)).collect::<String>().await?;
    let told = replies[0].result.clone().map_err(failed)?;
    let told: Vec<u64> = told.split(' ').filter_map(|it| it.parse().ok()).collect();
    let [outer, nested] = told[..] else { return Err(failed(format!("{told:?}"))) };
    assert!((4000..9000).contains(&outer), "{outer}");
    assert!((4000..9000).contains(&nested), "it asked for more, and had no more: {nested}");
    Ok(())
}

/// That a clock is an hour off cannot be shown by what an ask carries, if that is a length of time and nothing else; nor
/// by what others put into it.
async fn no_instant_travels_so_that_clocks_need_not_agree(scene: Scene) -> Result<()> {
    const HOUR: Duration = Duration::from_secs(3600);
    let names =
        |it: &Message| it.headers.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let backend = scene.connect().await?;
    let mut heard = scene.hear(&backend).await?;
    let calls_off = Subject::parse(&format!("sinew.cancel.{}", scene.topic()))?;
    let mut called_off = backend.subscriber()?.subscribe(Subscription::new(calls_off)).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").deadline(SOON);
    let asked = ask.send::<String>().await?;
    let ask = soon("it", heard.next_item()).await?.ok_or_else(|| failed("nothing"))??;
    drop(asked);
    let end = soon("its end", called_off.next_item()).await?.ok_or_else(|| failed("nothing"))??;
    // What an ask says of itself takes no header where a note can stand in its reply address.
    let has_notes = backend.capabilities().request >= Requests::Noted;
    let asks_by: &[&str] = if has_notes { &[] } else { &["sinew-ask"] };
    for (sent, by) in [(&ask, asks_by), (&end, &["sinew-ask"])] {
        assert_eq!(names(sent), by);
        let (timestamp, ttl) = sent.properties().map_or((None, None), |it| (it.timestamp, it.ttl));
        assert!(timestamp.is_none() && ttl.is_none_or(|it| it <= SOON), "{sent:?}");
    }
    let head = AskHead::of(&ask.headers, ask.reply_to.as_ref());
    assert!(head.remaining.is_some_and(|it| it <= SOON), "{head:?}");
    assert_eq!(AskHead::read(&end.headers).remaining, None);
    drop(heard);
    // Whoever asks may say what its clock shows.
    let _agent = scene.echo("a").await?;
    let (now, requester) = (SystemTime::now(), backend.requester()?);
    for (name, shown) in [("x-1", now - HOUR), ("x-2", now + HOUR)] {
        let mut asked = by_hand(&scene, &[("sinew-ask", &format!("{name}/9000"))])?;
        if backend.capabilities().properties.has(Property::Timestamp) {
            asked = asked.with_timestamp(shown);
        }
        let mut replies = requester.request(asked).await?;
        let reply = soon("a reply", replies.next_item()).await?.ok_or_else(|| failed("none"))??;
        assert_eq!(
            (reply.payload.as_ref(), names(&reply)),
            (&b"hand from a"[..], vec!["sinew-agent".to_owned()])
        );
        assert_eq!(reply.properties().and_then(|it| it.timestamp), None);
    }
    Ok(())
}

async fn what_is_expired_is_not_begun(scene: Scene) -> Result<()> {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let served = scene
        .serve(AnyAgent::new("a", move |_: Context, asked: String| {
            count.fetch_add(1, SeqCst);
            async { Ok(asked) }
        })?)
        .await?;
    let requester = scene.connect().await?.requester()?;
    let expired = by_hand(&scene, &[("sinew-ask", "x-1/0")])?;
    let _unanswered = requester.request(expired).await?;
    let mut replies = requester.request(by_hand(&scene, &[("sinew-ask", "x-2/9000")])?).await?;
    soon("the other's reply", replies.next_item()).await?.ok_or_else(|| failed("none"))??;
    until("counted", async || Ok(served.service.counts().expired == 1)).await?;
    assert_eq!(begun.load(SeqCst), 1);
    Ok(())
}

async fn what_was_taken_back_before_it_came_is_not_begun(scene: Scene) -> Result<()> {
    let served = scene.echo("a").await?;
    let backend = scene.connect().await?;
    let (requester, publisher) = (backend.requester()?, backend.publisher()?);
    let subject = Subject::parse(&format!("sinew.cancel.{}", scene.topic()))?;
    let cancel = Message::new(subject, "").with_header("sinew-ask", "x-1")?;
    publisher.send(cancel).await?;
    publisher.flush().await?;
    // Something that is answered after it has been heard.
    let mut replies = requester.request(by_hand(&scene, &[])?).await?;
    soon("a reply", replies.next_item()).await?.ok_or_else(|| failed("none"))??;
    let _unanswered = requester.request(by_hand(&scene, &[("sinew-ask", "x-1")])?).await?;
    until("counted", async || Ok(served.service.counts().cancelled == 1)).await?;
    assert_eq!(served.service.counts().ok, 1);
    Ok(())
}

async fn an_agent_at_its_limit_refuses_at_once(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let agent = gated("one", &gate, Duration::ZERO)?.with_concurrency(1);
    let served = scene.serve(agent).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = |text| {
        let ask = dispatcher.ask(scene.topic(), text).until(Until::When(Box::new(|_| true)));
        ask.deadline(SOON)
    };
    let first = tokio::spawn(ask("first").collect::<String>());
    until("it is worked on", async || Ok(served.running() == 1)).await?;
    let Gathered { replies, end, .. } = ask("second").collect::<String>().await?;
    let refusal = replies[0].result.clone().err().ok_or_else(|| failed("not refused"))?;
    assert_eq!((refusal.code(), refusal.is_retryable()), (AgentError::BUSY, true));
    assert_eq!((tally(&end), served.service.counts().busy), ((0, 1, 0, 0), 1));
    gate.close();
    let Gathered { replies, .. } = first.await.map_err(failed)??;
    assert_eq!(replies[0].result.as_deref(), Ok("first"));
    Ok(())
}

async fn a_second_copy_of_an_ask_is_not_worked_on(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let served = scene.serve(gated("a", &gate, Duration::ZERO)?).await?;
    // Somebody passes on what it hears, twice.
    let relay = format!("{}.relay", scene.topic());
    let backend = scene.connect().await?;
    let wanted = Subscription::new(Subject::parse(&relay)?);
    let mut heard = backend.subscriber()?.subscribe(wanted).await?;
    let mut asked = by_hand(&scene, &[("sinew-ask", "x-1/20000")])?;
    let topic =
        std::mem::replace(&mut asked.address, Address::Subject(None, Subject::parse(&relay)?));
    let mut replies = scene.connect().await?.requester()?.request(asked).await?;
    let mut copy = soon("it", heard.next_item()).await?.ok_or_else(|| failed("none"))??;
    copy.address = topic;
    let mut passed = Message::to(copy.address.clone(), copy.payload.clone());
    passed.headers = copy.headers.clone();
    passed.reply_to = copy.reply_to.clone();
    for _ in 0..2 {
        backend.publisher()?.send(passed.clone()).await?;
    }
    until("the second is known", async || Ok(served.service.counts().duplicate == 1)).await?;
    gate.close();
    let reply = soon("a reply", replies.next_item()).await?.ok_or_else(|| failed("none"))??;
    assert_eq!((reply.payload, served.service.counts().ok), (Bytes::from("hand"), 1));
    backend.publisher()?.send(passed).await?;
    until("nor is a third", async || Ok(served.service.counts().duplicate == 2)).await?;
    assert_eq!(served.service.counts().ok, 1);
    Ok(())
}

async fn a_reply_of_64_mib_has_a_typed_outcome(scene: Scene) -> Result<()> {
    const SIZE: usize = 64 << 20;
    let large = AnyAgent::new("large", |_: Context, size: String| async move {
        Ok(vec![b'x'; size.parse().unwrap_or(0)])
    })?;
    let served = scene.serve(large).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = |size: usize| {
        let ask = dispatcher.ask(scene.topic(), size.to_string()).deadline(Duration::from_secs(60));
        ask.until(Until::When(Box::new(|_| true))).collect::<Bytes>()
    };
    let code = |result: &Result<Bytes, AgentError>| {
        result.as_ref().map(Bytes::len).map_err(|err| err.code().to_owned())
    };
    let too_large = Err(AgentError::TOO_LARGE.to_owned());
    let Gathered { replies, end, .. } = ask(SIZE).await?;
    match scene.kind {
        // The server takes 1 MiB: the agent says so.
        Kind::Nats => assert_eq!(code(&replies[0].result), too_large),
        // It is carried, and is as much as an ask takes.
        Kind::Memory | Kind::Amqp => assert_eq!(code(&replies[0].result), Ok(SIZE)),
    }
    assert_eq!(end.ok + end.failed, 1);
    // One byte more than an ask takes.
    let Gathered { replies, end, .. } = ask(SIZE + 1).await?;
    assert_eq!((code(&replies[0].result), tally(&end)), (too_large, (0, 1, 0, 0)));
    let Gathered { replies, .. } = ask(1).await?;
    assert_eq!(code(&replies[0].result), Ok(1), "and the next one is answered");
    assert_eq!(served.service.counts().unsent, 0);
    Ok(())
}

async fn agents_that_block_hold_up_nobody(scene: Scene) -> Result<()> {
    let dispatcher = scene.dispatcher().await?;
    // A device that takes its time: until this is dropped.
    let (silent, device) = mpsc::channel::<()>();
    let (device, begun) = (Arc::new(Mutex::new(device)), Arc::new(AtomicUsize::new(0)));
    let mut services = Vec::new();
    for nth in 0..64 {
        let (device, begun) = (Arc::clone(&device), Arc::clone(&begun));
        let agent = AnyAgent::new(
            &format!("blocks-{nth}"),
            blocking(move |_: Context, asked: String| {
                begun.fetch_add(1, SeqCst);
                let _silent = device.lock().map(|device| device.recv());
                Ok(asked)
            }),
        )?;
        services.push(dispatcher.serve(scene.topic(), &agent).await?);
    }
    let other = format!("{}.quick", scene.topic());
    let quick = dispatcher.serve(other.as_str(), &echo("quick")?).await?;
    let asker = scene.dispatcher().await?;
    let ask = asker.ask(scene.topic(), "x").until(Until::First(64)).deadline(SOON * 2);
    let blocked = tokio::spawn(ask.collect::<String>());
    until("all of them block", async || Ok(begun.load(SeqCst) == 64)).await?;
    for _ in 0..2 {
        let ask = asker.ask(other.as_str(), "y").until(Until::First(1)).deadline(SOON);
        let Gathered { replies, .. } = ask.collect::<String>().await?;
        assert_eq!(replies[0].result.as_deref(), Ok("y from quick"));
    }
    assert!(!blocked.is_finished());
    drop(silent);
    let Gathered { end, .. } = blocked.await.map_err(failed)??;
    assert_eq!((end.ended, tally(&end)), (Ended::First, (64, 0, 0, 0)));
    drop((services, quick));
    Ok(())
}

async fn a_call_that_waits_holds_up_no_quick_one(scene: Scene) -> Result<()> {
    let agent = AnyAgent::new("a", |_: Context, asked: String| async move {
        if asked == "waits" {
            pending::<()>().await;
        }
        Ok(asked)
    })?;
    let served = scene.serve(agent.with_grace(Duration::ZERO)).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = |what| {
        let ask = dispatcher.ask(scene.topic(), what).until(Until::First(1)).deadline(SOON);
        ask.collect::<String>()
    };
    // So that it is known to be quick.
    for _ in 0..8 {
        ask("quick").await?;
    }
    // An answer may be here before its call is over.
    until("they are done", async || Ok(served.running() == 0)).await?;
    let waiting = tokio::spawn(ask("waits"));
    until("it is worked on", async || Ok(served.running() == 1)).await?;
    assert_eq!(ask("quick").await?.replies[0].result.as_deref(), Ok("quick"));
    waiting.abort();
    let counts = || served.service.counts();
    until("it ends", async || Ok((served.running(), counts().cancelled) == (0, 1))).await?;
    assert_eq!(counts().ok, 9);
    Ok(())
}

async fn nothing_stays_subscribed_by_asks_that_are_dropped(scene: Scene) -> Result<()> {
    const ASKS: u64 = 10_000;
    const ASKERS: u64 = 8;
    // On a broker of its own, so that nobody else subscribes meanwhile.
    let broker = Arc::new(scene.kind.start().await?);
    let scene = Scene::new(scene.kind, broker, "leaks");
    let gate = Arc::new(Semaphore::new(0));
    let stuck =
        scene.serve(gated("stuck", &gate, Duration::ZERO)?.with_concurrency(10_000)).await?;
    let _quick = scene.echo("quick").await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = async |dispatcher: &Dispatcher| {
        let ask = dispatcher.ask(scene.topic(), "x").deadline(Duration::from_secs(300));
        let mut gathering = ask.send::<String>().await?;
        let reply = soon("a reply", gathering.next()).await?;
        reply.map(drop).ok_or_else(|| failed("no reply"))
    };
    let called_off = async |asks| {
        until("called off", async || Ok(stuck.service.counts().cancelled == asks)).await
    };
    // The first one opens what all of them share.
    ask(&dispatcher).await?;
    called_off(1).await?;
    let before = scene.broker.subscribed().await?;
    let mut tasks = JoinSet::new();
    let topic = scene.topic().to_owned();
    for _ in 0..ASKERS {
        let (dispatcher, topic) = (dispatcher.clone(), topic.clone());
        tasks.spawn(async move {
            for _ in 0..ASKS / ASKERS {
                let ask = dispatcher.ask(topic.as_str(), "x").deadline(Duration::from_secs(300));
                let mut gathering = ask.send::<String>().await?;
                let reply = soon("a reply", gathering.next()).await?;
                reply.ok_or_else(|| failed("no reply"))?;
            }
            Ok::<_, sinew_core::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(failed)??;
    }
    called_off(1 + ASKS).await?;
    until("as before", async || Ok(scene.broker.subscribed().await? == before)).await?;
    drop_mid_hedge(&scene, &dispatcher, &stuck).await?;
    assert_eq!(dispatcher.counts().pending, 0);
    Ok(())
}

/// Drops asks when one agent works on them, and the next is asked or about to be; none works on for nobody.
async fn drop_mid_hedge(scene: &Scene, dispatcher: &Dispatcher, stuck: &Served) -> Result<()> {
    const ROUNDS: usize = 40;
    let other = scene.serve(gated("other", &Arc::new(Semaphore::new(0)), Duration::ZERO)?).await?;
    let running = || stuck.running() + other.running();
    let before = scene.broker.subscribed().await?;
    for round in 0..ROUNDS {
        let ask = dispatcher.ask(scene.topic(), "x").until(Until::First(1));
        let ask = ask.expect(expect(&["other", "stuck"])?).deadline(Duration::from_secs(300));
        let mut asked = ask.hedge(Hedge::after(Duration::from_millis(5))).send::<String>().await?;
        tokio::select! {
            it = asked.next() => return Err(failed(format!("{it:?}"))),
            so = until("they work", async || Ok(running() > round % 2)) => so?,
        }
        drop(asked);
        until("none works on", async || Ok(running() == 0)).await?;
    }
    dispatcher.drained(SOON).await?;
    // Whom the last cancellation overtook does not begin, either.
    let echo = soon("answers", dispatcher.agents(scene.topic(), Duration::from_secs(2))).await??;
    assert_eq!((echo.len(), running()), (3, 0));
    until("as before", async || Ok(scene.broker.subscribed().await? == before)).await
}

async fn a_service_that_is_drained_answers_what_has_come(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let agent = gated("a", &gate, Duration::ZERO)?;
    let server = scene.dispatcher().await?;
    let service = server.serve(scene.topic(), &agent).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["a"])?).deadline(SOON);
    let asked = tokio::spawn(ask.collect::<String>());
    until("it is worked on", async || Ok(agent.running() == 1)).await?;
    let drained = tokio::spawn(service.drained(SOON));
    // Gone for whoever asks now.
    until("nobody is there", async || {
        Ok(dispatcher.agents(scene.topic(), Duration::from_millis(300)).await?.is_empty())
    })
    .await?;
    gate.close();
    let Gathered { replies, end, .. } = asked.await.map_err(failed)??;
    assert_eq!((replies[0].result.as_deref(), tally(&end)), (Ok("x"), (1, 0, 0, 0)));
    drained.await.map_err(failed)?
}
