//! What the monitor tells: to the page, to the desk, and to who reads the output.
use std::sync::Arc;

use sinew_beat::{MonitorEvent, Watch};
use tokio::sync::{mpsc, watch};

use super::{board::Board, desk::Desk};
use crate::{
    commands::beat::Report,
    exit::Failure,
    interrupt::{Ending, Stop},
    output::Output,
    session::Session,
};

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

/// Prints what happens until the end. Whoever reads it may be slow: the page does not wait for it.
pub(super) async fn print(
    session: &Session,
    events: &mut mpsc::Receiver<MonitorEvent>,
    report: Report,
    ending: Ending,
) -> Result<(Stop, u64), Failure> {
    let deadline = ending.deadline();
    let mut told = 0;
    while !ending.reached(told) {
        tokio::select! {
            biased;
            why = session.interrupt.or_deadline(deadline) => return Ok((why, told)),
            event = events.recv() => {
                let Some(event) = event else { break };
                report.tell(&event)?;
                told += u64::from(event.transition().is_some());
            }
        }
    }
    Ok((Stop::Ended, told))
}
