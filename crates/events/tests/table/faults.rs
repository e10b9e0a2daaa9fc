//! Brokers that are killed under their services.
use sinew_core::Result;
use sinew_events::{Context, HandlerError, ServiceEvent, SettledAs};
use tokio::sync::mpsc;

use crate::{
    behaviours, failed, is,
    scene::{Scene, Started, emit, service, soon},
};

behaviours! {
    a_killed_broker_cancels_what_runs_and_the_service_goes_on,
}

async fn a_killed_broker_cancels_what_runs_and_the_service_goes_on(scene: Scene) -> Result<()> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = scene.handler(move |ctx: Context, id: u64| {
        let told = tell.send(ctx).map_err(|err| HandlerError::new(err.to_string()));
        async move {
            told?;
            match id {
                0 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    });
    let Started { running, mut events } = scene.start(&service("billing", handler)?).await?;
    emit(&scene.orders().await?, [0_u64]).await?;
    let context = soon("it runs", told.recv()).await?.ok_or_else(|| failed("it has ended"))?;
    is(!context.is_cancelled(), "it may go on")?;
    scene.broker.kill()?;
    soon("it is told to stop", context.cancelled()).await?;
    scene.broker.start().await?;
    let (mut was_cancelled, mut was_down) = (false, false);
    loop {
        match soon("its link is up again", events.next()).await? {
            Some(Ok(ServiceEvent::Settled(it))) => {
                was_cancelled |= it.outcome == SettledAs::Cancelled
            }
            Some(Ok(ServiceEvent::Down { .. })) => was_down = true,
            Some(Ok(ServiceEvent::Up { .. })) => break,
            other => return Err(failed(format!("{other:?}"))),
        }
    }
    is(was_cancelled && was_down, "it was told of both")?;
    emit(&scene.orders().await?, [1_u64]).await?;
    loop {
        match soon("the next one is handled", events.next()).await? {
            Some(Ok(ServiceEvent::Settled(it))) if it.outcome == SettledAs::Handled => break,
            Some(Ok(_)) => {}
            other => return Err(failed(format!("{other:?}"))),
        }
    }
    drop(running);
    Ok(())
}
