//! The blocking twin: the same asks from code without a runtime.
use std::{future::pending, sync::Arc, thread, time::Duration};

use sinew_adapter_memory::MemoryBroker;
use sinew_beat::HeartOptions;
use sinew_core::{ErrorKind, Result};
use sinew_dispatch::{
    AgentError, AnyAgent, BlockingDispatcher, Context, Dispatcher, DispatcherOptions, Ended,
    Expect, Gathered, Until, blocking,
};

/// Within which everything happens that a test waits for.
const LIMIT: Duration = Duration::from_secs(30);

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
    let Gathered { replies, end, .. } = dispatcher.collect::<String>(ask)?;
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
                    dispatcher.collect::<String>(ask).map(|it| assert_eq!(it.end.ok, 1))
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

#[test]
fn an_agent_is_served_and_found_and_drained_without_a_runtime() -> Result<()> {
    let broker = MemoryBroker::new();
    let over = || BlockingDispatcher::build(|| Dispatcher::over(&broker.connect().into_any()));
    let (there, here) = (over()?, over()?);
    let mut service = there.serve("t", &echo("far")?)?;
    assert_eq!((service.topic().as_str(), service.agent().as_str()), ("t", "far"));
    let found = here.agents("t", LIMIT / 100)?;
    assert_eq!(found.iter().map(|it| it.agent.as_str()).collect::<Vec<_>>(), ["far"]);

    let near = here.register("t", &echo("near")?)?;
    let known = Expect::Agents(found.into_iter().map(|it| it.agent).collect());
    let gathered = here.collect::<String>(here.ask("t", "x").expect(known).deadline(LIMIT))?;
    assert_eq!((gathered.end.ended, gathered.end.ok), (Ended::AllKnown, 2));
    here.drained(LIMIT)?;
    here.deregistered(near, LIMIT)?;
    assert_eq!((here.counts().asks, service.counts().ok), (1, 1));

    // On a thread of a runtime each of them would stall it.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let inside = [
            here.agents("t", LIMIT).map(drop),
            here.serve("t", &echo("other")?).map(drop),
            here.drained(LIMIT),
            service.ended(),
        ];
        for refused in inside {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InsideRuntime);
        }
        Result::Ok(())
    })?;
    service.drained(LIMIT)?;
    let err = here.collect::<String>(here.ask("t", "x").deadline(LIMIT)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoResponders);
    Ok(())
}

#[test]
fn an_agent_that_beats_is_served_without_a_runtime() -> Result<()> {
    let broker = MemoryBroker::new();
    let there = BlockingDispatcher::build(|| Dispatcher::over(&broker.connect().into_any()))?;
    let service = there.serve_beating("t", &echo("far")?, HeartOptions::default())?;
    assert_eq!(service.counts().ok, 0);
    service.drained(LIMIT)
}
