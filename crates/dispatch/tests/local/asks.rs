//! Asks: what arrives when, and how they end.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use futures_util::StreamExt as _;
use sinew_core::{ErrorKind, Result};
use sinew_dispatch::{
    AgentError, AgentId, AnyAgent, Context, Dispatcher, DispatcherOptions, Ended, Expect, Gathered,
    Hedge, Until,
};
use tokio::time::Instant;

use crate::common::{failing, ms, names, pass, quick, silent, slow, who};

#[tokio::test(start_paused = true)]
async fn replies_come_as_they_arrive_and_the_end_counts_everybody() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agents =
        [slow("slow", ms(500))?, slow("quick", ms(100))?, failing("broken")?, silent("dead")?];
    let _registered: Vec<_> =
        agents.iter().map(|it| dispatcher.register("t", it)).collect::<Result<_>>()?;
    let mut replies = dispatcher.ask("t", "?").deadline(ms(4000)).send::<String>().await?;
    let mut told = Vec::new();
    while let Some(reply) = replies.next().await {
        let result = reply.result.as_ref().map_err(AgentError::code);
        told.push((who(&reply).to_owned(), reply.elapsed, result.cloned().map_err(str::to_owned)));
    }
    let expected = [
        ("broken".to_owned(), ms(0), Err("broken".to_owned())),
        ("quick".to_owned(), ms(100), Ok("quick".to_owned())),
        ("slow".to_owned(), ms(500), Ok("slow".to_owned())),
    ];
    assert_eq!(told, expected);
    let end = replies.finish();
    assert_eq!((end.ended, end.elapsed), (Ended::Deadline, ms(4000)));
    assert_eq!((end.ok, end.failed, names(&end.missing)), (2, 1, vec!["dead"]));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_ask_of_nobody_fails_at_once() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let start = Instant::now();
    let err = dispatcher.ask("t", "?").send::<String>().await.unwrap_err();
    assert_eq!((err.kind(), start.elapsed()), (ErrorKind::NoResponders, ms(0)));
    let expect = Expect::Agents(vec![AgentId::parse("a")?]);
    let err = dispatcher.ask("t", "?").expect(expect).send::<String>().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoResponders);
    assert_eq!(dispatcher.counts().pending, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_expected_and_not_there_is_missing_by_name() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let _here = dispatcher.register("t", &quick("here")?)?;
    let expect = Expect::Agents(vec![AgentId::parse("gone")?, AgentId::parse("here")?]);
    let Gathered { replies, end, .. } =
        dispatcher.ask("t", "?").expect(expect).collect::<String>().await?;
    assert_eq!((replies.len(), end.ended, names(&end.missing)), (1, Ended::AllKnown, vec!["gone"]));
    assert_eq!(end.elapsed, ms(0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_five_seconds_unless_said_otherwise() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let _dead = dispatcher.register("t", &silent("dead")?)?;
    let Gathered { end, .. } = dispatcher.ask("t", "?").collect::<String>().await?;
    assert_eq!((end.ended, end.elapsed), (Ended::Deadline, ms(5000)));

    let dispatcher = DispatcherOptions::default().with_deadline(ms(70)).local();
    let _dead = dispatcher.register("t", &silent("dead")?)?;
    let Gathered { end, .. } = dispatcher.ask("t", "?").collect::<String>().await?;
    assert_eq!(end.elapsed, ms(70));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn quiet_ends_it_after_the_last_answer() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agents = [slow("a", ms(1000))?, slow("b", ms(1200))?, slow("c", ms(2000))?];
    let _registered: Vec<_> =
        agents.iter().map(|it| dispatcher.register("t", it)).collect::<Result<_>>()?;
    let Gathered { replies, end, .. } =
        dispatcher.ask("t", "?").until(Until::Quiet(ms(300))).collect::<String>().await?;
    assert_eq!((replies.len(), end.ended, end.elapsed), (2, Ended::Quiet, ms(1500)));
    assert_eq!(names(&end.missing), ["c"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_quorum_that_cannot_be_reached_ends_it_early() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agents = [failing("a")?, failing("b")?, slow("c", ms(1000))?];
    let _registered: Vec<_> =
        agents.iter().map(|it| dispatcher.register("t", it)).collect::<Result<_>>()?;
    let until = Until::Quorum { n: 2, of: 3 };
    let Gathered { replies, end, .. } =
        dispatcher.ask("t", "?").until(until).collect::<String>().await?;
    assert_eq!((replies.len(), end.ended, end.elapsed), (2, Ended::OutOfReach, ms(0)));
    assert_eq!(names(&end.cancelled), ["c"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_condition_sees_what_came_and_ends_it() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agents = [slow("a", ms(10))?, slow("b", ms(20))?, slow("c", ms(30))?];
    let _registered: Vec<_> =
        agents.iter().map(|it| dispatcher.register("t", it)).collect::<Result<_>>()?;
    let until = Until::when(|it| it.result.is_ok_and(|payload| payload == "b") && it.ok == 2);
    let Gathered { replies, end, .. } =
        dispatcher.ask("t", "?").until(until).collect::<String>().await?;
    assert_eq!((replies.len(), end.ended), (2, Ended::Condition));
    assert_eq!(names(&end.cancelled), ["c"]);
    Ok(())
}

/// Says whether it was told that its ask is over, and whether it was dropped.
fn watched(told: &Arc<AtomicBool>) -> Result<AnyAgent> {
    let told = Arc::clone(told);
    AnyAgent::new("watched", move |context: Context, _: String| {
        let told = Arc::clone(&told);
        async move {
            context.cancelled().await;
            told.store(true, SeqCst);
            Err::<String, _>(AgentError::new(AgentError::CANCELLED, "nobody waits"))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn agents_are_told_when_the_asker_has_enough_or_is_gone_or_time_is_up() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let told = Arc::new(AtomicBool::new(false));
    let agent = watched(&told)?;
    let registered = dispatcher.register("t", &agent)?;
    let _quick = dispatcher.register("t", &quick("quick")?)?;
    for way in ["first", "finish", "drop", "deadline", "nobody polls"] {
        told.store(false, SeqCst);
        let ask = dispatcher.ask("t", "?").deadline(ms(100));
        match way {
            "first" => drop(ask.until(Until::First(1)).collect::<String>().await?),
            "deadline" => drop(ask.collect::<String>().await?),
            "finish" => {
                let replies = ask.send::<String>().await?;
                pass(ms(10)).await;
                assert_eq!(names(&replies.finish().cancelled), ["watched"]);
            }
            "drop" => {
                let replies = ask.send::<String>().await?;
                pass(ms(10)).await;
                drop(replies);
            }
            _ => {
                let replies = ask.send::<String>().await?;
                pass(ms(100)).await;
                tokio::task::yield_now().await;
                assert!(told.load(SeqCst), "an asker that does not look holds nobody up");
                assert_eq!(replies.finish().ended, Ended::Deadline);
            }
        }
        pass(ms(1)).await;
        assert!(told.load(SeqCst), "{way}");
        assert_eq!(agent.running(), 0, "{way}");
    }
    registered.drained(ms(0)).await
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_counts_and_never_enters_the_next_ask() -> Result<()> {
    let dispatcher = Dispatcher::local();
    // It takes no notice of the end, within its grace.
    let late = slow("late", ms(150))?.with_grace(ms(1000));
    let _registered = dispatcher.register("t", &late)?;
    let Gathered { replies, end, .. } =
        dispatcher.ask("t", "?").deadline(ms(100)).collect::<String>().await?;
    assert_eq!((replies.len(), names(&end.missing)), (0, vec!["late"]));
    let mut next = dispatcher.ask("t", "?").deadline(ms(100)).send::<String>().await?;
    pass(ms(60)).await;
    assert_eq!(dispatcher.counts().late, 1);
    assert!(next.next().await.is_none());
    pass(ms(60)).await;
    assert_eq!(next.finish().late, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_ask_sees_those_who_were_registered_when_it_was_sent() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let before = dispatcher.register("t", &slow("before", ms(10))?)?;
    let asked = dispatcher.ask("t", "?").send::<String>().await?;
    let _after = dispatcher.register("t", &quick("after")?)?;
    drop(before);
    let Gathered { replies, end, .. } = asked.collect().await?;
    assert_eq!(replies.iter().map(who).collect::<Vec<_>>(), ["before"]);
    assert_eq!(end.ended, Ended::AllKnown);
    let Gathered { replies, .. } = dispatcher.ask("t", "?").collect::<String>().await?;
    assert_eq!(replies.iter().map(who).collect::<Vec<_>>(), ["after"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_nested_ask_has_no_more_time_than_is_left_and_the_same_trace() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let inner = AnyAgent::new("inner", |context: Context, _: String| async move {
        let trace = context.headers().text("traceparent").unwrap_or("none").to_owned();
        let told = format!("{trace} {:?} {}", context.remaining(), context.headers().len());
        Ok(told)
    })?;
    let nested = dispatcher.clone();
    let outer = AnyAgent::new("outer", move |context: Context, _: String| {
        let nested = nested.clone();
        async move {
            pass(ms(100)).await;
            let ask = nested.ask("inner", "?").deadline(ms(5000)).within(&context);
            let Gathered { replies, .. } = ask.collect::<String>().await?;
            replies.into_iter().next().map_or(Ok(String::new()), |it| it.result)
        }
    })?;
    let _inner = dispatcher.register("inner", &inner)?;
    let _outer = dispatcher.register("outer", &outer)?;
    let ask = dispatcher.ask("outer", "?").deadline(ms(400));
    let ask = ask.header("traceparent", "00-ab-cd-01").header("secret", "s");
    let Gathered { replies, .. } = ask.collect::<String>().await?;
    assert_eq!(replies[0].result.as_deref(), Ok("00-ab-cd-01 300ms 1"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_ask_within_two_others_has_the_time_of_the_shorter_one() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
    let outer = AnyAgent::new("outer", move |context: Context, _: String| {
        let _ = say.send(context);
        std::future::pending::<std::result::Result<String, AgentError>>()
    })?;
    let inner = AnyAgent::new("inner", |context: Context, _: String| async move {
        Ok(format!("{:?}", context.remaining()))
    })?;
    let _outer = dispatcher.register("outer", &outer)?;
    let _inner = dispatcher.register("inner", &inner)?;
    let ask = |millis| dispatcher.ask("outer", "?").deadline(ms(millis)).send::<String>();
    let (_long, _short) = (ask(400).await?, ask(200).await?);
    let (long, short) = (said.recv().await.unwrap(), said.recv().await.unwrap());
    for (one, other) in [(&long, &short), (&short, &long)] {
        let ask = dispatcher.ask("inner", "?").within(one).within(other);
        let Gathered { replies, .. } = ask.collect::<String>().await?;
        assert_eq!(replies[0].result.as_deref(), Ok("200ms"));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn it_is_a_stream() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let _a = dispatcher.register("t", &slow("a", ms(1))?)?;
    let _b = dispatcher.register("t", &slow("b", ms(2))?)?;
    let replies = dispatcher.ask("t", "?").send::<String>().await?;
    let told: Vec<_> = replies.filter_map(async |it| it.result.ok()).collect().await;
    assert_eq!(told, ["a", "b"]);
    Ok(())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let _a = dispatcher.register("t", &quick("a")?)?;
    let ask = || dispatcher.ask("t", "?");
    let refused = [
        (ask().until(Until::First(0)), ErrorKind::InvalidOptions),
        (ask().until(Until::Quorum { n: 3, of: 2 }), ErrorKind::InvalidOptions),
        (ask().until(Until::Quiet(ms(0))), ErrorKind::InvalidOptions),
        (ask().hedge(Hedge::after(ms(5))), ErrorKind::InvalidOptions),
        (ask().max_replies(0), ErrorKind::InvalidOptions),
        (ask().deadline(DispatcherOptions::MAX_DEADLINE + ms(1)), ErrorKind::InvalidOptions),
        (ask().deadline(ms(0)), ErrorKind::Timeout),
        (ask().header("a b", "x"), ErrorKind::InvalidHeader),
        (dispatcher.ask("a..b", "?"), ErrorKind::InvalidSubject),
    ];
    for (ask, kind) in refused {
        let said = format!("{ask:?}");
        assert_eq!(ask.send::<String>().await.unwrap_err().kind(), kind, "{said}");
    }
    assert_eq!(dispatcher.counts().pending, 0);
    Ok(())
}

#[test]
fn it_is_asked_from_outside_of_any_runtime() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dispatcher = {
        let _inside = runtime.enter();
        Dispatcher::local()
    };
    let _a = dispatcher.register("t", &slow("a", ms(5))?)?;
    let _b = dispatcher.register("t", &silent("b")?)?;
    let ask = dispatcher.ask("t", "?").deadline(ms(2_000)).collect::<String>();
    let Gathered { replies, end, .. } = futures_executor::block_on(ask)?;
    assert_eq!((replies.len(), end.ended), (1, Ended::Deadline));
    // Built outside as well, it says what is missing.
    let ask = Dispatcher::local();
    let _a = ask.register("t", &quick("a")?)?;
    let err = futures_executor::block_on(ask.ask("t", "?").send::<String>()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
    Ok(())
}
