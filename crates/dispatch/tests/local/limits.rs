//! Bounds: of an agent, of an ask, of a dispatcher.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use sinew_core::{ErrorKind, FromPayload, Result};
use sinew_dispatch::{
    AgentError, AnyAgent, Context, Dispatcher, DispatcherOptions, Ended, Gathered, Until, blocking,
};

use crate::common::{ms, pass, quick, slow};

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_busy_says_so_and_may_be_asked_again() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agent = slow("a", ms(100))?.with_concurrency(2);
    let _t = dispatcher.register("t", &agent)?;
    let _u = dispatcher.register("u", &agent)?;
    let first = dispatcher.ask("t", "?").send::<String>().await?;
    let second = dispatcher.ask("u", "?").send::<String>().await?;
    let Gathered { replies, end, .. } = dispatcher.ask("t", "?").collect::<String>().await?;
    let busy = replies[0].result.clone().unwrap_err();
    assert_eq!((busy.code(), busy.is_retryable()), (AgentError::BUSY, true));
    assert_eq!((end.ended, end.failed, end.elapsed), (Ended::AllKnown, 1, ms(0)));
    assert_eq!((first.collect().await?.end.ok, second.collect().await?.end.ok), (1, 1));
    assert_eq!(
        (dispatcher.ask("t", "?").collect::<String>().await?.end.ok, agent.running()),
        (1, 0)
    );
    Ok(())
}

#[tokio::test]
async fn a_blocking_handler_counts_until_it_returns() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let agent = AnyAgent::new(
        "a",
        blocking(move |_: Context, _: String| {
            let _ = gate.lock().map(|it| it.recv());
            Ok("done")
        }),
    )?
    .with_concurrency(1)
    .with_grace(ms(0));
    let registered = dispatcher.register("t", &agent)?;
    // Long enough for its thread to begin.
    let ask = dispatcher.ask("t", "?").deadline(ms(2_000));
    assert_eq!(ask.collect::<String>().await?.end.ended, Ended::Deadline);
    // Its thread cannot be taken from it.
    assert_eq!(agent.running(), 1);
    let Gathered { replies, .. } = dispatcher.ask("t", "?").collect::<String>().await?;
    assert_eq!(replies[0].result.as_ref().unwrap_err().code(), AgentError::BUSY);
    open.send(()).unwrap();
    registered.drained(ms(60_000)).await?;
    assert_eq!(agent.running(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn work_whose_time_is_up_is_not_begun() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&begun);
    let agent = AnyAgent::new("a", move |_: Context, _: String| {
        counter.fetch_add(1, SeqCst);
        async { Ok("a") }
    })?;
    let _registered = dispatcher.register("t", &agent)?;
    let asked = dispatcher.ask("t", "?").send::<String>().await?;
    // Its task has not been polled: on this one thread nothing else has run yet.
    drop(asked);
    pass(ms(1)).await;
    assert_eq!((begun.load(SeqCst), agent.running()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn so_many_asks_are_under_way_and_no_more() -> Result<()> {
    let dispatcher = DispatcherOptions::default().with_max_pending(2).local();
    let _a = dispatcher.register("t", &quick("a")?)?;
    let ask = async || dispatcher.ask("t", "?").send::<String>().await;
    let (first, _second) = (ask().await?, ask().await?);
    assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::Overloaded);
    drop(first);
    let _third = ask().await?;
    assert_eq!(dispatcher.counts().pending, 2);
    Ok(())
}

/// Counts what is decoded.
#[derive(Debug)]
struct Decoded;

static DECODED: AtomicUsize = AtomicUsize::new(0);

impl FromPayload for Decoded {
    fn from_payload(_: &Bytes) -> Result<Self> {
        DECODED.fetch_add(1, SeqCst);
        Ok(Self)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_late_or_too_large_is_not_decoded() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let big = AnyAgent::new("big", |context: Context, after: String| async move {
        if after == "late" {
            context.cancelled().await;
        }
        Ok(vec![7; 1 << 20])
    })?;
    let _big = dispatcher.register("t", &big)?;
    let ask = dispatcher.ask("t", "").max_reply_bytes((1 << 20) - 1);
    let Gathered { replies, .. } = ask.collect::<Decoded>().await?;
    assert_eq!(replies[0].result.as_ref().unwrap_err().code(), AgentError::TOO_LARGE);
    let ask = dispatcher.ask("t", "late").deadline(ms(10));
    assert_eq!(ask.collect::<Decoded>().await?.end.missing.len(), 1);
    pass(ms(10)).await;
    assert_eq!((dispatcher.counts().late, DECODED.load(SeqCst)), (1, 0));
    dispatcher.ask("t", "").collect::<Decoded>().await?.replies[0].result.as_ref().unwrap();
    assert_eq!(DECODED.load(SeqCst), 1);
    Ok(())
}

#[tokio::test]
async fn replies_are_bounded_in_number_and_bytes() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let names = ["a", "b", "c"];
    let _all: Vec<_> =
        names.iter().map(|it| dispatcher.register("t", &quick(it)?)).collect::<Result<_>>()?;
    let Gathered { replies, end, .. } =
        dispatcher.ask("t", "?").max_replies(2).collect::<String>().await?;
    assert_eq!((replies.len(), end.ended, end.cancelled.len()), (2, Ended::Limit, 1));

    let big = AnyAgent::new("big", |_: Context, _: String| async { Ok(vec![7; 1 << 20]) })?;
    let _big = dispatcher.register("big", &big)?;
    let ask = dispatcher.ask("big", "?").max_reply_bytes((1 << 20) - 1).until(Until::Deadline);
    let Gathered { replies, end, .. } = ask.collect::<Vec<u8>>().await?;
    assert_eq!(replies[0].result.as_ref().unwrap_err().code(), AgentError::TOO_LARGE);
    assert_eq!((end.ok, end.failed), (0, 1));
    let Gathered { replies, .. } = dispatcher.ask("big", "?").collect::<Vec<u8>>().await?;
    assert_eq!(replies[0].result.as_ref().map(Vec::len), Ok(1 << 20));
    Ok(())
}
