//! An ask is a span, and each of its agents one in it. Alone in its program: who listens to a callsite is known to all
//! threads.
use std::{
    fmt::{Debug, Write as _},
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sinew_adapter_memory::MemoryBroker;
use sinew_core::Result;
use sinew_dispatch::{AgentError, AnyAgent, Context, Dispatcher, Until};
use tokio::runtime::Builder;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// What was said of each span, by its number.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Spans {
    fn with(&self, work: impl FnOnce(&mut Vec<String>)) {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn add(&self, span: &span::Id, work: impl FnOnce(&mut String)) {
        let at = usize::try_from(span.into_u64()).unwrap_or(0);
        self.with(|spans| {
            if let Some(text) = spans.get_mut(at - 1) {
                work(text);
            }
        });
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sinew_dispatch" || metadata.target() == "handler"
    }

    fn new_span(&self, new: &span::Attributes<'_>) -> span::Id {
        let mut text = new.metadata().name().to_owned();
        if let Some(parent) = new.parent() {
            let _ = write!(text, " in {}", parent.into_u64());
        }
        new.record(&mut Text(&mut text));
        let mut number = 0;
        self.with(|spans| {
            spans.push(text);
            number = spans.len() as u64;
        });
        span::Id::from_u64(number)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        self.add(span, |text| values.record(&mut Text(text)));
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(parent) = event.parent() {
            self.add(parent, |text| {
                text.push_str(" |");
                event.record(&mut Text(text));
            });
        }
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, span: &span::Id) {
        self.add(span, |text| text.push('+'));
    }
    fn exit(&self, _: &span::Id) {}
}

async fn scene() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agents = [
        AnyAgent::new("quick", |_: Context, _: String| async { Ok("quick") })?,
        AnyAgent::new("broken", |_: Context, _: String| async {
            Err::<String, _>(AgentError::new("broken", ""))
        })?,
        AnyAgent::new("dead", |_: Context, _: String| {
            pending::<std::result::Result<String, AgentError>>()
        })?,
    ];
    let _all: Vec<_> =
        agents.iter().map(|it| dispatcher.register("t", it)).collect::<Result<_>>()?;
    dispatcher.ask("t", "secret").deadline(Duration::from_millis(50)).collect::<String>().await?;
    Ok(())
}

/// What was said, and the trace that it was said to be of.
fn without_trace(said: &str) -> (String, Option<String>) {
    let Some((before, after)) = said.split_once(" traceparent=\"") else {
        return (said.to_owned(), None);
    };
    let (trace, after) = after.split_once('"').unwrap_or((after, ""));
    (format!("{before}{after}"), Some(trace.to_owned()))
}

async fn scene_elsewhere() -> Result<()> {
    let broker = MemoryBroker::new();
    let agents = Dispatcher::over(&broker.connect().into_any())?;
    let quick = AnyAgent::new("quick", |_: Context, _: String| async { Ok("quick") })?;
    let _served = agents.serve("t", &quick).await?;
    let asker = Dispatcher::over(&broker.connect().into_any())?;
    asker.ask("t", "secret").until(Until::First(1)).collect::<String>().await?;
    Ok(())
}

#[test]
fn an_ask_begins_a_trace_that_who_serves_it_elsewhere_is_told_and_has_a_span_for_each_answer() {
    let spans = Spans::default();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(spans.clone(), || runtime.block_on(scene_elsewhere()))
        .unwrap();
    let spans = spans.0.lock().unwrap();
    let said: Vec<_> = spans.iter().map(|it| without_trace(&it.replace('+', ""))).collect();
    let [(ask, begun), (served, told), (answer, None)] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert!(ask.starts_with("ask topic=\"t\" fan_out=0 ended=\"first\" ok=1"), "{ask}");
    assert_eq!(served, "served topic=\"t\" agent=\"quick\"");
    assert!(answer.starts_with("agent in 1 agent=\"quick\" elapsed_us="), "{answer}");
    assert_eq!(begun, told);
    let parts: Vec<_> = begun.as_deref().unwrap_or_default().split('-').collect();
    assert_eq!(parts.iter().map(|it| it.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
    assert!(parts.concat().bytes().all(|it| it.is_ascii_hexdigit()));
}

#[test]
fn an_ask_is_a_span_and_each_of_its_agents_one_in_it() {
    let spans = Spans::default();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(spans.clone(), || runtime.block_on(scene())).unwrap();
    let spans = spans.0.lock().unwrap();
    let said: Vec<_> = spans.iter().map(|it| without_trace(&it.replace('+', "")).0).collect();
    assert_eq!(
        said,
        [
            "ask topic=\"t\" fan_out=3 ended=\"deadline\" ok=1 failed=1 missing=1 cancelled=0 | \
             message=agents did not answer missing=[\"dead\"]",
            "agent in 1 agent=\"quick\"",
            "agent in 1 agent=\"broken\"",
            "agent in 1 agent=\"dead\"",
        ]
    );
    assert!(spans[1..].iter().all(|it| it.contains('+')), "its work is done in it: {spans:?}");
}
