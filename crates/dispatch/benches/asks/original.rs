//! ate-dispatcher, in a Python of its own, told what to do a line at a time.
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use sinew_core::ErrorKind;
use sinew_testkit::harness::find_python;

use crate::Outcome;

/// So many producers; each line says how many asks, one after the other, and is answered by the seconds they took.
const SCRIPT: &str = "\
import sys, time, threading
from ate_dispatcher import ATEDispatcher, Producer, ResultListener

class Answers(Producer):
    def produce_dispatcher_output(self, topic, wafer):
        return wafer

class Counts(ResultListener):
    def __init__(self, wanted):
        super().__init__()
        self.wanted, self.seen, self.all = wanted, 0, threading.Event()
    def process_dispatcher_result(self, topic, response):
        self.seen += 1
        if self.seen == self.wanted:
            self.seen = 0
            self.all.set()

count = int(sys.argv[1])
dispatcher, listener = ATEDispatcher(), Counts(count)
producers = [Answers() for _ in range(count)]
for producer in producers:
    dispatcher.register_result_producer(producer, 'wafer')
dispatcher.register_result_listener(listener, 'wafer')
threads = [dispatcher, listener, *producers]
for thread in threads:
    thread.daemon = True
    thread.start()
print('ready', flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    for _ in range(int(line)):
        listener.all.clear()
        dispatcher.send_request('wafer', 'wafer 7')
        listener.all.wait()
    print(time.perf_counter() - began, flush=True)
";

pub(crate) struct Original {
    child: Child,
    orders: ChildStdin,
    times: BufReader<ChildStdout>,
}

impl Original {
    /// `None` where no Python is found that has it.
    pub(crate) fn start(producers: usize) -> Outcome<Option<Self>> {
        let python = match find_python() {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
            python => python?,
        };
        let mut child = Command::new(python)
            .args(["-c", SCRIPT, &producers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let orders = child.stdin.take().ok_or("no way in")?;
        let mut times = BufReader::new(child.stdout.take().ok_or("no way out")?);
        let mut ready = String::new();
        times.read_line(&mut ready)?;
        let mut original = Self { child, orders, times };
        match ready.trim() {
            "ready" => Ok(Some(original)),
            _ => {
                original.child.wait()?;
                Ok(None)
            }
        }
    }

    /// The time of one ask, of so many.
    pub(crate) fn ask(&mut self, asks: u32) -> Outcome<Duration> {
        writeln!(self.orders, "{asks}")?;
        let mut seconds = String::new();
        self.times.read_line(&mut seconds)?;
        Ok(Duration::from_secs_f64(seconds.trim().parse()?) / asks)
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
