//! The status page of a large fleet: `sinew beat serve` over a real nats-server, asked over HTTP, and looked at by a real
//! headless Chromium.
//!
//! `cargo xtask bench page`. 100,000 processes beat once a minute meanwhile. Names have 32 bytes, as in the other
//! benches of heartbeats.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod fleet;
mod system;

#[path = "../../tests/nats/browser.rs"]
#[expect(
    dead_code,
    clippy::indexing_slicing,
    reason = "as the trials have it, which do more with it"
)]
mod browser;
#[path = "../../tests/common/mod.rs"]
#[expect(dead_code, reason = "the trials do more with a command")]
mod common;

use std::{
    env,
    fmt::Write as _,
    io::{Read, Write as _},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    browser::Browser,
    common::{DEADLINE, Result, Running, sinew},
    fleet::{APART, Fleet, name},
    system::Memory,
};

const PROCESSES: usize = 100_000;

/// How many rows a page has.
const SHOWN: usize = 200;

/// Odd, so that a median is one of them.
const ROUNDS: usize = 7;

/// Longer than the server keeps a picture of the fleet: whoever asks then waits for a new one.
const STALE: Duration = Duration::from_millis(1100);

fn main() -> Result<()> {
    let quick = !env::args().any(|arg| arg == "--bench");
    let (count, rounds) = if quick { (PROCESSES / 100, 1) } else { (PROCESSES, ROUNDS) };
    let runtime = Runtime::new()?;
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    let serve = ["beat", "serve", "--json", "--listen", "127.0.0.1:0", "--url", &url];
    let mut page = Running::start(sinew(&serve))?;
    let remarks = page.until_remark("serving http://")?;
    let address = remarks.split("http://").nth(1).and_then(|it| it.split('/').next());
    let address = address.ok_or("no address")?;

    let fleet = runtime.block_on(Fleet::start(&url, count))?;
    until_known(address, count)?;
    println!("{count} processes, a beat a minute each; medians of {rounds}, and the worst");
    over_http(address, count, rounds)?;
    in_a_browser(&mut Browser::start()?, address, count, rounds)?;
    let mut browser = Browser::start()?;
    browser.open(&format!("http://{address}/"))?;
    browser.until("known.size", &[&count.min(SHOWN).to_string()])?;
    changes(&mut browser, &runtime, &fleet, rounds)?;
    limping(&mut browser, &runtime, &fleet, count)?;
    resources(page.child.id(), if quick { 1 } else { 20 });
    runtime.block_on(fleet.stop())
}

/// Waits until the page has all of them. What was one too many for the monitor's buffer comes again within a minute.
fn until_known(address: &str, count: usize) -> Result<()> {
    let (began, wanted) = (Instant::now(), format!("\"total\":{count},"));
    while !get(address, "/api/processes?limit=1")?.text.contains(&wanted) {
        if began.elapsed() > DEADLINE * 2 {
            return Err("they are not all known".into());
        }
        sleep(STALE);
    }
    Ok(())
}

/// An answer, and when it was there.
struct Answer {
    first: Duration,
    whole: Duration,
    text: String,
}

fn get(address: &str, path: &str) -> Result<Answer> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut bytes = vec![0];
    stream.read_exact(&mut bytes)?;
    let first = began.elapsed();
    stream.read_to_end(&mut bytes)?;
    let whole = began.elapsed();
    let text = String::from_utf8(bytes)?;
    if text.starts_with("HTTP/1.0 200") {
        Ok(Answer { first, whole, text })
    } else {
        Err(format!("{path}: {text}").into())
    }
}

fn over_http(address: &str, count: usize, rounds: usize) -> Result<()> {
    println!("over HTTP: the first byte; all of it; bytes with the head");
    let one = name(count / 2);
    for path in [
        "/",
        "/page.js",
        "/page.css",
        "/api/processes",
        "/api/processes?limit=1000",
        &format!("/api/processes?limit=1000&offset={}", count.saturating_sub(1000)),
        &format!("/api/processes?q={}", one.get(26..).unwrap_or_default()),
        &format!("/api/processes/{one}"),
        "/metrics",
    ] {
        let (mut first, mut whole, mut bytes) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds {
            sleep(STALE);
            let answer = get(address, path)?;
            first.push(answer.first);
            whole.push(answer.whole);
            bytes = answer.text.len();
        }
        println!("  {path}: {}; {}; {bytes}", spread(first), spread(whole));
    }
    let began = Instant::now();
    let mut bytes = 0;
    for offset in (0..count).step_by(1000) {
        bytes += get(address, &format!("/api/processes?limit=1000&offset={offset}"))?.text.len();
    }
    println!("  all of them, 1,000 at a time: {}; {bytes}", millis(began.elapsed()));
    Ok(())
}

/// Does something, and tells how many ms later, in the page's own time, a condition holds in it.
fn timed(browser: &mut Browser, act: &str, holds: &str) -> Result<Duration> {
    let script = format!(
        "new Promise((done, never) => {{
            const began = performance.now();
            const look = () => {{
                if ({holds}) return requestAnimationFrame(() => done(performance.now() - began));
                if (performance.now() - began > 30000) return never(new Error('it never held'));
                setTimeout(look, 1);
            }};
            {act};
            look();
        }})"
    );
    let took = browser.evaluate(&script)?;
    Ok(Duration::from_secs_f64(took.parse::<f64>().map_err(|_| format!("{act}: {took}"))? / 1000.0))
}

fn in_a_browser(browser: &mut Browser, address: &str, count: usize, rounds: usize) -> Result<()> {
    println!("in Chromium, until it is drawn");
    let (mut loaded, mut live) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        sleep(STALE);
        browser.open("about:blank")?;
        browser.open(&format!("http://{address}/"))?;
        browser.until("document.readyState + (known.size > 0)", &["completetrue"])?;
        let timing = "performance.getEntriesByType('navigation')[0].loadEventEnd";
        loaded.push(in_page(browser, timing)?);
        let drawn = "performance.getEntriesByName('first-contentful-paint')[0].startTime";
        live.push(in_page(browser, drawn)?);
    }
    println!("  first drawn: {}", spread(live));
    println!("  loaded: {}", spread(loaded));

    let search =
        |text: &str| format!("search.value = '{text}'; search.dispatchEvent(new Event('input'))");
    let (mut found, mut all) = (Vec::new(), Vec::new());
    let page = count.min(SHOWN);
    for round in 0..rounds {
        let one = name(count - 1 - round);
        let is_found = format!("rows.children.length === 1 && rows.textContent.includes('{one}')");
        found.push(timed(browser, &search(one.get(20..).unwrap_or_default()), &is_found)?);
        all.push(timed(browser, &search(""), &format!("rows.children.length === {page}"))?);
    }
    println!("  a search for one, 250 ms of waiting for more keys included: {}", spread(found));
    println!("  and back to all: {}", spread(all));

    let mut next = Vec::new();
    for round in 1..=rounds.min(count / page - 1) {
        let shown = format!("rows.textContent.includes('{}')", name(round * page));
        next.push(timed(browser, "document.querySelector('[data-page=next]').click()", &shown)?);
    }
    println!("  the next {page}: {}", spread(next));

    // As many rows as there can be, the last of them all, scrolled through from end to end.
    let (most, last) = (count.min(1000), name(count - 1));
    let offset = count - most;
    browser.open(&format!("http://{address}/?limit={most}&offset={offset}"))?;
    browser.until("`${known.size} ${rows.textContent}`", &[&most.to_string(), &last])?;
    let frames = browser.evaluate(
        "new Promise(done => {
            const frames = [];
            let last = performance.now();
            scrollTo(0, 0);
            const step = (now) => {
                frames.push(now - last);
                last = now;
                const before = scrollY;
                scrollBy(0, 200);
                if (scrollY !== before) return requestAnimationFrame(step);
                frames.sort((a, b) => a - b);
                const at = (share) => frames[Math.floor((frames.length - 1) * share)].toFixed(0);
                done(`${frames.length} frames, median ${at(0.5)} ms, 99 % within ${at(0.99)} ms, longest ${at(1)} ms`);
            };
            requestAnimationFrame(step);
        })",
    )?;
    println!("  scrolled through {most} rows, 200 pixels a frame: {frames}");
    Ok(())
}

/// A figure of the page in ms.
fn in_page(browser: &mut Browser, expression: &str) -> Result<Duration> {
    Ok(Duration::from_secs_f64(browser.evaluate(expression)?.parse::<f64>()? / 1000.0))
}

/// From the instant of a change to the row in the page, by the clock that both read.
fn changes(browser: &mut Browser, runtime: &Runtime, fleet: &Fleet, rounds: usize) -> Result<()> {
    println!("a change, from its instant until the row is drawn");
    let (mut said, mut died) = (Vec::new(), Vec::new());
    for number in 0..rounds.min(APART) {
        let name = name(number);
        watch_for(browser, &name, "degraded")?;
        let at = system::epoch()?;
        runtime.block_on(fleet.say(number, "degraded/3600"))?;
        browser.until("typeof seen", &["number"])?;
        said.push(in_page(browser, &format!("seen - {at}"))?);
        // A death: what it promised runs out, and nobody says so but the monitor.
        watch_for(browser, &name, "down")?;
        runtime.block_on(fleet.say(number, "beat/0.5"))?;
        browser.until("typeof seen", &["number"])?;
        let since = "Date.parse(rows.firstElementChild.querySelector('time').dateTime)";
        died.push(in_page(browser, &format!("seen - {since}"))?);
        runtime.block_on(fleet.say(number, "beat/3600"))?;
        browser.until(&format!("known.get('{name}').className"), &["up"])?;
    }
    println!("  a heart says that it is degraded: {}", spread(said));
    println!("  a heart that is silent is down: {}", spread(died));
    Ok(())
}

/// Has the page note in `seen` when its first row is of this process in this state.
fn watch_for(browser: &mut Browser, name: &str, state: &str) -> Result<()> {
    let script = format!(
        "delete window.seen;
        const look = () => {{
            const first = rows.firstElementChild;
            if (!first.classList.contains('{state}') || !first.textContent.includes('{name}')) return;
            watcher.disconnect();
            requestAnimationFrame(() => window.seen = Date.now());
        }};
        const watcher = new MutationObserver(look);
        watcher.observe(rows, {{ childList: true, subtree: true, attributes: true }});"
    );
    browser.evaluate(&format!("(() => {{ {script} }})()")).map(drop)
}

/// Everybody changes at once, as when what they all depend on is slow.
fn limping(browser: &mut Browser, runtime: &Runtime, fleet: &Fleet, count: usize) -> Result<()> {
    let began = system::epoch()?;
    runtime.block_on(fleet.limp())?;
    let said = system::epoch()?;
    browser
        .until("document.querySelector('.tile.degraded b').textContent", &[&count.to_string()])?;
    let shown = system::epoch()?;
    println!("  all of them, said within {:.0} ms: {:.0} ms later", said - began, shown - said);
    Ok(())
}

/// What it takes to keep one page up to date.
fn resources(server: u32, seconds: u64) {
    println!("one page open for {seconds} s more, nothing but beats");
    let (span, before) = (Duration::from_secs(seconds), system::busy(server));
    sleep(span);
    if let Some((before, after)) = before.zip(system::busy(server)) {
        let share = (after - before).as_secs_f64() * 100.0 / span.as_secs_f64();
        println!("  the server: {share:.1} % of a core");
    }
    let all = [("the server", system::memory(server)), ("the tab's process", system::renderer())];
    for (what, memory) in all {
        if let Some(Memory { now, most }) = memory {
            println!("  {what}: {now} MiB, {most} MiB at most so far");
        }
    }
}

/// The median, and the worst.
fn spread(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let mut text = all.get(all.len() / 2).map_or_else(String::new, |it| millis(*it));
    if let Some(worst) = all.last() {
        let _ = write!(text, " ({})", millis(*worst));
    }
    text
}

fn millis(it: Duration) -> String {
    format!("{:.1} ms", it.as_secs_f64() * 1000.0)
}
