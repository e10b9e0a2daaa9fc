//! What is recorded is what the README lists, name by name.
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use sinew_adapter_memory::MemoryBroker;
use sinew_core::{Message, PublishExt as _, ReplyTo, Result, Subject};
use sinew_dispatch::{
    Dispatcher, Until,
    heads::{AskHead, AskId},
};
use tokio::runtime::Builder;

use crate::common::{failing, ms, pass, quick, silent, slow};

#[derive(Default)]
struct Keys(Mutex<BTreeSet<String>>);

impl Keys {
    fn note(&self, key: &Key) {
        let mut labels: Vec<_> = key.labels().map(metrics::Label::key).collect();
        labels.sort_unstable();
        let text = format!("{}{{{}}}", key.name(), labels.join(","));
        self.add(text);
        for outcome in key.labels().filter(|it| it.key() == "outcome") {
            self.add(format!("outcome={}", outcome.value()));
        }
    }

    fn add(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
    }
}

impl Recorder for Keys {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

async fn scene() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let late = slow("late", ms(60))?.with_grace(ms(100));
    let agents = [quick("a")?, failing("b")?, silent("c")?, late];
    let _all: Vec<_> =
        agents.iter().map(|it| dispatcher.register("t", it)).collect::<Result<_>>()?;
    dispatcher.ask("t", "?").deadline(ms(50)).collect::<String>().await?;
    pass(ms(50)).await;
    dispatcher.ask("t", "?").until(Until::First(1)).collect::<String>().await?;
    served().await
}

/// What becomes of asks that come over a broker.
async fn served() -> Result<()> {
    let broker = MemoryBroker::new();
    let (there, asker) = (broker.connect().into_any(), broker.connect().into_any());
    let (serving, twin) = (Dispatcher::over(&there)?, Dispatcher::over(&there)?);
    let agents = [quick("ok")?, failing("failed")?, silent("cancelled")?];
    let mut services = vec![twin.serve("t", &quick("ok")?).await?];
    for agent in &agents {
        services.push(serving.serve("t", agent).await?);
    }
    services.push(serving.serve("t", &quick("busy")?.with_concurrency(0)).await?);
    let dispatcher = Dispatcher::over(&asker)?;
    let ask = dispatcher.ask("t", "?").deadline(ms(100)).until(Until::Deadline);
    assert_eq!(ask.collect::<String>().await?.end.duplicate, 1);
    // By hand: one that came too late, and one that came twice and has no address to answer to.
    let publisher = asker.publisher()?;
    for (name, remaining) in [("late", 0), ("twice", 50), ("twice", 50)] {
        let mut message = Message::new(Subject::parse("t")?, "?");
        AskHead::new(AskId::parse(name)?, ms(remaining)).write(&mut message.headers)?;
        message.reply_to = Some(ReplyTo::new("nobody"));
        publisher.send(message).await?;
    }
    pass(ms(500)).await;
    Ok(())
}

#[test]
fn what_is_recorded_is_what_the_readme_lists() {
    let keys = Arc::new(Keys::default());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    with_local_recorder(&keys, || runtime.block_on(scene())).unwrap();
    let readme = include_str!("../../README.md");
    let listed: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `dispatch_")?.split_once('`')?.0))
        .map(|it| format!("dispatch_{it}"))
        .collect();
    let recorded = keys.0.lock().unwrap();
    let normal = |it: &String| {
        let (name, labels) = it.trim_end_matches('}').split_once('{').unwrap();
        let mut labels: Vec<_> = labels.split(',').collect();
        labels.sort_unstable();
        format!("{name}{{{}}}", labels.join(","))
    };
    let listed: BTreeSet<String> = listed.iter().map(normal).collect();
    let (outcomes, recorded): (BTreeSet<_>, BTreeSet<_>) =
        recorded.iter().cloned().partition(|it| it.starts_with("outcome="));
    assert_eq!(recorded, listed);
    // What is lost on its way in is so on a broker.
    let row = readme.lines().find(|it| it.starts_with("| `dispatch_served_total")).unwrap();
    let named = row.split('`').skip(3).step_by(2).filter(|it| *it != "lost");
    assert_eq!(outcomes, named.map(|it| format!("outcome={it}")).collect());
}
