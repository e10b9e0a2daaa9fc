//! A headless Chromium, driven by its DevTools protocol over a WebSocket.
use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Instant,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sinew_core::{Error, ErrorKind};
use tempfile::TempDir;

use crate::common::{DEADLINE, Result, Running};

/// A browser with one tab; it ends when it is dropped.
pub(crate) struct Browser {
    socket: BufReader<TcpStream>,
    asked: u64,
    _running: Running,
    _profile: TempDir,
}

impl Browser {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new(find()?);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--remote-debugging-port=0", "about:blank"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut running = Running::start(command)?;
        let remarks = running.until_remark("DevTools listening on ws://")?;
        let address = remarks.split("ws://").nth(1).and_then(|it| it.split('/').next());
        let address = address.ok_or("no address")?;
        let tab = tab(address)?;
        Ok(Self { socket: upgrade(address, &tab)?, asked: 0, _running: running, _profile: profile })
    }

    /// Opens a page, and waits for nothing.
    pub(crate) fn open(&mut self, url: &str) -> Result<()> {
        self.ask("Page.navigate", &json!({ "url": url })).map(drop)
    }

    /// What an expression comes to, as text.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Result<String> {
        let params = json!({ "expression": expression, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", &params)?;
        Ok(match &answer["result"]["value"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// Waits until an expression has all of these in it.
    pub(crate) fn until(&mut self, expression: &str, wanted: &[&str]) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        // The page looks, and takes its time between two looks. What is not there yet is nothing.
        let value = format!("(() => {{ try {{ return {expression} }} catch {{ return '' }} }})()");
        let look = format!("new Promise(done => setTimeout(() => done({value}), 20))");
        loop {
            let found = self.evaluate(&look)?;
            if wanted.iter().all(|it| found.contains(it)) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("{expression} never had {wanted:?}: {found}").into());
            }
        }
    }

    /// Is a screen of this size from now on: a phone's, or one on a desk.
    pub(crate) fn resize(&mut self, width: u32, height: u32, is_phone: bool) -> Result<()> {
        let screen = json!({
            "width": width, "height": height, "deviceScaleFactor": 2, "mobile": is_phone,
        });
        self.ask("Emulation.setDeviceMetricsOverride", &screen).map(drop)
    }

    /// Likes it dark, or light, from now on.
    pub(crate) fn darken(&mut self, is_dark: bool) -> Result<()> {
        let value = if is_dark { "dark" } else { "light" };
        let likes = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.ask("Emulation.setEmulatedMedia", &likes).map(drop)
    }

    /// What is on the screen, as a PNG file.
    pub(crate) fn photograph(&mut self, path: &Path) -> Result<()> {
        let answer = self.ask("Page.captureScreenshot", &json!({ "format": "png" }))?;
        let picture = answer["data"].as_str().ok_or("no picture")?;
        Ok(fs::write(path, BASE64_STANDARD.decode(picture)?)?)
    }

    fn ask(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.asked += 1;
        let question = json!({ "id": self.asked, "method": method, "params": params });
        write_frame(self.socket.get_mut(), question.to_string().as_bytes())?;
        loop {
            let answer: Value = serde_json::from_slice(&read_frame(&mut self.socket)?)?;
            if answer["id"] == self.asked {
                return Ok(answer["result"].clone());
            }
        }
    }
}

/// A browser: the one that `SINEW_CHROMIUM` names, or by whichever name there is one.
pub(crate) fn find() -> Result<String> {
    let chosen = env::var("SINEW_CHROMIUM").ok().filter(|chosen| !chosen.is_empty());
    let names = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let found = chosen.into_iter().chain(names).find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|it| it.status.success())
    });
    let missing = || Error::new(ErrorKind::NotFound, "find chromium");
    Ok(found.ok_or_else(missing)?)
}

/// The path of the one tab's socket.
fn tab(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET /json/list HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let (mut stream, mut line, mut length) = (BufReader::new(stream), String::new(), 0);
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line)?;
        if let Some(("content-length", value)) = line.to_lowercase().split_once(':') {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let tabs: Value = serde_json::from_slice(&body)?;
    let tab = tabs.as_array().and_then(|all| all.iter().find(|it| it["type"] == "page"));
    let url = tab.and_then(|it| it["webSocketDebuggerUrl"].as_str()).ok_or("no tab")?;
    Ok(url.trim_start_matches("ws://").trim_start_matches(address).to_owned())
}

fn upgrade(address: &str, path: &str) -> Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )?;
    let (mut stream, mut line) = (BufReader::new(stream), String::new());
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err("the browser closed the socket".into());
        }
    }
    Ok(stream)
}

/// One frame of text, masked with zeros, as RFC 6455 lets a client.
fn write_frame(stream: &mut impl Write, text: &[u8]) -> Result<()> {
    let length = u16::try_from(text.len())?.to_be_bytes();
    stream.write_all(&[&[0x81, 0x80 | 126], &length[..], &[0; 4], text].concat())?;
    Ok(())
}

/// The text of one frame; the browser sends none in parts.
fn read_frame(stream: &mut impl Read) -> Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            u64::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            u64::from_be_bytes(length)
        }
        length => u64::from(length),
    };
    let mut text = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut text)?;
    Ok(text)
}
