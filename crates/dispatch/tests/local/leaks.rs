//! No entry survives its ask, whatever its agents do.
use std::time::Duration;

use sinew_adapter_memory::MemoryBroker;
use sinew_core::{
    AnyBackend, ErrorKind, PublishExt as _, Result, Subject, Subscribe as _, Subscription,
};
use sinew_dispatch::{AgentError, AgentId, AnyAgent, Context, Dispatcher, Expect, Until};
use tokio::runtime::{Builder, Handle};

use crate::common::{failing, ms, pass, quick, silent};

/// A million asks between the two tests, which run side by side: within this process nobody can answer twice, so those who do
/// are behind a broker, where an ask costs more.
const ASKS: u32 = 900_000;
const ASKS_ANSWERED_TWICE: u32 = 100_000;

/// Those who answer nothing, fail, come late, panic, and are well.
fn crew() -> Result<Vec<AnyAgent>> {
    let late = AnyAgent::new("late", |context: Context, _: String| async move {
        context.cancelled().await;
        Ok("late")
    })?;
    let gone = AnyAgent::new("gone", |context: Context, _: String| async move {
        context.cancelled().await;
        Err::<String, _>(AgentError::new(AgentError::CANCELLED, ""))
    })?;
    Ok(vec![quick("well")?, failing("fails")?, silent("silent")?, late, gone])
}

#[test]
fn after_any_number_of_asks_nothing_is_left() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(scene()).unwrap();
}

async fn scene() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let crew = crew()?;
    let grace = Duration::ZERO;
    let crew: Vec<_> = crew.into_iter().map(|it| it.with_grace(grace)).collect();
    let mut registered = Vec::new();
    for (at, agent) in crew.iter().enumerate() {
        // Each alone, and all together.
        registered.push(dispatcher.register(format!("only.{at}"), agent)?);
        registered.push(dispatcher.register("all", agent)?);
    }
    for round in 0..ASKS {
        let topic = match round % 8 {
            at @ 0..5 => format!("only.{at}"),
            5 => "nobody".to_owned(),
            _ => "all".to_owned(),
        };
        let ask = dispatcher.ask(topic, "?").deadline(ms(10));
        let ask = if round % 16 == 7 { ask.until(Until::First(1)) } else { ask };
        let mut asked = match ask.send::<String>().await {
            Ok(asked) => asked,
            Err(err) => {
                assert_eq!((err.kind(), round % 8), (ErrorKind::NoResponders, 5));
                continue;
            }
        };
        match round % 3 {
            // Dropped at once, after one reply, or at its end.
            0 => {}
            1 => drop(asked.next().await),
            _ => while asked.next().await.is_some() {},
        }
    }
    pass(ms(10)).await;
    let counts = dispatcher.counts();
    assert_eq!((counts.pending, counts.asks), (0, u64::from(ASKS - ASKS / 8)));
    assert!(counts.late > 0, "those who come late are counted");
    for agent in &crew {
        assert_eq!(agent.running(), 0, "{agent:?}");
    }
    let alive = Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive, 0, "tasks of asks that are over");
    Ok(())
}

#[test]
fn after_any_number_of_second_answers_nothing_is_left() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(answered_twice()).unwrap();
}

/// Answers all that is asked under `t`, twice.
async fn answer_twice(backend: AnyBackend) -> Result<()> {
    let wanted = Subscription::new(Subject::parse("t")?);
    let mut asked = backend.subscriber()?.subscribe(wanted).await?;
    let publisher = backend.publisher()?;
    while let Some(ask) = asked.next_item().await {
        let ask = ask?;
        for text in ["one", "two"] {
            let Some(reply) = ask.reply(text) else { continue };
            // Whoever asked may be gone.
            drop(publisher.send(reply.with_header("sinew-agent", "twice")?).await);
        }
    }
    Ok(())
}

async fn answered_twice() -> Result<()> {
    let broker = MemoryBroker::new();
    let answering = tokio::spawn(answer_twice(broker.connect().into_any()));
    let dispatcher = Dispatcher::over(&broker.connect().into_any())?;
    let known = [AgentId::parse("twice")?, AgentId::parse("never")?];
    pass(ms(10)).await;
    let alive = || (Handle::current().metrics().num_alive_tasks(), broker.stats().intakes);
    let before = alive();
    for round in 0..ASKS_ANSWERED_TWICE {
        let ask = dispatcher.ask("t", "?").deadline(ms(10)).expect(Expect::Agents(known.to_vec()));
        let mut asked = ask.send::<String>().await?;
        match round % 3 {
            0 => {}
            1 => drop(asked.next().await),
            _ => while asked.next().await.is_some() {},
        }
    }
    // Those that are late are counted for a while.
    pass(Duration::from_secs(20)).await;
    let counts = dispatcher.counts();
    assert_eq!((counts.pending, counts.asks), (0, u64::from(ASKS_ANSWERED_TWICE)));
    assert!(counts.duplicate >= u64::from(ASKS_ANSWERED_TWICE / 3), "{counts:?}");
    assert_eq!(alive(), before, "tasks and intakes of asks that are over");
    assert!(!answering.is_finished());
    Ok(())
}
