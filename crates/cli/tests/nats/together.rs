//! Hearts in Python and in Rust side by side on one page, as a real browser shows them on a desk and on a phone.
use std::{path::Path, process::Stdio};

use sinew_testkit::harness::nats::NatsServerOptions;
use tokio::runtime::Runtime;

use crate::{
    Body,
    beats::beatit,
    browser::Browser,
    common::{Result, Running, sinew},
    serves::Page,
};

pub(crate) const TRIALS: &[(&str, Body)] =
    &[("a_browser_shows_hearts_in_python_and_in_rust_side_by_side", side_by_side)];

/// State and name of each row, in their order.
const ROWS: &str = "[...rows.children].map(tr => \
    `${tr.querySelector('b').textContent} ${tr.querySelector('bdi').textContent}`).join('|')";

fn side_by_side(runtime: &Runtime) -> Result<()> {
    let mut browser = Browser::start()?;
    let server = runtime.block_on(NatsServerOptions::new().start())?;
    let url = server.url();
    // Longer than the trial, whatever the machine is busy with.
    let [lives, limps] = ["beat/2", "degraded/2"].map(|beat| [beat, "wait/1.1"].repeat(300));
    let mut orders = beatit(&url, "python.orders", &[&["start/60"], &lives[..]].concat())?;
    let _mailer = beatit(&url, "python.mailer", &limps)?;
    let send = ["beat", "send", "rust.billing", "--every", "1s", "--period", "5s", "--url", &url];
    let _billing = Running::start(sinew(&send))?;
    let run = ["beat", "run", "rust.report", "--url", &url, "--", "sh", "-c", "read line"];
    let mut report = sinew(&run);
    report.stdin(Stdio::piped());
    let _report = Running::start(report)?;

    let page = Page::start(&url, &["--expect", "rust.ledger"])?;
    browser.open(&format!("http://{}/", page.address))?;
    let rust = ["expected rust.ledger", "up rust.billing", "up rust.report"];
    let alive = [&["degraded python.mailer", "up python.orders"], &rust[..]].concat();
    browser.until(ROWS, &alive)?;
    photograph(&mut browser, "alive")?;

    orders.child.kill()?;
    browser.until("document.title", &["(1 down) sinew beat"])?;
    browser.until(ROWS, &[&["down python.orders|degraded python.mailer"], &rust[..]].concat())?;
    browser.until("news.textContent", &["python.orders late \u{2192} down silent"])?;
    photograph(&mut browser, "killed")
}

/// A picture of each size and each light for who wants to look, and what nobody needs to look for: that nothing is cut
/// off, and that what is written in the dark is light.
fn photograph(browser: &mut Browser, name: &str) -> Result<()> {
    for (screen, width, height) in [("desk", 1280, 800), ("phone", 390, 844)] {
        browser.resize(width, height, screen == "phone")?;
        browser.darken(true)?;
        let lightness = |what: &str| {
            format!(
                "String(getComputedStyle(document.body).{what}.match(/[0-9]+/g).slice(0, 3).every(it => it > 128))"
            )
        };
        for (what, is_light) in [("color", "true"), ("backgroundColor", "false")] {
            assert_eq!(browser.evaluate(&lightness(what))?, is_light, "{what} in the dark");
        }
        let file = format!("page-{name}-{screen}-dark.png");
        browser.photograph(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(file))?;
        browser.darken(false)?;
        let file = format!("page-{name}-{screen}.png");
        browser.photograph(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(file))?;
        let beyond = "(it => it.scrollWidth - it.clientWidth)(document.documentElement)";
        assert_eq!(
            browser.evaluate(beyond)?,
            "0",
            "pixels beyond the edge of the {screen}'s screen"
        );
    }
    Ok(())
}
