//! A wafer is inspected by everybody who can: one is slow, one fails, one never answers, and the lot goes on in time.
#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::{future::pending, thread, time::Duration};

use serde::{Deserialize, Serialize};
use sinew_codec::Json;
use sinew_core::Result;
use sinew_dispatch::{AgentError, AnyAgent, Context, Dispatcher, Gathered, Hedge, Until, blocking};
use tokio::time::sleep;

const TOPIC: &str = "inspect.wafer";

#[derive(Serialize, Deserialize)]
struct Wafer {
    lot: String,
    number: u32,
}

#[derive(Serialize, Deserialize)]
struct Verdict {
    good: bool,
    note: String,
}

type Answer = std::result::Result<Json<Verdict>, AgentError>;

fn good(note: impl Into<String>) -> Answer {
    Ok(Json(Verdict { good: true, note: note.into() }))
}

/// The inspectors. Over a broker each would be a process of its own; who asks would not notice.
fn inspectors() -> Result<Vec<AnyAgent>> {
    Ok(vec![
        AnyAgent::new("visual", |_: Context, Json(wafer): Json<Wafer>| async move {
            good(format!("wafer {} of {} has no scratches", wafer.number, wafer.lot))
        })?,
        // It knows how long it has, and whether anybody still waits.
        AnyAgent::new("thermal", |context: Context, _: Json<Wafer>| async move {
            sleep(Duration::from_millis(300)).await;
            good(format!("slow, with {:.1} s left", context.remaining().as_secs_f64()))
        })?,
        // A device that blocks: kept off the runtime's threads, and asked once at a time.
        AnyAgent::new(
            "prober",
            blocking(|_: Context, _: Json<Wafer>| {
                thread::sleep(Duration::from_millis(50));
                good("all needles touch")
            }),
        )?
        .with_concurrency(1),
        AnyAgent::new("x-ray", |_: Context, _: Json<Wafer>| async move {
            let failure = AgentError::new("tube-cold", "warming up, ask again in a minute");
            Answer::Err(failure.with_retryable(true))
        })?,
        AnyAgent::new("acoustic", |_: Context, _: Json<Wafer>| pending::<Answer>())?,
    ])
}

#[tokio::main]
async fn main() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let _registered = inspectors()?
        .iter()
        .map(|inspector| dispatcher.register(TOPIC, inspector))
        .collect::<Result<Vec<_>>>()?;
    let wafer = Wafer { lot: "L-2041".to_owned(), number: 7 };

    // Everybody, as they answer; whoever has not within a second is missing.
    let ask = dispatcher.ask(TOPIC, Json(&wafer)).deadline(Duration::from_secs(1));
    let mut replies = ask.send::<Json<Verdict>>().await?;
    while let Some(reply) = replies.next().await {
        let name = reply.agent.map_or_else(|| "?".to_owned(), |it| it.to_string());
        let elapsed = reply.elapsed.as_secs_f64();
        match reply.result {
            Ok(Json(verdict)) if verdict.good => {
                println!("{elapsed:.2} s {name}: {}", verdict.note)
            }
            Ok(Json(verdict)) => println!("{elapsed:.2} s {name}: reject, {}", verdict.note),
            Err(err) if err.is_retryable() => println!("{elapsed:.2} s {name}: not now, {err}"),
            Err(err) => println!("{elapsed:.2} s {name}: failed, {err}"),
        }
    }
    let end = replies.finish();
    println!("{}: {} ok, {} failed, missing {:?}", end.ended, end.ok, end.failed, end.missing);

    // A vote: three good words of five are enough, and the rest are called off.
    let ask = dispatcher.ask(TOPIC, Json(&wafer)).until(Until::Quorum { n: 3, of: 5 });
    let Gathered { end, .. } = ask.collect::<Json<Verdict>>().await?;
    println!(
        "{} after {:.2} s, called off {:?}",
        end.ended,
        end.elapsed.as_secs_f64(),
        end.cancelled
    );

    // Anybody's word: one is asked, and if it takes its time or fails, the next.
    let hedge = Hedge::after(Duration::from_millis(100)).max(4);
    let ask = dispatcher.ask(TOPIC, Json(&wafer)).until(Until::First(1)).hedge(hedge);
    let Gathered { end, .. } = ask.collect::<Json<Verdict>>().await?;
    println!("{}: {} ok, {} failed", end.ended, end.ok, end.failed);
    Ok(())
}
