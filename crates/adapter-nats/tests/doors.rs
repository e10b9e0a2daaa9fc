//! What the suite cannot ask of every backend: leases, positions in a stream, ready-made clients.
use std::{
    net::Ipv4Addr,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use libtest_mimic::Arguments;
use sinew_adapter_nats::{
    JetStream, JetStreamOptions, Nats, NatsOptions,
    async_nats::{self, jetstream::stream},
};
use sinew_core::{
    Attempt, Backend, Buffer, Consume, Consumption, ErrorKind, Event, Link, Message, Overflow,
    Pattern, Persistence, Position, Property, Publish, PublishExt, Queue, Receipt, Request, Start,
    Subject, Subscribe, Subscription,
};
use sinew_testkit::harness::{
    Proxy,
    nats::{NatsServer, NatsServerOptions},
};
use sinew_testkit::trial::{Outcome, trial};
use tokio::time::{interval, timeout};

fn main() -> ExitCode {
    let trials = vec![
        trial("a_handler_slower_than_the_wait_for_acks_keeps_its_delivery", slow_handler),
        trial("a_stream_that_is_not_there_is_not_made_silently", no_stream),
        trial("a_stream_that_is_there_otherwise_is_a_conflict", other_stream),
        trial("a_consumer_that_was_made_otherwise_is_a_conflict", other_consumer),
        trial("a_subject_that_the_stream_does_not_take_is_told", not_taken),
        trial("a_reader_is_told_what_is_gone_of_what_it_resumes_at", truncated),
        trial("a_stream_made_anew_is_read_from_its_first_message_after_a_gap", made_anew),
        trial("a_position_that_the_stream_never_had_is_refused", no_position),
        trial("capabilities_follow_the_stream", capabilities),
        trial("both_doors_share_one_connection", both_doors),
        trial("a_ready_made_client_is_taken_over", ready_made),
        trial("a_note_stands_in_the_reply_address_and_replies_find_back", noted),
        trial("what_was_published_last_leaves_with_the_last_handle", last_handle),
        trial("a_server_without_jetstream_is_told", no_jetstream),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn config() -> stream::Config {
    stream::Config { subjects: vec!["s.>".to_owned()], ..stream::Config::default() }
}

async fn open(config: stream::Config) -> Outcome<(NatsServer, JetStream)> {
    let server = NatsServerOptions::new().with_jetstream().start().await?;
    let options = JetStreamOptions::new("S")
        .with_create(config)
        .with_ack_wait(Duration::from_secs(1))
        .connect(NatsOptions::new(server.url()));
    let stream = options.await?;
    Ok((server, stream))
}

fn queue(pattern: &str) -> sinew_core::Result<Consumption> {
    Ok(Consumption::new(Queue::parse("q")?, Pattern::parse(pattern)?))
}

fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}

async fn slow_handler() -> Outcome {
    let (_server, stream) = open(config()).await?;
    let mut intake = stream.consume(queue("s.#")?).await?;
    stream.send_to("s.a", "x").await?;
    let slow = intake.next_item().await.ok_or("it ended")??;
    let again = timeout(Duration::from_millis(2500), intake.next_item()).await;
    ensure(again.is_err(), "it came again while it was being worked on")?;
    ensure(slow.attempt == Attempt::Number(1), "it is the first delivery")?;
    slow.ack().await?;
    Ok(())
}

async fn no_stream() -> Outcome {
    let (server, _) = open(config()).await?;
    let nats = NatsOptions::new(server.url()).connect().await?;
    let missing = JetStreamOptions::new("OTHER").open(&nats).await;
    ensure(matches!(missing, Err(err) if err.kind() == ErrorKind::NotFound), "it is not found")?;
    let named = JetStreamOptions::new("a.b").open(&nats).await;
    ensure(matches!(named, Err(err) if err.kind() == ErrorKind::InvalidOptions), "it is no name")
}

async fn other_stream() -> Outcome {
    let (_server, stream) = open(config()).await?;
    let other = stream::Config { max_messages: 7, ..config() };
    let opened = JetStreamOptions::new("S").with_create(other).open(stream.nats()).await;
    ensure(matches!(opened, Err(err) if err.kind() == ErrorKind::Conflict), "it is a conflict")?;
    JetStreamOptions::new("S").with_create(config()).open(stream.nats()).await?;
    Ok(())
}

async fn other_consumer() -> Outcome {
    let (_server, stream) = open(config()).await?;
    drop(stream.consume(queue("s.a")?).await?);
    for other in [queue("s.b")?, queue("s.a")?.and(Pattern::parse("s.b")?)] {
        let opened = stream.consume(other).await;
        ensure(matches!(opened, Err(err) if err.kind() == ErrorKind::Conflict), "a conflict")?;
    }
    // Where the queue starts is asked only when it is made.
    drop(stream.consume(queue("s.a")?.with_start(Start::Earliest)).await?);
    Ok(())
}

async fn not_taken() -> Outcome {
    let (_server, stream) = open(config()).await?;
    let sent = stream.send_to("elsewhere", "x").await;
    ensure(matches!(sent, Err(err) if err.kind() == ErrorKind::NotFound), "no stream takes it")?;
    let other = stream::Config { subjects: vec!["t.>".to_owned()], ..config() };
    JetStreamOptions::new("T").with_create(other).open(stream.nats()).await?;
    let sent = stream.send_to("t.a", "x").await;
    ensure(matches!(sent, Err(err) if err.kind() == ErrorKind::NotFound), "another one takes it")
}

async fn truncated() -> Outcome {
    let (_server, stream) = open(stream::Config { max_messages: 3, ..config() }).await?;
    let first = match stream.send_to("s.a", "0").await? {
        Receipt::Persisted(position) => position,
        other => return Err(format!("{other:?}").into()),
    };
    for text in ["1", "2", "3", "4"] {
        stream.send_to("s.a", text).await?;
    }
    let wanted = Subscription::new(Pattern::parse("s.a")?).with_start(Start::At(first));
    let mut reader = stream.subscribe(wanted).await?;
    ensure(matches!(reader.next().await, Some(Ok(Event::Lost(2)))), "two are gone")?;
    let next = reader.next_item().await.ok_or("it ended")??;
    ensure(next.payload == "2", "then comes the oldest that is kept")?;
    let stored_at = next.position().and_then(Position::stored_at).ok_or("no time")?;
    let age = SystemTime::now().duration_since(stored_at)?;
    ensure(age < Duration::from_secs(60), "it says when it was stored")
}

async fn made_anew() -> Outcome {
    let (server, stream) = open(config()).await?;
    let proxy = Proxy::start((Ipv4Addr::LOCALHOST, server.port()).into()).await?;
    let far = NatsOptions::new(format!("nats://{}", proxy.address()));
    let far = JetStreamOptions::new("S").connect(far).await?;
    let mut reader = far.subscribe(Subscription::new(Pattern::parse("s.a")?)).await?;
    stream.send_to("s.a", "old").await?;
    let mut read = async || -> Outcome<Event<Message>> {
        Ok(timeout(Duration::from_secs(20), reader.next()).await?.ok_or("it ended")??)
    };
    ensure(read().await?.item().is_some_and(|it| it.payload == "old"), "the old one is read")?;
    proxy.cut();
    ensure(matches!(read().await?, Event::Down), "the link is down")?;
    let client = async_nats::connect(server.url()).await?;
    async_nats::jetstream::new(client).delete_stream("S").await?;
    let anew = async {
        let mut again = interval(Duration::from_millis(50));
        loop {
            match JetStreamOptions::new("S").with_create(config()).open(stream.nats()).await {
                // The server may not have done with removing the old one.
                Err(err) if err.is_transient() => drop(again.tick().await),
                opened => return opened,
            }
        }
    };
    timeout(Duration::from_secs(20), anew).await??;
    // Beyond our place, which alone would show nothing.
    for text in ["1", "2", "3"] {
        stream.send_to("s.a", text).await?;
    }
    proxy.heal();
    ensure(matches!(read().await?, Event::Up { gap: true }), "the gap is told")?;
    for text in ["1", "2", "3"] {
        ensure(read().await?.item().is_some_and(|it| it.payload == text), "all is read")?;
    }
    Ok(())
}

async fn no_position() -> Outcome {
    let (_server, stream) = open(config()).await?;
    let Receipt::Persisted(last) = stream.send_to("s.a", "x").await? else {
        return Err("no position".into());
    };
    let next = Position::new("S", last.offset + 1);
    for (start, is_known) in [
        (Start::After(last), true),
        (Start::At(next.clone()), true),
        (Start::After(next.clone()), false),
        (Start::At(Position::new("S", next.offset + 1)), false),
    ] {
        let wanted = Subscription::new(Pattern::parse("s.a")?).with_start(start);
        let kind = stream.subscribe(wanted).await.err().map(|err| err.kind());
        let expected = (!is_known).then_some(ErrorKind::NotFound);
        ensure(kind == expected, "the next message is the last that can be named")?;
    }
    Ok(())
}

async fn capabilities() -> Outcome {
    let memory = stream::Config {
        storage: stream::StorageType::Memory,
        allow_message_ttl: true,
        ..config()
    };
    let (_server, stream) = open(memory).await?;
    let able = stream.capabilities();
    ensure(able.persistence == Persistence::Memory, "it is in memory")?;
    ensure(able.properties.has(Property::Ttl), "it takes times to live")?;
    let brief = Message::new(Subject::parse("s.a")?, "x").with_ttl(Duration::from_secs(60));
    stream.send(brief).await?;
    let wanted = Subscription::new(Pattern::parse("s.a")?)
        .with_start(Start::Earliest)
        .with_buffer(Buffer::default().with_overflow(Overflow::Block));
    let mut reader = stream.subscribe(wanted).await?;
    let seen = reader.next_item().await.ok_or("it ended")??;
    let ttl = seen.properties().and_then(|properties| properties.ttl);
    ensure(ttl == Some(Duration::from_secs(60)), "the time to live arrives")
}

async fn both_doors() -> Outcome {
    let (_server, stream) = open(config()).await?;
    let mut plain = stream.nats().subscribe(Subscription::new(Pattern::parse("s.a")?)).await?;
    stream.send_to("s.a", "x").await?;
    let seen = plain.next_item().await.ok_or("it ended")??;
    ensure(seen.payload == "x", "core subscribers see what is stored")?;
    stream.drain(Duration::from_secs(5)).await?;
    let sent = stream.nats().send_to("s.a", "x").await;
    ensure(matches!(sent, Err(err) if err.kind() == ErrorKind::Closed), "one drain closes both")
}

async fn ready_made() -> Outcome {
    let server = NatsServerOptions::new().start().await?;
    let client = async_nats::connect(server.url()).await?;
    let nats = Nats::from_client(client, "_INBOX").await?;
    let mut intake = nats.subscribe(Subscription::new(Pattern::parse("a")?)).await?;
    nats.send_to("a", "x").await?;
    intake.next_item().await.ok_or("it ended")??;
    let mut watch = nats.watch();
    server.restart().await?;
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(timeout(Duration::from_secs(10), watch.next()).await?.ok_or("it ended")??);
    }
    let expected = [Event::Up { gap: false }, Event::Down, Event::Up { gap: true }];
    ensure(told == expected, "the link's state is told")
}

async fn noted() -> Outcome {
    let server = NatsServerOptions::new().start().await?;
    let near = NatsOptions::new(server.url()).connect().await?;
    let far = NatsOptions::new(server.url()).connect().await?;
    let mut heard = far.subscribe(Subscription::new(Pattern::parse("a")?)).await?;
    let ask = || Subject::parse("a").map(|it| Message::new(it, "x"));
    let requester = near.clone().into_any().requester()?;
    let mut open = Vec::new();
    for note in ["7.x/250/f", "another"] {
        open.push((requester.request_noted(ask()?, note).await?, note));
    }
    open.push((requester.request(ask()?).await?, "none"));
    let mut asked = Vec::new();
    for note in ["7.x/250/f", "another", "none"] {
        let ask =
            timeout(Duration::from_secs(10), heard.next_item()).await?.ok_or("it ended")??;
        ensure(ask.headers.is_empty(), "it takes no header")?;
        let said = ask.reply_to.as_ref().ok_or("nobody asks")?.note();
        ensure(said.unwrap_or("none") == note, "it arrives")?;
        asked.push((ask, note));
    }
    for (ask, note) in asked.iter().rev() {
        far.send(ask.reply(*note).ok_or("nobody asks")?).await?;
    }
    for (replies, note) in &mut open {
        let reply = timeout(Duration::from_secs(10), replies.next_item()).await?;
        ensure(reply.ok_or("it ended")??.payload == *note, "each has its own reply")?;
    }
    for note in ["", "a b", "a\r\nPUB b 0", "a.*", ">", "a..b", "a.~b"] {
        let refused = near.request_noted(ask()?, note).await;
        ensure(matches!(refused, Err(err) if err.kind() == ErrorKind::InvalidName), note)?;
    }
    // That nobody hears it finds back, too.
    far.drain(Duration::from_secs(5)).await?;
    let mut replies = near.request_noted(ask()?, "nobody").await?;
    let told = timeout(Duration::from_secs(10), replies.next_item()).await?.ok_or("it ended")?;
    ensure(matches!(told, Err(err) if err.kind() == ErrorKind::NoResponders), "nobody is there")
}

async fn last_handle() -> Outcome {
    let server = NatsServerOptions::new().start().await?;
    let far = NatsOptions::new(server.url()).connect().await?;
    let mut intake = far.subscribe(Subscription::new(Pattern::parse("a")?)).await?;
    for _ in 0..20 {
        let near = NatsOptions::new(server.url()).connect().await?;
        for _ in 0..50 {
            drop(near.publish(Message::new(Subject::parse("a")?, "x")).await?);
        }
        drop(near);
        for _ in 0..50 {
            timeout(Duration::from_secs(10), intake.next_item()).await?.ok_or("it ended")??;
        }
    }
    Ok(())
}

async fn no_jetstream() -> Outcome {
    let server = NatsServerOptions::new().start().await?;
    let opened = JetStreamOptions::new("S").connect(NatsOptions::new(server.url())).await;
    ensure(matches!(opened, Err(err) if err.kind() == ErrorKind::Unsupported), "it has none")
}
