//! Who answers what, and how it ends.
use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use sinew_core::{ErrorKind, IntoPayload, Link as _, PublishExt as _, Request as _, Result};
use sinew_dispatch::{
    AgentError, AgentId, AnyAgent, Context, Dispatcher, Ended, Gathered, Until, heads::AskHead,
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    behaviours, failed,
    scene::{SOON, Scene, Served, by_hand, echo, expect, gated, names, said, soon, tally, until},
};

behaviours![
    all_that_are_expected_answer_and_it_ends,
    an_error_and_a_panic_are_answers_of_their_agents,
    nobody_to_answer_is_told_at_once,
    who_is_silent_is_missing_by_name,
    a_late_answer_is_counted_and_is_not_the_next_asks,
    a_second_answer_is_counted_and_not_delivered,
    an_undecodable_answer_is_its_agents_failure,
    whom_nobody_waits_for_is_called_off,
    who_was_not_expected_is_called_off_by_an_ask_for_so_many,
    an_ask_that_is_dropped_is_called_off,
    who_drains_before_it_leaves_has_called_off,
    an_ask_of_its_own_agents_is_answered_once,
    a_plain_responder_answers_without_a_name,
    a_plain_request_is_answered_by_an_agent,
    a_head_that_is_passed_on_as_a_header_is_not_the_asks,
    who_reads_frames_is_answered_without_headers,
    a_frame_to_which_a_header_was_added_on_its_way_is_read_all_the_same,
    quiet_ends_where_nobody_is_known,
    an_answer_is_taken_in_while_nobody_awaits_it,
    a_reply_says_what_its_payload_is,
    who_is_leaving_hears_what_is_called_off,
];

/// For asks that end before it.
const AMPLE: Duration = Duration::from_secs(15);

async fn all_that_are_expected_answer_and_it_ends(scene: Scene) -> Result<()> {
    let _agents = (scene.echo("a").await?, scene.echo("b").await?, scene.echo("c").await?);
    let dispatcher = scene.dispatcher().await?;
    let asked = Instant::now();
    let ask = dispatcher.ask(scene.topic(), "hello").expect(expect(&["a", "b", "c"])?);
    let Gathered { replies, end, .. } = ask.deadline(AMPLE).collect::<String>().await?;
    assert_eq!(said(&replies), ["hello from a", "hello from b", "hello from c"]);
    assert_eq!((end.ended, tally(&end)), (Ended::AllKnown, (3, 0, 0, 0)));
    assert!(asked.elapsed() < AMPLE, "{:?}", asked.elapsed());
    Ok(())
}

async fn an_error_and_a_panic_are_answers_of_their_agents(scene: Scene) -> Result<()> {
    let errs = AnyAgent::new("errs", |_: Context, _: String| async {
        let told = AgentError::new("out-of-order", "the lamp\nis é broken").with_retryable(true);
        Err::<String, _>(told)
    })?;
    let panics = AnyAgent::new("panics", |_: Context, asked: String| async move {
        assert!(asked.is_empty(), "not today");
        Ok(String::new())
    })?;
    let _agents = (scene.serve(errs).await?, scene.serve(panics).await?, scene.echo("well").await?);
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["errs", "panics", "well"])?);
    let Gathered { mut replies, end, .. } = ask.deadline(AMPLE).collect::<String>().await?;
    assert_eq!((end.ended, tally(&end)), (Ended::AllKnown, (1, 2, 0, 0)));
    replies.sort_by(|one, other| one.agent.cmp(&other.agent));
    let told: Vec<_> = replies
        .iter()
        .filter_map(|it| it.result.as_ref().err())
        .map(|it| (it.code(), it.message(), it.is_retryable()))
        .collect();
    let errs = ("out-of-order", "the lamp\nis é broken", true);
    // What it panicked with may be anything that its process knows: that stays there.
    assert_eq!(told, [errs, (AgentError::PANIC, "it panicked; its own log says why", false)]);
    Ok(())
}

async fn nobody_to_answer_is_told_at_once(scene: Scene) -> Result<()> {
    let dispatcher = scene.dispatcher().await?;
    let asked = Instant::now();
    let ask = dispatcher.ask(scene.topic(), "anybody?").deadline(AMPLE);
    let told = ask.collect::<String>().await;
    assert_eq!(told.err().map(|it| it.kind()), Some(ErrorKind::NoResponders));
    assert!(asked.elapsed() < AMPLE / 2, "{:?}", asked.elapsed());
    Ok(())
}

async fn who_is_silent_is_missing_by_name(scene: Scene) -> Result<()> {
    // Within which the other one answers on a loaded machine.
    const DEADLINE: Duration = Duration::from_millis(2_500);
    let gate = Arc::new(Semaphore::new(0));
    let silent = scene.serve(gated("silent", &gate, Duration::ZERO)?).await?;
    let _other = scene.echo("other").await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["silent", "other", "nosuch"])?);
    let asked = Instant::now();
    let Gathered { replies, end, .. } = ask.deadline(DEADLINE).collect::<String>().await?;
    assert!(asked.elapsed() >= DEADLINE);
    assert_eq!(said(&replies), ["x from other"]);
    assert_eq!((end.ended, tally(&end)), (Ended::Deadline, (1, 0, 2, 0)));
    assert_eq!(names(&end.missing), ["nosuch", "silent"]);
    // The agent knows by itself that its time is over.
    until("given up", async || Ok(silent.service.counts().cancelled == 1)).await
}

async fn a_late_answer_is_counted_and_is_not_the_next_asks(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let slow = scene.serve(gated("slow", &gate, AMPLE)?).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "first").expect(expect(&["slow"])?);
    let Gathered { replies, end, .. } =
        ask.deadline(Duration::from_millis(300)).collect::<String>().await?;
    assert_eq!((replies.len(), names(&end.missing)), (0, vec!["slow"]));
    let ask = dispatcher.ask(scene.topic(), "second").expect(expect(&["slow"])?);
    let second = tokio::spawn(ask.deadline(AMPLE).collect::<String>());
    until("both are worked on", async || Ok(slow.running() == 2)).await?;
    gate.close();
    let Gathered { replies, end, .. } = second.await.map_err(failed)??;
    assert_eq!((said(&replies), tally(&end)), (vec!["second"], (1, 0, 0, 0)));
    until("counted", async || Ok(dispatcher.counts().late == 1)).await?;
    assert_eq!(dispatcher.counts().duplicate, 0);
    Ok(())
}

async fn a_second_answer_is_counted_and_not_delivered(scene: Scene) -> Result<()> {
    let backend = scene.connect().await?;
    let mut heard = scene.hear(&backend).await?;
    let publisher = backend.publisher()?;
    let answering = tokio::spawn(async move {
        let asked = heard.next_item().await.ok_or_else(|| failed("nothing came"))??;
        for (text, agent) in [("1", "twice"), ("2", "twice"), ("3", "once")] {
            let reply = asked.reply(text).ok_or_else(|| failed("no request"))?;
            publisher.send(reply.with_header("sinew-agent", agent)?).await?;
        }
        Ok::<_, sinew_core::Error>(heard)
    });
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["twice", "once"])?);
    let Gathered { replies, end, .. } = ask.deadline(AMPLE).collect::<String>().await?;
    assert_eq!((said(&replies), tally(&end)), (vec!["1", "3"], (2, 0, 0, 0)));
    assert_eq!((end.duplicate, dispatcher.counts().duplicate), (1, 1));
    drop(answering.await.map_err(failed)??);
    Ok(())
}

async fn an_undecodable_answer_is_its_agents_failure(scene: Scene) -> Result<()> {
    let odd = AnyAgent::new("odd", |_: Context, _: Bytes| async { Ok(vec![0xff_u8, 0xfe]) })?;
    let _agents = (scene.serve(odd).await?, scene.echo("well").await?);
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["odd", "well"])?);
    let Gathered { replies, end, .. } = ask.deadline(AMPLE).collect::<String>().await?;
    assert_eq!((end.ended, tally(&end)), (Ended::AllKnown, (1, 1, 0, 0)));
    let failure =
        replies.iter().find_map(|it| Some((it.agent.as_ref()?, it.result.as_ref().err()?)));
    let (agent, err) = failure.ok_or_else(|| failed("no failure"))?;
    assert_eq!((agent.as_str(), err.code()), ("odd", AgentError::BAD_REPLY));
    Ok(())
}

async fn whom_nobody_waits_for_is_called_off(scene: Scene) -> Result<()> {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let waits = AnyAgent::new("waits", move |context: Context, _: String| {
        let told = Arc::clone(&count);
        async move {
            context.cancelled().await;
            told.fetch_add(1, SeqCst);
            Err::<String, _>(AgentError::new(AgentError::CANCELLED, "told in time"))
        }
    })?;
    let waits = scene.serve(waits).await?;
    let gate = Arc::new(Semaphore::new(0));
    let _quick = scene.serve(gated("quick", &gate, Duration::ZERO)?).await?;
    let dispatcher = scene.dispatcher().await?;
    let asked = Instant::now();
    let ask = dispatcher.ask(scene.topic(), "x").until(Until::First(1));
    let ask = ask.expect(expect(&["waits", "quick"])?).deadline(Duration::from_secs(60));
    let asking = tokio::spawn(ask.collect::<String>());
    until("it is worked on", async || Ok(waits.running() == 1)).await?;
    gate.close();
    let Gathered { replies, end, .. } = asking.await.map_err(failed)??;
    assert_eq!(said(&replies), ["x"]);
    assert_eq!((end.ended, names(&end.cancelled)), (Ended::First, vec!["waits"]));
    until("the other is told", async || Ok(told.load(SeqCst) == 1)).await?;
    until("and done", async || Ok(waits.running() == 0)).await?;
    assert!(asked.elapsed() < Duration::from_secs(30));
    Ok(())
}

async fn who_was_not_expected_is_called_off_by_an_ask_for_so_many(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let other = scene.serve(gated("other", &gate, Duration::ZERO)?).await?;
    let _listed = (scene.echo("a").await?, scene.echo("b").await?);
    let dispatcher = scene.dispatcher().await?;
    for (limit, why) in [(Until::AllKnown, Ended::AllKnown), (Until::First(2), Ended::First)] {
        let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["a", "b"])?).until(limit);
        let ask = ask.deadline(Duration::from_secs(60));
        let Gathered { replies, end, .. } = ask.collect::<String>().await?;
        assert_eq!((said(&replies), end.ended), (vec!["x from a", "x from b"], why));
    }
    // The one of all known is left to its deadline.
    until("called off", async || Ok(other.service.counts().cancelled == 1)).await?;
    until("the other is worked on", async || Ok(other.running() == 1)).await
}

async fn an_ask_that_is_dropped_is_called_off(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let stuck = scene.serve(gated("stuck", &gate, Duration::ZERO)?).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").deadline(Duration::from_secs(60));
    let gathering = ask.send::<String>().await?;
    until("it is worked on", async || Ok(stuck.running() == 1)).await?;
    drop(gathering);
    until("it is dropped", async || Ok(stuck.service.counts().cancelled == 1)).await?;
    until("and its place is free", async || Ok(stuck.running() == 0)).await?;
    assert_eq!(dispatcher.counts().pending, 0);
    Ok(())
}

async fn who_drains_before_it_leaves_has_called_off(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let stuck = scene.serve(gated("stuck", &gate, Duration::ZERO)?).await?;
    for round in 1..=20 {
        let backend = scene.connect().await?;
        let dispatcher = Dispatcher::over(&backend)?;
        let ask = dispatcher.ask(scene.topic(), "x").deadline(Duration::from_secs(60));
        drop(ask.send::<String>().await?);
        dispatcher.drained(AMPLE).await?;
        backend.link().drain(AMPLE).await?;
        until("called off", async || Ok(stuck.service.counts().cancelled == round)).await?;
    }
    Ok(())
}

async fn an_ask_of_its_own_agents_is_answered_once(scene: Scene) -> Result<()> {
    let dispatcher = scene.dispatcher().await?;
    let own = dispatcher.serve(scene.topic(), &echo("own")?).await?;
    let _other = scene.echo("other").await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["own", "other"])?);
    let Gathered { replies, end, .. } = ask.deadline(AMPLE).collect::<String>().await?;
    assert_eq!(said(&replies), ["x from other", "x from own"]);
    assert_eq!((tally(&end), own.counts().ok), ((2, 0, 0, 0), 0), "not by way of the broker");
    // Others reach it by the broker.
    let asker = scene.dispatcher().await?;
    let ask = asker.ask(scene.topic(), "y").expect(expect(&["own", "other"])?).deadline(AMPLE);
    assert_eq!(said(&ask.collect::<String>().await?.replies), ["y from other", "y from own"]);
    assert_eq!((own.counts().ok, dispatcher.counts().duplicate), (1, 0));
    Ok(())
}

async fn a_plain_responder_answers_without_a_name(scene: Scene) -> Result<()> {
    let backend = scene.connect().await?;
    let mut heard = scene.hear(&backend).await?;
    let publisher = backend.publisher()?;
    let answering = tokio::spawn(async move {
        let asked = heard.next_item().await.ok_or_else(|| failed("nothing came"))??;
        let reply = asked.reply("plain").ok_or_else(|| failed("no request"))?;
        publisher.send(reply).await?;
        Ok::<_, sinew_core::Error>((heard, asked))
    });
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").until(Until::First(1)).deadline(AMPLE);
    let ask = ask.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let Gathered { replies, end, .. } = ask.collect::<String>().await?;
    assert_eq!((said(&replies), replies[0].agent.as_ref()), (vec!["plain"], None));
    assert_eq!(end.ended, Ended::First);
    let (_heard, asked) = answering.await.map_err(failed)??;
    let head = AskHead::of(&asked.headers, asked.reply_to.as_ref());
    let remaining = head.remaining.map(|it| it.as_millis());
    assert!(remaining.is_some_and(|it| (10_000..=15_000).contains(&it)), "{head:?}");
    assert!(asked.headers.text("traceparent").is_some_and(|it| it.starts_with("00-0af7651916")));
    Ok(())
}

async fn a_plain_request_is_answered_by_an_agent(scene: Scene) -> Result<()> {
    let _agent = scene.echo("agent").await?;
    let requester = scene.connect().await?.requester()?;
    let mut replies = requester.request(by_hand(&scene, &[])?).await?;
    let reply = soon("a reply", replies.next_item()).await?.ok_or_else(|| failed("none"))??;
    assert_eq!(reply.payload, "hand from agent");
    assert_eq!(reply.headers.text("sinew-agent"), Some("agent"));
    Ok(())
}

async fn a_head_that_is_passed_on_as_a_header_is_not_the_asks(scene: Scene) -> Result<()> {
    let _agent = scene.echo("a").await?;
    let ask = scene.dispatcher().await?.ask(scene.topic(), "x").header("sinew-ask", "x-1/0");
    let Gathered { replies, .. } = ask.until(Until::First(1)).deadline(AMPLE).collect().await?;
    assert_eq!(said(&replies), ["x from a"]);
    Ok(())
}

async fn who_reads_frames_is_answered_without_headers(scene: Scene) -> Result<()> {
    let fails = AnyAgent::new("fails", |_: Context, _: String| async {
        Err::<String, _>(AgentError::new("dark", "no lamp"))
    })?;
    let _served = (scene.echo("well").await?, scene.serve(fails).await?);
    let requester = scene.connect().await?.requester()?;
    let asked = by_hand(&scene, &[("sinew-ask", "x-1/9000/f")])?;
    let mut replies = requester.request(asked).await?;
    let mut told = Vec::new();
    for _ in 0..2 {
        let reply = soon("a reply", replies.next_item()).await?.ok_or_else(|| failed("none"))??;
        told.push((reply.headers.text("sinew-agent").map(str::to_owned), reply.payload));
    }
    told.sort();
    let framed = Bytes::from_static(b"x-1 well\nhand from well");
    let failed = (Some("fails".to_owned()), Bytes::from_static(b"no lamp"));
    assert_eq!(told, [(None, framed), failed]);
    Ok(())
}

async fn a_frame_to_which_a_header_was_added_on_its_way_is_read_all_the_same(
    scene: Scene,
) -> Result<()> {
    let backend = scene.connect().await?;
    let mut heard = scene.hear(&backend).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["well"])?).deadline(AMPLE);
    let asking = tokio::spawn(ask.collect::<String>());
    let asked = soon("it", heard.next_item()).await?.ok_or_else(|| failed("nothing came"))??;
    let head = AskHead::of(&asked.headers, asked.reply_to.as_ref());
    let name = head.id.ok_or_else(|| failed("no name"))?;
    let framed = name.frame(&AgentId::parse("well")?, b"fine").ok_or_else(|| failed("too long"))?;
    let reply = asked.reply(framed).ok_or_else(|| failed("no request"))?;
    backend.publisher()?.send(reply.with_header("x-received-from", "elsewhere")?).await?;
    let Gathered { replies, end, .. } = asking.await.map_err(failed)??;
    assert_eq!((said(&replies), end.ended), (vec!["fine"], Ended::AllKnown));
    Ok(())
}

async fn quiet_ends_where_nobody_is_known(scene: Scene) -> Result<()> {
    const QUIET: Duration = Duration::from_secs(2);
    let _agents = (scene.echo("a").await?, scene.echo("b").await?);
    let dispatcher = scene.dispatcher().await?;
    let asked = Instant::now();
    let quiet = Until::Quiet(QUIET);
    let ask = dispatcher.ask(scene.topic(), "x").until(quiet).deadline(AMPLE);
    let Gathered { replies, end, .. } = ask.collect::<String>().await?;
    assert_eq!((said(&replies), end.ended), (vec!["x from a", "x from b"], Ended::Quiet));
    assert!(asked.elapsed() >= QUIET);
    Ok(())
}

async fn an_answer_is_taken_in_while_nobody_awaits_it(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let served = scene.serve(gated("a", &gate, Duration::ZERO)?).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["a"])?).deadline(AMPLE);
    let mut replies = ask.send::<String>().await?;
    {
        // Awaited for a while, and then not any more.
        let mut next = pin!(replies.next());
        let first = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending()));
        assert!(first.await);
        until("it is worked on", async || Ok(served.running() == 1)).await?;
    }
    gate.close();
    until("it has ended", async || Ok(replies.ended() == Some(Ended::AllKnown))).await?;
    let Gathered { replies, end, .. } = replies.collect().await?;
    assert_eq!((said(&replies), end.late), (vec!["x"], 0));
    Ok(())
}

struct Measures(String);

impl IntoPayload for Measures {
    const CONTENT_TYPE: Option<&'static str> = Some("application/json");

    fn into_payload(self) -> Result<Bytes> {
        Ok(self.0.into())
    }
}

async fn a_reply_says_what_its_payload_is(scene: Scene) -> Result<()> {
    let agent = AnyAgent::new("a", |_: Context, asked: String| async { Ok(Measures(asked)) })?;
    let _served = scene.serve(agent).await?;
    let requester = scene.connect().await?.requester()?;
    let mut replies = requester.request(by_hand(&scene, &[])?).await?;
    let reply = soon("a reply", replies.next_item()).await?.ok_or_else(|| failed("no reply"))??;
    let content_type = reply.properties().and_then(|it| it.content_type.as_deref());
    assert_eq!(content_type, Some("application/json"));
    Ok(())
}

async fn who_is_leaving_hears_what_is_called_off(scene: Scene) -> Result<()> {
    let gate = Arc::new(Semaphore::new(0));
    let served = scene.serve(gated("a", &gate, Duration::ZERO)?).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").deadline(Duration::from_secs(60));
    let asked = ask.send::<String>().await?;
    until("it is worked on", async || Ok(served.running() == 1)).await?;
    let Served { service, .. } = served;
    let leaving = tokio::spawn(service.drained(SOON));
    let within = Duration::from_millis(50);
    until("it is gone", async || Ok(dispatcher.agents(scene.topic(), within).await?.is_empty()))
        .await?;
    drop(asked);
    leaving.await.map_err(failed)?
}
