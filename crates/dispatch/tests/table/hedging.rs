//! Asks that pick one agent, and others only if need be.
use std::{
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use sinew_core::{
    ErrorKind, Message, Publish as _, PublishExt as _, ReplyTo, Result, Subject, Subscribe as _,
    Subscription,
};
use sinew_dispatch::{
    AgentError, AgentId, AnyAgent, Ask, Context, Dispatcher, Ended, Expect, Gathered, Hedge,
    Presence, ServiceCounts, Until,
};

use crate::{
    behaviours, failed,
    scene::{SOON, Scene, Served, expect, names, said, soon, tally, until},
};

behaviours![
    the_one_that_is_picked_answers_and_the_others_never_begin,
    nothing_is_called_off_where_who_was_asked_has_answered,
    a_silent_one_is_overtaken_and_called_off,
    one_that_fails_is_followed_at_once,
    no_more_are_asked_than_the_budget_has,
    one_that_is_gone_is_followed_at_once,
    agents_here_and_elsewhere_have_their_turns,
    whom_nobody_names_is_not_picked,
    an_ask_for_one_agent_is_heard_by_a_plain_responder,
];

/// So long nobody waits here: what happens before it was not caused by it.
const NEVER: Duration = Duration::from_secs(3600);
/// How long a silent one is waited for.
const A_WHILE: Duration = Duration::from_millis(300);

/// What an agent does when it is asked.
#[derive(Clone, Copy)]
enum Does {
    Answer,
    Fail,
    Nothing,
}

fn agent(name: &'static str, does: Does) -> Result<AnyAgent> {
    AnyAgent::new(name, move |_: Context, _: String| async move {
        match does {
            Does::Answer => Ok(name),
            Does::Fail => Err(AgentError::new("broken", "")),
            Does::Nothing => pending().await,
        }
    })
}

async fn served<const N: usize>(
    scene: &Scene,
    all: [(&'static str, Does); N],
) -> Result<Vec<Served>> {
    let mut agents = Vec::new();
    for (name, does) in all {
        agents.push(scene.serve(agent(name, does)?).await?);
    }
    Ok(agents)
}

fn hedged(dispatcher: &Dispatcher, scene: &Scene, hedge: Hedge) -> Ask {
    dispatcher.ask(scene.topic(), "x").until(Until::First(1)).hedge(hedge).deadline(SOON)
}

/// Asks that were taken on, and those that were for another agent.
fn taken(counts: ServiceCounts) -> (u64, u64) {
    (counts.ok + counts.failed + counts.cancelled, counts.for_another)
}

/// Waits until each has counted so many.
async fn have(agents: &[Served], expected: &[(u64, u64)]) -> Result<()> {
    let counted = || agents.iter().map(|it| taken(it.service.counts())).collect::<Vec<_>>();
    until("each has its part", async || Ok(counted() == expected))
        .await
        .map_err(|err| err.with_detail(format!("{:?} instead of {expected:?}", counted())))
}

async fn the_one_that_is_picked_answers_and_the_others_never_begin(scene: Scene) -> Result<()> {
    use Does::Answer;
    let agents = served(&scene, [("a", Answer), ("b", Answer), ("c", Answer)]).await?;
    let dispatcher = scene.dispatcher().await?;
    // Each has its turn.
    for name in ["a", "b", "c", "a"] {
        let ask = hedged(&dispatcher, &scene, Hedge::after(NEVER));
        let asked = ask.expect(expect(&["a", "b", "c"])?);
        let Gathered { replies, end, .. } = asked.collect::<String>().await?;
        assert_eq!((said(&replies), end.ended), (vec![name], Ended::First));
        assert_eq!(tally(&end), (1, 0, 0, 0), "who was not asked is not missing");
    }
    have(&agents, &[(2, 2), (1, 3), (1, 3)]).await?;
    dispatcher.drained(SOON).await
}

async fn nothing_is_called_off_where_who_was_asked_has_answered(scene: Scene) -> Result<()> {
    let _agents = served(&scene, [("a", Does::Fail), ("b", Does::Answer)]).await?;
    let cancels = Subject::parse(&format!("sinew.cancel.{}", scene.topic()))?;
    let (hears, asks) = (scene.connect().await?, scene.connect().await?);
    let mut heard = hears.subscriber()?.subscribe(Subscription::new(cancels.clone())).await?;
    let dispatcher = Dispatcher::over(&asks)?;
    let asked = hedged(&dispatcher, &scene, Hedge::after(NEVER)).expect(expect(&["a", "b"])?);
    assert_eq!(asked.collect::<String>().await?.end.ended, Ended::First);
    dispatcher.drained(SOON).await?;
    // Whatever was said before this comes before it.
    asks.publisher()?.send(Message::new(cancels, "the first")).await?;
    let first = soon("it", heard.next_item()).await?.ok_or_else(|| failed("nothing came"))??;
    assert_eq!(first.payload, "the first");
    Ok(())
}

async fn a_silent_one_is_overtaken_and_called_off(scene: Scene) -> Result<()> {
    let agents =
        served(&scene, [("a", Does::Nothing), ("b", Does::Answer), ("c", Does::Answer)]).await?;
    let told = scene.connect().await?;
    let subject = Subject::parse(&format!("sinew.cancel.{}", scene.topic()))?;
    let wanted = Subscription::new(subject.clone());
    let mut told = sinew_core::Subscribe::subscribe(&told.subscriber()?, wanted).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = hedged(&dispatcher, &scene, Hedge::after(A_WHILE));
    let asked = ask.expect(expect(&["a", "b", "c"])?);
    let Gathered { replies, end, .. } = asked.collect::<String>().await?;
    assert_eq!((said(&replies), end.ended), (vec!["b"], Ended::First));
    assert_eq!((names(&end.cancelled), tally(&end)), (vec!["a"], (1, 0, 0, 1)));
    assert!(end.elapsed >= A_WHILE, "{:?}", end.elapsed);
    // The ask went out twice, under one name.
    have(&agents, &[(1, 1), (1, 1), (0, 2)]).await?;
    assert_eq!(agents[0].service.counts().cancelled, 1);
    dispatcher.drained(SOON).await?;
    // One message calls it off: the next that comes is ours.
    let publisher = scene.connect().await?.publisher()?;
    let heard = soon("it", told.next_item()).await?.ok_or_else(|| failed("none"))??;
    assert_ne!(heard.headers.text("sinew-ask"), Some("last"));
    publisher.send(Message::new(subject, "").with_header("sinew-ask", "last")?).await?;
    publisher.flush().await?;
    let heard = soon("the last", told.next_item()).await?.ok_or_else(|| failed("none"))??;
    assert_eq!(heard.headers.text("sinew-ask"), Some("last"));
    Ok(())
}

async fn one_that_fails_is_followed_at_once(scene: Scene) -> Result<()> {
    let agents =
        served(&scene, [("a", Does::Fail), ("b", Does::Fail), ("c", Does::Answer)]).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = hedged(&dispatcher, &scene, Hedge::after(NEVER).max(2));
    let asked = ask.expect(expect(&["a", "b", "c"])?);
    let Gathered { replies, end, .. } = asked.collect::<String>().await?;
    let who: Vec<_> = replies.iter().filter_map(|it| it.agent.as_ref()?.as_str().into()).collect();
    assert_eq!((who, said(&replies)), (vec!["a", "b", "c"], vec!["c"]));
    assert_eq!((end.ended, tally(&end)), (Ended::First, (1, 2, 0, 0)));
    have(&agents, &[(1, 2), (1, 2), (1, 2)]).await
}

async fn no_more_are_asked_than_the_budget_has(scene: Scene) -> Result<()> {
    let agents =
        served(&scene, [("a", Does::Nothing), ("b", Does::Fail), ("c", Does::Answer)]).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = hedged(&dispatcher, &scene, Hedge::after(Duration::from_millis(10)).max(1));
    let asked = ask.expect(expect(&["a", "b", "c"])?).deadline(Duration::from_secs(3));
    let Gathered { replies, end, .. } = asked.collect::<String>().await?;
    assert_eq!((replies.len(), end.ended), (1, Ended::Deadline));
    assert_eq!((names(&end.missing), tally(&end)), (vec!["a"], (0, 1, 1, 0)));
    // The agent gives up by itself.
    have(&agents, &[(1, 1), (1, 1), (0, 2)]).await
}

/// Knows of two agents, and of the first one only until it is told.
#[derive(Default)]
struct Leaving {
    is_gone: AtomicBool,
    asked_for: Mutex<Vec<String>>,
}

impl Presence for Leaving {
    fn present(&self, _: &Subject) -> Vec<AgentId> {
        ["a", "b", "c"].iter().filter_map(|name| AgentId::parse(name).ok()).collect()
    }

    fn is_present(&self, _: &Subject, agent: &AgentId) -> bool {
        let mut asked_for = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        asked_for.push(agent.to_string());
        // The second one has left without anybody having asked it.
        agent.as_str() == "c" || (agent.as_str() == "a" && !self.is_gone.load(SeqCst))
    }
}

async fn one_that_is_gone_is_followed_at_once(scene: Scene) -> Result<()> {
    let agents = served(&scene, [("a", Does::Nothing), ("c", Does::Answer)]).await?;
    let dispatcher = scene.dispatcher().await?;
    let presence = Arc::new(Leaving::default());
    let ask = hedged(&dispatcher, &scene, Hedge::after(NEVER));
    let asked = ask.expect(Expect::Present(Arc::<Leaving>::clone(&presence)));
    let asked = tokio::spawn(asked.collect::<String>());
    until("it is asked", async || Ok(agents[0].running() == 1)).await?;
    presence.is_gone.store(true, SeqCst);
    let Gathered { replies, end, .. } = asked.await.map_err(failed)??;
    assert_eq!((said(&replies), end.ended), (vec!["c"], Ended::First));
    assert_eq!(names(&end.missing), ["a"], "nor is b, which was not asked");
    // It may be there all the same, and is told.
    have(&agents, &[(1, 1), (1, 1)]).await
}

async fn agents_here_and_elsewhere_have_their_turns(scene: Scene) -> Result<()> {
    let agents = served(&scene, [("there", Does::Answer)]).await?;
    let dispatcher = scene.dispatcher().await?;
    let here = dispatcher.serve(scene.topic(), &agent("here", Does::Fail)?).await?;
    for who in [["here", "there"].as_slice(), &["there"]] {
        let ask = hedged(&dispatcher, &scene, Hedge::after(NEVER));
        let asked = ask.expect(expect(&["there", "here"])?);
        let Gathered { replies, end, .. } = asked.collect::<String>().await?;
        let told: Vec<_> = replies.iter().filter_map(|it| it.agent.as_ref()).collect();
        let told: Vec<_> = told.into_iter().map(AgentId::as_str).collect();
        assert_eq!((told, end.ended), (who.to_vec(), Ended::First));
    }
    have(&agents, &[(2, 0)]).await?;
    assert_eq!(taken(here.counts()).0, 0, "it was asked in its process");
    Ok(())
}

async fn whom_nobody_names_is_not_picked(scene: Scene) -> Result<()> {
    let agents = served(&scene, [("there", Does::Answer)]).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = || hedged(&dispatcher, &scene, Hedge::after(Duration::ZERO).max(9));
    let told = ask().collect::<String>().await.err().ok_or_else(|| failed("nobody is known"))?;
    assert_eq!(told.kind(), ErrorKind::NoResponders);
    assert!(told.to_string().contains("Ask::expect"), "{told}");
    let _here = dispatcher.register(scene.topic(), &agent("here", Does::Fail)?)?;
    let Gathered { end, .. } = ask().collect::<String>().await?;
    assert_eq!((end.ended, tally(&end)), (Ended::AllKnown, (0, 1, 0, 0)));
    // Something that comes after whatever was asked of it.
    let ask = dispatcher.ask(scene.topic(), "x").until(Until::First(1)).deadline(SOON);
    ask.collect::<String>().await?;
    have(&agents, &[(1, 0)]).await
}

async fn an_ask_for_one_agent_is_heard_by_a_plain_responder(scene: Scene) -> Result<()> {
    let backend = scene.connect().await?;
    let mut heard = scene.hear(&backend).await?;
    let dispatcher = scene.dispatcher().await?;
    let ask = hedged(&dispatcher, &scene, Hedge::after(NEVER)).expect(expect(&["a"])?);
    let asked = tokio::spawn(ask.collect::<String>());
    let message = soon("it", heard.next_item()).await?.ok_or_else(|| failed("nothing"))??;
    let note = message.reply_to.as_ref().and_then(ReplyTo::note);
    let head = note.or_else(|| message.headers.text("sinew-ask")).unwrap_or_default().to_owned();
    let [_, millis, "f", to] = head.split('/').collect::<Vec<_>>()[..] else {
        return Err(failed(head));
    };
    let millis: u128 = millis.parse().map_err(failed)?;
    assert!((1..=SOON.as_millis()).contains(&millis) && to == "a", "{head}");
    let reply = message.reply(Bytes::from_static(b"me")).ok_or_else(|| failed("no way back"))?;
    backend.publisher()?.send(reply).await?;
    let Gathered { replies, end, .. } = asked.await.map_err(failed)??;
    assert_eq!((said(&replies), end.ended), (vec!["me"], Ended::First));
    assert_eq!(names(&end.cancelled), ["a"], "who was asked has not answered");
    Ok(())
}
