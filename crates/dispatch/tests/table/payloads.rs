//! Values of a type, in the encodings that there are.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sinew_codec::{Json, MessagePack};
use sinew_core::{FromPayload, IntoPayload, Result};
use sinew_dispatch::{AgentError, AnyAgent, Context, Gathered};

use crate::{
    behaviours, failed,
    scene::{SOON, Scene, expect, tally},
};

behaviours![json_crosses_the_broker_both_ways, messagepack_crosses_the_broker_both_ways];

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Wafer {
    lot: String,
    dies: Vec<(u32, Option<f64>)>,
    takes: Duration,
}

fn wafer(lot: &str) -> Wafer {
    let dies = vec![(0, None), (7, Some(-1.5)), (u32::MAX, Some(f64::MAX))];
    Wafer { lot: lot.to_owned(), dies, takes: Duration::new(3, 5) }
}

async fn json_crosses_the_broker_both_ways(scene: Scene) -> Result<()> {
    crosses(scene, Json, |Json(it)| it).await
}

async fn messagepack_crosses_the_broker_both_ways(scene: Scene) -> Result<()> {
    crosses(scene, MessagePack, |MessagePack(it)| it).await
}

/// One agent says what it was asked, one fails, and one answers with what is no such value.
async fn crosses<T>(scene: Scene, wrap: fn(Wafer) -> T, unwrap: fn(T) -> Wafer) -> Result<()>
where
    T: FromPayload + IntoPayload + Send + 'static,
{
    let echo = AnyAgent::new("echo", move |_: Context, asked: T| async move {
        let mut it = unwrap(asked);
        it.lot.push('!');
        Ok(wrap(it))
    })?;
    let fails = AnyAgent::new("fails", |_: Context, _: T| async {
        Err::<T, _>(AgentError::new("dark", "the lamp is out"))
    })?;
    let odd = AnyAgent::new("odd", |_: Context, _: T| async { Ok("\u{1}no wafer") })?;
    let _agents = (scene.serve(echo).await?, scene.serve(fails).await?, scene.serve(odd).await?);
    let dispatcher = scene.dispatcher().await?;
    let all = expect(&["echo", "fails", "odd"])?;
    let ask = dispatcher.ask(scene.topic(), wrap(wafer("L-1"))).expect(all).deadline(SOON);
    let Gathered { replies, end, .. } = ask.collect::<T>().await?;
    assert_eq!(tally(&end), (1, 2, 0, 0));
    let (mut told, mut codes) = (None, Vec::new());
    for reply in replies {
        match reply.result {
            Ok(it) => told = Some(unwrap(it)),
            Err(err) => codes.push(err.code().to_owned()),
        }
    }
    codes.sort_unstable();
    assert_eq!((told, codes), (Some(wafer("L-1!")), vec!["bad-reply".into(), "dark".into()]));

    // What is no such value is refused by the agents themselves.
    let ask = dispatcher.ask(scene.topic(), "\u{1}no wafer").expect(expect(&["echo"])?);
    let replies = ask.deadline(SOON).collect::<T>().await?.replies;
    let err = replies.into_iter().find_map(|it| it.result.err());
    let err = err.ok_or_else(|| failed("it was taken"))?;
    assert_eq!(err.code(), AgentError::BAD_REQUEST);
    Ok(())
}
