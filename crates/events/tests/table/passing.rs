//! Handlers whose events need not be kept for them: every broker can do that.
use std::sync::Arc;

use sinew_core::{ErrorKind, Result, Value};
use sinew_events::{Context, ContextData, HandlerError, HandlerKind, SettledAs};
use tokio::sync::mpsc;

use crate::{
    behaviours, failed, is,
    scene::{SOON, Scene, emit, service, soon, until},
};

behaviours! {
    each_kind_has_an_event_as_often_as_it_should,
    context_and_calls_travel_through_a_chain,
    a_failure_that_passes_is_handled,
}

/// What plain NATS refuses.
pub(crate) const REFUSALS: &[crate::Behaviour] =
    &[("what_must_be_kept_is_refused_by_name", |scene| {
        Box::pin(what_must_be_kept_is_refused_by_name(scene))
    })];

async fn each_kind_has_an_event_as_often_as_it_should(scene: Scene) -> Result<()> {
    let kinds =
        [(HandlerKind::ServicePool, 2), (HandlerKind::Singleton, 1), (HandlerKind::Broadcast, 3)];
    for (kind, expected) in kinds {
        let scene = Scene::new(Arc::clone(&scene.broker), kind.as_str());
        let handler = scene
            .handler(|_: Context, _: u64| async { Ok(()) })
            .with_kind(kind)
            .with_reliable_delivery(false);
        let mut started = Vec::new();
        for name in ["billing", "billing", "stock"] {
            started.push(scene.start(&service(name, handler.clone())?).await?);
        }
        emit(&scene.orders().await?, 0..100_u64).await?;
        let handled = || started.iter().map(|it| it.succeeded()).sum::<u64>();
        until("all are handled", async || Ok(handled() >= expected * 100)).await?;
        // What was to come twice would have come before the end of a drain.
        let counts: u64 = handled();
        for it in started {
            it.running.drain(SOON).await?;
        }
        is(counts == expected * 100, format!("{kind}: {counts}"))?;
    }
    Ok(())
}

async fn context_and_calls_travel_through_a_chain(scene: Scene) -> Result<()> {
    let billing = format!("billing-{}", scene.source());
    let hop = scene
        .handler(|ctx: Context, id: u64| async move {
            ctx.clone().with("tenant", "acmé")?.emit("billed", &id).await?;
            Ok(())
        })
        .with_reliable_delivery(false);
    let (tell, mut told) = mpsc::unbounded_channel();
    let last = sinew_events::EventHandler::new(
        &billing,
        "billed",
        "on_billed",
        move |ctx: Context, id: u64| {
            let told = tell.send((ctx, id)).map_err(|err| HandlerError::new(err.to_string()));
            async move { told }
        },
    );
    let _billing = scene.start(&service(&billing, hop)?).await?;
    let _stock = scene.start(&service("stock", last.with_reliable_delivery(false))?).await?;
    let mut cause = ContextData::default();
    cause.insert("language", "en")?;
    cause.insert("user_id", 7)?;
    cause.insert("tags", Value::from_iter(["a", "b"]))?;
    let orders = scene.orders().await?.with_context(cause);
    emit(&orders, [7_u64]).await?;
    let told = soon("the last one hears", told.recv()).await?;
    let (ctx, id) = told.ok_or_else(|| failed("it has ended"))?;
    is(id == 7 && ctx.language() == Some("en") && ctx.text("tenant") == Some("acmé"), "context")?;
    is(ctx.message().headers.integer("nameko.user_id") == Some(7), "a number")?;
    is(ctx.value("tags") == Some(&Value::from_iter(["a", "b"])), "a list")?;
    let calls: Vec<_> = ctx.call_id_stack().collect();
    let [call] = calls.as_slice() else { return Err(failed(format!("{calls:?}"))) };
    is(call.starts_with(&format!("{billing}.on_created.")), call)
}

async fn a_failure_that_passes_is_handled(scene: Scene) -> Result<()> {
    let handler = scene.handler(|ctx: Context, _: u64| async move {
        match ctx.run() == 1 {
            true => Err(HandlerError::new("not yet")),
            false => Ok(()),
        }
    });
    let mut started =
        scene.start(&service("billing", handler.with_reliable_delivery(false))?).await?;
    emit(&scene.orders().await?, [7_u64]).await?;
    let settled = started.settled().await?;
    is((settled.outcome, settled.runs) == (SettledAs::Handled, 2), format!("{settled:?}"))
}

async fn what_must_be_kept_is_refused_by_name(scene: Scene) -> Result<()> {
    let handler = scene.handler(|_: Context, _: u64| async { Ok(()) });
    let refused = scene.start(&service("billing", handler)?).await;
    let Err(err) = refused else { return Err(failed("it was taken")) };
    is(err.kind() == ErrorKind::Unsupported && err.to_string().contains("nats+js://"), err)
}
