//! `sinew beat serve`: the page of real hearts over a real server, asked over HTTP and looked at by a real browser.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
    time::Instant,
};

use rustix::process::{Pid, kill_process};
use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    browser::Browser,
    common::{DEADLINE, Result, Running, Signal, sinew},
};

pub(crate) const TRIALS: &[(&str, Body)] = &[
    ("a_page_tells_of_a_killed_heart_as_it_happens", a_killed_heart_is_told),
    ("a_page_is_blind_without_its_server_and_sees_again", a_page_is_blind),
    ("a_page_is_not_held_up_by_who_does_not_read_its_output", an_unread_page_goes_on),
    ("a_signal_ends_a_page_whose_output_nobody_reads", a_signal_ends_an_unread_page),
    ("a_demo_has_a_page", a_demo_has_a_page),
    ("a_browser_shows_a_hostile_name_as_text_and_keeps_up", a_browser_shows_it),
];

/// A page, and where it is.
pub(crate) struct Page {
    pub(crate) running: Running,
    pub(crate) address: String,
}

impl Page {
    pub(crate) fn start(url: &str, more: &[&str]) -> Result<Self> {
        let serve = ["beat", "serve", "--json", "--listen", "127.0.0.1:0", "--url", url];
        let mut running = Running::start(sinew(&[&serve[..], more].concat()))?;
        let remarks = running.until_remark("serving http://")?;
        Ok(Self { address: address(&remarks)?, running })
    }

    fn ask(&self, path: &str) -> Result<BufReader<TcpStream>> {
        ask(&self.address, path)
    }

    pub(crate) fn get(&self, path: &str) -> Result<(u16, String)> {
        get(&self.address, path)
    }
}

/// The host and port in what it says at its start.
fn address(remarks: &str) -> Result<String> {
    let address = remarks.split("http://").nth(1).and_then(|it| it.split('/').next());
    Ok(address.ok_or("no address")?.to_owned())
}

fn ask(address: &str, path: &str) -> Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    Ok(BufReader::new(stream))
}

/// The status and the whole answer.
fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let mut text = String::new();
    ask(address, path)?.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, text))
}

/// A heart that is soon down when it is killed.
pub(crate) fn heart(url: &str, process: &str) -> Result<Running> {
    heart_with(url, process, "1s")
}

/// One that is to stay up, however late its beats are on a loaded machine.
pub(crate) fn steady_heart(url: &str, process: &str) -> Result<Running> {
    heart_with(url, process, "5s")
}

/// It beats every second, and promises to within `period`.
pub(crate) fn heart_with(url: &str, process: &str, period: &str) -> Result<Running> {
    let send = ["beat", "send", process, "--every", "1s", "--period", period, "--url", url];
    let mut heart = Running::start(sinew(&send))?;
    heart.until_line(&["beat/"])?;
    Ok(heart)
}

/// Reads on until a line has all of these in it.
fn until_line(stream: &mut impl BufRead, wanted: &[&str]) -> Result<String> {
    let mut line = String::new();
    while !wanted.iter().all(|it| line.contains(it)) {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(format!("it ended before {wanted:?}").into());
        }
    }
    Ok(line)
}

fn a_killed_heart_is_told(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let mut page = Page::start(&url, &["eu.>", "--expect", "eu.late"])?;
    let mut events = page.ask("/api/events")?;
    until_line(&mut events, &["data: ", "\"order\":[\"eu.late\"]"])?;
    let (steady, mut killed) = (steady_heart(&url, "eu.steady")?, heart(&url, "eu.killed")?);
    let elsewhere = steady_heart(&url, "us.elsewhere")?;
    until_line(&mut events, &["data: ", "\"total\":3", "\"up\":2"])?;
    killed.child.kill()?;
    for state in ["late", "down"] {
        let told = until_line(&mut events, &["data: ", &format!("\"{state}\":1")])?;
        assert!(
            told.contains(&format!("\"process\":\"eu.killed\",\"state\":\"{state}\"")),
            "{told}"
        );
    }
    page.running.until_line(&["\"process\":\"eu.killed\"", "\"to\":\"down\""])?;

    let (_, html) = page.get("/")?;
    let row = html.split("<tr ").nth(1).ok_or("no row")?;
    assert!(row.contains("eu.killed") && row.contains("<b>down</b>"), "{row}");
    assert!(!html.contains("us.elsewhere"), "{html}");
    let (_, metrics) = page.get("/metrics")?;
    assert!(metrics.contains("beat_state{process=\"eu.killed\",state=\"down\"} 1\n"), "{metrics}");
    let (_, badge) = page.get("/badge/eu.steady.svg")?;
    assert!(badge.contains(">up<"), "{badge}");
    drop((steady, elsewhere));

    page.running.signal(Signal::TERM)?;
    // Its streams end in order, and it with them.
    let mut rest = String::new();
    events.read_to_string(&mut rest)?;
    let address = page.address.clone();
    page.running.finish()?.expect(0)?;
    assert!(TcpStream::connect(address).is_err());
    Ok(())
}

fn a_page_is_blind(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let mut page = Page::start(&server.url(), &["--expect", "a"])?;
    assert_eq!(page.get("/readyz")?.0, 200);
    server.kill()?;
    page.running.until_line(&["\"monitor\":\"blind\""])?;
    assert_eq!(page.get("/readyz")?.0, 503);
    assert_eq!(page.get("/healthz")?.0, 200);
    let (_, html) = page.get("/")?;
    assert!(html.contains("class=\"blind\""), "{html}");
    assert!(page.get("/metrics")?.1.contains("\nbeat_monitor_blind 1\n"));
    runtime.block_on(server.restart())?;
    page.running.until_line(&["\"monitor\":\"sighted\""])?;
    assert_eq!(page.get("/readyz")?.0, 200);
    page.running.signal(Signal::INT)?;
    page.running.finish()?.expect(0)?;
    Ok(())
}

fn an_unread_page_goes_on(runtime: &Runtime) -> Result<()> {
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let (unread, output) = std::io::pipe()?;
    let mut command = sinew(&["beat", "serve", "--json", "--listen", "127.0.0.1:0", "--url", &url]);
    let mut child = command.stdout(output).stderr(Stdio::piped()).spawn()?;
    drop(command);
    let mut remarks = BufReader::new(child.stderr.take().ok_or("no stderr")?);
    let line = until_line(&mut remarks, &["serving http://"])?;
    // Far more than a pipe holds, and more than waits for it.
    let flood: String = (0..6000).map(|n| publication(&format!("p{n}"), "beat/60")).collect();
    raw(&url, &flood)?;
    let (address, last) = (address(&line)?, publication("the-last", "beat/60"));
    let end = Instant::now() + DEADLINE;
    // The flood may be more than waits for the monitor, too.
    while !get(&address, "/api/processes/the-last")?.1.contains("\"to\":\"up\"") {
        assert!(Instant::now() < end, "the page stands still");
        raw(&url, &last)?;
    }
    drop(unread);
    // A closed pipe ends it quietly.
    assert!(child.wait()?.success());
    let mut rest = String::new();
    remarks.read_to_string(&mut rest)?;
    assert_eq!(rest, "");
    Ok(())
}

fn a_signal_ends_an_unread_page(_: &Runtime) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sinew.toml");
    // More than a pipe holds, and more than waits for it.
    let names: Vec<_> = (0..6000).map(|it| format!("{}-{it}", "x".repeat(200))).collect();
    std::fs::write(&file, format!("expected = {names:?}"))?;
    let file = file.display().to_string();
    let args = ["beat", "serve", "--url", "memory:", "--listen", "127.0.0.1:0", "--config", &file];
    let (unread, output) = std::io::pipe()?;
    let mut command = sinew(&args);
    let mut child = command.stdout(output).stderr(Stdio::piped()).spawn()?;
    drop(command);
    let mut remarks = BufReader::new(child.stderr.take().ok_or("no stderr")?);
    let address = address(&until_line(&mut remarks, &["serving http://"])?)?;
    let last = format!("/api/processes/{}", names.last().ok_or("nobody")?);
    let end = Instant::now() + DEADLINE;
    while !get(&address, &last)?.1.contains("\"to\":\"expected\"") {
        assert!(Instant::now() < end, "the page stands still");
    }
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    until_line(&mut remarks, &["not all events were printed"])?;
    until_line(&mut remarks, &["events were not printed: nobody read them in time"])?;
    assert!(child.wait()?.success());
    drop(unread);
    Ok(())
}

/// The words that publish a beat, on the wire, where any name can be said.
pub(crate) fn publication(process: &str, payload: &str) -> String {
    format!("PUB heartbeat.{process} {}\r\n{payload}\r\n", payload.len())
}

/// Says this to the server, and waits until it was heard.
pub(crate) fn raw(url: &str, words: &str) -> Result<()> {
    let mut stream = TcpStream::connect(url.trim_start_matches("nats://"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "CONNECT {{\"verbose\":false}}\r\n{words}PING\r\n")?;
    until_line(&mut BufReader::new(stream), &["PONG"])?;
    Ok(())
}

fn a_demo_has_a_page(_: &Runtime) -> Result<()> {
    let mut demo = Running::start(sinew(&["demo", "--serve", "--json", "--for", "30s"]))?;
    let address = address(&demo.until_remark("serving http://")?)?;
    let (_, processes) = get(&address, "/api/processes")?;
    assert!(processes.contains("\"total\":12"), "{processes}");
    demo.until_line(&["\"to\":\"degraded\""])?;
    let (_, html) = get(&address, "/")?;
    assert!(html.contains("<b class=\"degraded\">"), "{html}");
    demo.signal(Signal::INT)?;
    demo.finish()?.expect(130)?;
    Ok(())
}

fn a_browser_shows_it(runtime: &Runtime) -> Result<()> {
    let mut browser = Browser::start()?;
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let mut page = Page::start(&url, &[])?;
    let hostile = "<script>document.title='owned'</script>";
    raw(&url, &publication(hostile, "beat/60"))?;
    page.running.until_line(&["script", "\"to\":\"up\""])?;
    browser.open(&format!("http://{}/", page.address))?;
    // Its script has heard the first event.
    browser.until("known.size", &["1"])?;
    browser.until("rows.textContent", &[hostile])?;

    // What comes now comes by its events.
    raw(&url, &publication("came.later", "degraded/60"))?;
    browser.until("rows.firstElementChild.textContent", &["came.later", "degraded"])?;
    browser.until("news.textContent", &["came.later", hostile])?;
    raw(&url, &publication("is.down", "beat/0.001"))?;
    browser.until("document.title", &["(1 down) sinew beat"])?;
    browser.until("rows.firstElementChild.textContent", &["is.down", "down"])?;

    // A search is the server's.
    let search = "search.value = 'LATER'; search.dispatchEvent(new Event('input')); ''";
    browser.evaluate(search)?;
    browser.until("`${rows.children.length} ${location.search}`", &["1 ?q=LATER"])?;
    browser.until("document.scripts.length + document.title", &["1(1 down) sinew beat"])?;

    // A page whose server is gone says so.
    page.running.signal(Signal::TERM)?;
    page.running.finish()?.expect(0)?;
    browser.until("eyes.className + eyes.textContent", &["lost", "no connection"])?;
    Ok(())
}
