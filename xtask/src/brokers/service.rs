//! A broker that `brokers up` leaves running, until `brokers down`.

use std::{
    fmt, fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{folder, identity::Identity, record::Record};
use crate::{
    failure::{Context, Failure, Result},
    workspace::Workspace,
};

/// One kind of broker: its name, and how to start it with its files in a folder.
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) prepare: fn(&Workspace, &Path) -> Result<Start>,
    /// How long it may take to start.
    pub(super) limit: Duration,
}

/// A broker that is yet to be started.
pub(super) struct Start {
    /// Runs it in the foreground.
    pub(super) command: Command,
    /// Its URL and port, once the process with this id takes connections.
    pub(super) ready: Box<dyn Fn(u32) -> Option<(String, u16)>>,
}

impl Service {
    /// Starts a broker that outlives this chore, or tells of the one that runs.
    pub(super) fn up(&self, workspace: &Workspace) -> Result {
        let dir = folder(workspace)?;
        let note = dir.join(format!("{self}.json"));
        if let Some(record) = Record::read(&note)?.filter(|record| record.identity.is_running()) {
            println!("{self}: running already, process {}", record.identity.pid);
            show(&record);
            return Ok(());
        }
        let Start { mut command, ready } = (self.prepare)(workspace, &dir)?;
        let log = dir.join(format!("{self}.log"));
        let (out, err) = fs::File::create(&log)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .context(log.display())?;
        // A process group of its own: Ctrl-C in this terminal is not meant for it.
        command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = command.spawn().context(self)?;
        let record = match self.started(&mut child, &ready) {
            Ok(record) => record,
            Err(failure) => {
                // It may have ended by itself; otherwise nobody would know of it any more.
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::new(format!("{failure}; its log is {}", log.display())));
            }
        };
        record.write(&note)?;
        println!("{self}: started, process {}, log {}", record.identity.pid, log.display());
        show(&record);
        Ok(())
    }

    pub(super) fn status(&self, workspace: &Workspace) -> Result {
        match Record::read(&folder(workspace)?.join(format!("{self}.json")))? {
            Some(record) if record.identity.is_running() => {
                let program = record.identity.program().unwrap_or_default();
                println!("{self}: running, process {}, {}", record.identity.pid, program.display());
                show(&record);
            }
            Some(record) => println!("{self}: gone, process {} ended", record.identity.pid),
            None => println!("{self}: not running"),
        }
        Ok(())
    }

    /// Stops the broker that `up` started, and no other.
    pub(super) fn down(&self, workspace: &Workspace) -> Result {
        let note = folder(workspace)?.join(format!("{self}.json"));
        let Some(record) = Record::read(&note)? else {
            println!("{self}: not running");
            return Ok(());
        };
        record.identity.stop(Duration::from_secs(10))?;
        fs::remove_file(&note).context(note.display())?;
        println!("{self}: stopped, process {}", record.identity.pid);
        Ok(())
    }

    fn started(
        &self,
        child: &mut Child,
        ready: &dyn Fn(u32) -> Option<(String, u16)>,
    ) -> Result<Record> {
        let identity = Identity::of(child.id())?;
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some((url, port)) = ready(identity.pid) {
                return Ok(Record { identity, port, url });
            }
            if let Some(status) = child.try_wait().context("waiting for it")? {
                return Err(Failure::new(format!("{self} ended at once: {status}")));
            }
            if Instant::now() >= deadline {
                let seconds = self.limit.as_secs();
                return Err(Failure::new(format!("{self} was not ready within {seconds} s")));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn show(record: &Record) {
    println!("{}", record.url);
    println!("export SINEW_URL={}", record.url);
}
