//! A broker that is killed and started again under load.
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sinew_adapter_amqp::Amqp;
use sinew_core::{
    Consume as _, Delivery, Event, Incoming, Message, Pattern, Publish as _, PublishExt as _, Sent,
    Subscribe as _, Subscription,
};
use sinew_testkit::harness::rabbitmq::RabbitMqOptions;
use tokio::{sync::Semaphore, task::JoinSet, time::interval};

use crate::support::{Outcome, address, check, event, message, options, queue, soon};

const QUEUE: &str = "restarts";
/// How many messages are under way, from the publisher to the consumer's ack.
const LOAD: usize = 500;
/// How many are delivered before a kill, and how many after it.
const COUNT: usize = 1000;

/// A broker of its own, which is killed.
pub(crate) async fn under_load() -> Outcome {
    let rounds = if env::var_os("SINEW_LONG").is_some() { 20 } else { 2 };
    let broker = RabbitMqOptions::new().start().await?;
    let address = address(&broker);
    let (near, far) = (options(address).connect().await?, options(address).connect().await?);
    let mut work = Work {
        intake: near.consume(queue(QUEUE)?).await?,
        room: Arc::new(Semaphore::new(LOAD)),
        counts: BTreeMap::new(),
    };
    let mut news = near.subscribe(Subscription::new(Pattern::parse("restarts-news")?)).await?;
    let published = Arc::<Mutex<Published>>::default();
    let load = publish(far.clone(), Arc::clone(&work.room), Arc::clone(&published));
    let load = tokio::spawn(load);

    for round in 0..rounds {
        work.take(COUNT).await?;
        broker.kill()?;
        while !matches!(work.next("down").await?, Event::Down) {}
        broker.restart().await?;
        work.take(COUNT).await?;
        // Nor is the subscriber silent.
        while !matches!(event(&mut news, "up").await?, Event::Up { .. }) {}
        let text = format!("news {round}");
        resend(&far, message("restarts-news", &text)?).await?;
        loop {
            // What was sent again may come twice.
            match event(&mut news, &text).await? {
                Event::Item(message) if message.payload == text => break,
                Event::Item(_) => {}
                other => return Err(format!("{text} was expected, {other:?} came").into()),
            }
        }
    }
    work.room.close();
    soon("the last answer", load).await???;
    let published = std::mem::take(&mut *published.lock().unwrap_or_else(PoisonError::into_inner));
    let (confirmed, open) = (published.confirmed, published.open);
    loop {
        let missing = confirmed.iter().filter(|number| !work.counts.contains_key(number));
        let missing: Vec<_> = missing.collect();
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { break };
        let what =
            format!("{} from {first} to {last}, of {} confirmed", missing.len(), confirmed.len());
        if let Err(late) = work.next(&what).await {
            let queues = broker
                .ctl(&["list_queues", "name", "messages_ready", "messages_unacknowledged"])
                .await?;
            return Err(
                format!("{}; the broker has {queues}", late.message().unwrap_or_default()).into()
            );
        }
    }
    let mut strange = work.counts.keys().filter(|it| !confirmed.contains(it) && !open.contains(it));
    check(strange.next().is_none(), "nothing arrives that was refused, or never published")?;
    // What comes twice was under way at a kill.
    let twice: u32 = work.counts.values().map(|count| count - 1).sum();
    check(twice as usize <= rounds * LOAD, format!("{twice} came twice"))
}

/// What became of what was published.
#[derive(Default)]
struct Published {
    confirmed: BTreeSet<u64>,
    /// Those that failed and can have arrived.
    open: BTreeSet<u64>,
}

/// Publishes numbers while there is room for them, until that is closed.
async fn publish(amqp: Amqp, room: Arc<Semaphore>, published: Arc<Mutex<Published>>) -> Outcome {
    let mut answers = JoinSet::new();
    let mut again = interval(Duration::from_millis(20));
    for number in 0.. {
        let Ok(place) = room.acquire().await else { break };
        match amqp.publish(message(QUEUE, &number.to_string())?).await {
            Ok(answer) => {
                // Given back by whoever takes the message.
                place.forget();
                let (published, room) = (Arc::clone(&published), Arc::clone(&room));
                answers.spawn(async move {
                    let answer = answer.await;
                    let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
                    match answer {
                        Ok(_) => drop(published.confirmed.insert(number)),
                        Err(err) => {
                            room.add_permits(1);
                            if err.sent() == Sent::Maybe {
                                published.open.insert(number);
                            }
                        }
                    }
                });
            }
            // The broker is away.
            Err(err) => {
                check(err.sent() == Sent::No, format!("{err:?} was not sent"))?;
                again.tick().await;
            }
        }
    }
    drop(answers.join_all().await);
    Ok(())
}

/// Whoever consumes what is published.
struct Work {
    intake: Incoming<Delivery>,
    room: Arc<Semaphore>,
    /// How often each came.
    counts: BTreeMap<u64, u32>,
}

impl Work {
    async fn next(&mut self, what: &str) -> Outcome<Event<()>> {
        let event = event(&mut self.intake, what).await?;
        if let Event::Item(delivery) = &event {
            let number = std::str::from_utf8(&delivery.message.payload)?.parse()?;
            *self.counts.entry(number).or_default() += 1;
            self.room.add_permits(1);
        }
        Ok(match event {
            Event::Item(delivery) => {
                // Handed over; whether the broker heard it before it died, nobody knows.
                drop(delivery.ack());
                Event::Item(())
            }
            other => other.map(drop),
        })
    }

    /// Takes that many deliveries.
    async fn take(&mut self, count: usize) -> Outcome {
        for number in 0..count {
            while !matches!(self.next(&format!("delivery {number}")).await?, Event::Item(())) {}
        }
        Ok(())
    }
}

/// Publishes until it is confirmed.
async fn resend(amqp: &Amqp, message: Message) -> Outcome {
    soon("a confirm", async {
        let mut again = interval(Duration::from_millis(20));
        while amqp.send(message.clone()).await.is_err() {
            again.tick().await;
        }
    })
    .await
}
