//! A page over the memory backend, and a small client of HTTP.
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use sinew_beat::{MonitorOptions, Process, Watch, WatchOptions};
use sinew_core::{Address, AnyBackend, Message, Publish as _};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    commands::beat::{
        config::Config,
        serve::{
            access::{Gate, Token},
            board::Board,
            desk::Desk,
            hearing::hear,
            routes::{self, Shown},
            server::{Limits, serve},
            upkeep::Upkeep,
        },
    },
    output::{Chatter, Output},
};

/// Nothing here takes longer, unless it hangs.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A page, its fleet, and its server.
pub(super) struct Page {
    pub(super) backend: AnyBackend,
    pub(super) board: Arc<Board>,
    pub(super) desk: Arc<Desk>,
    pub(super) address: SocketAddr,
    pub(super) stop: watch::Sender<bool>,
    pub(super) server: JoinHandle<()>,
    pub(super) hearing: JoinHandle<Result<(), sinew_core::Error>>,
}

impl Page {
    pub(super) async fn start(expected: &[&str]) -> Self {
        Self::start_with(expected, None, Limits::default()).await
    }

    pub(super) async fn start_with(
        expected: &[&str],
        token: Option<Token>,
        limits: Limits,
    ) -> Self {
        Self::start_config(expected, token, limits, "").await
    }

    /// As a file says.
    pub(super) async fn start_config(
        expected: &[&str],
        token: Option<Token>,
        limits: Limits,
        config: &str,
    ) -> Self {
        static PAGES: AtomicUsize = AtomicUsize::new(0);
        let own = format!("memory:page-{}", PAGES.fetch_add(1, Ordering::Relaxed));
        let backend = sinew_connect::connect(&own).await.unwrap();
        let expected = expected.iter().map(|name| Process::parse(name).unwrap());
        let options = WatchOptions::default()
            .with_monitor(MonitorOptions::default().with_max_processes(20_000));
        let options = expected.fold(options, WatchOptions::with_expected);
        let watch = Watch::start(&backend.subscriber().unwrap(), options).await.unwrap();
        let config = Config::parse(config, Path::new("sinew.toml")).unwrap();
        let output = Output::new(false, Chatter::Quiet);
        let desk = Arc::new(Desk::new(&config, watch.clock(), output, None, Vec::new()));
        let board = Arc::new(Board::new(watch.table(), 20_000, &[]));
        let stop = watch::Sender::new(false);
        let upkeep = Arc::new(Upkeep::default());
        let (events, _) = mpsc::channel(1);
        let hearing = tokio::spawn(hear(
            watch,
            Arc::clone(&board),
            Arc::clone(&desk),
            Arc::clone(&upkeep),
            events,
            stop.subscribe(),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Gate::new(address, token, false).unwrap();
        let (shown_board, shown_desk) = (Arc::clone(&board), Arc::clone(&desk));
        let shown = Shown { board: shown_board, desk: shown_desk, upkeep, keeper: None };
        let router = routes::router(shown, gate, stop.subscribe());
        let server = tokio::spawn(serve(listener, router, limits, stop.subscribe()));
        Self { backend, board, desk, address, stop, server, hearing }
    }

    pub(super) async fn beat(&self, process: &str, payload: &str) {
        let address = Address::from_wire(None, format!("heartbeat.{process}"));
        let message = Message::to(address, payload.to_owned());
        self.backend.publisher().unwrap().publish(message).await.unwrap().await.unwrap();
        let mut changes = self.board.changes();
        let known = async {
            while self.board.log(&Process::parse(process).unwrap()).is_empty() {
                changes.changed().await.unwrap();
            }
        };
        timeout(DEADLINE, known).await.unwrap();
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What comes back for these lines.
    pub(super) async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::read(stream).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        // With HTTP/1.0 a body is what comes until the end.
        self.ask(&format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")).await
    }

    /// Sends an object, with more lines in the head.
    pub(super) async fn send(&self, method: &str, path: &str, head: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{head}Content-Length: {length}\r\n\r\n{body}"
        );
        self.ask(&request).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, "Content-Type: application/json\r\n", body).await
    }

    pub(super) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        serde_json::from_str(&answer.body).unwrap()
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            line.split_once(": ").filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|it| it.1)
        })
    }
}

/// A page that listens: its events, one by one.
pub(super) struct Listener {
    stream: TcpStream,
    text: String,
}

impl Listener {
    pub(super) async fn start(page: &Page, query: &str) -> Self {
        let mut stream = page.connect().await;
        let request = format!("GET /api/events{query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// The next event's name and data; none at the end.
    pub(super) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
                };
                let found = (field("event: ").to_owned(), field("data: ").to_owned());
                self.text = rest.to_owned();
                if found.1.is_empty() {
                    continue;
                }
                return Some((found.0, serde_json::from_str(&found.1).unwrap()));
            }
            let mut bytes = vec![0; 64 * 1024];
            let read = timeout(DEADLINE, self.stream.read(&mut bytes)).await.unwrap().unwrap();
            if read == 0 {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }
}
