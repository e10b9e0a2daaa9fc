//! The blocking twin: the same asks from code without a runtime.
use std::{future::pending, sync::Arc, thread, time::Duration};

use sinew_core::{ErrorKind, Result};
use sinew_dispatch::{
    AgentError, AnyAgent, BlockingDispatcher, Context, DispatcherOptions, Ended, Until, blocking,
};

fn dispatcher() -> Result<BlockingDispatcher> {
    BlockingDispatcher::local()
}

fn echo(name: &str) -> Result<AnyAgent> {
    AnyAgent::new(
        name,
        blocking(|context: Context, text: String| Ok(format!("{} {text}", context.agent()))),
    )
}

#[test]
fn replies_are_iterated_and_the_end_is_told() -> Result<()> {
    let dispatcher = dispatcher()?;
    let _a = dispatcher.register("t", &echo("a")?)?;
    let _b =
        dispatcher.register("t", &AnyAgent::new("b", async |_: Context, _: String| Ok("b"))?)?;
    let mut replies = dispatcher.send::<String>(dispatcher.ask("t", "x"))?;
    let mut told: Vec<_> = replies.by_ref().filter_map(|it| it.result.ok()).collect();
    told.sort_unstable();
    assert_eq!(told, ["a x", "b"]);
    assert_eq!(replies.ended(), Some(Ended::AllKnown));
    assert_eq!(replies.finish().ok, 2);
    Ok(())
}

#[test]
fn a_deadline_ends_the_wait() -> Result<()> {
    let dispatcher = dispatcher()?;
    let silent = AnyAgent::new("a", |_: Context, _: String| {
        pending::<std::result::Result<String, AgentError>>()
    })?;
    let _a = dispatcher.register("t", &silent)?;
    let ask = dispatcher.ask("t", "x").deadline(Duration::from_millis(20));
    let (replies, end) = dispatcher.collect::<String>(ask)?;
    assert_eq!((replies.len(), end.ended, end.missing.len()), (0, Ended::Deadline, 1));
    let err = dispatcher.collect::<String>(dispatcher.ask("u", "x")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoResponders);
    Ok(())
}

#[test]
fn it_is_shared_by_threads() -> Result<()> {
    let dispatcher = dispatcher()?;
    let _a = dispatcher.register("t", &echo("a")?)?;
    let asks: Vec<_> = (0..4)
        .map(|_| {
            let dispatcher = dispatcher.clone();
            thread::spawn(move || {
                (0..50).try_for_each(|_| {
                    let ask = dispatcher.ask("t", "x").until(Until::First(1));
                    dispatcher.collect::<String>(ask).map(|it| assert_eq!(it.1.ok, 1))
                })
            })
        })
        .collect();
    for it in asks {
        it.join().unwrap()?;
    }
    assert_eq!(dispatcher.dispatcher().counts().asks, 200);
    Ok(())
}

#[test]
fn a_wait_on_a_runtimes_thread_is_refused() -> Result<()> {
    let dispatcher = Arc::new(dispatcher()?);
    let _a = dispatcher.register("t", &echo("a")?)?;
    let mut replies = dispatcher.send::<String>(dispatcher.ask("t", "x"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let err = dispatcher.send::<String>(dispatcher.ask("t", "x")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InsideRuntime);
        assert_eq!(replies.wait_next().unwrap_err().kind(), ErrorKind::InsideRuntime);
    });
    assert_eq!(replies.count(), 1);
    Ok(())
}

#[test]
fn what_keeps_it_from_being_built_is_told() {
    let refused = BlockingDispatcher::build(|| {
        Err(sinew_core::Error::new(ErrorKind::Unreachable, "a broker"))
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unreachable);
    assert!(BlockingDispatcher::build(|| Ok(DispatcherOptions::default().local())).is_ok());
}
