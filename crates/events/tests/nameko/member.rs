//! A service of ours in a process of its own, which is told to end as operators tell it: by signals.
use std::{
    env,
    io::Write as _,
    process::{ExitCode, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sinew_events::{Context, EventHandler, HandlerError, RetryPolicy, Service};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::{Mutex, Semaphore},
};

use crate::world::{Outcome, options, soon};

/// Set in such a process: a [`Spec`].
pub(crate) const SPEC: &str = "SINEW_TEST_MEMBER";

/// How many events each handler is sent ahead.
pub(crate) const AHEAD: u16 = 3;

/// What it is to be: one worker, for events of two types.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Spec {
    pub(crate) url: String,
    pub(crate) source: String,
    pub(crate) service: String,
    pub(crate) within: Duration,
    /// Whether an event ends the process, as what overflows a stack does.
    pub(crate) crashes: bool,
    pub(crate) max_deliveries: Option<u32>,
}

/// The process. It says what it begins, a line each; each line that it reads lets one event end.
pub(crate) fn main(spec: &str) -> ExitCode {
    let ended: Outcome = (|| {
        let spec = serde_json::from_str(spec)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let ended = runtime.block_on(serve(spec));
        // A read of the standard input is still on.
        runtime.shutdown_background();
        ended
    })();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // Read by whoever started it.
            drop(writeln!(std::io::stderr(), "{err}"));
            ExitCode::FAILURE
        }
    }
}

fn say(what: &str) -> Result<(), HandlerError> {
    let mut output = std::io::stdout();
    writeln!(output, "{what}")?;
    Ok(output.flush()?)
}

async fn serve(spec: Spec) -> Outcome {
    let signals = Arc::new(Mutex::new(signal(SignalKind::terminate())?));
    let backend = options(&spec.url).connect().await?.into_any();
    let gate = Arc::new(Semaphore::new(0));
    let door = Arc::clone(&gate);
    tokio::spawn(async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(_)) = lines.next_line().await {
            door.add_permits(1);
        }
    });
    let mut retry = RetryPolicy::none();
    if let Some(deliveries) = spec.max_deliveries {
        retry = retry.with_max_deliveries(deliveries);
    }
    let service = Service::new(&spec.service)?.with_max_workers(1).with_retry(retry);
    let mut service = service.with_prefetch(AHEAD);
    for event_type in ["created", "paid"] {
        let gate = Arc::clone(&gate);
        let handler = move |context: Context, payload: Json| {
            let gate = Arc::clone(&gate);
            async move {
                say(&payload.to_string())?;
                if spec.crashes {
                    std::process::abort();
                }
                gate.acquire().await?.forget();
                // Its context is alive to the end.
                context.emit("billed", &payload).await?;
                Ok::<_, HandlerError>(())
            }
        };
        service = service.with_handler(EventHandler::new(
            &spec.source,
            event_type,
            event_type,
            handler,
        ))?;
    }
    let running = service.start(&backend).await?;
    let terminated = || {
        let signals = Arc::clone(&signals);
        async move {
            let _ = signals.lock().await.recv().await;
        }
    };
    running.run_until(terminated, spec.within).await?;
    Ok(())
}

/// A running one. Dropped, it is killed.
pub(crate) struct Member {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Member {
    pub(crate) fn start(spec: &Spec) -> Outcome<Self> {
        let mut child = Command::new(env::current_exe()?)
            .env(SPEC, serde_json::to_string(spec)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a process without pipes".into());
        };
        Ok(Self { child, input, lines: BufReader::new(output).lines() })
    }

    /// The payload of the next event that it begins; none once it has ended.
    pub(crate) async fn begun(&mut self) -> Outcome<Option<String>> {
        Ok(soon("what a member begins", self.lines.next_line()).await??)
    }

    /// Lets one event end.
    pub(crate) async fn go_on(&mut self) -> Outcome {
        self.input.write_all(b"go on\n").await?;
        Ok(self.input.flush().await?)
    }

    pub(crate) fn terminate(&self) -> Outcome {
        let id = self.child.id().ok_or("it has ended")?;
        let id = Pid::from_raw(i32::try_from(id)?).ok_or("no process id")?;
        Ok(kill_process(id, Signal::TERM)?)
    }

    /// How it ends, and what it says of that.
    pub(crate) async fn ended(&mut self) -> Outcome<(ExitStatus, String)> {
        let status = soon("the end of a member", self.child.wait()).await??;
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut said).await?;
        }
        Ok((status, said))
    }
}
