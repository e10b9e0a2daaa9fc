//! A process of nameko services, told what to do by lines of JSON.
use std::{
    collections::{HashMap, VecDeque},
    fmt::Display,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{
        Mutex as AsyncMutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};

use crate::world::{Outcome, soon, text};

/// Dropped, it is killed.
pub(crate) struct Peer {
    _child: Child,
    shared: Arc<Shared>,
}

struct Shared {
    input: AsyncMutex<ChildStdin>,
    numbers: AtomicU64,
    /// Who hears what is told of each trial.
    desks: Mutex<HashMap<String, UnboundedSender<Value>>>,
}

impl Peer {
    pub(crate) async fn start(python: &Path, url: &str, more: &[&str]) -> Outcome<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nameko/peer.py");
        let mut child = Command::new(python)
            .args(["-W", "ignore", script, url])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What nameko logs of failures that are meant.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a Python without pipes".into());
        };
        let (input, numbers) = (AsyncMutex::new(input), AtomicU64::new(0));
        let shared = Arc::new(Shared { input, numbers, desks: Mutex::default() });
        tokio::spawn(hear(BufReader::new(output).lines(), Arc::clone(&shared)));
        Ok(Self { _child: child, shared })
    }

    /// What is told of one trial from now on, and the way to tell it something.
    pub(crate) fn desk(&self, tag: &str) -> Desk {
        let (teller, told) = unbounded_channel();
        self.shared.desks().insert(tag.to_owned(), teller);
        let shared = Arc::clone(&self.shared);
        Desk { shared, tag: tag.to_owned(), told, kept: VecDeque::new() }
    }
}

impl Shared {
    fn desks(&self) -> std::sync::MutexGuard<'_, HashMap<String, UnboundedSender<Value>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands each line to whom it concerns, until the process ends.
async fn hear(mut lines: Lines<BufReader<ChildStdout>>, shared: Arc<Shared>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(told) = serde_json::from_str::<Value>(&line) else { continue };
        if let Some(desk) = shared.desks().get(text(&told, "tag")) {
            // A trial that is over hears nothing.
            let _ = desk.send(told);
        }
    }
    // Whoever waits learns that nothing comes.
    shared.desks().clear();
}

/// One trial's line to a process.
pub(crate) struct Desk {
    shared: Arc<Shared>,
    tag: String,
    told: UnboundedReceiver<Value>,
    kept: VecDeque<Value>,
}

impl Desk {
    /// Tells it to `what`, and gives its answer's number.
    async fn tell(&mut self, what: &str, arguments: Value) -> Outcome<u64> {
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        let mut command = json!({ "do": what, "tag": self.tag, "number": number });
        if let (Value::Object(command), Value::Object(arguments)) = (&mut command, arguments) {
            command.extend(arguments);
        }
        let mut input = self.shared.input.lock().await;
        input.write_all(format!("{command}\n").as_bytes()).await?;
        input.flush().await?;
        Ok(number)
    }

    /// Has it done; the error that Python says it failed with.
    pub(crate) async fn attempt(
        &mut self,
        what: &str,
        arguments: Value,
    ) -> Outcome<Result<(), String>> {
        let number = self.tell(what, arguments).await?;
        let answer = self.until(what, |it| it.get("number") == Some(&number.into())).await?;
        Ok(match text(&answer, "told") {
            "done" => Ok(()),
            _ => Err(text(&answer, "error").to_owned()),
        })
    }

    /// The same, where it is to succeed.
    pub(crate) async fn ask(&mut self, what: &str, arguments: Value) -> Outcome {
        Ok(self.attempt(what, arguments).await??)
    }

    /// Starts a service of these handlers, known as `name`.
    pub(crate) async fn start(
        &mut self,
        name: &str,
        service: &str,
        handlers: impl IntoIterator<Item = Value>,
    ) -> Outcome {
        let handlers: Vec<_> = handlers.into_iter().collect();
        let spec = json!({ "name": name, "service": service, "handlers": handlers });
        self.ask("start", spec).await
    }

    /// Emits from a worker with this context.
    pub(crate) async fn emit(
        &mut self,
        source: &str,
        event_type: &str,
        payload: &str,
        context: Value,
    ) -> Outcome {
        let what =
            json!({ "source": source, "type": event_type, "payload": payload, "context": context });
        self.ask("emit", what).await
    }

    /// The first thing told that is `wanted`; others are kept for who asks later.
    pub(crate) async fn until(
        &mut self,
        what: impl Display + Send,
        wanted: impl Fn(&Value) -> bool + Send + Sync,
    ) -> Outcome<Value> {
        if let Some(index) = self.kept.iter().position(&wanted) {
            return self.kept.remove(index).ok_or_else(|| "it was there".into());
        }
        let (told, kept) = (&mut self.told, &mut self.kept);
        let heard = soon(format!("what Python tells: {what}"), async {
            while let Some(it) = told.recv().await {
                if wanted(&it) {
                    return Some(it);
                }
                kept.push_back(it);
            }
            None
        });
        heard.await?.ok_or_else(|| format!("Python ended before {what}").into())
    }

    /// The next event that `method` has handled.
    pub(crate) async fn handled(&mut self, method: &str) -> Outcome<Value> {
        self.told(method, "handled").await
    }

    /// The next event that came to `method`, as it was on the wire.
    pub(crate) async fn received(&mut self, method: &str) -> Outcome<Value> {
        self.told(method, "received").await
    }

    async fn told(&mut self, method: &str, how: &str) -> Outcome<Value> {
        let wanted = |it: &Value| text(it, "told") == how && text(it, "method") == method;
        self.until(format!("{method} has {how}"), wanted).await
    }

    /// Whether `method` has told of something that nobody asked for; what is on its way is not waited for.
    pub(crate) fn has_more(&mut self, method: &str) -> bool {
        while let Ok(it) = self.told.try_recv() {
            self.kept.push_back(it);
        }
        self.kept.iter().any(|it| text(it, "told") == "handled" && text(it, "method") == method)
    }
}
