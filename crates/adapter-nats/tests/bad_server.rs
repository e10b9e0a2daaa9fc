//! What is no NATS server, or stops being one: typed errors within a deadline, and no secret in them.
use std::{error::Error as StdError, time::Duration};

use sinew_adapter_nats::NatsOptions;
use sinew_core::{
    Error, ErrorKind, Event, Link, Message, Pattern, Publish, PublishExt, Request, Result, Subject,
    Subscribe, Subscription,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

const SECRET: &str = "s3cret";
const INFO: &str = concat!(
    r#"INFO {"server_id":"x","version":"2.12.0","headers":true,"max_payload":1048576,"proto":1}"#,
    "\r\n"
);
const INFO_TLS: &str =
    concat!(r#"INFO {"server_id":"x","version":"2.12.0","tls_required":true}"#, "\r\n");

/// What a peer does with a connection.
enum Peer {
    Says(Vec<u8>),
    Closes,
    Silent,
    /// Says something, and answers whatever comes with the same.
    Echoes(&'static [u8], &'static [u8]),
}

async fn listen(peer: Peer) -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            match &peer {
                Peer::Says(bytes) => {
                    let _ = stream.write_all(bytes).await;
                    kept.push(stream);
                }
                Peer::Closes => drop(stream),
                Peer::Silent => kept.push(stream),
                Peer::Echoes(first, next) => {
                    tokio::spawn(echo(stream, first, next));
                }
            }
        }
    });
    Ok(port)
}

async fn echo(mut stream: TcpStream, first: &[u8], next: &[u8]) {
    let mut buffer = [0; 4096];
    let _ = stream.write_all(first).await;
    while let Ok(1..) = stream.read(&mut buffer).await {
        let _ = stream.write_all(next).await;
    }
}

fn options(port: u16) -> NatsOptions {
    NatsOptions::new(format!("nats://me:{SECRET}@127.0.0.1:{port}"))
        .with_connect_timeout(Duration::from_millis(1_500))
        .with_answer_timeout(Duration::from_millis(500))
}

/// The error, all that it says looked at.
async fn refused(options: NatsOptions) -> Error {
    let began = Instant::now();
    let outcome = timeout(Duration::from_secs(20), options.connect()).await;
    assert!(began.elapsed() < Duration::from_secs(15), "it ends within its deadline");
    let Ok(Err(err)) = outcome else { unreachable!("nobody can be connected to that") };
    let mut text = format!("{err} {err:?}");
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    assert!(!text.contains(SECRET), "{text}");
    err
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let err = refused(options(port)).await;
    assert_eq!(err.kind(), ErrorKind::Unreachable);
    assert!(err.is_transient());
    assert!(err.to_string().contains(&format!("127.0.0.1:{port}")));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let err = refused(NatsOptions::new(format!("nats://me:{SECRET}@no.such.host.invalid"))).await;
    assert_eq!(err.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_peer_that_closes_is_unreachable() {
    let err = refused(options(listen(Peer::Closes).await.unwrap())).await;
    assert_eq!(err.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_peer_that_stays_silent_is_a_timeout() {
    let err = refused(options(listen(Peer::Silent).await.unwrap())).await;
    assert_eq!(err.kind(), ErrorKind::Timeout);
    let port = listen(Peer::Echoes(INFO.as_bytes(), b"")).await.unwrap();
    assert_eq!(refused(options(port)).await.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_peer_of_another_protocol_is_told_apart() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"INFO {\r\n",
        b"\x00\xff\xfe\r\n\r\n",
        b"+OK\r\n",
        b"MSG a 1 -5\r\n",
    ] {
        let err = refused(options(listen(Peer::Says(bytes.to_vec())).await.unwrap())).await;
        assert_eq!(err.kind(), ErrorKind::Protocol, "{}: {err:?}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn a_flood_without_an_end_is_given_up() {
    let flood = vec![b'x'; 32 << 20];
    let err = refused(options(listen(Peer::Says(flood)).await.unwrap())).await;
    assert!(matches!(err.kind(), ErrorKind::Timeout | ErrorKind::Protocol), "{err:?}");
}

#[tokio::test]
async fn a_peer_that_demands_tls_of_a_plain_client_says_so() {
    let port =
        listen(Peer::Echoes(INFO_TLS.as_bytes(), b"\x15\x03\x03\x00\x02\x02\x28")).await.unwrap();
    let err = refused(options(port)).await;
    assert_eq!(err.kind(), ErrorKind::Unreachable);
    assert!(!err.is_transient());
    assert!(err.to_string().contains("requires TLS"), "{err}");
}

#[tokio::test]
async fn a_peer_that_refuses_the_password_is_denied() {
    let port =
        listen(Peer::Echoes(INFO.as_bytes(), b"-ERR 'Authorization Violation'\r\n")).await.unwrap();
    let err = refused(options(port)).await;
    assert_eq!(err.kind(), ErrorKind::Denied);
    assert!(!err.is_transient());
}

#[tokio::test]
async fn an_unanswered_round_trip_fails_the_connection() {
    // It greets, and answers PING, but delivers nothing.
    let port = listen(Peer::Echoes(INFO.as_bytes(), b"PONG\r\n")).await.unwrap();
    assert_eq!(refused(options(port)).await.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connecting = tokio::spawn(options(port).with_retry_first(true).connect());
    for _ in 0..2 {
        drop(listener.accept().await.unwrap());
    }
    let (mut stream, _) =
        timeout(Duration::from_secs(20), listener.accept()).await.unwrap().unwrap();
    serve(&mut stream, b"").await.unwrap();
    connecting.await.unwrap()?;
    Ok(())
}

/// A server as far as the first round trip goes; then it says `last`.
async fn turns_bad(last: &'static [u8]) -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let _ = serve(&mut stream, last).await;
        // Nobody comes back: the port stays open, and silent.
        let mut kept = vec![stream];
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    Ok(port)
}

async fn serve(stream: &mut TcpStream, last: &[u8]) -> std::io::Result<()> {
    stream.write_all(INFO.as_bytes()).await?;
    let mut seen = String::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await?;
        seen.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
        if seen.contains("PING\r\n") {
            stream.write_all(b"PONG\r\n").await?;
            seen = seen.replace("PING\r\n", "");
        }
        // The echo of a message to ourselves.
        if let Some(at) = seen.find("PUB ") {
            let name =
                seen.get(at + 4..).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            stream.write_all(format!("MSG {name} 1 0\r\n\r\n").as_bytes()).await?;
            return stream.write_all(last).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_turns_bad_takes_the_link_down_and_nothing_else() -> Result<()> {
    for last in [
        &b"MSG a 1 -5\r\n"[..],
        b"\xff\xff\xff\xff\r\n",
        b"HMSG a 1 5 4\r\nNATS/1.0\r\n\r\n",
        b"MSG \xff 1 0\r\n\r\n",
        b"MSG _INBOX.x 99 3\r\nabc\r\nnonsense\r\n",
    ] {
        let port = turns_bad(last).await.unwrap();
        let nats = options(port).with_ping_interval(Duration::from_millis(100)).connect().await?;
        let mut watch = nats.watch();
        timeout(Duration::from_secs(20), async {
            while !matches!(watch.next().await, Some(Ok(Event::Down))) {}
        })
        .await
        .expect("the link goes down");

        let subject = Subject::parse("a")?;
        let err = nats.send_to(&subject, "x").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Disconnected);
        assert_eq!(err.sent(), sinew_core::Sent::No);
        assert!(nats.request(Message::new(subject, "x")).await.is_err());
        let wanted = Subscription::new(Pattern::parse("a")?);
        let began = Instant::now();
        assert!(nats.subscribe(wanted).await.is_err());
        assert!(nats.flush().await.is_err());
        assert!(began.elapsed() < Duration::from_secs(10));
        let drained =
            timeout(Duration::from_secs(10), nats.drain(Duration::from_millis(200))).await;
        assert_eq!(drained.expect("it ends").unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(nats.send_to("a", "x").await.unwrap_err().kind(), ErrorKind::Closed);
    }
    Ok(())
}
