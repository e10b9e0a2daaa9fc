//! Groups: members share each message, groups do not.
use std::collections::BTreeMap;

use sinew_core::{AnyBackend, Event, Groups, Incoming, Message, Queue, Subject, Subscribe};

use super::{
    Context, Failure, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{Intake, numbered, text, unsupported},
    when,
};

behaviours! { "groups";
    |it| when::subscribes(it) && it.groups == Groups::None => a_group_is_refused,
    when::groups => members_share_and_groups_do_not,
    when::groups => a_group_goes_on_when_a_member_leaves,
    when::groups => groups_of_similar_names_stay_apart,
}

async fn a_group_is_refused(cx: &Context) -> Outcome {
    let subscriber = cx.connect().await?.subscriber()?;
    let wanted = cx.subscription(&cx.subject("refused")?).with_group(cx.queue("group")?);
    unsupported(cx, "a group", subscriber.subscribe(wanted).await)
}

async fn members_share_and_groups_do_not(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let subject = cx.subject("shared")?;
    let (one, two) = (cx.queue("one")?, cx.queue("two")?);
    let mut first = Group::default();
    let mut second = Group::default();
    for backend in [&near, &near, &far] {
        first.join(cx, backend, &subject, &one).await?;
    }
    for backend in [&near, &far] {
        second.join(cx, backend, &subject, &two).await?;
    }
    let alone = cx.subscribe(&near, cx.subscription(&subject)).await?;
    cx.send_all(&near.publisher()?, &subject, numbered("m", 60)).await?;
    first.exactly(cx, 60).await?;
    second.exactly(cx, 60).await?;
    Intake::Copies(alone).exactly(cx, numbered("m", 60)).await.map(drop)
}

async fn a_group_goes_on_when_a_member_leaves(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let (publisher, subject, name) = (near.publisher()?, cx.subject("left")?, cx.queue("left")?);
    let mut group = Group::default();
    group.join(cx, &near, &subject, &name).await?;
    group.join(cx, &far, &subject, &name).await?;
    cx.send_all(&publisher, &subject, numbered("m", 20)).await?;
    group.exactly(cx, 20).await?;
    group.members.pop();
    // Leaving is not confirmed to anyone; an intake of the same connection that is registered later shows it done.
    let later = cx.subscribe(&far, cx.subscription(&cx.subject("fence")?)).await?;
    cx.send_all(&publisher, &subject, numbered("m", 20)).await?;
    group.exactly(cx, 20).await?;
    drop(later);
    Ok(())
}

async fn groups_of_similar_names_stay_apart(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("names")?;
    let mut groups = Vec::new();
    for name in ["a.b", "a_b", "a b", "a%2Eb", "A.b", "a-b", "é", "*", ">"] {
        let mut group = Group::default();
        group.join(cx, &backend, &subject, &cx.queue(name)?).await?;
        groups.push(group);
    }
    cx.send_all(&backend.publisher()?, &subject, numbered("m", 10)).await?;
    for group in &mut groups {
        group.exactly(cx, 10).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Group {
    members: Vec<Incoming<Message>>,
}

impl Group {
    async fn join(
        &mut self,
        cx: &Context,
        backend: &AnyBackend,
        subject: &Subject,
        name: &Queue,
    ) -> Outcome {
        let wanted = cx.subscription(subject).with_group(name.clone());
        self.members.push(cx.subscribe(backend, wanted).await?);
        Ok(())
    }

    /// Each of `count` numbered messages went to one member.
    async fn exactly(&mut self, cx: &Context, count: u32) -> Outcome {
        let mut seen = BTreeMap::<String, u32>::new();
        let all = cx.soon("what the group was to get", async {
            while seen.len() < count as usize {
                self.take(&mut seen).await?;
            }
            Ok::<(), Failure>(())
        });
        let all = all.await;
        if all.is_err() {
            return ensure_eq("messages that came to the group", seen.len(), count as usize);
        }
        all??;
        // What more than one member gets comes after.
        while let Ok(more) = tokio::time::timeout(cx.pace().quiet, self.take(&mut seen)).await {
            more?;
        }
        let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).take(5).collect();
        ensure(twice.is_empty(), || format!("went to more than one member: {twice:?}"))?;
        let promised: Vec<_> = numbered("m", count).collect();
        ensure(promised.iter().all(|text| seen.contains_key(text)), || {
            format!("the group got {seen:?}")
        })
    }

    /// Takes one event from whichever member has one.
    async fn take(&mut self, seen: &mut BTreeMap<String, u32>) -> Outcome {
        let event = std::future::poll_fn(|cx| {
            for member in &mut self.members {
                let next = std::pin::pin!(member.next()).poll(cx);
                if next.is_ready() {
                    return next;
                }
            }
            std::task::Poll::Pending
        });
        match event.await {
            Some(Ok(Event::Item(message))) => *seen.entry(text(&message)).or_default() += 1,
            other => return Err(Failure::new(format!("a message was to come, {other:?} came"))),
        }
        Ok(())
    }
}
