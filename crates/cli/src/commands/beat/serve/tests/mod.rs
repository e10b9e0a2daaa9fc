//! The page over the memory backend, asked over real HTTP.
mod harness;
mod operated;

use std::time::Duration;

use serde_json::Value;
use sinew_beat::{BlindCause, MonitorEvent, Process, ProcessStatus, State};
use sinew_core::{Address, Message, Publish as _};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use self::harness::{DEADLINE, Listener, Page};
use super::{access::Token, html, server::Limits};

const HOSTILE: [&str; 4] = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>&amp;",
    "a\u{202e}b\\",
    "a/../b?c#d e",
];

#[tokio::test]
async fn the_worst_come_first_with_all_that_is_known() {
    let page = Page::start(&["shipping"]).await;
    for (process, payload) in
        [("alpha", "beat/60"), ("beta", "degraded/60"), ("gamma", "stop"), ("delta", "start/60")]
    {
        page.beat(process, payload).await;
    }
    let told = page.json("/api/processes").await;
    let names: Vec<_> =
        told["processes"].as_array().unwrap().iter().map(|it| &it["process"]).collect();
    assert_eq!(names, ["beta", "shipping", "delta", "alpha", "gamma"]);
    assert_eq!((&told["total"], &told["matched"]), (&5.into(), &5.into()));
    assert_eq!((&told["states"]["up"], &told["states"]["down"]), (&1.into(), &0.into()));
    assert_eq!((&told["beats"], &told["transitions"]), (&4.into(), &5.into()));
    let beta = &told["processes"][0];
    for key in ["since", "last_seen", "deadline"] {
        let time = beta[key].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z'), "{beta}");
    }
    assert_eq!(beta["promise"], 60.0);
    // Nothing is judged yet in its first millisecond.
    assert!(beta["uptime_1h"] == 1.0 || beta["uptime_1h"].is_null(), "{beta}");
    assert_eq!(told["processes"][1]["last_seen"], Value::Null);
    assert_eq!(told["processes"][1]["uptime_7d"], Value::Null);
    assert_eq!(told["processes"][1]["declared"], true);
}

#[tokio::test]
async fn a_part_of_the_fleet_can_be_asked_for() {
    let page = Page::start(&[]).await;
    for n in 0..5 {
        page.beat(&format!("eu.Worker-{n}"), "beat/60").await;
    }
    page.beat("us.worker", "degraded/60").await;
    let names = async |query: &str| {
        let told = page.json(&format!("/api/processes?{query}")).await;
        let all = told["processes"].as_array().unwrap().clone();
        let names = all.iter().map(|it| it["process"].as_str().unwrap().to_owned());
        (told["matched"].as_u64().unwrap(), names.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names("q=WORKER-3").await, (1, "eu.Worker-3".to_owned()));
    assert_eq!(names("state=degraded").await, (1, "us.worker".to_owned()));
    assert_eq!(names("state=down").await, (0, String::new()));
    assert_eq!(names("q=eu&limit=2&offset=1").await, (5, "eu.Worker-1 eu.Worker-2".to_owned()));
    assert_eq!(names("offset=99").await, (6, String::new()));
    for query in ["state=dwon", "limit=0", "limit=1001", "limit=x", "offset=-1"] {
        for path in ["/", "/api/processes", "/api/events"] {
            let answer = page.get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, 400, "{path}?{query}");
        }
    }
    let long = "x".repeat(257);
    assert_eq!(page.get(&format!("/?q={long}")).await.status, 400);
}

#[tokio::test]
async fn one_process_has_its_last_transitions() {
    let page = Page::start(&["eu.billing"]).await;
    page.beat("eu.billing", "start/60").await;
    let told = async {
        loop {
            let told = page.json("/api/processes/eu.billing").await;
            if told["transitions"].as_array().unwrap().len() == 2 {
                return told;
            }
        }
    };
    let told = timeout(DEADLINE, told).await.unwrap();
    assert_eq!(told["state"], "starting");
    assert_eq!(told["transitions"][0]["from"], "expected");
    assert_eq!(told["transitions"][0]["reason"], "start");
    assert_eq!(told["transitions"][1]["from"], Value::Null);
    assert_eq!(page.get("/api/processes/nobody").await.status, 404);
}

#[tokio::test]
async fn no_name_is_more_than_text() {
    let page = Page::start(&HOSTILE).await;
    let html = page.get("/").await.body;
    assert_eq!(html.matches("<script").count(), 1, "{html}");
    assert!(!html.contains("<img") && !html.contains('\u{202e}'), "{html}");
    assert!(html.contains("<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>"), "{html}");
    assert!(html.contains("a\\u{202e}b\\"), "{html}");
    let searched = page.get("/?q=%22%3E%3Cscript%3E").await.body;
    assert!(searched.contains("value=\"&quot;&gt;&lt;script&gt;\""), "{searched}");

    let told = page.json("/api/processes").await;
    let names: Vec<_> = told["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["process"].as_str().unwrap())
        .collect();
    assert!(HOSTILE.iter().all(|name| names.contains(name)), "{names:?}");
    let metrics = page.get("/metrics").await.body;
    assert!(metrics.contains(
        "beat_state{process=\"\\\"'><img src=x onerror=alert(1)>&amp;\",state=\"expected\"} 1\n"
    ));
    assert!(metrics.contains("process=\"a\u{202e}b\\\\\""));
    for name in HOSTILE {
        let url = html::in_url(name);
        assert_eq!(page.json(&format!("/api/processes/{url}")).await["process"], name);
        let badge = page.get(&format!("/badge/{url}.svg")).await;
        assert_eq!(badge.status, 200);
        assert!(!badge.body.contains("<script") && !badge.body.contains("<img"), "{}", badge.body);
    }
    let (_, snapshot) = Listener::start(&page, "").await.next().await.unwrap();
    assert!(snapshot.to_string().contains("<script>"));
}

#[tokio::test]
async fn every_answer_is_harmless_and_everything_comes_from_here() {
    let page = Page::start(&[]).await;
    for path in ["/", "/page.js", "/page.css", "/icon.svg", "/api/processes", "/metrics", "/nosuch"]
    {
        let answer = page.get(path).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    for text in [page.get("/").await.body, page.get("/page.js").await.body] {
        for unwanted in ["http://", "https://", "innerHTML", "eval(", "style="] {
            assert!(!text.contains(unwanted), "{unwanted}");
        }
    }
    let head = page.ask("HEAD / HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let post = page.ask("POST / HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(post.status, 405);
}

#[tokio::test]
async fn a_listener_is_told_first_all_and_then_what_changes() {
    let page = Page::start(&["eu.a"]).await;
    let mut listener = Listener::start(&page, "?q=eu").await;
    let (name, told) = listener.next().await.unwrap();
    assert_eq!((name.as_str(), &told["order"][0]), ("snapshot", &"eu.a".into()));
    assert_eq!(told["news"][0]["to"], "expected");
    page.beat("us.x", "degraded/60").await;
    page.beat("eu.b", "degraded/60").await;
    let mut order = Value::Null;
    let mut rows = Vec::new();
    while order != serde_json::json!(["eu.b", "eu.a"]) {
        let (name, told) = listener.next().await.unwrap();
        assert_eq!(name, "delta");
        rows.extend(told["processes"].as_array().unwrap().clone());
        if told["order"].is_array() {
            order = told["order"].clone();
        }
    }
    // Neither who is not looked at, nor who has not changed.
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["process"], "eu.b");
}

#[tokio::test]
async fn a_listener_that_takes_nothing_gets_the_newest_and_not_all_in_between() {
    let page = Page::start(&[]).await;
    page.beat("a", "beat/60").await;
    let mut listener = Listener::start(&page, "").await;
    listener.next().await.unwrap();
    for n in 0..500 {
        let address = Address::from_wire(None, "heartbeat.a".to_owned());
        let payload = if n % 2 == 0 { "degraded/60" } else { "beat/60" };
        let message = Message::to(address, payload.to_owned());
        page.backend.publisher().unwrap().publish(message).await.unwrap().await.unwrap();
    }
    page.beat("z", "beat/60").await;
    let mut events = 0;
    loop {
        let (_, told) = listener.next().await.unwrap();
        events += 1;
        if told["total"] == 2 {
            break;
        }
    }
    assert!(events < 20, "{events} events for one process that changed 500 times");
    assert!(page.json("/api/processes").await["transitions"].as_u64() > Some(2));
}

#[tokio::test]
async fn listeners_have_a_limit_and_leave_their_place() {
    let page = Page::start(&[]).await;
    let mut listeners = Vec::new();
    for _ in 0..100 {
        let mut listener = Listener::start(&page, "").await;
        listener.next().await.unwrap();
        listeners.push(listener);
    }
    let refused = page.get("/api/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    listeners.clear();
    let again = async {
        loop {
            let mut listener = Listener::start(&page, "").await;
            if listener.next().await.is_some() {
                return;
            }
        }
    };
    timeout(DEADLINE, again).await.unwrap();
}

#[tokio::test]
async fn the_end_ends_the_streams_and_the_connections() {
    let page = Page::start(&[]).await;
    let mut listener = Listener::start(&page, "").await;
    listener.next().await.unwrap();
    let mut idle = page.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    page.stop.send_replace(true);
    assert!(listener.next().await.is_none());
    timeout(DEADLINE, idle.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    timeout(DEADLINE, page.server).await.unwrap().unwrap();
    assert!(TcpStream::connect(page.address).await.is_err());
}

#[tokio::test]
async fn another_host_is_refused_whatever_it_asks_for() {
    let page = Page::start(&["secret-name"]).await;
    for path in
        ["/", "/api/processes", "/api/events", "/metrics", "/healthz", "/badge/secret-name.svg"]
    {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let answer = page.ask(&request).await;
        assert_eq!(answer.status, 421, "{path}");
        assert!(!answer.body.contains("secret-name"));
    }
    assert_eq!(page.ask("GET / HTTP/1.0\r\n\r\n").await.status, 421);
}

#[tokio::test]
async fn who_shows_no_token_learns_only_that_we_live() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "hush-7431-hush-7431\n").unwrap();
    let token = Token::read(&path).unwrap();
    let page = Page::start_with(&["secret-name"], Some(token), Limits::default()).await;
    for path in [
        "/",
        "/page.js",
        "/api/processes",
        "/api/processes/secret-name",
        "/api/events",
        "/metrics",
        "/badge/secret-name.svg",
        "/nosuch",
        "/?token=hush-7431-hush-7431",
    ] {
        let answer = page.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").unwrap().contains("Basic realm="));
        assert!(!answer.body.contains("secret-name"));
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(page.get(path).await.status, 200);
    }
    let bearer =
        "GET / HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer hush-7431-hush-7431\r\n\r\n";
    let answer = page.ask(bearer).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("secret-name") && !answer.body.contains("hush"));
}

#[tokio::test]
async fn ready_is_who_sees() {
    let page = Page::start(&[]).await;
    assert_eq!(page.get("/readyz").await.status, 200);
    page.hearing.abort();
    page.board.end();
    let answer = page.get("/readyz").await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(page.get("/healthz").await.status, 200);
    assert!(page.get("/").await.body.contains("class=\"blind\""));
}

#[tokio::test]
async fn badges_tell_the_state_and_are_not_kept() {
    let page = Page::start(&[]).await;
    page.beat("eu.billing", "degraded/60").await;
    let badge = page.get("/badge/eu.billing.svg").await;
    assert_eq!((badge.status, badge.header("content-type")), (200, Some("image/svg+xml")));
    assert_eq!(badge.header("cache-control"), Some("no-cache"));
    assert!(badge.body.contains(">degraded<"), "{}", badge.body);
    let unknown = page.get("/badge/nobody.svg").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains(">unknown<"));
    assert_eq!(page.get("/badge/eu.billing").await.status, 404);
}

#[tokio::test]
async fn metrics_are_grouped_and_each_line_is_one() {
    let page = Page::start(&["x"]).await;
    for n in 0..1200 {
        page.beat(&format!("p{n}"), "beat/60").await;
    }
    page.backend
        .publisher()
        .unwrap()
        .publish(Message::to(Address::from_wire(None, "heartbeat.p0".to_owned()), "beat/nan"))
        .await
        .unwrap()
        .await
        .unwrap();
    let told = async {
        loop {
            let answer = page.get("/metrics").await;
            if answer.body.contains("\nbeat_malformed_total 1\n") {
                return answer;
            }
        }
    };
    let answer = timeout(DEADLINE, told).await.unwrap();
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut group = "";
    let mut groups = Vec::new();
    for line in answer.body.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            group = typed.split(' ').next().unwrap();
            groups.push(group);
        } else if !line.starts_with("# HELP ") {
            let (metric, value) = line.rsplit_once(' ').unwrap();
            let name = metric.split('{').next().unwrap();
            let of_histogram =
                ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
            assert!(name == group || of_histogram == Some(group), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    groups.sort_unstable();
    groups.dedup();
    assert_eq!(groups.len(), answer.body.matches("# TYPE ").count());
    for name in ["beat_interval_seconds", "beat_monitor_lag_seconds"] {
        assert_eq!(answer.body.matches(&format!("\n{name}_bucket{{")).count(), 13, "{name}");
    }
    assert_eq!(answer.body.matches("\nbeat_state{").count(), 1201);
    assert_eq!(answer.body.matches("\nbeat_last_seen_seconds{").count(), 1200);
}

#[tokio::test]
async fn a_client_that_asks_too_much_or_too_slowly_is_let_go() {
    let limits = Limits { connections: 2, head: Duration::from_millis(200), ..Limits::default() };
    let page = Page::start_with(&[], None, limits).await;
    let long = "x".repeat(40 * 1024);
    let answer = page.ask(&format!("GET / HTTP/1.0\r\nHost: localhost\r\nX: {long}\r\n\r\n")).await;
    assert_eq!(answer.status, 431);
    let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
    let answer = page.ask(&format!("GET / HTTP/1.0\r\nHost: localhost\r\n{many}\r\n")).await;
    assert_eq!(answer.status, 431);
    // Two that say half a word hold every place, and not for long.
    let mut slow = [page.connect().await, page.connect().await];
    for stream in &mut slow {
        stream.write_all(b"GET / HT").await.unwrap();
    }
    assert_eq!(page.get("/healthz").await.status, 200);
    for stream in &mut slow {
        let gone = timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await.unwrap();
        drop(gone);
    }
}

#[tokio::test]
async fn who_holds_every_place_keeps_nobody_from_learning_that_we_live() {
    let limits = Limits { connections: 2, head: DEADLINE * 10, ..Limits::default() };
    let page = Page::start_with(&[], None, limits).await;
    let mut half = Vec::new();
    // Two places, and all but one of those for probes.
    for _ in 0..2 + limits.probes - 1 {
        let mut stream = page.connect().await;
        stream.write_all(b"GET / HT").await.unwrap();
        half.push(stream);
    }
    assert_eq!(page.get("/healthz").await.status, 200);
    assert_eq!(page.get("/readyz").await.status, 200);
    let other = page.get("/").await;
    assert_eq!((other.status, other.header("retry-after")), (503, Some("1")));
    // A probe that is not finished holds a place for no more than a second.
    for _ in 0..limits.probes {
        half.push(page.connect().await);
    }
    assert_eq!(page.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let limits =
        Limits { connections: 1, stalled: Duration::from_millis(200), ..Limits::default() };
    // Their metrics are more than the operating system holds for a connection.
    let names: Vec<_> = (0..12_000).map(|n| format!("{n:0>240}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let page = Page::start_with(&names, None, limits).await;
    let mut idle = page.connect().await;
    idle.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
    // It holds the only place, until it is thrown out.
    let mut all = page.get("/metrics").await;
    while all.status == 503 {
        all = page.get("/metrics").await;
    }
    assert_eq!(all.status, 200);
    let mut taken = Vec::new();
    drop(timeout(DEADLINE, idle.read_to_end(&mut taken)).await.unwrap());
    assert!(taken.len() < all.body.len(), "{} bytes", taken.len());
}

#[tokio::test]
async fn a_connection_that_asks_nothing_more_is_let_go() {
    let limits = Limits { connections: 1, head: Duration::from_millis(200), ..Limits::default() };
    let page = Page::start_with(&[], None, limits).await;
    let silent = page.connect().await;
    let mut idle = page.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(timeout(DEADLINE, idle.read_to_end(&mut answer)).await.unwrap());
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    drop(silent);
}

#[tokio::test]
async fn nobody_is_judged_while_the_monitor_is_blind_or_stands_still() {
    let page = Page::start(&[]).await;
    page.beat("billing", "beat/60").await;
    // It tells nothing of its own from here on.
    page.hearing.abort();
    let billing = page.board.process("billing").unwrap();
    let share = |it: &ProcessStatus, at| page.board.shares(std::iter::once(it), at)[0].hour;
    let hour = Duration::from_secs(3600);
    let later = billing.since.after(hour);
    assert_eq!(share(&billing, later), Some(1.0));

    page.board.hear(&MonitorEvent::Stalled { gap: hour, at: later });
    assert_eq!(share(&billing, later), None);
    assert_eq!(share(&billing, later.after(hour)), Some(1.0));

    page.board.hear(&MonitorEvent::Blind { at: later, cause: BlindCause::LinkDown, skipped: 0 });
    assert_eq!(share(&billing, later.after(hour)), None);
    page.board.hear(&MonitorEvent::Sighted { at: later.after(hour), skipped: 0 });
    assert_eq!(share(&billing, later.after(hour * 2)), Some(1.0));
}

#[tokio::test]
async fn what_is_no_transition_is_counted_too() {
    let page = Page::start(&[]).await;
    let (process, at) = (Process::parse("a").unwrap(), page.board.clock().now());
    let counted = async |wanted: &str| {
        let body = page.get("/metrics").await.body;
        assert!(body.contains(&format!("\n{wanted}\n")), "{wanted}: {body}");
    };
    counted("beat_stalls_total 0").await;
    page.board.hear(&MonitorEvent::Stalled { gap: Duration::from_secs(9), at });
    for on in [true, false, true] {
        page.board.hear(&MonitorEvent::Flapping { process: process.clone(), on, at });
    }
    page.board.hear(&MonitorEvent::Forgotten { process, was: State::Down, at });
    for wanted in ["beat_stalls_total 1", "beat_flapping_total 2", "beat_forgotten_total 1"] {
        counted(wanted).await;
    }
}
