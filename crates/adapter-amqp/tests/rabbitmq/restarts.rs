//! A broker that is killed and started again, and links that break, under load.
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sinew_adapter_amqp::Amqp;
use sinew_core::{
    Consume as _, Delivery, Event, Incoming, Message, Pattern, Publish as _, PublishExt as _, Sent,
    Subscribe as _, Subscription,
};
use sinew_testkit::harness::{
    Proxy,
    rabbitmq::{RabbitMq, RabbitMqOptions},
};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::interval,
};

use crate::support::{Outcome, Shared, address, check, event, message, options, queue, soon};

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
    let mut work = Work::start(&near, "restarts").await?;
    let mut news = near.subscribe(Subscription::new(Pattern::parse("restarts-news")?)).await?;
    let published = Arc::<Mutex<Published>>::default();
    let load = publish(far.clone(), "restarts", Arc::clone(&work.room), Arc::clone(&published));
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
    work.balance(load, &published, &broker, rounds).await
}

/// The links of both sides break again and again, each when it likes, under a broker that stays.
pub(crate) async fn under_flaps(shared: Shared) -> Outcome {
    let rounds = if env::var_os("SINEW_LONG").is_some() { 200 } else { 20 };
    let broker = shared.broker().await?;
    let near = Proxy::start(address(broker)).await?;
    let far = Proxy::start(address(broker)).await?;
    let connect = |proxy: &Proxy| {
        options(proxy.address()).with_reconnect_wait(Duration::from_millis(200)).connect()
    };
    let (consumer, publisher) = (connect(&near).await?, connect(&far).await?);
    let mut work = Work::start(&consumer, "flaps").await?;
    let published = Arc::<Mutex<Published>>::default();
    let load = publish(publisher, "flaps", Arc::clone(&work.room), Arc::clone(&published));
    let load = tokio::spawn(load);
    for round in 0..rounds {
        work.take(100 + round % 7).await?;
        near.cut();
        if round % 2 == 0 {
            far.cut();
        }
        while !matches!(work.next("down").await?, Event::Down) {}
        near.heal();
        far.heal();
    }
    work.balance(load, &published, broker, rounds).await
}

/// What became of what was published.
#[derive(Default)]
struct Published {
    confirmed: BTreeSet<u64>,
    /// Those that failed and can have arrived.
    open: BTreeSet<u64>,
}

/// Publishes numbers while there is room for them, until that is closed. Each must be routed: a RabbitMQ that is killed may
/// forget a binding that it made a moment before, and confirms what no queue takes.
async fn publish(
    amqp: Amqp,
    queue: &'static str,
    room: Arc<Semaphore>,
    published: Arc<Mutex<Published>>,
) -> Outcome {
    let mut answers = JoinSet::new();
    let mut again = interval(Duration::from_millis(20));
    for number in 0.. {
        let Ok(place) = room.acquire().await else { break };
        let message = message(queue, &number.to_string())?.with_must_route(true);
        match amqp.publish(message).await {
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
                if err.sent() == Sent::Maybe {
                    let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
                    published.open.insert(number);
                }
                again.tick().await;
            }
        }
    }
    drop(answers.join_all().await);
    Ok(())
}

/// Whoever consumes what is published.
struct Work {
    name: &'static str,
    intake: Incoming<Delivery>,
    room: Arc<Semaphore>,
    /// How often each came.
    counts: BTreeMap<u64, u32>,
}

impl Work {
    async fn start(amqp: &Amqp, name: &'static str) -> Outcome<Self> {
        let intake = amqp.consume(queue(name)?).await?;
        Ok(Self { name, intake, room: Arc::new(Semaphore::new(LOAD)), counts: BTreeMap::new() })
    }

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

    /// Everything that was confirmed has come, or comes.
    async fn balance(
        mut self,
        load: JoinHandle<Outcome>,
        published: &Mutex<Published>,
        broker: &RabbitMq,
        breaks: usize,
    ) -> Outcome {
        self.room.close();
        soon("the last answer", load).await???;
        let published =
            std::mem::take(&mut *published.lock().unwrap_or_else(PoisonError::into_inner));
        let (confirmed, open) = (published.confirmed, published.open);
        loop {
            let missing = confirmed.iter().filter(|number| !self.counts.contains_key(number));
            let missing: Vec<_> = missing.collect();
            let (Some(first), Some(last)) = (missing.first(), missing.last()) else { break };
            let what = format!(
                "{} from {first} to {last}, of {} confirmed",
                missing.len(),
                confirmed.len()
            );
            if let Err(late) = self.next(&what).await {
                let queues = broker
                    .ctl(&["list_queues", "name", "messages_ready", "messages_unacknowledged"])
                    .await?;
                return Err(format!("{}; the broker has {queues}", late).into());
            }
        }
        let mut strange =
            self.counts.keys().filter(|it| !confirmed.contains(it) && !open.contains(it));
        check(strange.next().is_none(), "nothing arrives that was refused, or never published")?;
        // What comes twice was under way at a kill.
        let twice: u32 = self.counts.values().map(|count| count - 1).sum();
        writeln!(
            io::stderr(),
            "{}: {breaks} breaks, {} confirmed, which all came; {} of unknown fate; {twice} came again",
            self.name,
            confirmed.len(),
            open.len(),
        )?;
        check(twice as usize <= breaks * LOAD, format!("{twice} came twice"))
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
