//! Requests: one reply or many, never another's, and the truth when nobody listens.
use sinew_core::{
    AnyBackend, AnyPublisher, ErrorKind, Event, Incoming, Message, PublishExt, Request, Requests,
    Subject,
};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{message, numbered, poll_once, refused, text},
    when,
};

behaviours! { "request";
    when::answers => a_request_is_answered,
    when::answers => a_request_yields_many_replies,
    when::answers => a_request_can_be_passed_on,
    when::answers => concurrent_requests_get_their_own_replies,
    when::answers => a_late_reply_never_resolves_a_later_request,
    when::answers => a_dropped_request_leaves_nothing,
    |it| when::answers(it) && it.request >= Requests::NoResponders => nobody_listening_is_told,
    |it| when::answers(it) && it.request == Requests::Replies => nobody_listening_is_silence,
    when::answers => a_request_with_a_reply_address_is_refused,
    |it| when::answers(it) && when::groups(it) => one_member_of_a_group_answers,
}

async fn a_request_is_answered(cx: &Context) -> Outcome {
    let mut desk = Desk::open(cx, "answered").await?;
    for question in ["one", "two", ""] {
        let mut replies = desk.ask(question).await?;
        let asked = desk.question().await?;
        ensure_eq("the question", text(&asked), question)?;
        desk.answer(&asked, &format!("re {question}")).await?;
        let reply = cx.item(&mut replies, "the reply").await?;
        ensure_eq("the reply", text(&reply), format!("re {question}"))?;
        // A reply may be more than a payload.
        if when::carries_headers(cx.capabilities()) {
            let more = asked.reply("more").ok_or_else(|| Failure::new("nobody asked"))?;
            cx.send(&desk.far, more.with_header("status", "200")?).await?;
            let reply = cx.item(&mut replies, "the reply").await?;
            ensure_eq("its header", reply.headers.text("status"), Some("200"))?;
        }
    }
    Ok(())
}

async fn a_request_yields_many_replies(cx: &Context) -> Outcome {
    let mut desk = Desk::open(cx, "many").await?;
    let mut replies = desk.ask("all of you").await?;
    let asked = desk.question().await?;
    for answer in numbered("reply", 100) {
        desk.answer(&asked, &answer).await?;
    }
    let mut seen = Vec::new();
    for answer in numbered("reply", 100) {
        seen.push(text(&cx.item(&mut replies, answer).await?));
    }
    seen.sort();
    let mut promised: Vec<_> = numbered("reply", 100).collect();
    promised.sort();
    ensure_eq("the replies", seen, promised)?;
    desk.said_all(&asked, &mut replies).await
}

async fn a_request_can_be_passed_on(cx: &Context) -> Outcome {
    let mut desk = Desk::open(cx, "passed").await?;
    let mut colleague = Desk::open(cx, "colleague").await?;
    let mut replies = desk.ask("for a colleague").await?;
    let asked = desk.question().await?;
    let reply_to =
        asked.reply_to.ok_or_else(|| Failure::new("the request has no reply address"))?;
    let passed = message(&colleague.subject, asked.payload)?.with_reply_to(reply_to);
    cx.send(&desk.far, passed).await?;
    let asked = colleague.question().await?;
    colleague.answer(&asked, "from the colleague").await?;
    let reply = cx.item(&mut replies, "the colleague's reply").await?;
    ensure_eq("the reply", text(&reply), "from the colleague")
}

async fn concurrent_requests_get_their_own_replies(cx: &Context) -> Outcome {
    let mut desk = Desk::open(cx, "concurrent").await?;
    let mut open = Vec::new();
    for question in numbered("q", 100) {
        open.push((desk.ask(&question).await?, question));
    }
    let mut asked = Vec::new();
    for _ in 0..100 {
        asked.push(desk.question().await?);
    }
    for question in asked.iter().rev() {
        desk.answer(question, &format!("re {}", text(question))).await?;
    }
    for (replies, question) in &mut open {
        let reply = cx.item(replies, format!("the reply to {question}")).await?;
        ensure_eq("the reply", text(&reply), format!("re {question}"))?;
    }
    for (replies, question) in &mut open {
        let asked = asked.iter().find(|it| text(it) == *question);
        let asked = asked.ok_or_else(|| Failure::new(format!("{question} was not asked")))?;
        desk.said_all(asked, replies).await?;
    }
    Ok(())
}

async fn a_late_reply_never_resolves_a_later_request(cx: &Context) -> Outcome {
    let mut desk = Desk::open(cx, "late").await?;
    for round in 0..50 {
        drop(desk.ask(&format!("abandoned-{round}")).await?);
        let mut replies = desk.ask(&format!("current-{round}")).await?;
        let (abandoned, current) = (desk.question().await?, desk.question().await?);
        ensure_eq("the first", text(&abandoned), format!("abandoned-{round}"))?;
        // Its asker is gone; whether that can be known is the backend's affair.
        let late = abandoned.reply("late").ok_or_else(|| Failure::new("nobody asked"))?;
        drop(cx.soon("an answer", desk.far.send(late)).await?);
        desk.answer(&current, "in time").await?;
        let reply = cx.item(&mut replies, "the reply").await?;
        ensure_eq("the reply to the later request", text(&reply), "in time")?;
        desk.said_all(&current, &mut replies).await?;
    }
    Ok(())
}

async fn a_dropped_request_leaves_nothing(cx: &Context) -> Outcome {
    let mut desk = Desk::open(cx, "abandoned").await?;
    for question in numbered("q", 500) {
        drop(desk.ask(&question).await?);
    }
    for question in numbered("q", 500) {
        let asked = desk.question().await?;
        ensure_eq("the question", text(&asked), question)?;
        let late = asked.reply("late").ok_or_else(|| Failure::new("nobody asked"))?;
        drop(cx.soon("an answer", desk.far.send(late)).await?);
    }
    let mut replies = desk.ask("the last").await?;
    let asked = desk.question().await?;
    desk.answer(&asked, "re the last").await?;
    ensure_eq("the reply", text(&cx.item(&mut replies, "the reply").await?), "re the last")?;
    desk.said_all(&asked, &mut replies).await
}

async fn nobody_listening_is_told(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject("nobody")?;
    for _ in 0..3 {
        let mut replies = ask(cx, &backend, &subject, "anyone?").await?;
        let first = cx.soon("the refusal", replies.next()).await?;
        let Some(first) = first else {
            return Err(Failure::new("the replies ended without a word"));
        };
        refused("a request that nobody hears", first, &[ErrorKind::NoResponders])?;
        cx.end(&mut replies, "the replies").await?;
    }
    // With somebody there it is another matter.
    let mut desk = Desk::open(cx, "nobody").await?;
    let mut replies = desk.ask("now?").await?;
    let asked = desk.question().await?;
    desk.answer(&asked, "yes").await?;
    ensure_eq("the reply", text(&cx.item(&mut replies, "the reply").await?), "yes")
}

async fn nobody_listening_is_silence(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let mut replies = ask(cx, &backend, &cx.subject("nobody")?, "anyone?").await?;
    cx.silence(&mut replies, "from nobody").await
}

async fn a_request_with_a_reply_address_is_refused(cx: &Context) -> Outcome {
    let mut desk = Desk::open(cx, "addressed").await?;
    let _open = desk.ask("for its address").await?;
    let asked = desk.question().await?;
    let reply_to =
        asked.reply_to.ok_or_else(|| Failure::new("the request has no reply address"))?;
    let addressed = message(&desk.subject, "x")?.with_reply_to(reply_to);
    let requester = desk.near.requester()?;
    let answer = cx.soon("an answer", requester.request(addressed)).await?;
    refused("a request with a reply address", answer, &[ErrorKind::InvalidOptions]).map(drop)
}

async fn one_member_of_a_group_answers(cx: &Context) -> Outcome {
    let near = cx.connect().await?;
    let (subject, group) = (cx.subject("group")?, cx.queue("group")?);
    let mut members = Vec::new();
    for _ in 0..3 {
        let backend = cx.connect().await?;
        let wanted = cx.subscription(&subject).with_group(group.clone());
        members.push((cx.subscribe(&backend, wanted).await?, backend.publisher()?));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (mut incoming, publisher) in members {
        tasks.spawn(async move {
            while let Some(Ok(asked)) = incoming.next_item().await {
                if let Some(reply) = asked.reply("re") {
                    drop(publisher.send(reply).await);
                }
            }
        });
    }
    let mut open = Vec::new();
    for question in numbered("q", 10) {
        let mut replies = ask(cx, &near, &subject, &question).await?;
        ensure_eq("the reply", text(&cx.item(&mut replies, "the reply").await?), "re")?;
        open.push(replies);
    }
    // A second answer would be another member's, in its own time.
    cx.quiet(1).await;
    for replies in &mut open {
        let more = poll_once(replies.next()).await;
        ensure(more.is_none(), || format!("one reply was promised, {more:?} came too"))?;
    }
    Ok(())
}

async fn ask(
    cx: &Context,
    backend: &AnyBackend,
    subject: &Subject,
    question: &str,
) -> Outcome<Incoming<Message>> {
    let asking = message(subject, question.to_owned())?;
    let requester = backend.requester()?;
    cx.soon("the request's hand-over", requester.request(asking)).await?.during("request")
}

/// Somebody who asks, and on another connection somebody who is asked.
struct Desk<'a> {
    cx: &'a Context,
    near: AnyBackend,
    far: AnyPublisher,
    incoming: Incoming<Message>,
    subject: Subject,
}

impl<'a> Desk<'a> {
    async fn open(cx: &'a Context, name: &str) -> Outcome<Self> {
        let (near, far) = (cx.connect().await?, cx.connect().await?);
        let subject = cx.subject(name)?;
        let incoming = cx.subscribe(&far, cx.subscription(&subject)).await?;
        Ok(Self { cx, near, far: far.publisher()?, incoming, subject })
    }

    async fn ask(&mut self, question: &str) -> Outcome<Incoming<Message>> {
        ask(self.cx, &self.near, &self.subject, question).await
    }

    /// The next question, which has a reply address.
    async fn question(&mut self) -> Outcome<Message> {
        match self.cx.event(&mut self.incoming, "a question").await? {
            Event::Item(message) if message.reply_to.is_some() => Ok(message),
            other => Err(Failure::new(format!("a question was to come, {other:?} came"))),
        }
    }

    async fn answer(&mut self, asked: &Message, answer: &str) -> Outcome {
        let reply = asked.reply(answer.to_owned());
        let reply = reply.ok_or_else(|| Failure::new("the request has no reply address"))?;
        self.cx.send(&self.far, reply).await.map(drop)
    }

    /// Answers once more: whoever said something before, it would come first.
    async fn said_all(&mut self, asked: &Message, replies: &mut Incoming<Message>) -> Outcome {
        self.answer(asked, "that is all").await?;
        let next = self.cx.item(replies, "the end of the replies").await?;
        ensure_eq("the next reply", text(&next), "that is all")
    }
}
