//! Use from elsewhere: another runtime, a plain thread, many threads at once.
use std::{
    pin::pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use sinew_core::{
    AnyBackend, Consume, Event, Link, Message, Publish, PublishExt, Request, Subject, Subscribe,
};

use super::{
    Context, During, Failure, Outcome,
    behaviour::behaviours,
    ensure_eq,
    support::{message, text},
    when,
};

behaviours! { "runtimes";
    when::always => another_runtime_can_use_it,
    when::always => a_plain_thread_can_use_it,
    when::publishes => it_outlives_the_runtime_that_only_used_it,
}

async fn another_runtime_can_use_it(cx: &Context) -> Outcome {
    let everything = Everything::prepare(cx).await?;
    elsewhere(cx, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|err| Failure::new(err.to_string()))?;
        runtime.block_on(everything.run())
    })
    .await
}

async fn a_plain_thread_can_use_it(cx: &Context) -> Outcome {
    let everything = Everything::prepare(cx).await?;
    let patience = cx.pace().patience;
    elsewhere(cx, move || park_on(everything.run(), patience)).await
}

async fn it_outlives_the_runtime_that_only_used_it(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let (used, subject) = (publisher.clone(), cx.subject("outlives")?);
    let first = message(&subject, "from a runtime that ends")?;
    elsewhere(cx, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|err| Failure::new(err.to_string()))?;
        runtime.block_on(used.send(first)).during("publish").map(drop)
    })
    .await?;
    cx.send(&publisher, message(&subject, "from the first runtime")?).await.map(drop)
}

/// Each contract that the backend has, used once.
struct Everything {
    cx: Context,
    backend: AnyBackend,
    subject: Subject,
}

impl Everything {
    async fn prepare(cx: &Context) -> Outcome<Self> {
        let (cx, backend) = (cx.clone(), cx.connect().await?);
        let subject = cx.subject("elsewhere")?;
        Ok(Self { cx, backend, subject })
    }

    /// Uses no timer of its own: there may be none.
    async fn run(self) -> Outcome {
        let Self { cx, backend, subject } = &self;
        let has = cx.capabilities();
        let publisher = backend.publisher().ok();
        let mut copies = None;
        if when::subscribes(has) {
            let wanted = cx.subscription(subject);
            copies = Some(backend.subscriber()?.subscribe(wanted).await.during("subscribe")?);
        }
        let mut queue = None;
        if when::consumes(has) {
            let wanted = cx.consumption("elsewhere", subject)?;
            queue = Some(backend.consumer()?.consume(wanted).await.during("consume")?);
        }
        if let Some(publisher) = &publisher {
            publisher.send(Message::new(subject.clone(), "x")).await.during("publish")?;
            publisher.flush().await.during("flush")?;
            if let Some(copies) = &mut copies {
                let seen = copies.next_item().await.ok_or_else(ended)?.during("take")?;
                ensure_eq("the message", text(&seen), "x")?;
            }
            if let Some(queue) = &mut queue {
                let seen = queue.next_item().await.ok_or_else(ended)?.during("take")?;
                ensure_eq("the delivery", text(&seen.message), "x")?;
                seen.ack().await.during("ack")?;
            }
        }
        if when::answers(has)
            && let (Some(publisher), Some(copies)) = (&publisher, &mut copies)
        {
            let asking = Message::new(subject.clone(), "?");
            let mut replies = backend.requester()?.request(asking).await.during("request")?;
            let asked = copies.next_item().await.ok_or_else(ended)?.during("take")?;
            let reply = asked.reply("!").ok_or_else(|| Failure::new("nobody asked"))?;
            publisher.send(reply).await.during("reply")?;
            let reply = replies.next_item().await.ok_or_else(ended)?.during("take the reply")?;
            ensure_eq("the reply", text(&reply), "!")?;
        }
        let mut watch = backend.link().watch();
        let now = watch.next().await.ok_or_else(ended)?.during("watch")?;
        ensure_eq("the link is up", matches!(now, Event::Up { .. }), true)?;
        drop((copies, queue));
        backend.link().drain(DRAIN).await.during("drain")
    }
}

fn ended() -> Failure {
    Failure::new("the intake ended")
}

/// Runs `work` on a thread that no runtime knows.
async fn elsewhere(cx: &Context, work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let (done, outcome) = tokio::sync::oneshot::channel();
    let thread = thread::Builder::new().name("elsewhere".to_owned());
    thread.spawn(move || drop(done.send(work()))).map_err(|err| Failure::new(err.to_string()))?;
    cx.soon("the end of what was done elsewhere", outcome)
        .await?
        .map_err(|_| Failure::new("it panicked; its message is on standard error"))?
}

/// Polls `future` on this thread, and sleeps in between, until it ends or patience does.
fn park_on<T>(future: impl Future<Output = Outcome<T>>, patience: Duration) -> Outcome<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    let deadline = Instant::now() + patience;
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut cx) {
            return outcome;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(format!("not done after {patience:?}")));
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

const DRAIN: Duration = Duration::from_secs(10);
