//! On which task and which thread a served agent works, in memory.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use sinew_adapter_memory::MemoryBroker;
use sinew_core::Result;
use sinew_dispatch::{AgentError, AnyAgent, Context, Dispatcher, Service, Until};
use tokio::task;

const LATE: Duration = Duration::from_secs(20);

/// Two processes: one serves `agent`, the other asks it.
async fn served(agent: &AnyAgent) -> Result<(Dispatcher, (Dispatcher, Service))> {
    let broker = MemoryBroker::new();
    let there = Dispatcher::over(&broker.connect().into_any())?;
    let service = there.serve("t", agent).await?;
    Ok((Dispatcher::over(&broker.connect().into_any())?, (there, service)))
}

async fn asked(dispatcher: &Dispatcher, what: &'static str) -> Result<String> {
    let ask = dispatcher.ask("t", what).until(Until::First(1)).deadline(LATE);
    let reply = ask.collect::<String>().await?.replies.remove(0);
    Ok(reply.result.unwrap_or_else(|err| err.to_string()))
}

#[tokio::test]
async fn quick_calls_share_the_task_that_takes_asks_in() -> Result<()> {
    let agent = AnyAgent::new("a", |_: Context, what: String| async move {
        let began_on = task::id();
        if what == "waits" {
            task::yield_now().await;
        }
        Ok(format!("{began_on} {}", task::id()))
    })?;
    let (dispatcher, _served) = served(&agent).await?;
    // Whether a call is quick is a matter of the machine, too: sooner or later four in a row are.
    let began = Instant::now();
    loop {
        // The first shows that it is quick.
        let _first = asked(&dispatcher, "").await?;
        let (one, next) = (asked(&dispatcher, "").await?, asked(&dispatcher, "").await?);
        let waited = asked(&dispatcher, "waits").await?;
        let (began_on, ended_on) = waited.split_once(' ').unwrap();
        if one == next && one == format!("{began_on} {began_on}") {
            assert_ne!(began_on, ended_on, "what it waits for, it waits for on a task");
            return Ok(());
        }
        assert!(began.elapsed() < LATE, "each has a task of its own: {one}, {next}, {waited}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn calls_that_hold_their_thread_are_on_threads_of_their_own() -> Result<()> {
    let at_once = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&at_once);
    let agent = AnyAgent::new("a", move |_: Context, what: String| {
        let seen = Arc::clone(&seen);
        async move {
            let wanted = match what.as_str() {
                "quick" => return Ok(what),
                "slow" => 0,
                _ => {
                    seen.fetch_add(1, SeqCst);
                    2
                }
            };
            // It computes, for as long as it is not quick any more; then until the other one does, too.
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(1) || seen.load(SeqCst) < wanted {
                if began.elapsed() > LATE {
                    return Err(AgentError::new("alone", "one after the other"));
                }
            }
            Ok(what)
        }
    })?;
    let (dispatcher, _served) = served(&agent).await?;
    for what in ["quick", "quick", "slow"] {
        assert_eq!(asked(&dispatcher, what).await?, what);
    }
    let both = tokio::join!(asked(&dispatcher, "both"), asked(&dispatcher, "both"));
    assert_eq!((both.0?.as_str(), both.1?.as_str()), ("both", "both"));
    Ok(())
}
