//! What one ask knows, and when it is over: without clock, socket or task.
//!
//! Whoever runs it tells it what happened and when; it says what to do with a reply, whom to ask next, and when it wants
//! to be told the time. Once it has ended, only counters move.
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::{AgentId, End, Ended, Hedge, Until};

/// Who answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Responder<'a> {
    /// An agent of this process, by its place among those that were asked.
    Local(usize),
    /// An agent that gave its name.
    Named(&'a AgentId),
    /// One that did not.
    Unnamed,
}

/// Whom to ask next, where one is asked after the other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Pick {
    /// An agent of this process, by its place.
    Local(usize),
    /// The agent elsewhere of that name.
    Remote(AgentId),
}

/// What it answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// A value of so many bytes.
    Ok(usize),
    /// An error, whose text has so many.
    Failed(usize),
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It is for the asker.
    Deliver,
    /// It counts as failed: it is more than the ask may still take. The asker is told without the payload.
    TooLarge,
    /// The ask was over already; it is for nobody.
    Late,
    /// This agent has answered before; it is for nobody.
    Duplicate,
}

/// Who may answer beside those that are expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// Nobody.
    Closed,
    /// Somebody may, though all that matter are expected: nobody else is waited for.
    Listed,
    /// Anybody: who is there is not known.
    Open,
}

/// What an ask may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) replies: usize,
    pub(crate) bytes: usize,
}

/// When it is over; the caller's condition is asked by whoever runs the machine.
#[derive(Clone, Copy, Debug)]
enum Rule {
    AllKnown,
    First(usize),
    Quorum {
        n: usize,
        of: usize,
    },
    Quiet(Duration),
    /// The caller's condition.
    When,
    Deadline,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Not asked yet: kept for hedging, and not expected.
    Spare,
    /// Not asked, as it is known to be gone.
    Away,
    Asked,
    Ok,
    Failed,
    /// Known to be gone; it may answer all the same.
    Gone,
}

/// One ask.
#[derive(Debug)]
pub(crate) struct Gather {
    rule: Rule,
    reach: Reach,
    bounds: Bounds,
    sent: Instant,
    deadline: Instant,
    /// The agents of this process, then those that are expected elsewhere.
    slots: Vec<State>,
    local: usize,
    remote: Vec<AgentId>,
    /// Where in `slots` who is to answer by name stands.
    places: HashMap<AgentId, usize>,
    /// Named agents that answered without being expected.
    strangers: HashSet<AgentId>,
    /// How many were asked, and have neither answered nor gone.
    open: usize,
    gone: usize,
    hedge: Option<Hedging>,
    ok: usize,
    failed: usize,
    bytes: usize,
    late: u64,
    duplicate: u64,
    gap: bool,
    last: Option<Instant>,
    ended: Option<(Ended, Instant)>,
}

#[derive(Debug)]
struct Hedging {
    every: Duration,
    next: Instant,
    /// How many more may be asked.
    budget: usize,
    /// From which place on to look for one.
    turn: usize,
}

impl Gather {
    /// An ask sent at `sent` to `local` agents of this process, and to `remote`, whose names are not among them.
    pub(crate) fn new(
        until: &Until,
        (sent, deadline): (Instant, Instant),
        (local, remote): (usize, Vec<AgentId>),
        reach: Reach,
        bounds: Bounds,
    ) -> Self {
        let rule = match *until {
            Until::AllKnown => Rule::AllKnown,
            Until::First(n) => Rule::First(n),
            Until::Quorum { n, of } => Rule::Quorum { n, of },
            Until::Quiet(time) => Rule::Quiet(time),
            Until::When(_) => Rule::When,
            Until::Deadline => Rule::Deadline,
        };
        let places =
            remote.iter().enumerate().map(|(at, name)| (name.clone(), local + at)).collect();
        let slots = vec![State::Asked; local + remote.len()];
        let mut gather = Self {
            rule,
            reach,
            bounds,
            sent,
            deadline,
            open: slots.len(),
            slots,
            local,
            remote,
            places,
            strangers: HashSet::new(),
            gone: 0,
            hedge: None,
            ok: 0,
            failed: 0,
            bytes: 0,
            late: 0,
            duplicate: 0,
            gap: false,
            last: None,
            ended: None,
        };
        gather.judge(sent);
        gather
    }

    /// The names of the agents of this process, in their order: what comes from elsewhere under one of them is that
    /// agent's answer.
    pub(crate) fn called(mut self, names: impl Iterator<Item = AgentId>) -> Self {
        self.places.extend(names.take(self.local).enumerate().map(|(place, name)| (name, place)));
        self
    }

    /// Asks nobody yet, but whom [`hedge`](Self::hedge) says, one after the other: first whose turn it is, by its place, of
    /// those here and then of those elsewhere, and around.
    pub(crate) fn hedged(mut self, hedge: Hedge, turn: usize) -> Self {
        self.slots.fill(State::Spare);
        self.open = 0;
        let (next, budget) = (self.sent, hedge.max.saturating_add(1));
        self.hedge = Some(Hedging { every: hedge.after, next, budget, turn });
        self
    }

    /// Whether an answer of so many bytes may yet be for the asker.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        self.ended.is_none() && bytes <= self.bounds.bytes - self.bytes
    }

    /// An answer came.
    pub(crate) fn reply(&mut self, from: Responder<'_>, outcome: Outcome, now: Instant) -> Verdict {
        self.pass(now, |now, due| now > due);
        if self.ended.is_some() {
            self.late += 1;
            return Verdict::Late;
        }
        let (Outcome::Ok(bytes) | Outcome::Failed(bytes)) = outcome;
        let (outcome, bytes, verdict) = match bytes > self.bounds.bytes - self.bytes {
            true => (Outcome::Failed(0), 0, Verdict::TooLarge),
            false => (outcome, bytes, Verdict::Deliver),
        };
        if !self.settle(from, outcome) {
            self.duplicate += 1;
            return Verdict::Duplicate;
        }
        self.last = Some(now);
        self.bytes += bytes;
        match outcome {
            Outcome::Ok(_) => self.ok += 1,
            Outcome::Failed(_) => self.failed += 1,
        }
        self.judge(now);
        verdict
    }

    /// Notes that this agent has answered; not so if it has before.
    fn settle(&mut self, from: Responder<'_>, outcome: Outcome) -> bool {
        let place = match from {
            Responder::Local(place) => place,
            Responder::Named(name) => match self.places.get(name) {
                Some(&place) => place,
                None => return self.strangers.insert(name.clone()),
            },
            // Nobody can tell two of them apart; the bound on replies is theirs, too.
            Responder::Unnamed => return true,
        };
        let Some(state) = self.slots.get_mut(place) else { return false };
        match state {
            State::Asked => self.open -= 1,
            State::Gone => self.gone -= 1,
            // Nobody asked it, yet its word is as good as another's.
            State::Spare | State::Away => {}
            State::Ok | State::Failed => return false,
        }
        *state = match outcome {
            Outcome::Ok(_) => State::Ok,
            Outcome::Failed(_) => State::Failed,
        };
        true
    }

    /// An agent elsewhere is known to be gone: nobody waits for it, though it may answer yet.
    pub(crate) fn gone(&mut self, agent: &AgentId, now: Instant) {
        self.tick(now);
        if let Some(&place) = self.places.get(agent).filter(|_| self.ended.is_none()) {
            self.leave(place);
            self.judge(now);
        }
    }

    /// An agent elsewhere was not there when it was to be asked: it was not, and another may be in its place.
    pub(crate) fn absent(&mut self, agent: &AgentId, now: Instant) {
        self.tick(now);
        let state = self.places.get(agent).and_then(|&place| self.slots.get_mut(place));
        if let Some(state) = state.filter(|it| **it == State::Asked && self.ended.is_none()) {
            *state = State::Away;
            self.open -= 1;
            // Nor does it cost time: its turn is the next one's.
            self.hedge.iter_mut().for_each(|it| (it.budget, it.next) = (it.budget + 1, now));
            self.judge(now);
        }
    }

    /// Nobody elsewhere can answer what `asked` was asked alone, or what all were: the broker says so, or the way back is
    /// broken.
    pub(crate) fn remote_ended(&mut self, asked: Option<&AgentId>, why: Ended, now: Instant) {
        self.tick(now);
        if self.ended.is_some() {
            return;
        }
        self.gap |= why == Ended::Disconnected;
        for place in self.local..self.slots.len() {
            let is_asked = asked.is_none_or(|it| self.places.get(it) == Some(&place));
            // Where nobody hears one of them, nobody hears another; those who were heard may answer yet.
            let is_spare = self.slots.get(place) == Some(&State::Spare);
            if is_asked || (is_spare && why == Ended::NoAgents) {
                self.leave(place);
            }
        }
        if asked.is_none() {
            self.reach = Reach::Closed;
        }
        // What was answered, or can yet be, says more than that others cannot.
        let can_be = self.local > 0 || self.open > 0 || self.can_hedge();
        if !can_be && (why == Ended::Disconnected || self.ok + self.failed == 0) {
            self.end(why, now);
        }
        self.judge(now);
    }

    fn leave(&mut self, place: usize) {
        match self.slots.get_mut(place) {
            Some(state @ State::Asked) => {
                *state = State::Gone;
                self.open -= 1;
                self.gone += 1;
            }
            Some(state @ State::Spare) => *state = State::Away,
            _ => {}
        }
    }

    /// Answers may have been lost.
    pub(crate) fn gap(&mut self) {
        if self.ended.is_none() {
            self.gap = true;
        }
    }

    /// Whoever asked ends it, or their condition does.
    pub(crate) fn stop(&mut self, why: Ended, now: Instant) {
        self.tick(now);
        self.end(why, now);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.pass(now, |now, due| now >= due);
    }

    /// What is due exactly now is so for the clock, and not for a reply: one that comes on its deadline counts.
    fn pass(&mut self, now: Instant, is_due: impl Fn(Instant, Instant) -> bool) {
        if self.ended.is_some() {
            return;
        }
        let quiet = self.quiet_at();
        match quiet {
            Some(quiet) if quiet < self.deadline && is_due(now, quiet) => {
                self.end(Ended::Quiet, quiet);
            }
            _ if is_due(now, self.deadline) => self.end(Ended::Deadline, self.deadline),
            _ => {}
        }
    }

    fn quiet_at(&self) -> Option<Instant> {
        match self.rule {
            Rule::Quiet(time) => self.last?.checked_add(time),
            _ => None,
        }
    }

    /// Ends it if what is known is enough.
    fn judge(&mut self, now: Instant) {
        let failed = self.failed + self.gone;
        let ended = match self.rule {
            Rule::First(n) if self.ok >= n => Ended::First,
            Rule::Quorum { n, .. } if self.ok >= n => Ended::Quorum,
            Rule::Quorum { n, of } if failed > of.saturating_sub(n) => Ended::OutOfReach,
            _ if self.is_complete() => Ended::AllKnown,
            _ if self.ok + self.failed >= self.bounds.replies => Ended::Limit,
            _ => return,
        };
        self.end(ended, now);
    }

    /// Whether nobody is left to wait for.
    fn is_complete(&self) -> bool {
        let knows_all = match self.reach {
            Reach::Closed => true,
            // Who wants all that comes before the deadline wants that of others, too.
            Reach::Listed => !matches!(self.rule, Rule::Deadline),
            Reach::Open => false,
        };
        knows_all && self.open == 0 && !self.can_hedge()
    }

    fn can_hedge(&self) -> bool {
        self.hedge.as_ref().is_some_and(|it| it.budget > 0) && self.slots.contains(&State::Spare)
    }

    fn end(&mut self, why: Ended, at: Instant) {
        if self.ended.is_none() {
            self.ended = Some((why, at));
        }
    }

    /// The agent to ask now, if there is one: when those asked were silent for long, have failed or are gone.
    pub(crate) fn hedge(&mut self, now: Instant) -> Option<Pick> {
        let (open, all) = (self.open, self.slots.len());
        let hedge = self.hedge.as_mut().filter(|it| it.budget > 0 && self.ended.is_none())?;
        if open > 0 && now < hedge.next {
            return None;
        }
        let mut places = (0..all).map(|step| (hedge.turn % all + step) % all);
        let place = places.find(|&place| self.slots.get(place) == Some(&State::Spare))?;
        hedge.turn = place + 1;
        hedge.budget -= 1;
        hedge.next = now.checked_add(hedge.every).unwrap_or(self.deadline);
        *self.slots.get_mut(place)? = State::Asked;
        self.open += 1;
        match place.checked_sub(self.local) {
            Some(at) => self.remote.get(at).cloned().map(Pick::Remote),
            None => Some(Pick::Local(place)),
        }
    }

    /// Whether somebody elsewhere may still work on it. Who is asked by name alone is known to, or not to; where all that were
    /// expected have answered, those who were not are not thought of, as each ask would cost everybody a message.
    pub(crate) fn is_worked_on(&self) -> bool {
        let by_name = self.hedge.is_some() || self.ended() == Some(Ended::AllKnown);
        let mut remote = self.slots.iter().skip(self.local);
        !by_name || remote.any(|it| matches!(it, State::Asked | State::Gone))
    }

    /// When it wants to be told the time; `None` once it has ended.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let hedge = self.hedge.as_ref().filter(|_| self.can_hedge()).map(|it| it.next);
        [Some(self.deadline), self.quiet_at(), hedge].into_iter().flatten().min()
    }

    /// Why it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended.map(|(why, _)| why)
    }

    /// When it ended, if it has.
    pub(crate) fn ended_at(&self) -> Option<Instant> {
        self.ended.map(|(_, at)| at)
    }

    /// Agents that answered well, and those that failed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.ok, self.failed)
    }

    /// Whether exactly one reply was delivered.
    pub(crate) fn is_first(&self) -> bool {
        self.ok + self.failed == 1
    }

    /// How it ended; whoever asked ends it now where it has not. `name` tells who is at a place of this process.
    pub(crate) fn finish(&mut self, now: Instant, name: impl Fn(usize) -> Option<AgentId>) -> End {
        self.tick(now);
        let (ended, at) = *self.ended.get_or_insert((Ended::Stopped, now));
        let (mut missing, mut cancelled) = (Vec::new(), Vec::new());
        for (place, state) in self.slots.iter().enumerate() {
            let named = match place.checked_sub(self.local) {
                Some(at) => self.remote.get(at).cloned(),
                None => name(place),
            };
            match state {
                State::Asked if ended.calls_off() => cancelled.extend(named),
                State::Asked | State::Gone => missing.extend(named),
                State::Spare | State::Away | State::Ok | State::Failed => {}
            }
        }
        missing.sort_unstable();
        cancelled.sort_unstable();
        End {
            ended,
            elapsed: at.saturating_duration_since(self.sent),
            ok: self.ok,
            failed: self.failed,
            missing,
            cancelled,
            late: self.late,
            duplicate: self.duplicate,
            gap: self.gap,
        }
    }
}

#[cfg(test)]
mod tests;
