//! What the monitor tells: to the page, to the desk, and to who reads the output.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use sinew_beat::{MonitorEvent, Watch};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{board::Board, desk::Desk};
use crate::{
    commands::beat::Report,
    exit::{Failure, Status},
    interrupt::{Ending, Stop},
    output::Output,
    session::Session,
};

/// How long whoever reads may take to read what is left.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Takes in what the monitor tells, whoever reads it, until the end. How many events could not wait to be printed.
pub(super) async fn hear(
    mut watch: Watch,
    board: Arc<Board>,
    desk: Arc<Desk>,
    events: mpsc::Sender<MonitorEvent>,
    mut stop: watch::Receiver<bool>,
) -> Result<u64, sinew_core::Error> {
    let mut unprinted = 0;
    let end = loop {
        let event = tokio::select! {
            event = watch.next() => event,
            () = desk.tend() => continue,
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {
                // Whoever watches us is told that we end on purpose.
                break watch.stop().await.map(|()| unprinted);
            }
        };
        match event {
            Some(Ok(event)) => {
                board.hear(&event);
                desk.hear(&event);
                unprinted += u64::from(events.try_send(event).is_err());
            }
            Some(Err(err)) => break Err(err),
            None => break Ok(unprinted),
        }
    };
    board.end();
    end
}

/// What ended the hearing.
pub(super) fn heard(
    end: Result<Result<u64, sinew_core::Error>, tokio::task::JoinError>,
    output: Output,
) -> Result<(), Failure> {
    match end {
        Ok(Ok(0)) | Err(_) => Ok(()),
        Ok(Ok(unprinted)) => {
            output.remark(format_args!(
                "{unprinted} events were not printed: nobody read them in time"
            ));
            Ok(())
        }
        Ok(Err(err)) => Err(err.into()),
    }
}

/// What happens, printed on a thread of its own: whoever reads it may be slow, or not read at all. Neither the page nor
/// the end waits for it.
pub(super) struct Printing {
    told: Arc<AtomicU64>,
    printed: oneshot::Receiver<Result<(), Failure>>,
}

impl Printing {
    /// Prints until there is no more, or as much as `ending` says.
    pub(super) fn start(
        mut events: mpsc::Receiver<MonitorEvent>,
        report: Report,
        ending: Ending,
    ) -> Result<Self, Failure> {
        let told = Arc::new(AtomicU64::new(0));
        let (tell, printed) = oneshot::channel();
        let counted = Arc::clone(&told);
        let mut print = move || {
            while !ending.reached(counted.load(Relaxed)) {
                let Some(event) = events.blocking_recv() else { break };
                report.tell(&event)?;
                counted.fetch_add(u64::from(event.transition().is_some()), Relaxed);
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("print".to_owned());
        // It owes us nothing once we are gone.
        let spawned = thread.spawn(move || drop(tell.send(print())));
        let _thread = spawned.map_err(|err| {
            Failure::new(Status::Fault, "cannot start a thread to print").with_source(err)
        })?;
        Ok(Self { told, printed })
    }

    /// Waits for its end, or for ours; how many transitions were printed.
    pub(super) async fn until(
        &mut self,
        session: &Session,
        ending: Ending,
    ) -> Result<(Stop, u64), Failure> {
        let stop = tokio::select! {
            biased;
            why = session.interrupt.or_deadline(ending.deadline()) => why,
            printed = &mut self.printed => {
                printed.unwrap_or(Ok(()))?;
                Stop::Ended
            }
        };
        Ok((stop, self.told.load(Relaxed)))
    }

    /// Lets it print what is left, once there will be no more, for a moment: who has not read it by then gets no more.
    pub(super) async fn finish(self, output: Output) {
        if !self.printed.is_terminated() && timeout(LAST_WORDS, self.printed).await.is_err() {
            output.remark("not all events were printed: nobody reads them");
        }
    }
}
