//! Groups: members share each message, groups do not.
use sinew_core::{AnyBackend, Groups, Queue, Subject, Subscribe};

use super::{
    Context, Outcome,
    behaviour::behaviours,
    support::{numbered, unsupported},
    tally::{Intake, Tally},
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
    let mut intakes = [
        group(cx, &[&near, &near, &far], &subject, &cx.queue("one")?).await?,
        group(cx, &[&near, &far], &subject, &cx.queue("two")?).await?,
        Intake::Copies(cx.subscribe(&near, cx.subscription(&subject)).await?),
    ];
    cx.send_all(&near.publisher()?, &subject, numbered("m", 60)).await?;
    cx.each_exactly(&mut intakes, Tally::new(numbered("m", 60))).await
}

async fn a_group_goes_on_when_a_member_leaves(cx: &Context) -> Outcome {
    let (near, far) = (cx.connect().await?, cx.connect().await?);
    let (publisher, subject, name) = (near.publisher()?, cx.subject("left")?, cx.queue("left")?);
    let mut staying = group(cx, &[&near], &subject, &name).await?;
    let leaving = group(cx, &[&far], &subject, &name).await?;
    drop(leaving);
    // Leaving is not confirmed to anyone; a later registration on the same connection shows that it is done.
    let fence = cx.subscribe(&far, cx.subscription(&cx.subject("fence")?)).await?;
    cx.send_all(&publisher, &subject, numbered("m", 20)).await?;
    staying.exactly(cx, Tally::new(numbered("m", 20))).await?;
    drop(fence);
    Ok(())
}

async fn groups_of_similar_names_stay_apart(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("names")?;
    let mut groups = Vec::new();
    for name in ["a.b", "a_b", "a b", "a%2Eb", "A.b", "a-b", "é", "*", ">"] {
        groups.push(group(cx, &[&backend], &subject, &cx.queue(name)?).await?);
    }
    cx.send_all(&backend.publisher()?, &subject, numbered("m", 10)).await?;
    cx.each_exactly(&mut groups, Tally::new(numbered("m", 10))).await
}

/// A group with a member on each of `backends`.
async fn group(
    cx: &Context,
    backends: &[&AnyBackend],
    subject: &Subject,
    name: &Queue,
) -> Outcome<Intake> {
    let mut members = Vec::new();
    for backend in backends {
        let wanted = cx.subscription(subject).with_group(name.clone());
        members.push(cx.subscribe(backend, wanted).await?);
    }
    Ok(Intake::Group(members))
}
