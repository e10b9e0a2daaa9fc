//! One inbox for all answers: of round trips, of stored publishes, of settlements, of requests.
use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Message as WireMessage, StatusCode, Subject as Wire, Subscriber};
use futures_core::Stream;
use sinew_core::{Error, ErrorKind, Event, IntakeBuffer, Message, Receipt, ReplyTo, Result, Sent};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{control::Unsettled, error::Cause, jetstream, link::View, subscribe::Converter};

/// How often overdue answers are given up: deadlines are kept to this.
const SWEEP: Duration = Duration::from_millis(100);

/// The verb of a request, as errors name it.
pub(crate) const REQUEST: &str = "nats request";

/// Hands out reply addresses below one inbox, and what comes to them to whoever waits.
///
/// An address is never used twice, so a late answer reaches nobody, not the next question.
#[derive(Debug)]
pub(crate) struct Mux {
    /// With its final dot.
    prefix: String,
    next: AtomicU64,
    /// None once the connection is closed.
    slots: Mutex<Option<HashMap<u64, Slot>>>,
    /// The first failure that nobody has been told.
    unread: Mutex<Option<Error>>,
}

/// One answer, or why it does not come.
pub(crate) type Answer = Result<WireMessage, Cause>;

#[derive(Debug)]
enum Slot {
    Once(Question),
    Many {
        answers: Arc<IntakeBuffer<Message>>,
        /// The subject that the server may refuse, until it has not.
        about: Option<Wire>,
    },
}

/// What one answer is awaited for.
#[derive(Debug)]
pub(crate) struct Question {
    asker: Asker,
    deadline: Instant,
    generation: u64,
    /// The subject that the server may refuse.
    about: Option<Wire>,
    /// Let go of when the answer is there, or given up.
    unsettled: Option<Unsettled>,
}

#[derive(Debug)]
enum Asker {
    Any(oneshot::Sender<Answer>),
    /// Wants to know where a message was stored, and holds a place among those that wait for it.
    Stored(oneshot::Sender<Result<Receipt>>, Arc<str>, OwnedSemaphorePermit),
}

impl Question {
    /// Wants an answer within `within`, on the connection of `generation`.
    pub(crate) fn new(within: Duration, generation: u64) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, outcome) = oneshot::channel();
        (Self::of(Asker::Any(answer), within, generation), outcome)
    }

    /// Wants to know where in `stream` a message was stored.
    pub(crate) fn stored(
        within: Duration,
        generation: u64,
        stream: Arc<str>,
        place: OwnedSemaphorePermit,
    ) -> (Self, oneshot::Receiver<Result<Receipt>>) {
        let (answer, outcome) = oneshot::channel();
        (Self::of(Asker::Stored(answer, stream, place), within, generation), outcome)
    }

    fn of(asker: Asker, within: Duration, generation: u64) -> Self {
        let deadline = Instant::now() + within;
        Self { asker, deadline, generation, about: None, unsettled: None }
    }

    /// It is about `subject`: if the server refuses that, that is the answer.
    pub(crate) fn about(mut self, subject: Wire) -> Self {
        self.about = Some(subject);
        self
    }

    /// Holds `unsettled` until it is answered.
    pub(crate) fn holding(mut self, unsettled: Unsettled) -> Self {
        self.unsettled = Some(unsettled);
        self
    }
}

impl Mux {
    pub(crate) fn new(inbox: String) -> Arc<Self> {
        let prefix = format!("{inbox}.");
        Arc::new(Self {
            prefix,
            next: AtomicU64::new(1),
            slots: Mutex::new(Some(HashMap::new())),
            unread: Mutex::default(),
        })
    }

    /// What the connection subscribes to for it.
    pub(crate) fn filter(&self) -> String {
        format!("{}>", self.prefix)
    }

    /// Opens an address for one answer.
    pub(crate) fn once(&self, question: Question) -> Ticket<'_> {
        self.open(Slot::Once(question))
    }

    /// Opens an address for any number of answers to a request on `about`, until it is closed.
    pub(crate) fn many(&self, answers: Arc<IntakeBuffer<Message>>, about: Wire) -> Ticket<'_> {
        self.open(Slot::Many { answers, about: Some(about) })
    }

    /// An address that nobody waits at.
    pub(crate) fn nowhere(&self) -> Wire {
        Wire::from(format!("{}0", self.prefix))
    }

    fn open(&self, slot: Slot) -> Ticket<'_> {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let mut late = None;
        match self.lock().as_mut() {
            Some(slots) => drop(slots.insert(token, slot)),
            None => late = Some(slot),
        }
        if let Some(slot) = late {
            self.give_up(slot, Cause::closed());
        }
        Ticket { mux: self, token, kept: false }
    }

    /// Forgets an address; what comes to it from now on reaches nobody.
    pub(crate) fn close(&self, token: u64) {
        let slot = self.lock().as_mut().and_then(|slots| slots.remove(&token));
        if let Some(Slot::Many { answers, .. }) = slot {
            answers.end(None);
        }
    }

    /// The server refused a publish to `subject`: if that was an address of ours, the server has got so far; if an
    /// answer is awaited about it, this is the answer. Says whether anyone was told.
    pub(crate) fn refused(&self, subject: &str) -> bool {
        let mut guard = self.lock();
        let Some(slots) = guard.as_mut() else { return false };
        let ours = self.token(subject);
        let asked = ours.filter(|token| matches!(slots.get(token), Some(Slot::Once(_))));
        let token = asked.or_else(|| {
            slots.iter().filter(|(_, slot)| slot.is_about(subject)).map(|(token, _)| *token).min()
        });
        let slot = token.and_then(|token| slots.remove(&token));
        drop(guard);
        match slot {
            Some(Slot::Once(question)) => self.answer(question, Err(Cause::denied_publish())),
            Some(Slot::Many { answers, .. }) => {
                answers.end(Some(Cause::denied_publish().during(REQUEST).on(subject).into()));
            }
            None => return false,
        }
        true
    }

    /// The address that `subject` is, whatever is noted behind it.
    fn token(&self, subject: &str) -> Option<u64> {
        let address = subject.strip_prefix(&*self.prefix)?;
        address.split_once('.').map_or(address, |(token, _)| token).parse().ok()
    }

    fn deliver(&self, message: WireMessage, converter: &mut Converter) {
        let Some(token) = self.token(&message.subject) else { return };
        let mut guard = self.lock();
        let Some(slots) = guard.as_mut() else { return };
        match slots.get_mut(&token) {
            Some(Slot::Once(_)) => {
                let slot = slots.remove(&token);
                drop(guard);
                if let Some(Slot::Once(question)) = slot {
                    self.answer(question, judge(message));
                }
            }
            Some(Slot::Many { answers, about }) => {
                *about = None;
                let answers = Arc::clone(answers);
                drop(guard);
                match judge(message) {
                    Ok(message) => {
                        let size = message.payload.len();
                        answers.extend([(converter.convert(message), size)]);
                    }
                    Err(cause) => answers.end(Some(cause.during(REQUEST).into())),
                }
            }
            None => {}
        }
    }

    /// Gives up what is overdue, or was asked on a connection that is gone.
    fn sweep(&self, view: View) {
        let now = Instant::now();
        let overdue = |slot: &Slot| match slot {
            Slot::Once(it) if it.deadline <= now => Some(Cause::late()),
            Slot::Once(it) if view.is_past(it.generation) => Some(Cause::broke()),
            _ => None,
        };
        let mut guard = self.lock();
        let Some(slots) = guard.as_mut() else { return };
        let given_up: Vec<_> =
            slots.iter().filter_map(|(token, slot)| Some((*token, overdue(slot)?))).collect();
        let given_up: Vec<_> = given_up
            .into_iter()
            .filter_map(|(token, cause)| Some((slots.remove(&token)?, cause)))
            .collect();
        drop(guard);
        for (slot, cause) in given_up {
            if let Slot::Once(question) = slot {
                self.answer(question, Err(cause));
            }
        }
    }

    /// Tells whoever asked; a failure that nobody hears is kept for the next flush.
    fn answer(&self, question: Question, answer: Answer) {
        let Question { asker, about, .. } = question;
        match asker {
            // Whoever asked may have gone away meanwhile.
            Asker::Any(asker) => drop(asker.send(answer)),
            Asker::Stored(asker, stream, _place) => {
                let subject = about.as_deref().unwrap_or_default();
                if let Err(Err(err)) = asker.send(jetstream::receipt(answer, &stream, subject)) {
                    self.keep_unread(err);
                }
            }
        }
    }

    /// Keeps the failure for the next flush, unless an earlier one waits for it.
    pub(crate) fn keep_unread(&self, err: Error) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(err);
    }

    /// The first failure that nobody has been told.
    pub(crate) fn take_unread(&self) -> Option<Error> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tell(&self, event: &Event<Message>) {
        for slot in self.lock().iter().flat_map(HashMap::values) {
            if let Slot::Many { answers, .. } = slot {
                answers.tell(event.clone());
            }
        }
    }

    fn end(&self) {
        let slots = self.lock().take();
        for slot in slots.into_iter().flat_map(HashMap::into_values) {
            self.give_up(slot, Cause::cut_off());
        }
    }

    /// No answer will come any more.
    fn give_up(&self, slot: Slot, cause: Cause) {
        match slot {
            Slot::Once(question) => self.answer(question, Err(cause)),
            Slot::Many { answers, .. } => answers.end(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what happened to the link. `false` when it is closed.
    fn follow(&self, view: &mut watch::Receiver<View>, seen: &mut View) -> bool {
        let now = *view.borrow_and_update();
        if now.is_closed() || view.has_changed().is_err() {
            return false;
        }
        self.sweep(now);
        now.since(*seen).for_each(|event| self.tell(&event));
        *seen = now;
        true
    }

    /// Hands answers out until the connection is closed.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut inbox: Subscriber,
        mut view: watch::Receiver<View>,
        mut converter: Converter,
    ) {
        let mut tick = interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = *view.borrow_and_update();
        loop {
            tokio::select! {
                biased;
                // First, as that is nearly always why it was woken; the client's channel lets others have their turn
                // however much comes.
                message = next(&mut inbox) => {
                    let Some(message) = message else { break };
                    // What came in on a new connection comes after what there is to say of that.
                    let is_told = view.has_changed().is_ok_and(|changed| !changed);
                    if !is_told && !self.follow(&mut view, &mut seen) {
                        break;
                    }
                    self.deliver(message, &mut converter);
                }
                _ = view.changed() => {
                    if !self.follow(&mut view, &mut seen) {
                        break;
                    }
                }
                _ = tick.tick() => self.sweep(seen),
            }
        }
        self.end();
    }
}

impl Slot {
    fn is_about(&self, subject: &str) -> bool {
        match self {
            Self::Once(Question { about: Some(about), .. })
            | Self::Many { about: Some(about), .. } => about.as_str() == subject,
            _ => false,
        }
    }
}

/// The next message of a subscription, without the extension trait of another crate.
pub(crate) async fn next(subscriber: &mut Subscriber) -> Option<WireMessage> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *subscriber).poll_next(cx)).await
}

/// The server answers in the responders' stead where there are none.
fn judge(message: WireMessage) -> Answer {
    if message.status == Some(StatusCode::NO_RESPONDERS) && message.payload.is_empty() {
        return Err(Cause::Plain {
            kind: ErrorKind::NoResponders,
            detail: "nobody subscribes there",
            sent: Sent::Yes,
        });
    }
    Ok(message)
}

/// An open address. Dropped, it is closed, unless it was kept.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    mux: &'a Mux,
    token: u64,
    kept: bool,
}

impl Ticket<'_> {
    /// The address on the wire.
    pub(crate) fn wire(&self) -> Wire {
        Wire::from(self.text(0))
    }

    /// The same, with a note behind it.
    pub(crate) fn noted(&self, note: &str) -> Wire {
        let mut subject = self.text(ReplyTo::NOTE.len() + note.len());
        subject.extend([ReplyTo::NOTE, note]);
        Wire::from(subject)
    }

    /// The same as text, with room for so many bytes more.
    fn text(&self, more: usize) -> String {
        let mut subject = String::with_capacity(self.mux.prefix.len() + 20 + more);
        subject.push_str(&self.mux.prefix);
        // Writing to a string cannot fail.
        let _ = write!(subject, "{}", self.token);
        subject
    }

    /// Leaves it open: an answer, a deadline or [`Mux::close`] ends it.
    pub(crate) fn keep(mut self) -> u64 {
        self.kept = true;
        self.token
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.mux.close(self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::Buffer;

    use super::*;

    #[test]
    fn a_question_on_its_way_when_the_link_closes_may_have_arrived() {
        let mux = Mux::new("_INBOX.x".to_owned());
        let (question, mut answer) = Question::new(Duration::from_secs(5), 1);
        mux.once(question).keep();
        mux.end();
        let given_up = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(given_up.kind(), ErrorKind::Closed);
        assert_eq!(Error::from(given_up.during("test")).sent(), Sent::Maybe);

        let (question, mut answer) = Question::new(Duration::from_secs(5), 1);
        mux.once(question).keep();
        let refused = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(Error::from(refused.during("test")).sent(), Sent::No);
    }

    #[test]
    fn a_refusal_ends_the_request_that_it_is_about_and_no_answered_one() {
        let mux = Mux::new("_INBOX.x".to_owned());
        let requests: Vec<_> = (0..2)
            .map(|_| {
                let answers = Arc::new(IntakeBuffer::new(Buffer::default(), REQUEST));
                let ticket = mux.many(Arc::clone(&answers), Wire::from("a"));
                (answers, ticket.wire(), ticket.keep())
            })
            .collect();
        let reply = WireMessage {
            subject: requests[0].1.clone(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        mux.deliver(reply, &mut Converter::plain());
        // A refusal to publish to a request's own address is none of the request.
        assert!(!mux.refused(&requests[1].1));
        assert!(!mux.refused("b"));
        assert!(mux.refused("a"));
        assert!(requests[0].0.is_open());
        let err = requests[1].0.take_failure().unwrap();
        assert_eq!((err.kind(), err.subject()), (ErrorKind::Denied, Some("a")));
        assert!(!mux.refused("a"), "nobody is left to be told");
    }
}
