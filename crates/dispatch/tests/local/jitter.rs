//! Answers of a wide fan-out, spread.
use std::{collections::BTreeSet, time::Duration};

use sinew_adapter_memory::MemoryBroker;
use sinew_core::Result;
use sinew_dispatch::{AgentId, AnyAgent, Context, Dispatcher, Ended, Expect, Gathered};

use crate::common::ms;

#[tokio::test(start_paused = true)]
async fn answers_over_a_broker_are_spread_and_none_is_held_beyond_its_deadline() -> Result<()> {
    let broker = MemoryBroker::new();
    let there = Dispatcher::over(&broker.connect().into_any())?;
    let (mut served, mut names) = (Vec::new(), Vec::new());
    for at in 0..20 {
        let agent = AnyAgent::new(&format!("a-{at}"), |_: Context, _: String| async { Ok("") })?;
        names.push(AgentId::parse(agent.id().as_str())?);
        served.push(there.serve("t", &agent.with_jitter(ms(1000))).await?);
    }
    let here = Dispatcher::over(&broker.connect().into_any())?;
    let ask = || here.ask("t", "?").expect(Expect::Agents(names.clone()));
    let Gathered { replies, end, .. } = ask().deadline(ms(5000)).collect::<String>().await?;
    assert_eq!((replies.len(), end.ended), (20, Ended::AllKnown));
    assert!(end.elapsed <= ms(1000), "{:?}", end.elapsed);
    let times: BTreeSet<Duration> = replies.iter().map(|it| it.elapsed).collect();
    assert!(times.len() > 10, "{times:?}");

    let Gathered { end, .. } = ask().deadline(ms(100)).collect::<String>().await?;
    assert_eq!((end.ended, end.ok), (Ended::AllKnown, 20));
    assert!(end.elapsed <= ms(50), "{:?}", end.elapsed);
    Ok(())
}
