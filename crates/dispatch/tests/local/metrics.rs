//! What is recorded is what the README lists, name by name.
use std::collections::BTreeSet;

use metrics::{Key, with_local_recorder};
use sinew_adapter_memory::MemoryBroker;
use sinew_core::{Message, PublishExt as _, ReplyTo, Result, Subject};
use sinew_dispatch::{
    AgentId, Dispatcher, Until,
    heads::{AskHead, AskId},
};
use sinew_testkit::MetricKeys;
use tokio::runtime::Builder;

use crate::common::{failing, ms, pass, quick, silent, slow};

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
    // By hand: one that came too late, one for somebody else, and one that came twice and has no address to answer to.
    let publisher = asker.publisher()?;
    let other = Some(AgentId::parse("other")?);
    for (name, remaining, to) in
        [("late", 0, None), ("theirs", 50, other), ("twice", 50, None), ("twice", 50, None)]
    {
        let mut message = Message::new(Subject::parse("t")?, "?");
        let head = AskHead::new(AskId::parse(name)?, ms(remaining)).with_to(to);
        head.write(&mut message.headers)?;
        message.reply_to = Some(ReplyTo::new("nobody"));
        publisher.send(message).await?;
    }
    pass(ms(500)).await;
    Ok(())
}

#[test]
fn what_is_recorded_is_what_the_readme_lists() {
    let recorded = MetricKeys::default();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    with_local_recorder(&recorded, || runtime.block_on(scene())).unwrap();
    let readme = include_str!("../../README.md");
    let listed: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `dispatch_")?.split_once('`')?.0))
        .map(|it| format!("dispatch_{it}"))
        .collect();
    let keys = recorded.keys();
    let normal = |it: &String| {
        let (name, labels) = it.trim_end_matches('}').split_once('{').unwrap();
        let mut labels: Vec<_> = labels.split(',').collect();
        labels.sort_unstable();
        format!("{name}{{{}}}", labels.join(","))
    };
    let listed: BTreeSet<String> = listed.iter().map(normal).collect();
    let labelled = |key: &Key| {
        let mut labels: Vec<_> = key.labels().map(metrics::Label::key).collect();
        labels.sort_unstable();
        format!("{}{{{}}}", key.name(), labels.join(","))
    };
    assert_eq!(keys.iter().map(labelled).collect::<BTreeSet<_>>(), listed);
    // What is lost on its way in is so on a broker.
    let row = readme.lines().find(|it| it.starts_with("| `dispatch_served_total")).unwrap();
    let named: BTreeSet<_> = row.split('`').skip(3).step_by(2).filter(|it| *it != "lost").collect();
    let labels = keys.iter().flat_map(Key::labels).filter(|it| it.key() == "outcome");
    assert_eq!(labels.map(metrics::Label::value).collect::<BTreeSet<_>>(), named);
}
