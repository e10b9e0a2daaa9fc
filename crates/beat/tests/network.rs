//! Hearts and a watch with a bad world between them, in virtual time: crashes, restarts, losses, duplicates, delays that
//! reorder, link cuts, a monitor that stands still, one that is started anew, and operators who pause and reload it.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use proptest::prelude::*;
use sinew_beat::{
    Beat, Monitor, MonitorEvent, MonitorOptions, Patience, Process, Reason, Snapshot, State,
    Timestamp, Transition, Watch, WatchOptions,
};
use sinew_core::{Error, ErrorKind, Event, Result};
use tokio::time::{Instant, timeout_at};

use self::{
    scripted::{Script, scripted},
    world::{
        Figures, LEGAL, Life, World,
        happens::{Alive, Input, befall, carry, publish, runtime},
        step, world,
    },
};

mod scripted;
mod world;

const SECOND: Duration = Duration::from_secs(1);
/// How long a watch waits for who is expected, by default.
const LEARNING: Duration = Duration::from_secs(60);
/// Timers are as fine as a millisecond.
const TIMER: Duration = Duration::from_millis(2);
/// For how long a watch may stand still here without a word of it.
const HICCUP: Duration = Duration::from_secs(2);

fn unexpected(what: impl Debug) -> Error {
    Error::new(ErrorKind::Internal, "play").with_detail(format!("{what:?}"))
}

/// What is right to expect of a process, said plainly.
#[derive(Clone, Copy, Debug)]
enum Expect {
    Nothing,
    /// That it is told to be stopped, which it said at `said`.
    Stopped {
        said: Duration,
    },
    /// That it is told to be down then, unless it is heard of.
    Down(Due),
}

#[derive(Clone, Copy, Debug)]
struct Due {
    /// Since when it is expected: what was due shortly before may yet be told.
    since: Duration,
    /// No earlier, and no later.
    from: Duration,
    by: Duration,
    /// After what gives it a fresh promise.
    wait: Duration,
}

impl Due {
    fn after(wait: Duration, now: Duration) -> Self {
        Self { since: now, from: now + wait, by: now + wait, wait }
    }

    fn is_met(&self, at: Duration, now: Duration) -> bool {
        let was_due_before = (self.since.saturating_sub(HICCUP + TIMER)..=self.since).contains(&at);
        at <= self.by && now <= self.by + TIMER && (at >= self.from || was_due_before)
    }
}

/// Who is what in a snapshot, and for how long it may then be silent.
type Kept = Vec<(String, State, Option<Duration>)>;

/// A watch on the stage, and what it told.
struct Stage<'a> {
    began: Instant,
    world: &'a World,
    alive: BTreeMap<String, Vec<Alive>>,
    watch: Watch,
    script: Script,
    /// An instant of the runtime's clock, and the same of the watch's.
    same: (Duration, Timestamp),
    known: BTreeMap<String, (Option<State>, Expect)>,
    /// What each promised last; none for a stop.
    said: BTreeMap<String, Option<Duration>>,
    /// How many beats of each were heard since it was down.
    beats: BTreeMap<String, u32>,
    paused: BTreeSet<String>,
    patience: Figures,
    kept: Option<(Snapshot, Kept)>,
    kept_said: BTreeMap<String, Option<Duration>>,
    blind_since: Option<Duration>,
    /// A stall that was not told yet.
    stall: Option<Duration>,
}

fn patient(Figures { missed, recoveries }: Figures) -> MonitorOptions {
    let patience = Patience::default().with_missed(missed).with_recoveries(recoveries);
    MonitorOptions::default().with_patience(patience)
}

async fn start(
    world: &World,
    patience: Figures,
    snapshot: Option<Snapshot>,
) -> Result<(Watch, Script)> {
    let (backend, script) = scripted();
    let mut options = WatchOptions::default().with_monitor(patient(patience));
    if let Some(snapshot) = snapshot {
        options = options.with_snapshot(Snapshot::decode(&snapshot.encode())?);
    }
    for member in world.members.iter().filter(|member| member.is_declared) {
        options = options.with_expected(Process::parse(&member.name)?);
    }
    Ok((Watch::start(&backend, options).await?, script))
}

impl<'a> Stage<'a> {
    async fn set(world: &'a World, alive: BTreeMap<String, Vec<Alive>>) -> Result<Self> {
        let patience = world.patience;
        let (watch, script) = start(world, patience, None).await?;
        let same = (Duration::ZERO, watch.clock().now());
        let (began, known) = (Instant::now(), BTreeMap::new());
        Ok(Self {
            began,
            world,
            alive,
            watch,
            script,
            same,
            known,
            said: BTreeMap::new(),
            beats: BTreeMap::new(),
            paused: BTreeSet::new(),
            patience,
            kept: None,
            kept_said: BTreeMap::new(),
            blind_since: None,
            stall: None,
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// When it was on the stage.
    fn time(&self, at: Timestamp) -> Duration {
        let (stage, watch) = self.same;
        stage + at.since(watch)
    }

    /// After how long a silence one that promised this is down.
    fn wait(&self, promise: Duration) -> Duration {
        promise * self.patience.missed + SECOND
    }

    /// What is right to expect of one that has a fresh promise now.
    fn fresh(&self, name: &str) -> Expect {
        let now = self.now();
        match self.said.get(name) {
            Some(Some(promise)) => Expect::Down(Due::after(self.wait(*promise), now)),
            Some(None) => Expect::Nothing,
            None => Expect::Down(Due::after(LEARNING, now)),
        }
    }

    /// Reads what the watch tells, until then.
    async fn until(&mut self, at: Duration) -> Result<()> {
        self.read(at).await?;
        self.assert_in_time();
        Ok(())
    }

    async fn read(&mut self, at: Duration) -> Result<()> {
        let end = self.began + at;
        while let Ok(event) = timeout_at(end, self.watch.next()).await {
            let event = event.transpose()?;
            self.note(&event.ok_or_else(|| Error::new(ErrorKind::Closed, "watch"))?)?;
        }
        Ok(())
    }

    /// Nobody who is down by now was kept quiet about.
    fn assert_in_time(&self) {
        let now = self.now();
        for (name, (state, expect)) in &self.known {
            let is_told = match *expect {
                Expect::Nothing => true,
                Expect::Stopped { said } => now <= said + TIMER || *state == Some(State::Stopped),
                Expect::Down(Due { by, .. }) => {
                    let is_early = self.blind_since.is_some() || now <= by + TIMER;
                    is_early || *state == Some(State::Down)
                }
            };
            assert!(is_told, "{name} is {state:?} at {now:?}, and not {expect:?}");
        }
    }

    fn note(&mut self, event: &MonitorEvent) -> Result<()> {
        match event {
            MonitorEvent::Transition(it) => self.change(it)?,
            MonitorEvent::Blind { .. } => assert!(self.blind_since.is_some()),
            MonitorEvent::Sighted { .. } => assert!(self.blind_since.is_none()),
            MonitorEvent::Stalled { gap, .. } => {
                // It looks at itself once a second, so a second of it may be none.
                let lasted = self.stall.take().ok_or_else(|| unexpected(event))?;
                assert!((lasted..=lasted + SECOND + TIMER).contains(gap), "{gap:?} {lasted:?}");
                self.put_off(|due| due.by += gap.saturating_sub(lasted));
            }
            MonitorEvent::Gap { .. } | MonitorEvent::Flapping { .. } => {}
            other => return Err(unexpected(other)),
        }
        Ok(())
    }

    fn change(&mut self, it: &Transition) -> Result<()> {
        let name = it.process.as_str();
        let (now, at) = (self.began.elapsed(), self.time(it.at));
        let wait = self.wait(self.world.period(name));
        let (state, expect) = self.known.entry(name.to_owned()).or_insert((None, Expect::Nothing));
        assert_eq!(it.from, *state, "{it:?}");
        let is_legal = LEGAL.iter().any(|(reason, to, from)| {
            (*reason, *to) == (it.reason, it.to) && from.contains(&it.from)
        });
        assert!(is_legal && it.from != Some(it.to), "{it:?}");
        *state = Some(it.to);
        match it.to {
            State::Expected => {
                let due = Due::after(LEARNING, now);
                *expect = Expect::Down(Due { from: due.from - TIMER, ..due });
            }
            State::Late | State::Down => {
                assert!(self.blind_since.is_none_or(|since| at <= since), "{it:?}");
                let is_met = match expect {
                    Expect::Down(due) => it.to == State::Late || due.is_met(at, now),
                    // Its stop waited for a watch that stood still for a moment.
                    Expect::Stopped { said } if it.to == State::Late => {
                        (said.saturating_sub(HICCUP)..=*said).contains(&at)
                    }
                    Expect::Stopped { .. } | Expect::Nothing => false,
                };
                assert!(is_met, "{it:?} at {at:?}, told at {now:?}, and not {expect:?}");
            }
            _ => {}
        }
        let beats = self.beats.entry(name.to_owned()).or_default();
        if it.from == Some(State::Down) && matches!(it.reason, Reason::Beat | Reason::Degraded) {
            assert!(*beats >= self.patience.recoveries, "{it:?} after {beats} beats");
        }
        if it.to == State::Down {
            *beats = 0;
            let wrongs = |alive: &Alive| (alive.from + wait..=alive.until).contains(&at);
            let wronged = self.alive.get(name).is_some_and(|lives| lives.iter().any(wrongs));
            assert!(!wronged, "{it:?} at {at:?}, and it keeps its promise");
        }
        Ok(())
    }

    /// Lets the watch hear or suffer it.
    async fn play(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Stall { lasts, waiting } => {
                let now = self.now();
                // Nobody runs until this awaits, which is when the time has passed.
                waiting.iter().try_for_each(|input| self.say(input))?;
                tokio::time::advance(lasts).await;
                if lasts >= 5 * SECOND {
                    self.stall = Some(lasts);
                    self.put_off(|due| {
                        due.from += lasts;
                        due.by += lasts;
                    });
                } else {
                    // Whoever is due meanwhile is told of at its end.
                    self.put_off(|due| {
                        if due.by >= now {
                            due.by = due.by.max(now + lasts);
                        }
                    });
                }
                waiting.iter().for_each(|input| self.expect(input));
            }
            Input::Snapshot => {
                let table = self.watch.table();
                let kept = table.processes().into_iter().map(|it| {
                    let wait = match it.state {
                        State::Down | State::Stopped => None,
                        State::Expected => Some(LEARNING),
                        _ => it.promise.map(|promise| self.wait(promise)),
                    };
                    (it.process.to_string(), it.state, wait)
                });
                self.kept = Some((table.snapshot(), kept.collect()));
                self.kept_said = self.said.clone();
            }
            Input::Restart { outage, learns } => self.restart(outage, learns).await?,
            // What was due by now is told before.
            Input::Pause(nth) => {
                if let Some(name) = self.member(nth).filter(|it| self.watch.table().pause(it)) {
                    self.read(self.now()).await?;
                    self.known.entry(name.clone()).or_insert((None, Expect::Nothing)).1 =
                        Expect::Nothing;
                    self.paused.insert(name);
                }
            }
            Input::Resume(nth) => {
                if let Some(name) = self.member(nth).filter(|it| self.paused.remove(it)) {
                    assert!(self.watch.table().resume(&name));
                    let fresh = self.fresh(&name);
                    self.known.entry(name).or_insert((None, Expect::Nothing)).1 = fresh;
                }
            }
            Input::Reload(patience) => {
                assert!(self.watch.table().reconfigure(patient(patience)));
                self.read(self.now()).await?;
                if patience != self.patience {
                    self.patience = patience;
                    let is_judged = |expect: &Expect| matches!(expect, Expect::Down(_));
                    let judged = self.known.iter().filter(|(_, (_, expect))| is_judged(expect));
                    let judged: Vec<_> = judged.map(|(name, _)| name.clone()).collect();
                    for name in judged {
                        let fresh = self.fresh(&name);
                        self.known.entry(name).or_insert((None, Expect::Nothing)).1 = fresh;
                    }
                }
            }
            input => {
                self.say(&input)?;
                self.expect(&input);
            }
        }
        Ok(())
    }

    fn member(&self, nth: usize) -> Option<String> {
        let members = &self.world.members;
        members.get(nth % members.len()).map(|it| it.name.clone())
    }

    fn say(&self, input: &Input) -> Result<()> {
        let event = match input {
            Input::Message(message) => Event::Item(message.clone()),
            Input::Lost => Event::Lost(1),
            Input::Down => Event::Down,
            Input::Up => Event::Up { gap: false },
            other => return Err(unexpected(other)),
        };
        self.script.send(Ok(event)).map_err(|_| Error::new(ErrorKind::Closed, "intake"))
    }

    /// What is right to expect once this was heard.
    fn expect(&mut self, input: &Input) {
        let now = self.now();
        match input {
            Input::Message(message) => {
                let name = message.address.to_string().split_off("heartbeat.".len());
                let said = Beat::parse(&message.payload).ok().and_then(Beat::promise);
                self.said.insert(name.clone(), said);
                *self.beats.entry(name.clone()).or_default() += 1;
                if self.paused.contains(&name) {
                    return;
                }
                let expect = said.map_or(Expect::Stopped { said: now }, |promise| {
                    Expect::Down(Due::after(self.wait(promise), now))
                });
                self.known.entry(name).or_insert((None, Expect::Nothing)).1 = expect;
            }
            Input::Down => self.blind_since = Some(now),
            Input::Up => {
                self.blind_since = None;
                self.refresh();
            }
            Input::Lost => self.refresh(),
            Input::Stall { .. } | Input::Snapshot | Input::Restart { .. } => {}
            Input::Pause(_) | Input::Resume(_) | Input::Reload(_) => {}
        }
    }

    /// Nothing is heard meanwhile.
    async fn restart(&mut self, outage: Duration, learns: bool) -> Result<()> {
        let kept = self.kept.take().filter(|_| !learns);
        self.said = if learns { BTreeMap::new() } else { std::mem::take(&mut self.kept_said) };
        tokio::time::advance(outage).await;
        let (snapshot, known) = kept.unzip();
        (self.watch, self.script) = start(self.world, self.patience, snapshot).await?;
        self.same = (self.now(), self.watch.clock().now());
        let now = self.now();
        let known = known.unwrap_or_default().into_iter().map(|(name, state, wait)| {
            let expect = wait.map_or(Expect::Nothing, |wait| {
                // Nothing was due before.
                Expect::Down(Due { since: Duration::ZERO, ..Due::after(wait, now) })
            });
            (name, (Some(state), expect))
        });
        self.known = known.collect();
        Ok(())
    }

    /// Everyone has a fresh promise.
    fn refresh(&mut self) {
        let now = self.now();
        self.put_off(|due| {
            let fresh = Due::after(due.wait, now);
            *due = Due { from: fresh.from.max(due.from), by: fresh.by.max(due.by), ..fresh };
        });
    }

    fn put_off(&mut self, put: impl Fn(&mut Due)) {
        for (_, expect) in self.known.values_mut() {
            if let Expect::Down(due) = expect {
                put(due);
            }
        }
    }

    /// Until the last one is down, if nobody is heard any more.
    async fn end(&mut self) -> Result<()> {
        loop {
            let by = self.known.values().filter_map(|(_, expect)| match expect {
                Expect::Down(due) => Some(due.by + 2 * TIMER),
                _ => None,
            });
            match by.max().filter(|by| *by > self.now()) {
                Some(by) => self.until(by).await?,
                None => return Ok(()),
            }
        }
    }
}

fn play(world: &World) -> Result<()> {
    let (mut inputs, mut alive) = (Vec::new(), BTreeMap::new());
    for member in &world.members {
        let (published, lives) = publish(&member.name, member.period, &member.lives)?;
        inputs.extend(carry(published, member.period));
        alive.insert(member.name.clone(), lives);
    }
    befall(&mut inputs, &world.incidents);
    runtime()?.block_on(async {
        let mut stage = Stage::set(world, alive).await?;
        for (at, input) in inputs {
            stage.until(at).await?;
            stage.play(input).await?;
        }
        stage.end().await
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Who keeps its promise is never called down. Who is silent is called down no later than three promises and the
    /// grace (or as many as its patience says) after it was heard, or after whatever gave it a fresh promise: the end of
    /// a blindness, a gap, a start from a snapshot, the end of a pause, other patience; later by as long as the watch did not run; and within the time of learning where it was not heard.
    #[test]
    fn nobody_is_wronged_and_no_silence_is_overlooked(world in world()) {
        play(&world).unwrap();
    }

    /// Whatever the period, down to none: the second that a heart may suppress is the grace that a monitor grants.
    #[test]
    fn without_a_network_whoever_keeps_its_promise_is_never_late(
        steps in proptest::collection::vec(step(), 1..60),
        period_ms in 0..4000_u64,
    ) {
        let life = Life { pause: Duration::ZERO, steps, stops: false };
        let (published, _) = publish("a", Duration::from_millis(period_ms), &[life]).unwrap();
        let mut monitor = Monitor::new(MonitorOptions::default());
        let mut told = Vec::new();
        for (at, message, _) in published {
            monitor.hear(&message, Timestamp::from_start(at), &mut told);
        }
        prop_assert!(told.iter().filter_map(MonitorEvent::transition).all(|it| it.to != State::Late), "{told:#?}");
    }
}
