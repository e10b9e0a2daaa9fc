//! What a channel has in flight, who waits for it, and what the broker says of each.
use std::{
    sync::{Arc, atomic::AtomicUsize},
    task::Waker,
};

use lapin::{ErrorKind as ClientKind, message::BasicReturnMessage, types::ShortString};
use sinew_core::{ErrorKind, Sent};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    error::Cause,
    fall::Fall,
    publish::{Place, Unread},
    returns::{Returned, Returns},
    wire::{Confirmed, Flights, Outbound, Unlaunched, Wire},
};

/// Whether the broker has taken a message, or why not.
pub(crate) type Answer = Result<(), Box<Failure>>;

/// A failure, and where it is kept if nobody hears it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    unread: Unread,
}

impl Failure {
    /// The next flush tells it.
    pub(crate) fn keep(self) {
        self.unread.keep(self.cause);
    }
}

/// What is known of a message, and what it takes up, for as long as the client has it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) number: u64,
    /// Set where it must be routed.
    pub(crate) routed: Option<Returned>,
    /// Whoever waits; taken by the answer.
    pub(crate) answer: Option<oneshot::Sender<Answer>>,
    pub(crate) deadline: Instant,
    /// Of its payload.
    pub(crate) size: usize,
    pub(crate) place: Place,
}

/// A message that the broker has taken, and may have returned.
#[derive(Debug)]
struct Routed {
    message: Returned,
    number: u64,
    asker: Option<oneshot::Sender<Answer>>,
    place: Place,
}

/// What is to be told of a message, and the place that it gives back: neither under the lock, as both wake whoever
/// waits, who may publish at once.
#[derive(Debug)]
pub(crate) struct Verdict {
    number: u64,
    /// Nobody, where it was told before that it is overdue.
    answer: Option<(oneshot::Sender<Answer>, Answer)>,
    place: Option<Place>,
}

impl Verdict {
    /// Tells it; gives the number of a message that is answered by this, and was not before.
    pub(crate) fn tell(self) -> Option<u64> {
        // First, so that whoever is told finds it free for the next message.
        drop(self.place);
        let (asker, answer) = self.answer?;
        let is_failure = answer.is_err();
        if let Err(Err(failure)) = asker.send(answer) {
            failure.keep();
        }
        is_failure.then_some(self.number)
    }
}

/// What the client says at once of messages that cannot be answered one by one.
#[derive(Debug, Default)]
struct Landed {
    routed: Vec<Routed>,
    /// Those whose channel the broker closed.
    fallen: Vec<(Known, lapin::Error)>,
}

/// Waits for all before a number.
#[derive(Debug)]
struct Flush {
    before: u64,
    left: usize,
    done: oneshot::Sender<()>,
}

/// Behind the lock of a lane.
#[derive(Debug)]
pub(crate) struct Table {
    flights: Flights<Known>,
    /// How many are handed over and not answered.
    unanswered: usize,
    /// No answer is overdue before.
    due: Option<Instant>,
    next: u64,
    flushes: Vec<Flush>,
    returns: Returns,
    unread: Unread,
    verdicts: Vec<Verdict>,
    /// The exchange is declared where it is missing.
    declares: bool,
    /// Set when the broker closed the channel.
    fall: Option<Fall>,
    /// Messages may still come.
    is_held: bool,
    /// The reader looks for overdue answers by itself.
    is_swept: bool,
}

/// What a sweep found.
pub(crate) enum Swept {
    /// Messages are in flight, some of them overdue or none.
    Busy { is_overdue: bool },
    /// Nothing is in flight.
    Idle,
    /// Nothing will be.
    Done,
}

impl Table {
    pub(crate) fn new(wire: Arc<Wire>, unread: Unread, declares: bool) -> Self {
        Self {
            flights: Flights::new(wire),
            unanswered: 0,
            due: None,
            next: 0,
            flushes: Vec::new(),
            returns: Returns::default(),
            unread,
            verdicts: Vec::new(),
            declares,
            fall: None,
            is_held: true,
            is_swept: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Takes a message in line; [`settle`](Self::settle) hands it over.
    pub(crate) fn launch(
        &mut self,
        outbound: Box<Outbound>,
        mut known: Known,
    ) -> Result<(), Box<Unlaunched<Known>>> {
        let deadline = known.deadline;
        known.number = self.next;
        self.flights.launch(outbound, known)?;
        self.next += 1;
        self.unanswered += 1;
        self.due = Some(self.due.map_or(deadline, |due| due.min(deadline)));
        if !self.is_swept {
            self.flights.wake_reader();
        }
        Ok(())
    }

    /// Adds one who waits for all that was launched before: see [`flushed`](Self::flushed).
    pub(crate) fn flush(&mut self, done: oneshot::Sender<()>) {
        self.flushes.push(Flush { before: self.next, left: self.unanswered, done });
    }

    /// The last handle is gone.
    pub(crate) fn release(&mut self) {
        self.is_held = false;
        self.flights.wake_reader();
    }

    /// Those who wait for no more. Whoever is told of a failure too late has left it to be read by then.
    pub(crate) fn flushed(&mut self) -> Vec<oneshot::Sender<()>> {
        self.flushes.extract_if(.., |flush| flush.left == 0).map(|flush| flush.done).collect()
    }

    /// The reader is gone. What is given was the flights' and the flushes', and is not to be dropped under the lock.
    pub(crate) fn end(&mut self) -> impl Sized + use<> {
        self.unanswered = 0;
        (self.flights.end(), std::mem::take(&mut self.flushes))
    }

    /// From here on `reader` is woken when there may be something to settle; says whether it is to sweep by itself.
    pub(crate) fn read_by(&self, reader: &Waker) -> bool {
        self.flights.read_by(reader);
        self.is_swept
    }

    /// Settles all that the client has said something of, and gives what there is to tell.
    ///
    /// A confirm may bring along what the broker returned of any other message: so one of a message that must be routed
    /// waits until all that the client says at once is read.
    pub(crate) fn settle(&mut self) -> Vec<Verdict> {
        let mut landed = Landed::default();
        self.read(&mut landed);
        if !landed.routed.is_empty() {
            self.flights.fence();
            self.read(&mut landed);
        }
        if !landed.fallen.is_empty() {
            self.fall(landed.fallen);
        }
        for Routed { message, number, asker, place } in landed.routed {
            let answer = if self.returns.take(&message) { Err(unroutable()) } else { Ok(()) };
            self.judge(number, asker, answer, Some(place));
        }
        std::mem::take(&mut self.verdicts)
    }

    /// Gives up what is overdue; its place is taken until the client has done with it.
    pub(crate) fn sweep(&mut self, overdue: &Arc<AtomicUsize>) -> Swept {
        self.is_swept = !self.flights.is_empty();
        if !self.is_swept {
            return if self.is_held { Swept::Idle } else { Swept::Done };
        }
        let now = Instant::now();
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            let mut late = Vec::new();
            for known in self.flights.known() {
                if known.deadline > now {
                    self.due = Some(self.due.map_or(known.deadline, |due| due.min(known.deadline)));
                } else if let Some(asker) = known.answer.take() {
                    known.place.note_overdue(overdue);
                    late.push((known.number, asker));
                }
            }
            for (number, asker) in late {
                self.judge(number, Some(asker), Err(Cause::late()), None);
            }
        }
        Swept::Busy { is_overdue: self.flights.len() > self.unanswered }
    }

    fn read(&mut self, landed: &mut Landed) {
        while let Some((known, outcome)) = self.flights.landed() {
            self.note(known, outcome, landed);
        }
    }

    /// Answers those whose channel the broker closed. Others may come later, which the client had not sent yet.
    fn fall(&mut self, fallen: Vec<(Known, lapin::Error)>) {
        let fall = *self.fall.get_or_insert_with(|| {
            let unsent = self.flights.known().map(|known| known.size);
            let sizes = fallen.iter().map(|(known, _)| known.size).chain(unsent);
            Fall::of(sizes, self.declares)
        });
        for (known, source) in fallen {
            let Known { number, size, answer: asker, place, .. } = known;
            self.judge(number, asker, Err(fall.cause(size, source)), Some(place));
        }
    }

    fn note(&mut self, known: Known, outcome: lapin::Result<Confirmed>, landed: &mut Landed) {
        let answer = match outcome {
            Ok(Confirmed::Ack(returned)) => {
                self.note_returned(returned);
                Ok(())
            }
            Ok(Confirmed::Nack(returned)) => {
                self.note_returned(returned);
                Err(refused())
            }
            Ok(Confirmed::NotRequested) => Err(Cause::broke()),
            Err(err) if matches!(err.kind(), ClientKind::ProtocolError(_)) => {
                landed.fallen.push((known, err));
                return;
            }
            Err(err) => Err(Cause::after_sending(err)),
        };
        let Known { number, routed, answer: asker, place, .. } = known;
        match (routed, answer) {
            // Even with nobody left to tell, what was returned of it is not another's.
            (Some(message), Ok(())) => {
                landed.routed.push(Routed { message, number, asker, place });
            }
            (_, answer) => self.judge(number, asker, answer, Some(place)),
        }
    }

    fn note_returned(&mut self, returned: Option<Box<BasicReturnMessage>>) {
        let Some(returned) = returned else { return };
        let id = returned.properties.message_id().as_ref().map_or("", ShortString::as_str).into();
        self.returns.note(Returned { id, key: returned.routing_key.as_str().into() });
    }

    /// Takes back what [`settle`](Self::settle) gave, emptied, to fill it again.
    pub(crate) fn refill(&mut self, verdicts: Vec<Verdict>) {
        if self.verdicts.is_empty() && verdicts.is_empty() {
            self.verdicts = verdicts;
        }
    }

    /// One less to wait for.
    pub(crate) fn answered(&mut self, number: u64) {
        self.unanswered = self.unanswered.saturating_sub(1);
        for flush in &mut self.flushes {
            if number < flush.before {
                flush.left = flush.left.saturating_sub(1);
            }
        }
    }

    fn judge(
        &mut self,
        number: u64,
        asker: Option<oneshot::Sender<Answer>>,
        answer: Result<(), Cause>,
        place: Option<Place>,
    ) {
        // A failure is to be kept first, if nobody hears it.
        if asker.is_some() && answer.is_ok() {
            self.answered(number);
        }
        let failed = |cause| Box::new(Failure { cause, unread: self.unread.clone() });
        let answer = asker.map(|asker| (asker, answer.map_err(failed)));
        self.verdicts.push(Verdict { number, answer, place });
    }
}

const fn unroutable() -> Cause {
    Cause::Plain {
        kind: ErrorKind::Unroutable,
        detail: "the broker returned it: no queue is bound for it",
        sent: Sent::No,
    }
}

const fn refused() -> Cause {
    Cause::Plain {
        kind: ErrorKind::Overloaded,
        detail: "the broker refused it; a queue that takes no more has it not, another one may",
        sent: Sent::Maybe,
    }
}
