//! Patterns: what an intake wants arrives, once, and nothing else does.
use sinew_core::{
    Address, AnyBackend, Consume, Message, Names, Pattern, Subject, Subscribe, Wildcards,
};

use super::{
    Context, Outcome,
    behaviour::behaviours,
    support::unsupported,
    tally::{Intake, Tally},
    when,
};

behaviours! { "patterns";
    when::takes_tokens => a_subscription_wants_what_its_pattern_matches,
    when::takes_tokens => a_queue_wants_what_its_pattern_matches,
    when::takes_tokens => a_message_that_several_patterns_match_arrives_once,
    when::takes_tokens => several_patterns_want_what_any_of_them_matches,
    when::takes_prefixes => a_prefix_wants_the_bytes_it_starts_with,
    when::carries => a_pattern_beyond_the_capability_is_refused,
}

async fn a_subscription_wants_what_its_pattern_matches(cx: &Context) -> Outcome {
    if !when::subscribes(cx.capabilities()) {
        return Ok(());
    }
    let backend = cx.connect().await?;
    let mut opened = Vec::new();
    for text in pattern_texts(cx, 3) {
        let pattern = cx.pattern(&text)?;
        let incoming = cx.subscribe(&backend, cx.subscription(pattern.clone())).await?;
        opened.push((pattern, Intake::Copies(incoming)));
    }
    matches_exactly(cx, &backend, opened).await
}

async fn a_queue_wants_what_its_pattern_matches(cx: &Context) -> Outcome {
    if !when::consumes(cx.capabilities()) {
        return Ok(());
    }
    let backend = cx.connect().await?;
    let mut opened = Vec::new();
    for text in pattern_texts(cx, 2) {
        let pattern = cx.pattern(&text)?;
        let wanted = cx.consumption(&text, pattern.clone())?;
        opened.push((pattern, Intake::Queue(cx.consume(&backend, wanted).await?)));
    }
    matches_exactly(cx, &backend, opened).await
}

/// Publishes every short subject, and compares what came with what each pattern says of it.
async fn matches_exactly(
    cx: &Context,
    backend: &AnyBackend,
    mut opened: Vec<(Pattern, Intake)>,
) -> Outcome {
    let publisher = backend.publisher()?;
    let mut subjects = vec![cx.root_subject()?];
    for rest in texts(&["a", "b"], 4) {
        subjects.push(cx.subject(&rest)?);
    }
    for subject in &subjects {
        cx.send(&publisher, Message::new(subject.clone(), subject.to_string())).await?;
    }
    cx.exactly(opened.iter_mut().map(|(pattern, intake)| {
        let wanted = subjects.iter().filter(|subject| pattern.matches(subject));
        let tally = Tally::new(wanted.clone().map(Subject::to_string)).named(&*pattern);
        match wanted.last() {
            Some(subject) => (intake, tally.fenced(&publisher, subject)),
            None => (intake, tally),
        }
    }))
    .await
}

async fn a_message_that_several_patterns_match_arrives_once(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let mut patterns = Vec::new();
    for text in ["o.a.*", "o.*.b", "o.a.b", "o.>", "o.a.b"] {
        patterns.push(cx.pattern(text)?);
    }
    let mut intakes = cx.intakes(&backend, None, &patterns).await?;
    let mut promised = Vec::new();
    for rest in ["o.a.b", "o.a.c", "o.c.b", "o.c", "o.a.b.c"] {
        let subject = cx.subject(rest)?;
        promised.push(rest.to_owned());
        cx.send(&publisher, Message::new(subject, rest)).await?;
    }
    let promised = Tally::new(promised).fenced(&publisher, &cx.subject("o.c")?);
    cx.each_exactly(&mut intakes, promised).await
}

async fn several_patterns_want_what_any_of_them_matches(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let patterns = [cx.pattern("s.x.*")?, cx.pattern("s.y")?, cx.pattern("s.z.>")?];
    let mut intakes = cx.intakes(&backend, None, &patterns).await?;
    for rest in ["s.x.1", "s.y", "s.z.1.2", "s.x", "s.y.1", "s.z", "s.q"] {
        cx.send(&publisher, Message::new(cx.subject(rest)?, rest)).await?;
    }
    let promised = Tally::new(["s.x.1", "s.y", "s.z.1.2"].map(str::to_owned));
    cx.each_exactly(&mut intakes, promised.fenced(&publisher, &cx.subject("s.y")?)).await
}

async fn a_prefix_wants_the_bytes_it_starts_with(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let start = cx.subject("pre")?;
    let mut intakes = cx.intakes_of(&backend, Pattern::prefix(start.to_string())).await?;
    for rest in ["pre", "prefix", "pre.a", "other", "p"] {
        cx.send(&publisher, Message::new(cx.subject(rest)?, rest)).await?;
    }
    let foreign = [start.as_bytes(), b"..\xff\0"].concat();
    cx.send(&publisher, Message::to(Address::Foreign(None, foreign.into()), "binary")).await?;
    let promised = Tally::new(["pre", "prefix", "pre.a", "binary"].map(str::to_owned));
    cx.each_exactly(&mut intakes, promised.fenced(&publisher, &start)).await
}

async fn a_pattern_beyond_the_capability_is_refused(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let has = cx.capabilities().wildcards;
    let mut beyond = Vec::new();
    for text in ["r.#.b", "r.*", "r.*.b", "r.>", "r.#"] {
        let pattern = cx.pattern(text)?;
        if pattern.needs() > has {
            beyond.push(pattern);
        }
    }
    let names = cx.capabilities().names;
    if names < Names::Text {
        beyond.push(Pattern::exact("r..b"));
    }
    if names < Names::Any {
        beyond.push(Pattern::exact(&b"r\xff"[..]));
    }
    if names < Names::Prefixes || has < Wildcards::Prefix {
        beyond.push(Pattern::prefix("r"));
    }
    for pattern in beyond {
        if when::subscribes(cx.capabilities()) {
            let wanted = cx.subscription(pattern.clone());
            let opened = backend.subscriber()?.subscribe(wanted).await;
            unsupported(cx, format_args!("a subscription to {pattern}"), opened)?;
        }
        if when::consumes(cx.capabilities()) {
            let wanted = cx.consumption("refused", pattern.clone())?;
            let opened = backend.consumer()?.consume(wanted).await;
            unsupported(cx, format_args!("a queue for {pattern}"), opened)?;
        }
    }
    Ok(())
}

/// Every pattern of up to `length` tokens that the backend takes, relative to the root.
fn pattern_texts(cx: &Context, length: usize) -> Vec<String> {
    let mut all = texts(&["a", "b", "*", "#"], length);
    let tails: Vec<_> = all
        .iter()
        .filter(|text| text.split('.').count() < length)
        .map(|text| format!("{text}.>"))
        .collect();
    all.extend(tails);
    all.push(">".to_owned());
    let has = cx.capabilities().wildcards;
    all.retain(|text| Pattern::parse(text).is_ok_and(|pattern| pattern.needs() <= has));
    all
}

/// Every dotted text of 1 to `length` of these tokens.
fn texts(tokens: &[&str], length: usize) -> Vec<String> {
    let mut last = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..length {
        last = last
            .iter()
            .flat_map(|text| tokens.iter().map(move |token| format!("{text}.{token}")))
            .collect();
        all.extend(last.iter().map(|text| text.trim_start_matches('.').to_owned()));
    }
    all
}
