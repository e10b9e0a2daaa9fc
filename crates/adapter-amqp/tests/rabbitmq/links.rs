//! How a link begins, is found dead, and ends.
use std::{
    env, fs,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sinew_adapter_amqp::Amqp;
use sinew_core::{
    Consume as _, Delivery, ErrorKind, Event, Incoming, Link as _, Publish as _, PublishExt as _,
    Sent,
};
use sinew_testkit::harness::{Proxy, rabbitmq::Tap};
use tokio::{net::TcpListener, runtime::Builder, time::interval};

use crate::support::{
    Outcome, Shared, check, connect, delivery, down, failure, message, options, queue, refused,
    soon, told, up,
};

pub(crate) async fn refused_at_first(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let nobody = listener.local_addr()?;
    drop(listener);
    for (options, kind) in [
        (options(nobody), ErrorKind::Unreachable),
        (options(address).with_user("guest", "wrong"), ErrorKind::Denied),
        (options(address).with_vhost("no such"), ErrorKind::NotFound),
        // Waiting for a broker is not waiting for it to change its mind.
        (options(address).with_user("guest", "wrong").with_retry_first(true), ErrorKind::Denied),
    ] {
        let since = Instant::now();
        refused(options.connect().await, kind, Sent::No)?;
        check(since.elapsed() < Duration::from_secs(5), format!("{kind:?} is told at once"))?;
    }
    Ok(())
}

pub(crate) async fn waits_for_the_first(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?;
    drop(listener);
    let waiting = tokio::spawn(options(port).with_retry_first(true).connect());
    // Refused at first, then hung up on, as by a broker that starts.
    let listener = TcpListener::bind(port).await?;
    for _ in 0..3 {
        drop(soon("an attempt", listener.accept()).await??);
    }
    check(!waiting.is_finished(), "it waits")?;
    let _tap = Tap::listen(listener, address)?;
    let amqp = soon("a connection", waiting).await???;
    amqp.send(message("waits-for-the-first", "x")?).await?;
    Ok(())
}

/// A virtual host of its own, in which nobody may do anything for a while.
pub(crate) async fn refused_for_a_while(shared: Shared) -> Outcome {
    const VHOST: &str = "refused-for-a-while";
    // Three heartbeats and an answer.
    const PATIENCE: Duration = Duration::from_secs(3 + 3);
    let broker = shared.broker().await?;
    broker.add_vhost(VHOST).await?;
    let tap = Tap::start(shared.address().await?).await?;
    let options =
        options(tap.address()).with_vhost(VHOST).with_reconnect_wait(Duration::from_millis(200));
    let patient = options.clone().with_answer_timeout(Duration::from_secs(60)).connect().await?;
    let mut intake = patient.consume(queue("refused-for-a-while")?).await?;
    let hasty = options.with_answer_timeout(Duration::from_secs(3)).connect().await?;
    let mut watch = hasty.watch();
    told(&mut watch, Event::Up { gap: false }).await?;

    broker.ctl(&["clear_permissions", "-p", VHOST, "guest"]).await?;
    let asked = tap.count(Tap::CONNECTION_OPEN);
    let since = Instant::now();
    broker.ctl(&["close_all_connections", "--vhost", VHOST, "refused for a while"]).await?;
    down(&mut intake).await?;
    let err = failure(&mut watch).await?;
    check(err.kind() == ErrorKind::Denied, format!("{err:?} says that it is denied"))?;
    check(since.elapsed() >= PATIENCE, format!("given up after {:?}", since.elapsed()))?;
    // Each connection is given up by itself.
    soon("a refusal for good", async {
        let mut look = interval(Duration::from_millis(20));
        loop {
            match hasty.send(message("refused-for-a-while", "x")?).await {
                Err(err) if err.kind() == ErrorKind::Disconnected => drop(look.tick().await),
                done => return refused(done, ErrorKind::Denied, Sent::No),
            }
        }
    })
    .await??;
    // Each of four connections.
    check(tap.count(Tap::CONNECTION_OPEN) >= asked + 4 * 4, "they were refused again and again")?;

    broker.ctl(&["set_permissions", "-p", VHOST, "guest", ".*", ".*", ".*"]).await?;
    check(!up(&mut intake).await?, "the queue had waited")?;
    patient.send(message("refused-for-a-while", "after")?).await?;
    delivery(&mut intake, "after").await?.ack().await?;
    Ok(())
}

pub(crate) async fn half_open(shared: Shared) -> Outcome {
    // Whose heartbeat is missed three times is dead; the rest is for a machine that has other things to do.
    const NOTICED: Duration = Duration::from_secs(3 + 17);
    let proxy = Proxy::start(shared.address().await?).await?;
    let amqp = connect(proxy.address()).await?;
    let mut intake = amqp.consume(queue("half-open")?).await?;
    let mut watch = amqp.watch();
    told(&mut watch, Event::Up { gap: false }).await?;
    // Nobody wants it; it opens the way for what follows.
    amqp.send(message("half-open.first", "")?).await?;
    proxy.half_open();
    let since = Instant::now();
    let unanswered = amqp.publish(message("half-open", "lost")?).await?;
    let (consuming, publishing, told) = tokio::join!(
        async { (down(&mut intake).await, since.elapsed()) },
        async { (unanswered.await, since.elapsed()) },
        async { (down(&mut watch).await, since.elapsed()) },
    );
    consuming.0?;
    refused(publishing.0, ErrorKind::Disconnected, Sent::Maybe)?;
    told.0?;
    for (what, took) in
        [("consuming", consuming.1), ("publishing", publishing.1), ("the link", told.1)]
    {
        check(took <= NOTICED, format!("{what} was found dead after {took:?}"))?;
    }
    proxy.heal();
    up(&mut intake).await?;
    up(&mut watch).await?;
    amqp.send(message("half-open", "after")?).await?;
    delivery(&mut intake, "after").await?.ack().await?;
    Ok(())
}

/// Set in a process that ends runtimes: the port of a broker.
pub(crate) const VICTIM: &str = "SINEW_TEST_ENDS_RUNTIMES";

/// In a process of its own, in which all threads and all panics are of this one's making.
pub(crate) async fn runtime_that_ends(shared: Shared) -> Outcome {
    let port = shared.address().await?.port();
    let mut command = Command::new(env::current_exe()?);
    command.env(VICTIM, port.to_string());
    let ended = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = String::from_utf8_lossy(&ended.stderr);
    check(ended.status.success() && said.is_empty(), format!("{}: {said}", ended.status))
}

/// The process of [`runtime_that_ends`].
pub(crate) fn victim(port: &str) -> ExitCode {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, report) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, Relaxed);
        report(info);
    }));
    let ended = [false, true].into_iter().try_for_each(|is_cut| end_a_runtime(port, is_cut));
    match ended {
        Ok(()) if panics.load(Relaxed) == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(2),
        Err(failed) => {
            // Read by whoever started this process.
            std::panic::set_hook(Box::new(|_| {}));
            drop(std::io::Write::write_all(&mut std::io::stderr(), failed.to_string().as_bytes()));
            ExitCode::FAILURE
        }
    }
}

/// Ends a runtime under a link that is up, or that is being made again.
fn end_a_runtime(port: &str, is_cut: bool) -> Outcome {
    let outer = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let inner = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let proxy = outer.block_on(Proxy::start(format!("127.0.0.1:{port}").parse()?))?;
    // Each its own: an ack that dies with its runtime lets the message come again.
    let name = &format!("runtime-that-ends.{}.{is_cut}", std::process::id());
    let linked: Outcome<(Amqp, Incoming<()>, Incoming<Delivery>)> = inner.block_on(async {
        let amqp = connect(proxy.address()).await?;
        let mut intake = amqp.consume(queue(name)?).await?;
        amqp.send(message(name, "x")?).await?;
        delivery(&mut intake, "x").await?.ack().await?;
        if is_cut {
            proxy.cut();
            down(&mut intake).await?;
        }
        Ok((amqp.clone(), amqp.watch(), intake))
    });
    let (amqp, mut watch, mut intake) = linked?;
    drop(inner);
    // What is left answers, wherever it is used.
    let left = async {
        let publish = soon("an answer", amqp.send(message("runtime-that-ends", "late")?)).await?;
        check(publish.is_err(), "nobody is there who could publish")?;
        while soon("the end of the intake", intake.next()).await?.is_some() {}
        for watch in [&mut watch, &mut amqp.watch()] {
            while soon("the end of the watch", watch.next()).await?.is_some() {}
        }
        // There is nothing to drain, or nobody who could: it ends in any case.
        drop(soon("the end of a drain", amqp.drain(Duration::from_secs(1))).await?);
        Outcome::Ok(())
    };
    outer.block_on(left)?;
    drop((amqp, watch, intake));
    outer.block_on(soon("the end of its threads", async {
        let mut look = interval(Duration::from_millis(10));
        while threads()? > 0 {
            look.tick().await;
        }
        Ok(())
    }))?
}

/// How many threads of the client there are in this process.
fn threads() -> Outcome<usize> {
    let mut count = 0;
    for task in fs::read_dir("/proc/self/task")? {
        // One that has just ended has no name any more.
        let name = fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.trim() == "lapin-io-loop");
    }
    Ok(count)
}
