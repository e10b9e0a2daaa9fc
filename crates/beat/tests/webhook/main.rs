//! Notifications over HTTP: to a real server, over real TLS, and to servers that break the protocol.
mod broken;
mod receiver;
mod tls;

use std::{
    error::Error as StdError,
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hyper::header::{HeaderValue, LOCATION, RETRY_AFTER};
use serde_json::Value;
use sinew_adapter_memory::Memory;
use sinew_beat::{
    AlertOptions, Alerts, Beat, Clock, Monitor, MonitorOptions, Notification, Process, Timestamp,
    Watch, WatchOptions, WebhookCounts, WebhookOptions, WebhookOutput, WebhookSecret,
};
use sinew_core::{Error, ErrorKind, Sent};

use self::{
    broken::{Broken, Fault, TAKEN},
    receiver::{Authority, Receiver, status},
};

type Fallible<T> = Result<T, Box<dyn StdError + Send + Sync>>;

const LONG: Duration = Duration::from_secs(60);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn at(second: u64) -> Timestamp {
    Timestamp::from_start(Duration::from_secs(second))
}

/// One notification that the process is down since 16 s after the start.
fn down(name: &str) -> Fallible<Notification> {
    let (mut told, mut sent) = (Vec::new(), Vec::new());
    let mut monitor = Monitor::new(MonitorOptions::default());
    let beat = Beat::Beat { period: Duration::from_secs(5) };
    monitor.beat(&Process::parse(name)?, beat, at(0), &mut told);
    monitor.advance(at(60), &mut told);
    let mut alerts = Alerts::new(AlertOptions::default(), UNIX_EPOCH);
    told.iter().for_each(|event| alerts.handle(event, at(60), &mut sent));
    Ok(sent.pop().ok_or("nothing was sent")?)
}

async fn clock() -> Fallible<Clock> {
    Ok(Watch::start(&Memory::new(), WatchOptions::default()).await?.clock())
}

/// An attempt that failed, as it was told.
#[derive(Clone, Debug)]
struct Failure {
    attempts: u32,
    kind: ErrorKind,
    sent: Sent,
    is_transient: bool,
    retry_in: Option<Duration>,
    /// The error, all of its causes, and how each is shown by `Debug`.
    text: String,
}

type Failures = Arc<Mutex<Vec<Failure>>>;

/// Options that lose no time, and what fails under them.
fn hasty(url: impl Into<String>) -> (WebhookOptions, Failures) {
    let failures = Failures::default();
    let told = Arc::clone(&failures);
    let options = WebhookOptions::new(url)
        .with_backoff(Duration::from_millis(1), Duration::from_millis(1))
        .with_on_failure(move |it| {
            let failure = Failure {
                attempts: it.attempts,
                kind: it.error.kind(),
                sent: it.error.sent(),
                is_transient: it.error.is_transient(),
                retry_in: it.retry_in,
                text: chain(it.error),
            };
            told.lock().unwrap_or_else(|it| it.into_inner()).push(failure);
        });
    (options, failures)
}

fn chain(error: &Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn StdError> = Some(error);
    while let Some(error) = cause {
        let _written = writeln!(text, "{error}: {error:?}");
        cause = error.source();
    }
    text
}

fn kinds(failures: &Failures) -> Vec<ErrorKind> {
    failures.lock().unwrap_or_else(|it| it.into_inner()).iter().map(|it| it.kind).collect()
}

fn only(failures: &Failures) -> Fallible<Failure> {
    match failures.lock().unwrap_or_else(|it| it.into_inner()).as_slice() {
        [failure] => Ok(failure.clone()),
        other => Err(format!("not one failure: {other:?}").into()),
    }
}

/// Sends one notification, and waits until it is sent or given up.
async fn send_one(options: WebhookOptions) -> Fallible<WebhookCounts> {
    let output = WebhookOutput::start(options, clock().await?).await?;
    output.send(down("eu.billing")?)?;
    Ok(output.finish(LONG).await)
}

fn counts(sent: u64, retried: u64, given_up: u64) -> (u64, u64, u64, u64) {
    (sent, retried, given_up, 0)
}

fn counted(it: WebhookCounts) -> (u64, u64, u64, u64) {
    (it.sent, it.retried, it.given_up, it.waiting)
}

/// A file that holds the certificate of the authority.
fn ca_file(name: &str, text: &str) -> Fallible<PathBuf> {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}.pem", std::process::id()));
    fs::write(&file, text)?;
    Ok(file)
}

/// The body that the documentation shows.
fn documented() -> Value {
    let docs = include_str!("../../src/outputs/webhook/mod.rs");
    let lines = docs.lines().skip_while(|line| !line.ends_with("```json")).skip(1);
    let lines = lines.take_while(|line| !line.ends_with("```"));
    let text: String = lines.map(|line| line.trim_start_matches("///")).collect();
    serde_json::from_str(&text).unwrap_or_default()
}

#[tokio::test]
async fn a_large_notification_with_names_that_need_quotes_arrives_whole() {
    let mut receiver = Receiver::start(|_| status(204)).await.unwrap();
    let name = |nth| format!("\"<\u{e9}>\\ {nth:04}");
    let (mut told, mut sent) = (Vec::new(), Vec::new());
    let mut monitor = Monitor::new(MonitorOptions::default());
    for nth in 0..2000 {
        let beat = Beat::Beat { period: Duration::from_secs(5) };
        monitor.beat(&Process::parse(&name(nth)).unwrap(), beat, at(0), &mut told);
    }
    monitor.advance(at(60), &mut told);
    let options = AlertOptions::default().with_delay(Duration::from_secs(1)).with_max_alerts(2000);
    let mut alerts = Alerts::new(options, UNIX_EPOCH);
    told.iter().for_each(|event| alerts.handle(event, at(60), &mut sent));
    alerts.advance(at(61), &mut sent);
    let output =
        WebhookOutput::start(hasty(receiver.url()).0, clock().await.unwrap()).await.unwrap();
    output.send(sent.pop().unwrap()).unwrap();
    assert_eq!(counted(output.finish(LONG).await), counts(1, 0, 0));
    let body: Value = serde_json::from_slice(&receiver.next().await.unwrap().body).unwrap();
    let told = body["alerts"].as_array().unwrap();
    assert_eq!(told.len(), 2000);
    assert!(told.iter().zip(0..).all(|(alert, nth)| alert["process"] == name(nth)));
    assert_eq!(body["text"].as_str().unwrap().lines().count(), 2000);
}

#[tokio::test]
async fn a_notification_is_posted_in_the_documented_form() {
    let mut receiver = Receiver::start(|_| status(200)).await.unwrap();
    let clock = clock().await.unwrap();
    let url = format!("http://page%20er:p%3Aw@{}/hook?to=me", receiver.address);
    let options = WebhookOptions::new(url).with_header("x-team", "sre");
    let output = WebhookOutput::start(options, clock).await.unwrap();
    output.send(down("billing").unwrap()).unwrap();
    assert_eq!(counted(output.finish(LONG).await), counts(1, 0, 0));

    let request = receiver.next().await.unwrap();
    assert_eq!(request.path, "POST /hook?to=me");
    assert_eq!(request.header("host"), receiver.address.to_string());
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("authorization"), "Basic cGFnZSBlcjpwOnc=");
    assert_eq!(request.header("x-team"), "sre");
    assert!(request.header("user-agent").starts_with("sinew-beat/"));
    assert!(request.header("webhook-id").starts_with("msg_"));
    assert!(!request.header("webhook-id").contains('.'));
    assert!(!request.headers.contains_key("webhook-signature"));

    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let since = body["timestamp"].as_str().unwrap();
    let parsed: jiff::Timestamp = since.parse().unwrap();
    let late = clock.wall(at(16)).duration_since(SystemTime::from(parsed)).unwrap();
    assert!(late < Duration::from_millis(1) && since.len() == 24, "{since} is {late:?} off");
    let mut expected = documented();
    expected["timestamp"] = since.into();
    for field in ["since", "at"] {
        expected["alerts"][0][field] = since.into();
    }
    expected["alerts"][0]["key"] = "billing/down/0".into();
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_under_the_same_id_with_a_signature_of_its_own() {
    let mut receiver = Receiver::start(|nth| match nth {
        0 => status(503),
        1 => status(429),
        2 => status(408),
        3 => status(500),
        _ => status(204),
    })
    .await
    .unwrap();
    let (options, failures) = hasty(receiver.url());
    let options = options.with_secret(WebhookSecret::parse(SECRET).unwrap());
    assert_eq!(counted(send_one(options).await.unwrap()), counts(1, 4, 0));

    let requests = receiver.rest();
    let first = requests.first().unwrap();
    assert_eq!(requests.len(), 5);
    for request in &requests {
        assert_eq!(request.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(request.body, first.body);
        assert!(request.header("webhook-signature").starts_with("v1,"));
        let sent: u64 = request.header("webhook-timestamp").parse().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(sent) < LONG.as_secs());
    }
    let expected =
        [ErrorKind::Overloaded, ErrorKind::Overloaded, ErrorKind::Timeout, ErrorKind::Overloaded];
    assert_eq!(kinds(&failures), expected);
    for (failure, attempts) in failures.lock().unwrap().iter().zip(1..) {
        assert_eq!((failure.attempts, failure.sent), (attempts, Sent::Yes));
        assert!(failure.retry_in.is_some() && failure.is_transient);
    }
}

#[tokio::test]
async fn what_is_tried_again_holds_back_those_behind_it() {
    let mut receiver =
        Receiver::start(|nth| status(if nth < 2 { 503 } else { 204 })).await.unwrap();
    let output =
        WebhookOutput::start(hasty(receiver.url()).0, clock().await.unwrap()).await.unwrap();
    output.send(down("first").unwrap()).unwrap();
    output.send(down("second").unwrap()).unwrap();
    assert_eq!(counted(output.finish(LONG).await), counts(2, 2, 0));
    let requests = receiver.rest();
    let named = |it: &receiver::Received| {
        let body: Value = serde_json::from_slice(&it.body).unwrap();
        body["alerts"][0]["process"].as_str().unwrap().to_owned()
    };
    let names: Vec<_> = requests.iter().map(named).collect();
    assert_eq!(names, ["first", "first", "first", "second"]);
    let ids: Vec<_> = requests.iter().map(|it| it.header("webhook-id")).collect();
    assert_ne!(ids.first(), ids.last());
}

#[tokio::test]
async fn what_will_not_pass_is_given_up_at_once_and_the_next_one_is_sent() {
    for (code, kind) in [
        (301, ErrorKind::InvalidOptions),
        (308, ErrorKind::InvalidOptions),
        (400, ErrorKind::InvalidPayload),
        (405, ErrorKind::InvalidOptions),
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (410, ErrorKind::NotFound),
        (413, ErrorKind::TooLarge),
    ] {
        let mut elsewhere = Receiver::start(|_| status(204)).await.unwrap();
        let location = HeaderValue::from_str(&elsewhere.url()).unwrap();
        let mut receiver = Receiver::start(move |nth| {
            let mut answer = status(if nth == 0 { code } else { 204 });
            answer.headers_mut().insert(LOCATION, location.clone());
            answer
        })
        .await
        .unwrap();
        let (options, failures) = hasty(receiver.url());
        let output = WebhookOutput::start(options, clock().await.unwrap()).await.unwrap();
        output.send(down("first").unwrap()).unwrap();
        output.send(down("second").unwrap()).unwrap();
        // The one given up is told again then.
        assert_eq!(counted(output.finish(LONG).await), counts(2, 0, 1), "{code}");
        let failure = only(&failures).unwrap();
        assert_eq!((failure.kind, failure.retry_in), (kind, None), "{code}");
        assert!(failure.text.contains(&code.to_string()), "{}", failure.text);
        let ids: Vec<_> =
            receiver.rest().iter().map(|it| it.header("webhook-id").to_owned()).collect();
        assert_eq!((ids.len(), &ids[0]), (3, &ids[2]));
        assert_ne!(ids[0], ids[1]);
        assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let mut receiver = Receiver::start(|_| status(500)).await.unwrap();
    let (options, failures) = hasty(receiver.url());
    let sent = send_one(options.with_attempts(3)).await.unwrap();
    assert_eq!(counted(sent), counts(0, 2, 1));
    assert_eq!(receiver.rest().len(), 3);
    let last = failures.lock().unwrap().last().unwrap().clone();
    assert_eq!((last.attempts, last.retry_in, last.is_transient), (3, None, true));
}

#[tokio::test]
async fn no_attempt_begins_after_the_limit() {
    let mut receiver = Receiver::start(|_| status(500)).await.unwrap();
    let (options, _) = hasty(receiver.url());
    let sent = send_one(options.with_give_up_after(Duration::ZERO)).await.unwrap();
    assert_eq!(counted(sent), counts(0, 0, 1));
    assert_eq!(receiver.rest().len(), 1);
}

#[tokio::test]
async fn what_waited_out_its_time_behind_others_is_tried_once() {
    let failing = Fault::Say("HTTP/1.1 500 \r\n\r\n");
    let broken = Broken::start([Fault::Hang(""), failing, TAKEN]).await.unwrap();
    let options = hasty(broken.url())
        .0
        .with_timeout(Duration::from_millis(400))
        .with_give_up_after(Duration::from_millis(300));
    let output = WebhookOutput::start(options, clock().await.unwrap()).await.unwrap();
    output.send(down("first").unwrap()).unwrap();
    output.send(down("second").unwrap()).unwrap();
    assert_eq!(counted(output.finish(LONG).await), counts(0, 0, 2));
}

#[tokio::test]
async fn what_a_receiver_asks_for_is_waited() {
    let mut receiver = Receiver::start(|_| {
        let mut answer = status(429);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("120"));
        answer
    })
    .await
    .unwrap();
    let (options, failures) = hasty(receiver.url());
    let output = WebhookOutput::start(options, clock().await.unwrap()).await.unwrap();
    output.send(down("eu.billing").unwrap()).unwrap();
    receiver.next().await.unwrap();
    let wait = loop {
        if let Ok(failure) = only(&failures) {
            break failure.retry_in.unwrap();
        }
        tokio::task::yield_now().await;
    };
    let asked = Duration::from_secs(120);
    assert!(wait >= asked && wait <= asked + Duration::from_millis(1), "{wait:?}");
    assert_eq!(output.counts().retried, 1);
    assert_eq!(output.finish(Duration::ZERO).await.waiting, 1, "what is left is told");
}

#[tokio::test]
async fn what_a_full_queue_does_not_hold_is_kept_once_an_incident() {
    let mut broken = Broken::start([Fault::Hang("")]).await.unwrap();
    let options = WebhookOptions::new(broken.url()).with_queue(0);
    let output = WebhookOutput::start(options, clock().await.unwrap()).await.unwrap();
    let notification = down("eu.billing").unwrap();
    output.send(notification.clone()).unwrap();
    broken.asked().await.unwrap();
    for notification in [&notification, &notification, &notification, &down("eu.web").unwrap()] {
        output.send(notification.clone()).unwrap();
    }
    let WebhookCounts { refused, waiting, kept, .. } = output.counts();
    assert_eq!((refused, waiting, kept), (0, 2, 2));
    drop(output); // And hangs up.
    assert_eq!(broken.said().await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_tried_again() {
    let short = Duration::from_millis(300);
    for silence in [
        Fault::Hang(""),
        Fault::Hang("HTTP/1.1 200 OK\r\ncontent-le"),
        Fault::Drip("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
    ] {
        let broken = Broken::start([silence, TAKEN]).await.unwrap();
        let (options, failures) = hasty(broken.url());
        let sent = send_one(options.with_timeout(short)).await.unwrap();
        assert_eq!(counted(sent), counts(1, 1, 0), "{silence:?}");
        let failure = only(&failures).unwrap();
        assert_eq!((failure.kind, failure.sent), (ErrorKind::Timeout, Sent::Maybe), "{silence:?}");
    }
}

#[tokio::test]
async fn a_server_that_closes_before_its_answer_is_tried_again() {
    for cut in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"] {
        let broken = Broken::start([Fault::Say(cut), TAKEN]).await.unwrap();
        let (options, failures) = hasty(broken.url());
        assert_eq!(counted(send_one(options).await.unwrap()), counts(1, 1, 0), "{cut:?}");
        let failure = only(&failures).unwrap();
        assert_eq!((failure.kind, failure.sent), (ErrorKind::Disconnected, Sent::Maybe), "{cut:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_2xx_is_one_whatever_becomes_of_its_body() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n";
    const PIECE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for body in [
        Fault::Say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"),
        Fault::Hang(HEAD),
        Fault::Drip(HEAD, "x"),
        Fault::Flood(HEAD, PIECE),
    ] {
        let mut broken = Broken::start([body]).await.unwrap();
        let (options, failures) = hasty(broken.url());
        assert_eq!(counted(send_one(options).await.unwrap()), counts(1, 0, 0), "{body:?}");
        assert!(kinds(&failures).is_empty());
        // What the buffers of both sides take, of the ten gigabytes that were announced.
        let said = broken.said().await.unwrap();
        assert!(said < 64 * 1024 * 1024, "{said} bytes were read");
    }
}

#[tokio::test]
async fn what_answers_something_else_than_http_is_given_up() {
    for (answer, kind) in [
        (Fault::Say("220 smtp.example ESMTP\r\n"), ErrorKind::Protocol),
        (Fault::Say("HTTP/2 200 OK\r\n\r\n"), ErrorKind::Protocol),
        (Fault::Flood("HTTP/1.1 200 OK\r\n", "x: 0123456789abcdef\r\n"), ErrorKind::Protocol),
        (Fault::Say("HTTP/1.1 101 Switching Protocols\r\n\r\n"), ErrorKind::Protocol),
    ] {
        let broken = Broken::start([answer]).await.unwrap();
        let (options, failures) = hasty(broken.url());
        assert_eq!(counted(send_one(options).await.unwrap()), counts(0, 0, 1), "{answer:?}");
        assert_eq!(only(&failures).unwrap().kind, kind, "{answer:?}");
    }
}

#[tokio::test]
async fn whom_nobody_can_reach_is_tried_as_often_as_asked() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("http://{address}/"), "http://host.invalid/".to_owned()] {
        let (options, failures) = hasty(url);
        let sent = send_one(options.with_attempts(2)).await.unwrap();
        assert_eq!(counted(sent), counts(0, 1, 1));
        assert_eq!(kinds(&failures), [ErrorKind::Unreachable; 2]);
        let text = failures.lock().unwrap()[0].text.clone();
        assert_eq!(text.contains("nothing listens"), text.contains("127.0.0.1"), "{text}");
        assert!(failures.lock().unwrap().iter().all(|it| it.sent == Sent::No));
    }
}

#[tokio::test]
async fn no_secret_is_in_what_is_told() {
    let authority = Authority::new().unwrap();
    let tls = Receiver::start_tls(&authority).await.unwrap();
    let plain = Receiver::start(|_| status(401)).await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broken = Broken::start([Fault::Say("hunter2")]).await.unwrap();
    let broken = broken.url().replace("http://", "").replace("/hook", "");
    for (scheme, address) in [
        ("https", tls.address.to_string()),
        ("http", plain.address.to_string()),
        ("http", closed.to_string()),
        ("http", broken),
    ] {
        let url = format!("{scheme}://user:hunter2@{address}/hunter2?token=hunter2");
        let (options, failures) = hasty(url);
        let options = options
            .with_attempts(1)
            .with_header("x-token", "hunter2")
            .with_secret(WebhookSecret::parse(SECRET).unwrap());
        let output = WebhookOutput::start(options, clock().await.unwrap()).await.unwrap();
        output.send(down("eu.billing").unwrap()).unwrap();
        let shown = format!("{output:?}");
        output.finish(LONG).await;
        let told = only(&failures).unwrap().text + &shown;
        assert!(told.contains(&address), "{told}");
        assert!(!told.contains("hunter2") && !told.contains("MfKQ9r8G"), "{told}");
    }
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused_before_anything_is_sent() {
    let none = ca_file("none", "no certificate").unwrap();
    let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let torn = ca_file("torn", torn).unwrap();
    let https = || WebhookOptions::new("https://hooks.example/");
    for options in [
        WebhookOptions::new("hooks.example"),
        WebhookOptions::new("http://"),
        WebhookOptions::new("http://exa mple/"),
        https().with_header("host", "elsewhere"),
        https().with_ca_file("/there/is/none.pem"),
        https().with_ca_file(none),
        https().with_ca_file(torn),
    ] {
        let shown = format!("{options:?}");
        assert_eq!(options.check().unwrap_err().kind(), ErrorKind::InvalidOptions, "{shown}");
        let refused = WebhookOutput::start(options, clock().await.unwrap()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidOptions, "{shown}");
    }
}
