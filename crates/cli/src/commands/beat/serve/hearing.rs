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
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    time::timeout,
};

use super::{board::Board, desk::Desk, upkeep::Upkeep};
use crate::{
    commands::beat::Report,
    exit::{Failure, Status},
    interrupt::{Ending, Stop},
    output::Output,
    session::Session,
};

/// How long whoever reads may take to read what is left.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Takes in what the monitor tells, whoever reads it, until the end. Events that could not wait to be printed are
/// counted.
pub(super) async fn hear(
    mut watch: Watch,
    board: Arc<Board>,
    desk: Arc<Desk>,
    upkeep: Arc<Upkeep>,
    events: mpsc::Sender<MonitorEvent>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), sinew_core::Error> {
    let end = loop {
        let event = tokio::select! {
            event = watch.next() => event,
            () = desk.tend() => continue,
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {
                // Whoever watches us is told that we end on purpose.
                break watch.stop().await;
            }
        };
        match event {
            Some(Ok(event)) => {
                board.hear(&event);
                desk.hear(&event);
                // Once printing has ended nobody waits for more.
                if let Err(TrySendError::Full(_)) = events.try_send(event) {
                    upkeep.unprinted.fetch_add(1, Relaxed);
                }
            }
            Some(Err(err)) => break Err(err),
            None => break Ok(()),
        }
    };
    board.end();
    end
}

/// What ended the hearing.
pub(super) fn heard(
    end: Result<Result<(), sinew_core::Error>, tokio::task::JoinError>,
) -> Result<(), Failure> {
    Ok(end.unwrap_or(Ok(()))?)
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

/// Says at the end what was never printed.
pub(super) fn say_unprinted(upkeep: &Upkeep, output: Output) {
    let unprinted = upkeep.unprinted.load(Relaxed);
    if unprinted > 0 {
        output
            .remark(format_args!("{unprinted} events were not printed: nobody read them in time"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sinew_beat::{Heart, WatchOptions};

    use super::*;
    use crate::{
        commands::beat::{
            config::Config,
            serve::{board::Board, desk},
        },
        output::Chatter,
    };

    #[tokio::test]
    async fn events_that_nobody_reads_are_counted() {
        let backend = sinew_connect::connect("memory:unprinted").await.unwrap();
        let subscriber = backend.subscriber().unwrap();
        let watch = Watch::start(&subscriber, WatchOptions::default()).await.unwrap();
        let config = Config::parse("", Path::new("sinew.toml")).unwrap();
        let output = Output::new(false, Chatter::Quiet);
        let desk = Arc::new(Desk::new(&config, watch.clock(), output, None, Vec::new()));
        let board = Arc::new(Board::new(watch.table(), 10, &[]));
        let (upkeep, stop) = (Arc::new(Upkeep::default()), watch::Sender::new(false));
        let (events, _unread) = mpsc::channel(1);
        let hearing =
            hear(watch, board, Arc::clone(&desk), Arc::clone(&upkeep), events, stop.subscribe());
        let hearing = tokio::spawn(hearing);
        for name in ["a", "b", "c"] {
            let heart = Heart::new(backend.publisher().unwrap(), name).unwrap();
            heart.beat().await.unwrap();
        }
        let counted = async {
            while upkeep.unprinted.load(Relaxed) < 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), counted).await.unwrap();
        stop.send_replace(true);
        heard(hearing.await).unwrap();
        let text = desk::metrics::text(&desk, &upkeep);
        assert!(text.contains("\nbeat_unprinted_total 2\n"), "{text}");
    }
}
