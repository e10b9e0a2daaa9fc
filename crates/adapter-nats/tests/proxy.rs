//! A link that breaks, hangs or is slow: real servers behind a proxy that spoils the line.
use std::{
    collections::BTreeSet, future::poll_fn, net::SocketAddr, pin::Pin, process::ExitCode,
    time::Duration,
};

use futures_core::Stream;
use libtest_mimic::Arguments;
use sinew_adapter_nats::{
    JetStream, JetStreamOptions, Nats, NatsOptions,
    async_nats::{self, jetstream::stream},
};
use sinew_core::{
    Consume, Consumption, ErrorKind, Event, Incoming, Link, Message, Pattern, Publish, PublishExt,
    Queue, Result, Sent, Subject, Subscribe, Subscription,
};
use sinew_testkit::harness::{
    Proxy,
    nats::{NatsServer, NatsServerOptions},
};
use sinew_testkit::trial::{Outcome, trial};
use tokio::time::{Instant, timeout};

/// How long anything may take that is bound to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How late each piece of data is on a slow line.
const LATE: Duration = Duration::from_millis(50);
/// The same, where something is to be done before it comes.
const LATER: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let trials = vec![
        trial("a_cut_link_is_told_as_down_then_up_with_a_gap", cut),
        trial("a_half_open_link_is_noticed_within_three_ping_intervals", half_open),
        trial("a_slow_link_loses_nothing", slow),
        trial("a_member_that_stops_takes_in_what_the_server_gave_it", stopped_member),
        trial("a_drain_takes_in_what_is_on_its_way", drained),
        trial("a_stopped_intake_ends_where_the_server_stays_silent", silent_stop),
        trial("a_drain_that_runs_out_tells_of_what_was_on_its_way", silent_drain),
        trial("a_flush_answers_for_what_a_dropped_one_covered", dropped_flush),
        trial("a_publish_on_its_way_when_a_drain_runs_out_may_be_stored", in_flight),
        trial("a_verdict_that_came_too_late_makes_room_for_the_next_delivery", prefetch_of_one),
        trial("a_link_that_breaks_while_a_consumer_is_made_anew_is_told_at_once", rejoin),
        trial("nothing_is_published_once_the_end_is_known", closed),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}

async fn behind_proxy(server: &NatsServer) -> Outcome<(Proxy, NatsOptions)> {
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await?;
    let options = NatsOptions::new(format!("nats://{}", proxy.address()))
        .with_connect_timeout(Duration::from_secs(2));
    Ok((proxy, options))
}

/// A server, a client behind a proxy, and one that is not.
async fn pair() -> Outcome<(NatsServer, Proxy, Nats, Nats)> {
    let server = NatsServerOptions::new().start().await?;
    let (proxy, options) = behind_proxy(&server).await?;
    let near = NatsOptions::new(server.url()).connect().await?;
    Ok((server, proxy, options.connect().await?, near))
}

/// The next thing that an intake or a link has to say.
async fn next<T: 'static>(intake: &mut Incoming<T>) -> Outcome<Event<T>> {
    Ok(timeout(PATIENCE, intake.next()).await?.ok_or("it ended")??)
}

/// Waits until `wanted` is told, passing over all else.
async fn told<T: PartialEq + 'static>(intake: &mut Incoming<T>, wanted: Event<T>) -> Outcome {
    while next(intake).await? != wanted {}
    Ok(())
}

/// Breaks the link, and ends when it is up again.
async fn flap(proxy: &Proxy, link: &impl Link) -> Outcome {
    let mut watch = link.watch();
    proxy.cut();
    told(&mut watch, Event::Down).await?;
    proxy.heal();
    told(&mut watch, Event::Up { gap: true }).await
}

fn wanted() -> Result<Subscription> {
    Ok(Subscription::new(Pattern::parse("a")?))
}

/// Hands messages over that are numbered and 1 KiB long.
async fn publish(nats: &Nats, numbers: std::ops::Range<u32>) -> Result<()> {
    let subject = Subject::parse("a")?;
    for number in numbers {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(1024, 0);
        drop(nats.publish(Message::new(subject.clone(), payload)).await?);
    }
    nats.flush().await
}

fn number(message: &Message) -> Outcome<u32> {
    let bytes = message.payload.get(..4).ok_or("it is too short")?;
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

/// The numbers of all that is still yielded.
async fn rest(intake: &mut Incoming<Message>) -> Outcome<Vec<u32>> {
    let mut numbers = Vec::new();
    while let Some(event) = timeout(PATIENCE, intake.next()).await? {
        match event? {
            Event::Item(message) => numbers.push(number(&message)?),
            event => return Err(format!("{event:?} is told").into()),
        }
    }
    Ok(numbers)
}

async fn cut() -> Outcome {
    let (_server, proxy, nats, near) = pair().await?;
    let mut intake = nats.subscribe(wanted()?).await?;
    let mut watch = nats.watch();
    ensure(next(&mut watch).await? == Event::Up { gap: false }, "it starts with the state of now")?;
    proxy.cut();
    ensure(next(&mut watch).await? == Event::Down, "the watcher hears of it")?;
    ensure(next(&mut intake).await? == Event::Down, "the intake hears of it")?;
    let refused = nats.send_to("a", "x").await.err().ok_or("it was taken")?;
    ensure(refused.kind() == ErrorKind::Disconnected && refused.sent() == Sent::No, "refused")?;
    proxy.heal();
    let up = Event::Up { gap: true };
    ensure(next(&mut watch).await? == up, "the watcher hears of the return")?;
    publish(&near, 0..1).await?;
    ensure(next(&mut intake).await? == Event::Up { gap: true }, "the gap is told first")?;
    ensure(matches!(next(&mut intake).await?, Event::Item(_)), "then it goes on")
}

async fn half_open() -> Outcome {
    const INTERVAL: Duration = Duration::from_secs(1);
    let server = NatsServerOptions::new().start().await?;
    let (proxy, options) = behind_proxy(&server).await?;
    let nats = options.with_ping_interval(INTERVAL).connect().await?;
    let mut watch = nats.watch();
    next(&mut watch).await?;
    proxy.half_open();
    let began = Instant::now();
    ensure(next(&mut watch).await? == Event::Down, "it is noticed")?;
    // The rest is for a machine that does much else.
    let noticed = 3 * INTERVAL + Duration::from_secs(5);
    ensure(began.elapsed() < noticed, "it is noticed in time")?;
    proxy.heal();
    ensure(next(&mut watch).await? == Event::Up { gap: true }, "and it comes back")
}

async fn slow() -> Outcome {
    let (_server, proxy, nats, near) = pair().await?;
    let mut intake = nats.subscribe(wanted()?).await?;
    let mut back = near.subscribe(wanted()?).await?;
    proxy.delay(LATE);
    publish(&near, 0..500).await?;
    publish(&nats, 500..1000).await?;
    for intake in [&mut intake, &mut back] {
        intake.stop();
        ensure(rest(intake).await? == (0..1000).collect::<Vec<_>>(), "all of it, in order")?;
    }
    Ok(())
}

async fn stopped_member() -> Outcome {
    let (_server, proxy, nats, near) = pair().await?;
    let member = || Ok::<_, sinew_core::Error>(wanted()?.with_group(Queue::parse("g")?));
    let mut leaving = nats.subscribe(member()?).await?;
    let mut staying = near.subscribe(member()?).await?;
    proxy.delay(LATE);
    publish(&near, 0..500).await?;
    leaving.stop();
    // The server learns of it late, and goes on handing messages to it.
    publish(&near, 500..1500).await?;
    let mut seen: BTreeSet<u32> = rest(&mut leaving).await?.into_iter().collect();
    ensure(seen.iter().any(|number| *number >= 500), "the server learns of the stop late")?;
    while seen.len() < 1500 {
        match timeout(PATIENCE, staying.next_item()).await {
            Ok(Some(message)) => ensure(seen.insert(number(&message?)?), "it came twice")?,
            Ok(None) => return Err("it ended".into()),
            Err(_) => return Err(format!("{} of 1500 came to the group", seen.len()).into()),
        }
    }
    Ok(())
}

async fn drained() -> Outcome {
    let (_server, proxy, nats, near) = pair().await?;
    let mut intake = nats.subscribe(wanted()?.and(Pattern::parse("b")?)).await?;
    proxy.delay(LATE);
    publish(&near, 0..500).await?;
    nats.drain(PATIENCE).await?;
    ensure(rest(&mut intake).await?.len() == 500, "what the server had sent is yielded")
}

async fn silent_drain() -> Outcome {
    let (_server, proxy, nats, _near) = pair().await?;
    let mut intake = nats.subscribe(wanted()?).await?;
    proxy.half_open();
    let err = nats.drain(Duration::from_millis(200)).await.err().ok_or("it is confirmed")?;
    ensure(err.kind() == ErrorKind::Timeout, "the time ran out")?;
    ensure(err.to_string().contains("1 subscriptions had not ended"), &err.to_string())?;
    ensure(rest(&mut intake).await?.is_empty(), "it ends all the same")
}

async fn silent_stop() -> Outcome {
    let server = NatsServerOptions::new().start().await?;
    let (proxy, options) = behind_proxy(&server).await?;
    let nats = options
        .with_answer_timeout(Duration::from_millis(300))
        .with_ping_interval(Duration::from_secs(60))
        .connect()
        .await?;
    let near = NatsOptions::new(server.url()).connect().await?;
    let mut intake = nats.subscribe(wanted()?).await?;
    publish(&near, 0..1).await?;
    // What was received before is not lost with the answer.
    nats.flush().await?;
    proxy.half_open();
    intake.stop();
    ensure(rest(&mut intake).await? == [0], "it is yielded, and that was all")
}

async fn dropped_flush() -> Outcome {
    let (_server, proxy, nats, _near) = pair().await?;
    proxy.half_open();
    nats.send_to("a", "x").await?;
    ensure(timeout(LATE, nats.flush()).await.is_err(), "nobody answers")?;
    flap(&proxy, &nats).await?;
    let err = nats.flush().await.err().ok_or("it is forgotten")?;
    ensure(err.kind() == ErrorKind::Disconnected && err.sent() == Sent::Maybe, "it may be lost")?;
    nats.flush().await?;
    Ok(())
}

async fn open(options: NatsOptions) -> Result<JetStream> {
    let config = stream::Config { subjects: vec!["s.>".to_owned()], ..stream::Config::default() };
    JetStreamOptions::new("S").with_create(config).connect(options).await
}

async fn in_flight() -> Outcome {
    let server = NatsServerOptions::new().with_jetstream().start().await?;
    let (proxy, options) = behind_proxy(&server).await?;
    let stream = open(options.with_ping_interval(Duration::from_secs(60))).await?;
    proxy.half_open();
    let receipt = stream.publish(Message::new(Subject::parse("s.a")?, "x")).await?;
    let drained = stream.drain(Duration::from_millis(200)).await.err().ok_or("it is not there")?;
    ensure(drained.kind() == ErrorKind::Timeout, "the time ran out")?;
    let err = receipt.await.err().ok_or("nobody answered")?;
    ensure(err.kind() == ErrorKind::Closed && err.sent() == Sent::Maybe, "it may have arrived")
}

fn queue() -> Result<Consumption> {
    Ok(Consumption::new(Queue::parse("q")?, Pattern::parse("s.#")?).with_prefetch(1))
}

async fn prefetch_of_one() -> Outcome {
    let server = NatsServerOptions::new().with_jetstream().start().await?;
    let (proxy, options) = behind_proxy(&server).await?;
    let stream = open(options).await?;
    let mut intake = stream.consume(queue()?).await?;
    stream.send_to("s.a", "0").await?;
    stream.send_to("s.a", "1").await?;
    let held = timeout(PATIENCE, intake.next_item()).await?.ok_or("it ended")??;
    flap(&proxy, &stream).await?;
    timeout(PATIENCE, held.revoked()).await?;
    // Up is told once it has asked anew, for as much as there is room for: none.
    while !matches!(next(&mut intake).await?, Event::Up { .. }) {}
    let late = held.ack().await.err().ok_or("the verdict is too late")?;
    ensure(late.kind() == ErrorKind::Revoked, "it is told so")?;
    let mut left = BTreeSet::from(["0", "1"]);
    while !left.is_empty() {
        let delivery = timeout(PATIENCE, intake.next_item()).await?.ok_or("it ended")??;
        left.remove(std::str::from_utf8(&delivery.message.payload)?);
        delivery.ack().await?;
    }
    Ok(())
}

async fn rejoin() -> Outcome {
    let server = NatsServerOptions::new().with_jetstream().start().await?;
    let (proxy, options) = behind_proxy(&server).await?;
    let stream = open(options).await?;
    let mut intake = stream.consume(queue()?).await?;
    let near = async_nats::connect(server.url()).await?;
    let mut asked = near.subscribe("$JS.API.CONSUMER.INFO.S.q").await?;
    near.flush().await?;
    proxy.delay(LATER);
    async_nats::jetstream::new(near).delete_consumer_from_stream("q", "S").await?;
    // It asks for its consumer, and the link breaks before the answer is there.
    let question = poll_fn(|cx| Pin::new(&mut asked).poll_next(cx));
    timeout(PATIENCE, question).await?.ok_or("it does not ask")?;
    proxy.cut();
    ensure(matches!(next(&mut intake).await?, Event::Down), "it is told while the link is down")?;
    proxy.heal();
    ensure(matches!(next(&mut intake).await?, Event::Up { .. }), "it is told of the return")?;
    stream.send_to("s.a", "x").await?;
    let delivery = timeout(PATIENCE, intake.next_item()).await?.ok_or("it ended")??;
    delivery.ack().await?;
    Ok(())
}

async fn closed() -> Outcome {
    let server = NatsServerOptions::new().start().await?;
    for _ in 0..20 {
        let nats = NatsOptions::new(server.url()).connect().await?;
        let mut watch = nats.watch();
        let publisher = nats.clone();
        let sent = tokio::spawn(async move {
            while watch.next().await.is_some() {}
            publisher.send_to("a", "x").await
        });
        nats.drain(PATIENCE).await?;
        let refused = nats.send_to("a", "x").await.err();
        for err in [refused, sent.await?.err()] {
            let err = err.ok_or("it was taken")?;
            ensure(err.kind() == ErrorKind::Closed && err.sent() == Sent::No, "it is refused")?;
        }
    }
    Ok(())
}
