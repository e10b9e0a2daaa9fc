//! nameko, in a Python of its own, told what to do a line at a time.
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use sinew_core::ErrorKind;
use sinew_testkit::harness::find_nameko;

use crate::{Order, Outcome};

pub(crate) struct Original {
    child: Child,
    orders: ChildStdin,
    times: BufReader<ChildStdout>,
}

impl Original {
    /// `None`, and said so, where no Python is found that has it.
    pub(crate) fn start(url: &str, workers: usize) -> Outcome<Option<Self>> {
        let python = match find_nameko() {
            Err(err) if err.kind() == ErrorKind::NotFound => {
                println!("  nameko skipped: {err}");
                return Ok(None);
            }
            python => python?,
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/events/peer.py");
        let url = url.replacen("amqp://", "pyamqp://", 1);
        let mut child = Command::new(python)
            .args(["-W", "ignore", script, &url, &workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("no way in")?;
        let times = BufReader::new(child.stdout.take().ok_or("no way out")?);
        let mut original = Self { child, orders, times };
        match original.line()?.trim() {
            "ready" => Ok(Some(original)),
            other => Err(format!("nameko said {other:?}").into()),
        }
    }

    /// The time of one emit, of so many.
    pub(crate) fn emit(
        &mut self,
        event_type: &str,
        order: &Order,
        count: u32,
    ) -> Outcome<Duration> {
        let order = serde_json::to_string(order)?;
        self.ask(&format!("emit {event_type} {count} {order}"), count)
    }

    /// The time of one event, of so many that wait in the queue.
    pub(crate) fn handle(&mut self, count: u32) -> Outcome<Duration> {
        self.ask(&format!("handle {count}"), count)
    }

    fn ask(&mut self, what: &str, count: u32) -> Outcome<Duration> {
        writeln!(self.orders, "{what}")?;
        Ok(Duration::from_secs_f64(self.line()?.trim().parse()?) / count)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.times.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
