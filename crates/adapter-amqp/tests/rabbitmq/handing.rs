//! Handing messages over: from many threads at once, by calls that are dropped, and with nobody who asks what came of it.
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt as _, future::join_all};
use sinew_adapter_amqp::Amqp;
use sinew_core::{
    Consume as _, ErrorKind, Pattern, Publish as _, PublishExt as _, Request as _, Scope, Sent,
    Subscribe as _, Subscription,
};
use tokio::{sync::watch, time::timeout};

use crate::support::{Outcome, Shared, check, connect, event, message, queue, refused, soon};

pub(crate) async fn many_threads(shared: Shared) -> Outcome {
    const COUNT: usize = 300;
    let amqp = connect(shared.address().await?).await?;
    let _bound = amqp.consume(queue("many-threads.heard")?.with_prefetch(1)).await?;
    let mut publishers = tokio::task::JoinSet::new();
    for thread in 0..8_usize {
        let amqp = amqp.clone();
        publishers.spawn(async move {
            let mut pending = Vec::new();
            for number in 0..COUNT {
                let is_heard = (thread + number) % 2 == 0;
                let subject = if is_heard { "many-threads.heard" } else { "many-threads.unheard" };
                let message = message(subject, "x")?.with_must_route(true);
                pending.push((is_heard, amqp.publish(message).await?));
            }
            let mut wrong = 0;
            for (is_heard, outcome) in pending {
                wrong += usize::from(outcome.await.is_ok() != is_heard);
            }
            Ok::<_, sinew_core::Error>(wrong)
        });
    }
    let wrong = soon("the fate of each", publishers.join_all()).await?;
    for wrong in wrong {
        check(wrong? == 0, "each learns its own fate")?;
    }
    Ok(())
}

/// Publishes where it is woken, which may be anywhere.
struct Publishes {
    amqp: Amqp,
    told: watch::Sender<Option<bool>>,
}

impl Wake for Publishes {
    fn wake(self: Arc<Self>) {
        let next = message("woken", "next").map(|next| self.amqp.publish(next).now_or_never());
        self.told.send_replace(Some(matches!(next, Ok(Some(Ok(_))))));
    }
}

pub(crate) async fn woken(shared: Shared) -> Outcome {
    let amqp = connect(shared.address().await?).await?;
    amqp.send(message("woken", "first")?).await?;
    let (told, mut answer) = watch::channel(None);
    let waker = Waker::from(Arc::new(Publishes { amqp: amqp.clone(), told }));
    // Answered before it was asked about, it wakes nobody.
    let mut asked = Poll::Ready(());
    while asked.is_ready() {
        let mut pending = amqp.publish(message("woken", "one")?).await?;
        asked = Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)).map(drop);
        if asked.is_pending() {
            soon("to be woken", answer.wait_for(Option::is_some)).await??;
        }
    }
    let could = *answer.borrow();
    check(could == Some(true), format!("{could:?}"))
}

pub(crate) async fn unheard_failures(shared: Shared) -> Outcome {
    let amqp = connect(shared.address().await?).await?;
    let astray = || Ok::<_, sinew_core::Error>(message("unheard", "x")?.with_must_route(true));
    // Nobody ever looks, or the answer is there and nobody looks.
    drop(amqp.publish(astray()?).await?);
    refused(soon("the flush", amqp.flush()).await?, ErrorKind::Unroutable, Sent::No)?;
    soon("the flush", amqp.flush()).await??;
    let pending = amqp.publish(astray()?).await?;
    let other = amqp.send(astray()?).await;
    refused(other, ErrorKind::Unroutable, Sent::No)?;
    soon("the flush", amqp.flush()).await??;
    drop(pending);
    refused(soon("the flush", amqp.flush()).await?, ErrorKind::Unroutable, Sent::No)?;
    Ok(())
}

pub(crate) async fn requests_apart(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let (asker, desk) = (connect(address).await?, connect(address).await?);
    let mut questions = desk.subscribe(Subscription::new(Pattern::parse("apart")?)).await?;
    let mut replies = asker.request(message("apart", "?")?).await?;
    let asked = soon("the question", questions.next_item()).await?.ok_or("it ended")??;
    // These would cost the channel that the reply comes by.
    let nowhere = Scope::parse("requests-apart.missing")?;
    let astray: Vec<_> = (0..3).map(|_| message("a", "?")).collect::<Result<_, _>>()?;
    let astray = astray.into_iter().map(|it| asker.request(it.with_scope(nowhere.clone())));
    for outcome in join_all(astray).await {
        refused(outcome, ErrorKind::NotFound, Sent::No)?;
    }
    desk.send(asked.reply("yes").ok_or("nobody asked")?).await?;
    let reply = event(&mut replies, "the reply").await?.item().ok_or("no reply")?;
    check(reply.payload == "yes", format!("{reply:?}"))
}

/// Waits for a moment, then goes away: what it was to hand over must not be sent later.
pub(crate) async fn gives_up(publishing: impl Future) -> Outcome {
    check(timeout(Duration::from_millis(100), publishing).await.is_err(), "it waits")
}
