//! Agents: registered, deregistered, drained, and what they take.
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
    mpsc,
};

use sinew_core::{ErrorKind, Result};
use sinew_dispatch::{AgentError, AnyAgent, Context, Dispatcher, Ended, Gathered, blocking};

use crate::common::{ms, names, pass, quick, slow, who};

#[tokio::test(start_paused = true)]
async fn one_agent_answers_under_several_topics_by_their_names() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agent = AnyAgent::new("a", |context: Context, text: String| async move {
        Ok(format!("{} {} {text}", context.topic(), context.agent()))
    })?;
    let _t = dispatcher.register("t", &agent)?;
    let other = dispatcher.register("u.v", &agent)?;
    let Gathered { replies, .. } = dispatcher.ask("u.v", "x").collect::<String>().await?;
    assert_eq!(replies[0].result.as_deref(), Ok("u.v a x"));
    drop(other);
    let err = dispatcher.ask("u.v", "x").send::<String>().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoResponders);
    let Gathered { replies, .. } = dispatcher.ask("t", "x").collect::<String>().await?;
    assert_eq!(replies[0].result.as_deref(), Ok("t a x"));
    Ok(())
}

#[tokio::test]
async fn a_name_is_there_once_under_a_topic() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let first = dispatcher.register("t", &quick("a")?)?;
    let err = dispatcher.register("t", &quick("a")?).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    let _elsewhere = dispatcher.register("u", &quick("a")?)?;
    assert_eq!(names(&dispatcher.registered("t")?), ["a"]);
    drop(first);
    assert!(dispatcher.registered("t")?.is_empty());
    let _again = dispatcher.register("t", &quick("a")?)?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dropped_registration_still_answers_what_it_was_asked() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let registered = dispatcher.register("t", &slow("a", ms(100))?)?;
    let asked = dispatcher.ask("t", "?").send::<String>().await?;
    drop(registered);
    let Gathered { replies, end, .. } = asked.collect().await?;
    assert_eq!((replies.iter().map(who).collect::<Vec<_>>(), end.ok), (vec!["a"], 1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_runs_and_says_when_it_does_not_end() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agent = slow("a", ms(100))?;
    for (within, ends) in [(ms(50), false), (ms(200), true)] {
        let registered = dispatcher.register("t", &agent)?;
        let other = dispatcher.register("u", &agent)?;
        let asked = dispatcher.ask("t", "?").send::<String>().await?;
        let drained = registered.drained(within).await;
        assert_eq!(
            drained.map_err(|it| it.kind()),
            if ends { Ok(()) } else { Err(ErrorKind::Timeout) }
        );
        // What runs under another topic is another matter.
        other.drained(ms(0)).await?;
        assert_eq!(asked.collect().await?.end.ended, Ended::AllKnown);
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_decode_is_that_agents_failure() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let bytes = AnyAgent::new("bytes", |_: Context, _: Vec<u8>| async { Ok(vec![0xff]) })?;
    let _text = dispatcher.register("t", &quick("text")?)?;
    let _bytes = dispatcher.register("t", &bytes)?;
    let Gathered { replies, end, .. } = dispatcher.ask("t", vec![0xff]).collect::<String>().await?;
    let codes: Vec<_> = replies
        .iter()
        .map(|it| (who(it), it.result.as_ref().map_err(AgentError::code).err().unwrap_or("ok")))
        .collect();
    assert!(codes.contains(&("text", AgentError::BAD_REQUEST)), "{codes:?}");
    assert!(codes.contains(&("bytes", AgentError::BAD_REPLY)), "{codes:?}");
    assert_eq!((end.ok, end.failed), (0, 2));
    Ok(())
}

#[tokio::test]
async fn sixty_four_agents_that_block_hold_nobody_up() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let mut registered = Vec::new();
    for at in 0..64 {
        let agent = AnyAgent::new(
            &format!("blocks-{at}"),
            blocking(|context: Context, _: String| {
                // Until the ask is over: as long as the asker needs to have heard the others.
                while !context.is_cancelled() {
                    std::thread::park_timeout(ms(1));
                }
                Ok("woke")
            }),
        )?;
        registered.push(dispatcher.register("t", &agent)?);
    }
    registered.push(dispatcher.register("t", &quick("quick")?)?);
    let mut replies = dispatcher.ask("t", "?").deadline(ms(60_000)).send::<String>().await?;
    let first = replies.next().await.unwrap();
    assert_eq!(who(&first), "quick");
    // The runtime's only thread still turns.
    pass(ms(1)).await;
    assert_eq!(replies.finish().cancelled.len(), 64);
    for it in registered {
        it.drained(ms(60_000)).await?;
    }
    Ok(())
}

#[test]
fn blocking_work_whose_ask_is_over_before_a_thread_is_free_is_not_begun() -> Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.max_blocking_threads(1).enable_all().build().unwrap();
    let (begun, (done, held)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
    let (count, held) = (Arc::clone(&begun), Mutex::new(held));
    let agent = AnyAgent::new(
        "a",
        blocking(move |_: Context, _: String| {
            count.fetch_add(1, SeqCst);
            // Until the asks are over, and none was answered.
            let _over = held.lock().map(|held| held.recv());
            Ok("")
        }),
    )?;
    let agent = agent.with_grace(ms(0));
    runtime.block_on(async {
        let dispatcher = Dispatcher::local();
        let _a = dispatcher.register("t", &agent)?;
        let ask = || dispatcher.ask("t", "").deadline(ms(2_000)).collect::<String>();
        let (first, second, third) = tokio::join!(ask(), ask(), ask());
        assert_eq!([first?.end.ok, second?.end.ok, third?.end.ok], [0; 3]);
        Ok(())
    })?;
    drop(done);
    // Ends when the thread is free, and what waited for it is through.
    drop(runtime);
    assert_eq!(begun.load(SeqCst), 1);
    Ok(())
}
