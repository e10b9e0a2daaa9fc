//! What befalls a broker while it is asked.
use std::{sync::Arc, time::Duration};

use sinew_core::{Error, Result};
use sinew_dispatch::{Dispatcher, Ended, Gathered, Until};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    behaviours, failed,
    scene::{Scene, expect, gated, until},
};

behaviours![
    a_broker_that_is_restarted_mid_ask_ends_it_by_its_deadline_and_serves_the_next,
    a_broker_that_is_frozen_holds_no_ask_beyond_its_deadline,
];

async fn a_broker_that_is_restarted_mid_ask_ends_it_by_its_deadline_and_serves_the_next(
    scene: Scene,
) -> Result<()> {
    const DEADLINE: Duration = Duration::from_secs(4);
    let gate = Arc::new(Semaphore::new(0));
    let served = scene.serve(gated("slow", &gate, Duration::ZERO)?).await?;
    let _quick = scene.echo("quick").await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["slow", "quick"])?);
    let asked = Instant::now();
    let mut gathering = ask.deadline(DEADLINE).send::<String>().await?;
    let first = gathering.next().await.ok_or_else(|| failed("no reply"))?;
    assert_eq!(first.result.as_deref(), Ok("x from quick"));
    until("it is worked on", async || Ok(served.running() == 1)).await?;
    scene.broker.kill()?;
    let restarting = tokio::spawn({
        let broker = Arc::clone(&scene.broker);
        async move { broker.start().await }
    });
    assert_eq!(gathering.next().await, None);
    let end = gathering.finish();
    assert!(asked.elapsed() < DEADLINE + BUSY, "{:?}", asked.elapsed());
    // What was answered stands; who was not heard is missing by name, whether the way back broke or time ran out.
    assert!(matches!(end.ended, Ended::Disconnected | Ended::Deadline), "{end:?}");
    assert_eq!((end.ok, end.missing.len()), (1, 1), "{end:?}");
    restarting.await.map_err(failed)??;
    gate.close();
    // Nobody did anything: the agents are served again, and the same dispatcher asks them.
    answer_again(&scene, &dispatcher, 2).await
}

async fn a_broker_that_is_frozen_holds_no_ask_beyond_its_deadline(scene: Scene) -> Result<()> {
    const DEADLINE: Duration = Duration::from_millis(700);
    let _agent = scene.echo("a").await?;
    let dispatcher = scene.dispatcher().await?;
    answer_again(&scene, &dispatcher, 1).await?;
    scene.broker.freeze()?;
    for _ in 0..3 {
        let ask = dispatcher.ask(scene.topic(), "x").expect(expect(&["a"])?).deadline(DEADLINE);
        let asked = Instant::now();
        match ask.collect::<String>().await {
            // It was handed over, and nobody answered.
            Ok(Gathered { end, .. }) => {
                assert_eq!((end.ended, end.missing.len()), (Ended::Deadline, 1))
            }
            // Or it could not be.
            Err(err) => assert!(err.is_transient(), "{err:?}"),
        }
        assert!(asked.elapsed() < DEADLINE + BUSY, "{:?}", asked.elapsed());
    }
    scene.broker.thaw()?;
    answer_again(&scene, &dispatcher, 1).await?;
    assert_eq!(dispatcher.counts().pending, 0);
    Ok(())
}

/// What a machine may take that has other things to do; less than an adapter waits by itself.
const BUSY: Duration = Duration::from_secs(4);

/// Waits until so many agents answer again.
async fn answer_again(scene: &Scene, dispatcher: &Dispatcher, agents: usize) -> Result<()> {
    until("they answer", async || {
        let ask = dispatcher.ask(scene.topic(), "y").until(Until::First(agents));
        let told = ask.deadline(Duration::from_secs(1)).collect::<String>().await;
        Ok::<_, Error>(told.is_ok_and(|it| it.end.ok == agents))
    })
    .await
}
