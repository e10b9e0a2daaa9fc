//! The span that a layer puts around each run.
use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use sinew_events::{
    Context, EventHandler, HandlerError, Invocation, RetryPolicy, SettledAs, TracingLayer,
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::{Scene, a_second, billing, outcomes};

/// The spans that were made, those that are entered, and within which each event was.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    made: Vec<String>,
    entered: Vec<usize>,
    events: Vec<(String, Vec<String>)>,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

fn index(id: &span::Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() || metadata.target() == "shop"
    }

    fn new_span(&self, new: &span::Attributes<'_>) -> span::Id {
        let mut text = Text(new.metadata().name().to_owned());
        if new.metadata().target() == "shop" {
            new.record(&mut text);
        }
        let made = &mut self.0.lock().unwrap().made;
        made.push(text.0);
        span::Id::from_u64(made.len() as u64)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut seen = self.0.lock().unwrap();
        let within = seen.entered.iter().filter_map(|it| seen.made.get(*it).cloned()).collect();
        seen.events.push((text.0, within));
    }

    fn enter(&self, id: &span::Id) {
        self.0.lock().unwrap().entered.push(index(id));
    }

    fn exit(&self, id: &span::Id) {
        assert_eq!(self.0.lock().unwrap().entered.pop(), Some(index(id)));
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn each_run_is_within_a_span_of_the_users_in_that_of_its_delivery() {
    let spans = Spans::default();
    let _heard = tracing::subscriber::set_default(spans.clone());
    let scene = Scene::new();
    let handler = EventHandler::new("orders", "created", "on_created", |ctx: Context, _: u64| {
        tracing::info!(target: "shop", at = "its call");
        async move {
            a_second().await;
            tracing::info!(target: "shop", at = "its end");
            if ctx.run() == 1 { Err(HandlerError::new("not yet")) } else { Ok(()) }
        }
    })
    .layer(TracingLayer::new(|it: &Invocation| {
        let (order, run) = (it.payload::<u64>().copied(), it.context.run());
        tracing::info_span!(target: "shop", "order", order, run)
    }));
    let retry = RetryPolicy::none().with_immediate(1);
    let running = scene.start(&billing(handler).with_retry(retry)).await;
    let mut events = running.events();
    scene.emit("created", 7).await;
    assert_eq!(outcomes(&mut events, 1).await, [SettledAs::Handled]);
    let seen = std::mem::take(&mut *spans.0.lock().unwrap());
    let mut expected = Vec::new();
    for run in 1..=2 {
        for at in ["its call", "its end"] {
            let within = ["handle", "run", &format!("order order=7 run={run}")];
            expected.push((format!(" at={at:?}"), within.map(str::to_owned).to_vec()));
        }
    }
    assert_eq!(seen.events, expected);
    assert_eq!(seen.made.iter().filter(|it| it.starts_with("order")).count(), 2, "one for each");
    assert_eq!(seen.entered, [0; 0], "and they are left");
}
