//! Asks that pick one agent.
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use sinew_core::Result;
use sinew_dispatch::{
    AgentError, AnyAgent, Context, Dispatcher, Ended, Gathered, Hedge, Registered, Until,
};

use crate::common::{ms, names, pass, who};

/// Counts how often it is asked; answers after so long, or fails at once.
fn agent(name: &str, asked: &Arc<AtomicUsize>, after: Option<u64>) -> Result<AnyAgent> {
    let asked = Arc::clone(asked);
    AnyAgent::new(name, move |context: Context, _: String| {
        asked.fetch_add(1, SeqCst);
        async move {
            match after {
                Some(after) => pass(ms(after)).await,
                None => return Err(AgentError::new("broken", "")),
            }
            Ok(context.agent().to_string())
        }
    })
}

type Fleet = (Dispatcher, Arc<AtomicUsize>, Vec<Registered>);

fn fleet(agents: &[(&str, Option<u64>)]) -> Result<Fleet> {
    let (dispatcher, asked) = (Dispatcher::local(), Arc::default());
    let registered = agents
        .iter()
        .map(|(name, after)| dispatcher.register("t", &agent(name, &asked, *after)?))
        .collect::<Result<_>>()?;
    Ok((dispatcher, asked, registered))
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_in_time_is_the_only_one_asked() -> Result<()> {
    let (dispatcher, asked, _all) = fleet(&[("a", Some(10)), ("b", Some(10)), ("c", Some(10))])?;
    let mut answered = BTreeSet::new();
    for turn in 1..=3 {
        let ask = dispatcher.ask("t", "?").until(Until::First(1)).hedge(Hedge::after(ms(50)));
        let Gathered { replies, end, .. } = ask.collect::<String>().await?;
        assert_eq!((replies.len(), end.ended, asked.load(SeqCst)), (1, Ended::First, turn));
        assert!(end.cancelled.is_empty() && end.missing.is_empty());
        answered.insert(who(&replies[0]).to_owned());
    }
    // Each has its turn.
    assert_eq!(answered.len(), 3);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_slow_one_is_overtaken_and_called_off_within_the_budget() -> Result<()> {
    let slow = ("a", Some(1000));
    let (dispatcher, asked, _all) =
        fleet(&[slow, ("b", Some(1000)), ("c", Some(10)), ("d", None)])?;
    let ask = dispatcher.ask("t", "?").until(Until::First(1)).hedge(Hedge::after(ms(50)).max(2));
    let Gathered { replies, end, .. } = ask.collect::<String>().await?;
    assert_eq!((who(&replies[0]), end.elapsed, asked.load(SeqCst)), ("c", ms(110), 3));
    assert_eq!(names(&end.cancelled), ["a", "b"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_followed_at_once_and_those_who_are_busy_too() -> Result<()> {
    let (dispatcher, asked, mut all) = fleet(&[("a", None)])?;
    for name in ["b", "c"] {
        let busy = agent(name, &asked, Some(1))?.with_concurrency(0);
        all.push(dispatcher.register("t", &busy)?);
    }
    all.push(dispatcher.register("t", &agent("d", &asked, Some(1))?)?);
    let ask = dispatcher.ask("t", "?").until(Until::First(1)).hedge(Hedge::after(ms(50)).max(9));
    let Gathered { replies, end, .. } = ask.collect::<String>().await?;
    let told: Vec<_> = replies.iter().map(who).collect();
    assert_eq!((told, end.elapsed, end.failed), (vec!["a", "b", "c", "d"], ms(1), 3));
    // Nobody is left to be asked: no need to wait for the deadline.
    let ask = dispatcher.ask("t", "?").until(Until::First(1)).hedge(Hedge::after(ms(50)).max(1));
    let Gathered { end, .. } = ask.collect::<String>().await?;
    assert_eq!((end.ended, end.failed, end.elapsed), (Ended::AllKnown, 2, ms(0)));
    Ok(())
}
