//! Names that are no subjects, and scopes.
use bytes::Bytes;
use sinew_core::{
    Address, Consume, Message, Names, Pattern, PublishExt, Scope, Scopes, Subject, Subscribe,
};

use super::{
    Context, Outcome,
    behaviour::behaviours,
    ensure_eq,
    support::{message, text, unsupported},
    tally::{Intake, Tally},
    when,
};

behaviours! { "names", alone;
    |it| when::publishes(it) && it.names < Names::Any => a_foreign_name_cannot_be_published,
    when::takes_foreign_names => a_foreign_name_is_published_and_wanted,
    |it| when::publishes(it) && it.scopes == Scopes::None => a_scope_is_refused,
    when::has_scopes => scopes_stay_apart,
    |it| when::has_scopes(it) && when::takes_tokens(it) => wildcards_stay_in_their_scope,
}

async fn a_foreign_name_cannot_be_published(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    for name in FOREIGN.into_iter().filter(|name| needed(name) > cx.capabilities().names) {
        let sent = publisher.send(Message::to(Address::Foreign(None, name.into()), "x")).await;
        unsupported(cx, format_args!("the name {}", name.escape_ascii()), sent)?;
    }
    Ok(())
}

async fn a_foreign_name_is_published_and_wanted(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    for name in FOREIGN.into_iter().filter(|name| needed(name) <= cx.capabilities().names) {
        let name = Bytes::from_static(name);
        let mut intakes = cx.intakes_of(&backend, Pattern::exact(name.clone())).await?;
        let token = cx.subject("token")?.to_string();
        cx.send(&publisher, Message::to(Address::Foreign(None, name.clone()), token.clone()))
            .await?;
        for intake in &mut intakes {
            // Others may use so short a name at the same time.
            loop {
                let seen = intake.message(cx, name.escape_ascii()).await?;
                if text(&seen) == token {
                    ensure_eq("its address", seen.address, Address::Foreign(None, name.clone()))?;
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn a_scope_is_refused(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let (subject, scope) = (cx.subject("refused")?, cx.scope("scope")?);
    let scoped = message(&subject, "x")?.with_scope(scope.clone());
    unsupported(cx, "a message in a scope", backend.publisher()?.send(scoped).await)?;
    if when::subscribes(cx.capabilities()) {
        let wanted = cx.subscription(&subject).with_scope(scope.clone());
        let opened = backend.subscriber()?.subscribe(wanted).await;
        unsupported(cx, "a subscription in a scope", opened)?;
    }
    if when::consumes(cx.capabilities()) {
        let wanted = cx.consumption("refused", &subject)?.with_scope(scope);
        let opened = backend.consumer()?.consume(wanted).await;
        unsupported(cx, "a queue in a scope", opened)?;
    }
    Ok(())
}

async fn scopes_stay_apart(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let token = cx.token();
    let root = cx.root_subject()?;
    let plain = Subject::parse("conformance.b")?;
    let longer = Subject::parse("conformance.conformance.b")?;
    // Pairs that meet where a scope is joined to a subject by a mere dot, or where two names get one code.
    let spaces = [
        (None, cx.subject("conformance.b")?),
        (Some(root.to_string()), plain.clone()),
        (Some(format!("{token}.conformance")), plain.clone()),
        (Some(token.to_owned()), longer),
        (Some(format!("{token}.a")), plain.clone()),
        (Some(format!("{token}%2Ea")), plain.clone()),
        (Some(format!("{token}_a")), plain.clone()),
        (Some(format!("{token} a")), plain.clone()),
        (Some(format!("{token}.A")), plain.clone()),
        (Some(format!("{token}é*>#")), plain),
    ];
    let mut opened = Vec::new();
    for (name, subject) in spaces {
        let scope = name.map(|name| Scope::parse(&name)).transpose()?;
        let patterns = [Pattern::from(&subject)];
        let intakes = cx.intakes(&backend, scope.as_ref(), &patterns).await?;
        opened.push((scope, subject, intakes));
    }
    for (index, (scope, subject, _)) in opened.iter_mut().enumerate() {
        let address = Address::Subject(scope.clone(), subject.clone());
        cx.send(&publisher, Message::to(address, index.to_string())).await?;
    }
    for (index, (scope, subject, intakes)) in opened.iter_mut().enumerate() {
        let address = Address::Subject(scope.clone(), subject.clone());
        for intake in intakes {
            let what = format!("the message to {address}");
            let seen = intake.message(cx, &what).await?;
            ensure_eq(&what, text(&seen), index.to_string())?;
            ensure_eq("its address", &seen.address, &address)?;
        }
    }
    cx.exactly(opened.iter_mut().flat_map(|(scope, subject, intakes)| {
        let address = Address::Subject(scope.clone(), subject.clone());
        let nothing = Tally::default().named(&address).fenced_at(&publisher, address);
        intakes.iter_mut().map(move |intake| (intake, nothing.clone()))
    }))
    .await
}

async fn wildcards_stay_in_their_scope(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let publisher = backend.publisher()?;
    let subject = cx.subject("x")?;
    let scopes = [cx.scope("one")?, cx.scope("two")?];
    let mut opened: Vec<(Option<&Scope>, Vec<Intake>)> = Vec::new();
    for scope in &scopes {
        let all = [Pattern::parse(">")?];
        opened.push((Some(scope), cx.intakes(&backend, Some(scope), &all).await?));
    }
    opened.push((None, cx.intakes(&backend, None, &[cx.pattern(">")?]).await?));
    for (scope, _) in &mut opened {
        let label = scope.map_or("none", Scope::as_str);
        let address = Address::Subject(scope.cloned(), subject.clone());
        cx.send(&publisher, Message::to(address, label.to_owned())).await?;
    }
    cx.exactly(opened.iter_mut().flat_map(|(scope, intakes)| {
        let label = scope.map_or("none", Scope::as_str);
        let address = Address::Subject(scope.cloned(), subject.clone());
        let tally = Tally::new([label.to_owned()]).named(label).fenced_at(&publisher, address);
        intakes.iter_mut().map(move |intake| (intake, tally.clone()))
    }))
    .await
}

/// What a backend must be able to have for a name.
fn needed(name: &[u8]) -> Names {
    if std::str::from_utf8(name).is_ok() { Names::Text } else { Names::Any }
}

const FOREIGN: [&[u8]; 4] = [b"", b"a..b", b"a b", b"\xff\0"];
