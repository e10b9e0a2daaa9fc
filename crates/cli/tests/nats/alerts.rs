//! `sinew beat serve --config`: what it tells and to whom, its file read anew, and its restart, over a real server.
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Instant,
};

use sinew_testkit::harness::nats::NatsServerOptions;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::{DEADLINE, Result, Running, Signal, run, sinew},
    serves::{Page, publication, raw, steady_heart},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_command_is_run_for_who_is_down_and_for_its_return", a_command_is_run),
    ("a_command_that_fails_is_said_once", a_failed_command_is_said),
    ("a_silence_holds_back_what_is_told_then_when_it_ends", a_silence_holds_back),
    ("a_file_is_read_anew_and_a_bad_one_changes_nothing", a_file_is_read_anew),
    ("a_restart_tells_nothing_twice_and_calls_nobody_down", a_restart_is_quiet),
    ("a_restart_tells_what_no_output_had_delivered", a_restart_tells_the_undelivered),
    ("a_crash_soon_after_an_alert_tells_it_once", a_crash_tells_once),
    ("a_file_is_checked_without_a_broker", a_file_is_checked),
    ("a_webhook_is_called_until_it_takes_what_it_is_told", a_webhook_is_called),
    ("a_monitor_is_watched_by_another_one", a_monitor_is_watched),
];

/// A folder with a file for the monitor, and what its command was told.
struct Place {
    folder: TempDir,
}

impl Place {
    /// Down at once after a broken promise, so that a trial need not wait for long.
    const HASTY: &'static str = "[patience]\ngrace = \"100ms\"\nmissed = 1\n";

    fn new(more: &str) -> Result<Self> {
        let place = Self { folder: tempfile::tempdir()? };
        place.write(&format!("{more}{}{}", Self::HASTY, place.command()))?;
        Ok(place)
    }

    fn command(&self) -> String {
        format!("[[command]]\nrun = [\"tee\", \"-a\", {:?}]\n", self.path("told"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> String {
        self.path("sinew.toml").display().to_string()
    }

    fn write(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path("sinew.toml"), text)?)
    }

    fn page(&self, url: &str) -> Result<Page> {
        Page::start(url, &["--config", &self.config()])
    }

    /// What the command was told: the kind and the key of each alert.
    fn told(&self) -> Result<Vec<String>> {
        let text = read(&self.path("told"))?;
        let line = |line: &str| line.splitn(3, '\t').take(2).collect::<Vec<_>>().join(" ");
        Ok(text.lines().map(line).collect())
    }

    /// Waits until the command was told so much.
    fn until_told(&self, lines: usize) -> Result<Vec<String>> {
        let end = Instant::now() + DEADLINE;
        loop {
            let told = self.told()?;
            if told.len() >= lines {
                return Ok(told);
            }
            if Instant::now() > end {
                return Err(format!("told no more than {told:?}").into());
            }
            std::thread::yield_now();
        }
    }
}

fn read(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => Ok(read?),
    }
}

/// What comes back for this, and its status.
fn send(page: &Page, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(&page.address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, text))
}

/// Waits until `/metrics` has this line.
fn until_metric(page: &Page, line: &str) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    while !page.get("/metrics")?.1.contains(&format!("\n{line}\n")) {
        if Instant::now() > end {
            return Err(format!("never {line}: {}", page.get("/metrics")?.1).into());
        }
    }
    Ok(())
}

/// Waits until the page shows this state of a process.
fn until_state(page: &Page, process: &str, state: &str) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    let path = format!("/api/processes/{process}");
    while !page.get(&path)?.1.contains(&format!("\"state\":\"{state}\"")) {
        if Instant::now() > end {
            return Err(format!("never {state}: {}", page.get(&path)?.1).into());
        }
    }
    Ok(())
}

fn a_command_is_run(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let place = Place::new("republish = true\n")?;
    let page = place.page(&url)?;
    let mut liveness =
        Running::start(sinew(&["sub", "liveness.>", "--count", "4", "--json", "--url", &url]))?;
    liveness.until_remark("listening")?;
    raw(&url, &publication("billing", "beat/0.1"))?;
    let told = place.until_told(1)?;
    assert!(told[0].starts_with("firing billing/down/"), "{told:?}");
    raw(&url, &publication("billing", "beat/60"))?;
    let key = told[0].trim_start_matches("firing ");
    assert_eq!(place.until_told(2)?, [told[0].clone(), format!("resolved {key}")]);
    until_metric(&page, "beat_alerts_outputs_total{output=\"command-1\",result=\"succeeded\"} 2")?;
    until_metric(&page, "beat_alerts_total{kind=\"resolved\"} 1")?;
    until_metric(&page, "beat_republished_total{result=\"told\"} 4")?;
    let lines = liveness.finish()?.expect(0)?.objects()?;
    let payloads: Vec<_> = lines.iter().filter_map(|it| it["payload"].as_str()).collect();
    let states: Vec<_> = payloads.iter().filter_map(|it| it.split('/').next()).collect();
    assert_eq!(states, ["up", "late", "down", "up"], "{lines:?}");
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;
    Ok(())
}

fn a_failed_command_is_said(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let place = Place::new("")?;
    let commands = "[[command]]\nrun = [\"false\"]\n[[command]]\nrun = [\"/nowhere/at/all\"]\n";
    place.write(&format!("{}{commands}", Place::HASTY))?;
    let page = place.page(&server.url())?;
    for process in ["billing", "web"] {
        raw(&server.url(), &publication(process, "beat/0.1"))?;
    }
    for output in ["command-1", "command-2"] {
        let failed = format!("beat_alerts_outputs_total{{output=\"{output}\",result=\"failed\"}}");
        until_metric(&page, &format!("{failed} 2"))?;
    }
    page.running.signal(Signal::TERM)?;
    let ran = page.running.finish()?.expect(0)?;
    for why in ["false: exit status: 1", "/nowhere/at/all: No such file"] {
        assert_eq!(ran.stderr.matches(why).count(), 1, "{}", ran.stderr);
    }
    Ok(())
}

fn a_silence_holds_back(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let place = Place::new("")?;
    let mut page = place.page(&url)?;
    let silence = r#"{"processes":"eu.>","for":"1h","author":"ann","comment":"a trial"}"#;
    let (status, made) = send(&page, "POST", "/api/silences", silence)?;
    assert_eq!(status, 201, "{made}");
    let (_, body) = made.split_once("\r\n\r\n").ok_or("no body")?;
    let made: serde_json::Value = serde_json::from_str(body)?;
    raw(&url, &(publication("eu.a", "beat/0.1") + &publication("us.a", "beat/0.1")))?;
    page.running.until_line(&["\"process\":\"eu.a\"", "\"to\":\"down\""])?;
    let told = place.until_told(1)?;
    assert!(told[0].starts_with("firing us.a/down/"), "{told:?}");
    until_metric(&page, "beat_alerts_held_total{cause=\"silence\"} 1")?;
    assert_eq!(place.told()?, told);
    let ended = send(&page, "DELETE", &format!("/api/silences/{}", made["id"]), "")?;
    assert_eq!(ended.0, 204, "{}", ended.1);
    let told = place.until_told(2)?;
    assert!(told[1].starts_with("firing eu.a/down/"), "{told:?}");
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;
    Ok(())
}

fn a_file_is_read_anew(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let place = Place { folder: tempfile::tempdir()? };
    place.write(&format!("processes = \"*\"\n[patience]\ngrace = \"1h\"\n{}", place.command()))?;
    let mut page = place.page(&url)?;
    raw(&url, &publication("a", "beat/0.1"))?;
    page.running.until_line(&["\"process\":\"a\"", "\"to\":\"up\""])?;

    // A slip: all stays as it was, and it is said.
    place.write("[patience]\ngrase = \"1s\"\n")?;
    page.running.signal(Signal::HUP)?;
    let said = page.running.until_remark("all stays as it was")?;
    assert!(
        said.contains("sinew.toml:2: unknown key `patience.grase`; did you mean `grace`?"),
        "{said}"
    );
    until_metric(&page, "beat_config_reload_success 0")?;
    assert!(page.get("/api/processes/a")?.1.contains("\"state\":\"up\""));

    // Only a restart watches others, so one who is expected among them would be down until then.
    place.write("processes = \">\"\nexpected = [\"a\", \"c.x\"]\n")?;
    page.running.signal(Signal::HUP)?;
    page.running.until_remark("c.x is expected, but is not among those watched, *:")?;

    // Other patience, another command's place, and something that only a restart changes.
    let more = format!(
        "processes = \"*\"\nlisten = \"127.0.0.1:9\"\nexpected = [\"b\"]\n{}",
        Place::HASTY
    );
    place.write(&format!("{more}{}", place.command().replace("told", "told-2")))?;
    page.running.signal(Signal::HUP)?;
    page.running.until_remark("was read anew; only a restart changes: listen")?;
    until_metric(&page, "beat_config_reload_success 1")?;
    assert!(page.get("/metrics")?.1.contains("\nbeat_config_reload_seconds "));
    page.running.until_line(&["\"process\":\"b\"", "\"to\":\"expected\""])?;
    until_state(&page, "a", "down")?;
    let told = Place { folder: place.folder };
    let end = Instant::now() + DEADLINE;
    while !read(&told.path("told-2"))?.starts_with("firing\ta/down/") {
        assert!(Instant::now() < end, "the new command is not run");
    }
    assert_eq!(told.told()?, Vec::<String>::new());

    // Nobody is expected any more.
    told.write("")?;
    page.running.signal(Signal::HUP)?;
    page.running.until_line(&["\"monitor\":\"forgotten\"", "\"name\":\"b\""])?;
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;
    Ok(())
}

fn a_restart_is_quiet(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let place = Place::new("snapshot_file = \"beat.snapshot\"\n")?;
    let mut page = place.page(&url)?;
    let steady = steady_heart(&url, "steady")?;
    raw(&url, &(publication("gone", "beat/0.1") + &publication("rare", "beat/3600")))?;
    let first = place.until_told(1)?;
    assert!(first[0].starts_with("firing gone/down/"), "{first:?}");
    page.running.until_line(&["\"process\":\"gone\"", "\"to\":\"down\""])?;
    let silence = r#"{"processes":"us.>","for":"1h","author":"ann","comment":"kept"}"#;
    let (status, made) = send(&page, "POST", "/api/silences", silence)?;
    assert!(status == 201 && made.contains("\"kept\":true"), "{made}");
    let paused = send(&page, "POST", "/api/processes/rare/pause", "{}")?;
    assert!(paused.0 == 200 && paused.1.contains("{\"kept\":true}"), "{paused:?}");
    raw(&url, &publication("us.quiet", "beat/0.1"))?;
    page.running.until_line(&["\"process\":\"us.quiet\"", "\"to\":\"down\""])?;
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;

    let page = place.page(&url)?;
    // What is from before is known at once, and not told again.
    let known = page.get("/api/processes")?.1;
    assert!(known.contains("\"total\":4") && known.contains("\"down\":2"), "{known}");
    assert!(page.get("/api/processes/rare")?.1.contains("\"state\":\"paused\""));
    assert!(page.get("/api/silences")?.1.contains("\"comment\":\"kept\""));
    raw(&url, &publication("gone", "beat/60"))?;
    let key = first[0].trim_start_matches("firing ");
    assert_eq!(place.until_told(2)?, [first[0].clone(), format!("resolved {key}")]);
    // Nobody was told of who went down in silence, before the restart.
    let id = silence_id(&page)?;
    assert_eq!(send(&page, "DELETE", &format!("/api/silences/{id}"), "")?.0, 204);
    assert!(place.until_told(3)?[2].starts_with("firing us.quiet/down/"));
    page.running.signal(Signal::TERM)?;
    let ran = page.running.finish()?.expect(0)?;
    assert!(!ran.text().contains("\"to\":\"down\"") && !ran.text().contains("steady"), "{ran:?}");
    drop(steady);

    // A file that is torn is told of, and kept for who wants to look.
    let snapshot = place.path("beat.snapshot");
    let whole = fs::read(&snapshot)?;
    fs::write(&snapshot, &whole[..whole.len() / 2])?;
    fs::write(place.path("beat.snapshot.alerts"), "{")?;
    let mut page = place.page(&url)?;
    let said = page.running.until_remark("serving http://")?;
    assert!(said.contains("its checksum is another; starting without it"), "{said}");
    assert!(said.contains("no silence is kept"), "{said}");
    assert_eq!(fs::read(place.path("beat.snapshot.bad"))?.len(), whole.len() / 2);
    assert!(page.get("/api/processes")?.1.contains("\"total\":0"));
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;
    Ok(())
}

/// The id of the only silence.
fn silence_id(page: &Page) -> Result<u64> {
    let all = page.get("/api/silences")?.1;
    let (_, body) = all.split_once("\r\n\r\n").ok_or("no body")?;
    let all: serde_json::Value = serde_json::from_str(body)?;
    Ok(all["silences"][0]["id"].as_u64().ok_or("no id")?)
}

fn a_file_is_checked(_: &Runtime) -> Result<()> {
    let place = Place::new("")?;
    let config = place.config();
    let check = ["beat", "serve", "--config", &config, "--check-config"];
    run(&check)?.expect(0)?;
    place.write("listne = \"127.0.0.1:1\"")?;
    let refused = run(&check)?.expect(64)?;
    let wanted = format!("error: {config}:1: unknown key `listne`; did you mean `listen`?\n");
    assert_eq!(refused.stderr, wanted);
    place.write("listen = \"0.0.0.0:2328\"")?;
    assert!(run(&check)?.expect(64)?.stderr.contains("--access-token-file"));
    place.write("\nsnapshot_file = \"sinew.toml\"")?;
    let over = format!("error: {config}:2: snapshot_file: cannot keep a snapshot at {config}: ");
    assert!(run(&check)?.expect(64)?.stderr.starts_with(&over));
    fs::remove_file(place.path("sinew.toml"))?;
    run(&check)?.expect(74)?;
    run(&["beat", "serve", "--check-config"])?.expect(64)?;
    Ok(())
}

/// Answers each request in turn, and tells what was in it.
fn receive(
    listener: std::net::TcpListener,
    answers: &'static [&'static str],
) -> std::sync::mpsc::Receiver<(String, String)> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (stream, answer) in listener.incoming().zip(answers) {
            let received = stream.map_err(Into::into).and_then(|it| answered(it, answer));
            if received.is_ok_and(|it| tell.send(it).is_err()) {
                return;
            }
        }
    });
    told
}

/// The head and the body of a request that is answered so.
fn answered(mut stream: TcpStream, answer: &str) -> Result<(String, String)> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut reader = std::io::BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if std::io::BufRead::read_line(&mut reader, &mut head)? == 0 {
            return Err("it ended early".into());
        }
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|it| it.split("\r\n").next());
    let mut body = vec![0; length.ok_or("no length")?.parse()?];
    reader.read_exact(&mut body)?;
    write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok((head, String::from_utf8(body)?))
}

fn a_webhook_is_called(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let received = receive(listener, &["503 Service Unavailable", "204 No Content"]);
    let place = Place { folder: tempfile::tempdir()? };
    fs::write(place.path("secret"), format!("whsec_{}\n", "c2VjcmV0".repeat(4)))?;
    fs::write(place.path("token"), "Bearer hush-7431\n")?;
    place.write(&format!(
        "{}[[webhook]]\nurl = \"http://{address}/hook\"\nsecret_files = [\"secret\"]\n\
         authorization_file = \"token\"\n",
        Place::HASTY
    ))?;
    let mut page = place.page(&url)?;
    raw(&url, &publication("billing", "beat/0.1"))?;
    let (first, _) = received.recv_timeout(DEADLINE)?;
    let (head, body) = received.recv_timeout(DEADLINE)?;
    let id = |head: &str| {
        head.split("webhook-id: ").nth(1).and_then(|it| it.split("\r\n").next()).map(str::to_owned)
    };
    assert!(id(&first).is_some() && id(&first) == id(&head), "{first} {head}");
    assert!(head.starts_with("post /hook http/1.1\r\n"), "{head}");
    assert!(head.contains("webhook-signature: v1,") && head.contains("bearer hush-7431"), "{head}");
    let told: serde_json::Value = serde_json::from_str(&body)?;
    assert_eq!(told["alerts"][0]["process"], "billing");
    assert_eq!(told["alerts"][0]["kind"], "firing");
    until_metric(&page, "beat_alerts_outputs_total{output=\"webhook-1\",result=\"sent\"} 1")?;
    page.running.until_remark("trying again")?;
    page.running.signal(Signal::TERM)?;
    let ran = page.running.finish()?.expect(0)?;
    assert!(!ran.stderr.contains("hush") && !ran.stderr.contains("/hook"), "{ran:?}");
    Ok(())
}

fn a_restart_tells_the_undelivered(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    // Nobody listens there until the monitor is started anew.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let place = Place { folder: tempfile::tempdir()? };
    place.write(&format!(
        "snapshot_file = \"beat.snapshot\"\n{}[[webhook]]\nurl = \"http://{address}/hook\"\n",
        Place::HASTY
    ))?;
    let mut page = place.page(&url)?;
    raw(&url, &publication("billing", "beat/0.1"))?;
    page.running.until_remark("trying again")?;
    page.running.signal(Signal::TERM)?;
    let ran = page.running.finish()?.expect(0)?;
    assert!(ran.stderr.contains("1 notification was not delivered"), "{ran:?}");

    let received = receive(std::net::TcpListener::bind(address)?, &["204 No Content"]);
    let page = place.page(&url)?;
    let (_, body) = received.recv_timeout(DEADLINE)?;
    let told: serde_json::Value = serde_json::from_str(&body)?;
    assert_eq!(told["alerts"][0]["process"], "billing");
    assert_eq!(told["alerts"][0]["kind"], "firing");
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;
    Ok(())
}

fn a_crash_tells_once(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let place = Place::new("snapshot_file = \"beat.snapshot\"\nsnapshot_every = \"1h\"\n")?;
    let mut page = place.page(&url)?;
    raw(&url, &publication("gone", "beat/0.1"))?;
    let first = place.until_told(1)?;
    // What was told is kept, and then the snapshot, long before its hour.
    let (alerts, snapshot) = (place.path("beat.snapshot.alerts"), place.path("beat.snapshot"));
    let written = |path: &Path| fs::metadata(path)?.modified();
    let end = Instant::now() + DEADLINE;
    while !read(&alerts)?.contains("gone") || written(&snapshot)? < written(&alerts)? {
        assert!(Instant::now() < end, "it is not kept");
    }
    page.running.child.kill()?;
    page.running.child.wait()?;

    let page = place.page(&url)?;
    raw(&url, &publication("gone", "beat/60"))?;
    let key = first[0].trim_start_matches("firing ");
    assert_eq!(place.until_told(2)?, [first[0].clone(), format!("resolved {key}")]);
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;
    Ok(())
}

fn a_monitor_is_watched(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let place = Place::new("")?;
    let watch = ["beat", "watch", "monitor.eu-1", "--json", "--url", &url];
    let mut other = Running::start(sinew(&watch))?;
    other.until_remark("watching")?;
    let heart = "[heart]\nprocess = \"monitor.eu-1\"\nperiod = \"1s\"\n";
    place.write(&format!("processes = \"eu.>\"\n{heart}"))?;
    let mut page = place.page(&url)?;
    other.until_line(&["\"process\":\"monitor.eu-1\"", "\"to\":\"up\""])?;
    page.running.until_line(&["\"process\":\"monitor.eu-1\"", "\"to\":\"up\""])?;
    // It ends on purpose, and says so.
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;
    other.until_line(&["\"process\":\"monitor.eu-1\"", "\"to\":\"stopped\""])?;
    // It vanishes.
    let mut page = place.page(&url)?;
    other.until_line(&["\"process\":\"monitor.eu-1\"", "\"to\":\"up\""])?;
    page.running.child.kill()?;
    other.until_line(&["\"process\":\"monitor.eu-1\"", "\"to\":\"down\""])?;
    Ok(())
}
