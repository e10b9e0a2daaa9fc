//! The second act: wafers are inspected by agents that answer, fail, are slow, or keep silent.
use std::time::Duration;

use bytes::Bytes;
use clap::builder::styling::Style;
use serde_json::json;
use sinew_core::Result;
use sinew_dispatch::{
    AgentError, AgentId, AnyAgent, Context, Dispatcher, Expect, Service, Until, blocking,
};
use tokio::time::{Instant, sleep};

use crate::{
    commands::dispatch::answers::{self, Conclusion},
    exit::{Failure, Outcome, Status},
    interrupt::Stop,
    output::Output,
    session::Session,
    time::spoken,
};

const TOPIC: &str = "inspect.wafer";
/// Between two asks, so that one can read.
const PAUSE: Duration = Duration::from_millis(700);

/// An ask of the play: what it shows, how long it takes at most, and when it has enough.
struct Scene {
    shows: &'static str,
    deadline: Duration,
    enough: Enough,
}

#[derive(Clone, Copy)]
enum Enough {
    All,
    First,
    Quorum,
    Quiet,
}

const SCENES: [Scene; 4] = [
    Scene {
        shows: "all six are expected, within 1.5 s; the thermal camera has hung",
        deadline: Duration::from_millis(1500),
        enough: Enough::All,
    },
    Scene {
        shows: "the first good answer is enough; the others are called off",
        deadline: Duration::from_secs(5),
        enough: Enough::First,
    },
    Scene {
        shows: "three good answers of six decide",
        deadline: Duration::from_secs(5),
        enough: Enough::Quorum,
    },
    Scene {
        shows: "whoever answers, until nobody has for 250 ms",
        deadline: Duration::from_secs(5),
        enough: Enough::Quiet,
    },
];

impl Enough {
    fn until(self, agents: usize) -> Until {
        match self {
            Self::All => Until::AllKnown,
            Self::First => Until::First(1),
            Self::Quorum => Until::Quorum { n: 3, of: agents },
            Self::Quiet => Until::Quiet(Duration::from_millis(250)),
        }
    }
}

/// What the asks of a play have come to.
#[derive(Default)]
struct Sum {
    asks: u64,
    ok: usize,
    failed: usize,
    missing: usize,
    cancelled: usize,
}

pub(super) async fn run(session: &Session, length: Duration) -> Outcome {
    let began = Instant::now();
    let agents = agents()?;
    let names: Vec<AgentId> = agents.iter().map(|agent| agent.id().clone()).collect();
    let services = serve(agents).await?;
    let backend = sinew_connect::connect(BROKER).await?;
    let asker = Dispatcher::over(&backend)?;
    let mut sum = Sum::default();
    let stop = tokio::select! {
        biased;
        stop = session.interrupt.or_deadline(Some(began + length)) => stop,
        Err(failure) = play(session, &asker, &names, &mut sum) => return Err(failure),
    };
    summary(session.output, &sum, &asker, began.elapsed())?;
    drop(services);
    session.drain(&backend).await;
    Ok(if stop == Stop::Interrupted { Status::Interrupted } else { Status::Done })
}

/// A broker of its own, which nothing else in this process connects to.
const BROKER: &str = "memory:sinew-demo-dispatch";

/// Each over a connection of its own, as if it were a process.
async fn serve(agents: Vec<AnyAgent>) -> Result<Vec<(Dispatcher, Service)>> {
    let mut services = Vec::new();
    for agent in agents {
        let dispatcher = Dispatcher::over(&sinew_connect::connect(BROKER).await?)?;
        let service = dispatcher.serve(TOPIC, &agent).await?;
        services.push((dispatcher, service));
    }
    Ok(services)
}

fn agents() -> Result<Vec<AnyAgent>> {
    let visual = AnyAgent::new("visual", |_: Context, wafer: String| async move {
        sleep(Duration::from_millis(60)).await;
        Ok(format!("{wafer}: no scratches"))
    })?;
    let archive = AnyAgent::new("archive", |_: Context, wafer: String| async move {
        sleep(Duration::from_millis(20)).await;
        Ok(format!("{wafer}: of lot 1138, third pass"))
    })?;
    let electric = AnyAgent::new("electric", |_: Context, wafer: String| async move {
        sleep(Duration::from_millis(120)).await;
        Ok(format!("{wafer}: 4.98 V"))
    })?;
    let probe = AnyAgent::new("probe", |_: Context, _: String| async move {
        sleep(Duration::from_millis(180)).await;
        Err::<String, _>(AgentError::new("bent", "the needle is bent").with_retryable(false))
    })?;
    // As the original's example does: it blocks, and nobody else must notice.
    let x_ray = AnyAgent::new(
        "x-ray",
        blocking(|_: Context, wafer: String| {
            std::thread::sleep(Duration::from_millis(900));
            Ok(format!("{wafer}: one void, 2 um"))
        }),
    )?;
    let thermal = AnyAgent::new("thermal", |context: Context, _: String| async move {
        context.cancelled().await;
        Err::<String, _>(AgentError::new("hung", "nobody waits for it any more"))
    })?;
    Ok(vec![archive, visual, electric, probe, x_ray, thermal])
}

/// Asks until it is dropped.
async fn play(
    session: &Session,
    asker: &Dispatcher,
    names: &[AgentId],
    sum: &mut Sum,
) -> std::result::Result<(), Failure> {
    let output = session.output;
    loop {
        for scene in &SCENES {
            sum.asks += 1;
            let wafer = format!("wafer-{}", sum.asks);
            announce(output, scene, &wafer)?;
            let ask = asker.ask(TOPIC, wafer).deadline(scene.deadline);
            let ask = ask.until(scene.enough.until(names.len()));
            let ask = match scene.enough {
                Enough::Quiet => ask,
                _ => ask.expect(Expect::Agents(names.to_vec())),
            };
            let mut gathering = ask.send::<Bytes>().await?;
            answers::tell(session, &mut gathering).await?;
            let end = gathering.finish();
            sum.ok += end.ok;
            sum.failed += end.failed;
            sum.missing += end.missing.len();
            sum.cancelled += end.cancelled.len();
            match output.json {
                true => output.object(&Conclusion::new(&end))?,
                false => output.line(format_args!("  {}", answers::conclusion(&end)))?,
            }
            sleep(PAUSE).await;
        }
    }
}

fn announce(output: Output, scene: &Scene, wafer: &str) -> std::result::Result<(), Failure> {
    if output.json {
        let deadline = scene.deadline.as_secs_f64();
        return output.object(&json!({
            "ask": { "topic": TOPIC, "request": wafer, "ttl": deadline, "shows": scene.shows },
        }));
    }
    let title = output.paint(Style::new().bold(), format_args!("{wafer}: {}", scene.shows));
    output.line(format_args!("\n{title}"))
}

fn summary(
    output: Output,
    sum: &Sum,
    asker: &Dispatcher,
    elapsed: Duration,
) -> std::result::Result<(), Failure> {
    let counts = asker.counts();
    let Sum { asks, ok, failed, missing, cancelled } = sum;
    if output.json {
        return output.object(&json!({
            "summary": {
                "elapsed": elapsed.as_secs_f64(),
                "asks": asks,
                "ok": ok,
                "failed": failed,
                "missing": missing,
                "cancelled": cancelled,
                "late": counts.late,
                "duplicate": counts.duplicate,
            }
        }));
    }
    output.line(format_args!(
        "\nIn {}: asks {asks}, good answers {ok}, failures {failed}, missing {missing}, called off {cancelled}, late {}.",
        spoken(elapsed),
        counts.late
    ))?;
    output.line("With a nats-server: sinew serve, and beside it sinew ask")
}
