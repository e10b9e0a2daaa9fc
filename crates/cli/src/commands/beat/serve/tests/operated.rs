//! What operators change over HTTP, and who may not.
use std::path::Path;

use serde_json::Value;
use tokio::time::timeout;

use super::harness::{DEADLINE, Listener, Page};
use crate::commands::beat::{
    config::Config,
    serve::{access::Token, server::Limits},
};

const SILENCE: &str =
    r#"{"processes":"eu.>","for":"2h","author":"ann","comment":"moves <b>house</b>"}"#;

#[tokio::test]
async fn a_silence_is_made_listed_shown_and_ended() {
    let page = Page::start(&["eu.a"]).await;
    let mut listener = Listener::start(&page, "").await;
    assert_eq!(listener.next().await.unwrap().1["silences"], Value::Array(Vec::new()));
    assert!(
        page.get("/")
            .await
            .body
            .contains("<section id=\"quiet\" aria-labelledby=\"silent\" hidden>")
    );

    let made = page.post("/api/silences", SILENCE).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let made: Value = serde_json::from_str(&made.body).unwrap();
    assert_eq!((&made["processes"], &made["kept"]), (&"eu.>".into(), &false.into()));
    let all = page.json("/api/silences").await;
    assert_eq!(all["silences"][0]["id"], made["id"]);
    assert_eq!(all["silences"][0]["author"], "ann");
    let html = page.get("/").await.body;
    assert!(html.contains("<i>moves &lt;b&gt;house&lt;/b&gt;</i>"), "{html}");
    assert!(html.contains("<section id=\"quiet\" aria-labelledby=\"silent\">"));
    assert!(page.get("/metrics").await.body.contains("\nbeat_alerts_silences 1\n"));
    let told = loop {
        let (_, told) = listener.next().await.unwrap();
        if told["silences"].is_array() {
            break told;
        }
    };
    assert_eq!(told["silences"][0]["comment"], "moves <b>house</b>");

    let path = format!("/api/silences/{}", made["id"]);
    assert_eq!(page.send("DELETE", &path, "", "").await.status, 204);
    assert_eq!(page.send("DELETE", &path, "", "").await.status, 404);
    assert_eq!(page.json("/api/silences").await["silences"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn a_silence_that_makes_no_sense_is_refused_with_a_word() {
    let page = Page::start(&[]).await;
    let with = |key: &str, value: Value| {
        let mut object: Value = serde_json::from_str(SILENCE).unwrap();
        object[key] = value;
        object.to_string()
    };
    for (body, word) in [
        (String::new(), "EOF"),
        ("[]".to_owned(), "length"),
        (r#"{"processes":"a","for":"1h"}"#.to_owned(), "author"),
        (with("proceses", "a".into()), "proceses"),
        (with("processes", "a..b".into()), "processes: "),
        (with("for", "2".into()), "for: a number alone"),
        (with("for", "0s".into()), "for: it must be more"),
        (with("for", "400d".into()), "366 days"),
        (with("until", "2026-01-01T00:00:00Z".into()), "either `for` or `until`"),
        (with("for", Value::Null), "either `for` or `until`"),
        (with("comment", " ".into()), "comment: say who and why"),
        (with("author", "x".repeat(1025).into()), "author: longer"),
        (with("comment", "a\u{202e}b".into()), "not seen"),
    ] {
        let refused = page.post("/api/silences", &body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.body);
        assert!(refused.body.contains(word), "{body}: {}", refused.body);
    }
    let over = r#"{"processes":"a","until":"2020-01-01T00:00:00Z","author":"a","comment":"b"}"#;
    assert!(page.post("/api/silences", over).await.body.contains("over already"));
    assert_eq!(page.post("/api/silences", &" ".repeat(20_000)).await.status, 413);
    assert!(page.desk.silences().is_empty());
    for path in ["/api/silences/1", "/api/silences/x", "/api/silences/-1"] {
        assert_eq!(page.send("DELETE", path, "", "").await.status, 404);
    }
}

#[tokio::test]
async fn a_page_from_elsewhere_changes_nothing() {
    let page = Page::start(&["a"]).await;
    let json = "Content-Type: application/json\r\n";
    for (head, status) in [
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("", 415),
        (&format!("{json}Origin: http://evil.example\r\n"), 403),
        (&format!("{json}Origin: null\r\n"), 403),
        (&format!("{json}Sec-Fetch-Site: cross-site\r\n"), 403),
    ] {
        assert_eq!(
            page.send("POST", "/api/silences", head, SILENCE).await.status,
            status,
            "{head}"
        );
        let pause = page.send("POST", "/api/processes/a/pause", head, "{}").await;
        assert_eq!(pause.status, status, "{head}");
    }
    let asked = "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
    let preflight = page.send("OPTIONS", "/api/silences", asked, "").await;
    assert_eq!(preflight.header("access-control-allow-origin"), None);
    assert!(page.desk.silences().is_empty());
    assert_eq!(page.json("/api/processes/a").await["state"], "expected");
}

#[tokio::test]
async fn who_has_no_token_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "hush-7431-hush-7431").unwrap();
    let token = Token::read(&path).unwrap();
    let page = Page::start_with(&["a"], Some(token), Limits::default()).await;
    assert_eq!(page.post("/api/silences", SILENCE).await.status, 401);
    let shown = "Content-Type: application/json\r\nAuthorization: Bearer hush-7431-hush-7431\r\n";
    assert_eq!(page.send("POST", "/api/silences", shown, SILENCE).await.status, 201);
}

#[tokio::test]
async fn a_process_is_paused_and_resumed_by_its_name_whatever_that_is() {
    let page = Page::start(&["a/pause", "b"]).await;
    let state =
        async |url: &str| page.json(&format!("/api/processes/{url}")).await["state"].clone();
    assert_eq!(page.post("/api/processes/a%2Fpause/pause", "{}").await.body, "{\"kept\":false}\n");
    assert_eq!(page.post("/api/processes/b/pause", "").await.body, "{\"kept\":false}\n");
    assert_eq!((state("a%2Fpause").await, state("b").await), ("paused".into(), "paused".into()));
    assert_eq!(page.post("/api/processes/b/resume", "").await.body, "{\"kept\":false}\n");
    assert_eq!(state("b").await, "expected");
    for path in ["/api/processes/nobody/pause", "/api/processes/b", "/api/processes/b/stop"] {
        assert_eq!(page.post(path, "").await.status, 404, "{path}");
    }
}

async fn page_of(config: &str) -> Page {
    Page::start_config(&[], None, Limits::default(), config).await
}

/// Waits until `/metrics` has this line.
async fn until_metric(page: &Page, line: &str) {
    let there =
        async { while !page.get("/metrics").await.body.contains(&format!("\n{line}\n")) {} };
    timeout(DEADLINE, there).await.unwrap_or_else(|_| panic!("never {line}"));
}

#[tokio::test]
async fn what_finds_no_room_in_a_commands_queue_is_kept_and_shown() {
    // It never ends by itself.
    let command = "[[command]]\nrun = [\"tail\", \"-f\", \"/dev/null\"]\nqueue = 1\n";
    let page = page_of(&format!("{command}[alerts]\nstates = [\"degraded\"]")).await;
    for process in ["a", "b", "c", "d"] {
        page.beat(process, "degraded/60").await;
    }
    until_metric(&page, "beat_alerts_notifications_total 4").await;
    // One runs, or is about to, and one waits.
    let counts = page.desk.counts();
    let kept = counts.outputs[0].kept;
    assert!((2..=3).contains(&kept), "{counts:?}");
    until_metric(&page, &format!("beat_alerts_waiting{{output=\"command-1\"}} {}", 4 - kept)).await;
    until_metric(&page, &format!("beat_alerts_kept{{output=\"command-1\"}} {kept}")).await;
}

#[tokio::test]
async fn an_output_that_is_as_it_was_goes_on_and_another_begins_anew() {
    let file = |program: &str| {
        format!("[[command]]\nrun = [\"{program}\"]\n[alerts]\nstates = [\"degraded\"]\n")
    };
    let page = page_of(&file("true")).await;
    page.beat("a", "degraded/60").await;
    let succeeded = "beat_alerts_outputs_total{output=\"command-1\",result=\"succeeded\"}";
    until_metric(&page, &format!("{succeeded} 1")).await;
    for (program, count) in [("true", 1), ("false", 0)] {
        let config = Config::parse(&file(program), Path::new("sinew.toml")).unwrap();
        let webhooks = page.desk.prepare(&config).await.unwrap();
        page.desk.reconfigure(&config, webhooks, &[]);
        assert_eq!(page.desk.counts().outputs[0].results[0], ("succeeded", count), "{program}");
    }
    page.beat("b", "degraded/60").await;
    // The one that is new was told of `a`, too.
    let failed = "beat_alerts_outputs_total{output=\"command-1\",result=\"failed\"} 2";
    until_metric(&page, failed).await;
}

#[tokio::test]
async fn who_is_in_a_state_that_is_told_only_now_is_told_now() {
    let page = page_of("").await;
    page.beat("a", "degraded/60").await;
    let text = "[alerts]\nstates = [\"degraded\"]";
    let config = Config::parse(text, Path::new("sinew.toml")).unwrap();
    let known = [page.board.process("a").unwrap()];
    page.desk.reconfigure(&config, Vec::new(), &known);
    page.desk.reconfigure(&config, Vec::new(), &known);
    assert_eq!(page.desk.counts().alerts.notifications, 1);
}
