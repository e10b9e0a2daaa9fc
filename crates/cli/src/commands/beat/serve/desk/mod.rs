//! The desk: what the monitor tells becomes alerts here, and goes where the file says.
pub(super) mod kept;
pub(super) mod metrics;
pub(super) mod outputs;
pub(super) mod silences;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use sinew_beat::{
    AlertCounts, Alerts, Clock, MonitorEvent, Mute, MuteId, Notification, ProcessStatus, Republish,
    RepublishCounts, RepublishOutput, Timestamp, ToldIncident,
};
use sinew_core::AnyPublisher;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use self::{
    kept::Kept,
    outputs::{Left, OutputCounts, Outputs, Webhooks},
    silences::{Refused, Silence, Silences, Wanted},
};
use crate::{commands::beat::config::Config, exit::Failure, output::Output};

/// How often the wall's clock is looked at: whoever sets it moves windows and silences with it.
const LOOK: Duration = Duration::from_secs(30);

/// A smaller difference is none: both clocks are read one after the other.
const STEP: Duration = Duration::from_secs(1);

/// How often it is said that notifications were refused.
const SAID: Duration = Duration::from_secs(60);

/// Alerts, where they go, and what holds them back. One task tells it what happens; pages and a reload come between.
#[derive(Debug)]
pub(super) struct Desk {
    clock: Clock,
    output: Output,
    /// What can tell transitions on the bus, if the backend can.
    publisher: Option<AnyPublisher>,
    inner: Mutex<Inner>,
    /// Tells the task that the next deadline may have moved earlier.
    nudge: Notify,
}

#[derive(Debug)]
struct Inner {
    alerts: Alerts,
    /// What the wall's clock is taken to have said at the start.
    wall: SystemTime,
    /// When it was looked at last.
    looked: Timestamp,
    windows: Vec<(MuteId, Mute)>,
    silences: Silences,
    outputs: Outputs,
    /// What people were told when no output held anything back last. Queues die with us: what is kept is this, so that
    /// the next run tells again what was not delivered. Twice is better than never, and alerts carry a key.
    settled: Vec<ToldIncident>,
    /// Whether anything was told since that was taken.
    has_told: bool,
    /// What outputs that are finished, or are being finished, have not delivered.
    undelivered: Left,
    republishing: Option<RepublishOutput>,
    /// Notifications refused since that was said, and when that may be said again.
    refused: u64,
    silent_until: Option<Instant>,
}

/// What the desk has counted.
#[derive(Debug)]
pub(super) struct DeskCounts {
    pub(super) alerts: AlertCounts,
    pub(super) open: usize,
    pub(super) silences: usize,
    pub(super) outputs: Vec<OutputCounts>,
    pub(super) republished: Option<RepublishCounts>,
}

impl Desk {
    /// A desk over what `config` says.
    pub(super) fn new(
        config: &Config,
        clock: Clock,
        output: Output,
        publisher: Option<AnyPublisher>,
        webhooks: Webhooks,
    ) -> Self {
        let wall = clock.wall(Timestamp::START);
        let alerts = Alerts::new(config.alerts.clone(), wall);
        let now = clock.now();
        let mut inner = Inner {
            alerts,
            wall,
            looked: now,
            windows: Vec::new(),
            silences: Silences::default(),
            outputs: Outputs::default(),
            settled: Vec::new(),
            has_told: false,
            undelivered: Left::default(),
            republishing: None,
            refused: 0,
            silent_until: None,
        };
        inner.open_windows(&config.windows, now, &mut Vec::new());
        inner.republish(config.republish, publisher.as_ref(), clock);
        inner.outputs.replace(config, webhooks, clock, output, &[]);
        Self { clock, output, publisher, inner: Mutex::new(inner), nudge: Notify::new() }
    }

    /// Takes in what the monitor tells.
    pub(super) fn hear(&self, event: &MonitorEvent) {
        self.work(|inner, now, due| {
            if let (Some(republishing), Some(it)) = (&inner.republishing, event.transition()) {
                // One that is refused is counted there.
                let _refused = republishing.send(it.clone());
            }
            inner.alerts.handle(event, now, due);
        });
    }

    /// Waits until something may be due, and tells it.
    ///
    /// Cancel safe: what is due stays due.
    pub(super) async fn tend(&self) {
        loop {
            let wait = self.lock().next_deadline().since(self.clock.now());
            tokio::select! {
                () = sleep(wait) => break,
                () = self.nudge.notified() => {}
            }
        }
        self.work(|inner, now, due| inner.alerts.advance(now, due));
    }

    /// Gets ready what a file asks for; an error where that cannot be done.
    pub(super) async fn prepare(&self, config: &Config) -> Result<Webhooks, Failure> {
        if config.republish && self.publisher.is_none() {
            return Err(Failure::usage("republish: this backend cannot publish"));
        }
        let missing = self.lock().outputs.missing(config);
        outputs::start(missing, self.clock, self.output).await
    }

    /// Goes on as a file says that was read anew and [prepared](Self::prepare). Who of `known` is in a state that is
    /// told only now is told; to outputs that are new, all that is open.
    pub(super) fn reconfigure(&self, config: &Config, webhooks: Webhooks, known: &[ProcessStatus]) {
        self.work(|inner, now, due| {
            // The new windows stand before the old ones fall: nothing slips through between.
            let old = std::mem::take(&mut inner.windows);
            inner.open_windows(&config.windows, now, due);
            inner.alerts.reconfigure(config.alerts.clone(), now, due);
            for (id, _) in old {
                inner.alerts.unmute(id, now, due);
            }
            inner.alerts.catch_up(known, now, due);
            inner.send(due);
            let open = inner.alerts.recap();
            inner.refused +=
                inner.outputs.replace(config, webhooks, self.clock, self.output, &open);
            inner.republish(config.republish, self.publisher.as_ref(), self.clock);
        });
        self.nudge.notify_one();
    }

    /// Makes a silence.
    pub(super) fn silence(&self, wanted: Wanted) -> Result<Silence, Refused> {
        let made = self.work(|inner, now, due| {
            let Inner { alerts, silences, .. } = inner;
            silences.make(wanted, SystemTime::now(), |mute| alerts.mute(mute, now, due))
        });
        self.nudge.notify_one();
        made
    }

    /// Ends a silence before its time; whether there was one of that number.
    pub(super) fn unsilence(&self, id: u64) -> bool {
        self.work(|inner, now, due| match inner.silences.take(id) {
            Some(mute) => inner.alerts.unmute(mute, now, due),
            None => false,
        })
    }

    /// Goes on where an earlier run ended: its silences hold, what people were told goes on, and who of `known` is in
    /// trouble that nobody was told of is told now.
    pub(super) fn resume(&self, kept: &Kept, known: &[ProcessStatus]) {
        self.work(|inner, now, due| {
            let Inner { alerts, silences, settled, .. } = inner;
            *settled = kept.told().collect();
            for silence in &kept.silences {
                // One that cannot be made again is over.
                let _over = silences.restore(silence.clone(), |mute| alerts.mute(mute, now, due));
            }
            alerts.resume(kept.told(), known, now, due);
        });
        self.nudge.notify_one();
    }

    /// What a restart is to keep.
    pub(super) fn kept(&self) -> Kept {
        let mut inner = self.lock();
        if inner.is_settled() {
            inner.settled = inner.alerts.told().collect();
            inner.has_told = false;
        }
        Kept::new(inner.silences.current(SystemTime::now()), &inner.settled)
    }

    /// Whether people were told of something that [`kept`](Self::kept) has not taken in, and could.
    pub(super) fn has_news(&self) -> bool {
        let mut inner = self.lock();
        inner.has_told && inner.is_settled()
    }

    /// The silences in force, in the order in which they were made.
    pub(super) fn silences(&self) -> Vec<Silence> {
        self.lock().silences.current(SystemTime::now())
    }

    pub(super) fn counts(&self) -> DeskCounts {
        let inner = self.lock();
        DeskCounts {
            alerts: inner.alerts.counts().clone(),
            open: inner.alerts.open(),
            silences: inner.silences.current(SystemTime::now()).len(),
            outputs: inner.outputs.counts(),
            republished: inner.republishing.as_ref().map(RepublishOutput::counts),
        }
    }

    /// Lets what waits be told, for no longer than `limit`. What was not delivered.
    pub(super) async fn finish(&self, limit: Duration) -> Left {
        let outputs = {
            let mut inner = self.lock();
            inner.undelivered = inner.outputs.waiting();
            std::mem::take(&mut inner.outputs)
        };
        let lost = outputs.finish(limit).await;
        self.lock().undelivered = lost;
        lost
    }

    /// Works, and sends what is due then.
    fn work<T>(&self, work: impl FnOnce(&mut Inner, Timestamp, &mut Vec<Notification>) -> T) -> T {
        let mut inner = self.lock();
        let mut due = Vec::new();
        let now = self.clock.now();
        inner.look_at_wall(now, &mut due);
        let done = work(&mut inner, now, &mut due);
        inner.send(&mut due);
        let words = inner.refused();
        drop(inner);
        if let Some(words) = words {
            self.output.remark(words);
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; if something does, alerts go on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Hands what is due to every output.
    fn send(&mut self, due: &mut Vec<Notification>) {
        self.has_told |= !due.is_empty();
        self.refused += due.drain(..).map(|it| self.outputs.send(&it)).sum::<u64>();
    }

    fn open_windows(&mut self, windows: &[Mute], now: Timestamp, due: &mut Vec<Notification>) {
        for window in windows {
            // One that is over holds nothing back.
            if let Ok(id) = self.alerts.mute(window.clone(), now, due) {
                self.windows.push((id, window.clone()));
            }
        }
    }

    fn republish(&mut self, is_on: bool, publisher: Option<&AnyPublisher>, clock: Clock) {
        match publisher.filter(|_| is_on) {
            Some(publisher) => {
                let republish = || Republish::new(publisher.clone(), clock);
                self.republishing.get_or_insert_with(|| RepublishOutput::start(republish()));
            }
            None => self.republishing = None,
        }
    }

    /// Whether all that was told was delivered, or given up.
    fn is_settled(&mut self) -> bool {
        self.undelivered.is_none() && self.outputs.waiting().is_none()
    }

    /// When something may be due next, with nothing heard until then.
    fn next_deadline(&self) -> Timestamp {
        let look = self.looked.after(LOOK);
        self.alerts.next_deadline().map_or(look, |at| at.min(look))
    }

    /// Whether the wall's clock was set, and what it would have said at the start then; once in a while.
    fn look_at_wall(&mut self, now: Timestamp, due: &mut Vec<Notification>) {
        if now.since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        let Some(wall) = SystemTime::now().checked_sub(now.since_start()) else { return };
        let ahead = wall.duration_since(self.wall);
        if ahead.unwrap_or_else(|behind| behind.duration()) > STEP {
            self.wall = wall;
            self.alerts.set_wall(wall, now, due);
        }
    }

    /// What to say of notifications that were refused, once in a while.
    fn refused(&mut self) -> Option<String> {
        let now = Instant::now();
        if self.refused == 0 || self.silent_until.is_some_and(|until| now < until) {
            return None;
        }
        self.silent_until = Some(now + SAID);
        let refused = std::mem::take(&mut self.refused);
        Some(format!("alerts of {refused} notifications were not taken: too many wait to be told"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sinew_beat::{Beat, Monitor, MonitorOptions, Process, Watch, WatchOptions};

    use super::*;
    use crate::output::Chatter;

    #[tokio::test]
    async fn an_output_that_a_new_file_adds_is_told_once_what_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let backend = sinew_connect::connect("memory:desk-recap").await.unwrap();
        let options = WatchOptions::default();
        let watch = Watch::start(&backend.subscriber().unwrap(), options).await.unwrap();
        let config = |text: &str| Config::parse(text, Path::new("sinew.toml")).unwrap();
        let output = Output::new(false, Chatter::Quiet);
        let desk = Desk::new(&config(""), watch.clock(), output, None, Vec::new());
        let (mut monitor, mut events) = (Monitor::new(MonitorOptions::default()), Vec::new());
        for name in ["billing", "well"] {
            let beat = Beat::Beat { period: Duration::from_secs(1) };
            let process = Process::parse(name).unwrap();
            monitor.beat(&process, beat, Timestamp::START, &mut events);
            monitor.advance(Timestamp::from_start(Duration::from_secs(10)), &mut events);
        }
        events.iter().for_each(|event| desk.hear(event));
        let script = format!("cat >> '{}'", told.display());
        let config = config(&format!("[[command]]\nrun = [\"sh\", \"-c\", \"{script}\"]\n"));
        for _ in 0..2 {
            desk.reconfigure(&config, Vec::new(), &[]);
        }
        assert!(desk.finish(Duration::from_secs(30)).await.is_none());
        let told = std::fs::read_to_string(&told).unwrap();
        let lines: Vec<_> =
            told.lines().map(|it| it.split('\t').step_by(2).take(2).collect::<Vec<_>>()).collect();
        assert_eq!(lines, [["firing", "billing"]]);
    }

    #[tokio::test]
    async fn who_gets_another_output_reads_what_the_old_one_tells_first() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let backend = sinew_connect::connect("memory:desk-turns").await.unwrap();
        let options = WatchOptions::default();
        let watch = Watch::start(&backend.subscriber().unwrap(), options).await.unwrap();
        // The first run, which is the old one's, takes until it is let go.
        let script = format!(
            "cd '{place}'; if mkdir first 2>/dev/null; then until [ -e go ]; do sleep 0.02; done; fi; cat >> told"
        );
        let config = |seconds: u32| {
            let text = format!(
                "[[command]]\nrun = [\"sh\", \"-c\", \"{script}\"]\ntimeout = \"{seconds}s\"\n"
            );
            Config::parse(&text, Path::new("sinew.toml")).unwrap()
        };
        let output = Output::new(false, Chatter::Quiet);
        let desk = Desk::new(&config(30), watch.clock(), output, None, Vec::new());
        let (mut monitor, mut events) = (Monitor::new(MonitorOptions::default()), Vec::new());
        let (beat, process) =
            (Beat::Beat { period: Duration::from_secs(1) }, Process::parse("a").unwrap());
        let ten = Timestamp::from_start(Duration::from_secs(10));
        monitor.beat(&process, beat, Timestamp::START, &mut events);
        monitor.advance(ten, &mut events);
        events.drain(..).for_each(|event| desk.hear(&event));
        let waited = async || {
            while !folder.path().join("first").exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waited()).await.unwrap();
        desk.reconfigure(&config(29), Vec::new(), &[]);
        monitor.beat(&process, beat, ten, &mut events);
        events.iter().for_each(|event| desk.hear(event));
        assert_eq!(desk.counts().outputs[0].waiting, 2, "what is open, and that it is over");
        std::fs::write(folder.path().join("go"), "").unwrap();
        assert!(desk.finish(Duration::from_secs(30)).await.is_none());
        let told = std::fs::read_to_string(folder.path().join("told")).unwrap();
        let kinds: Vec<_> = told.lines().filter_map(|it| it.split('\t').next()).collect();
        assert_eq!(kinds, ["firing", "firing", "resolved"]);
    }

    #[tokio::test]
    async fn what_is_kept_beyond_a_queue_is_not_settled() {
        let backend = sinew_connect::connect("memory:desk-kept").await.unwrap();
        let options = WatchOptions::default();
        let watch = Watch::start(&backend.subscriber().unwrap(), options).await.unwrap();
        let text = "[[command]]\nrun = [\"sleep\", \"1000\"]\nqueue = 1\n";
        let config = Config::parse(text, Path::new("sinew.toml")).unwrap();
        let output = Output::new(false, Chatter::Quiet);
        let desk = Desk::new(&config, watch.clock(), output, None, Vec::new());
        let (mut monitor, mut events) = (Monitor::new(MonitorOptions::default()), Vec::new());
        for nth in 0..9 {
            let beat = Beat::Beat { period: Duration::from_secs(1) };
            let process = Process::parse(&format!("p{nth}")).unwrap();
            monitor.beat(&process, beat, Timestamp::START, &mut events);
        }
        monitor.advance(Timestamp::from_start(Duration::from_secs(10)), &mut events);
        events.iter().for_each(|event| desk.hear(event));
        // One runs or waits, another waits.
        let counts = desk.counts();
        assert!(matches!(counts.outputs[..], [OutputCounts { waiting: 1..=2, kept: 7..=8, .. }]));
        assert!(!desk.has_news(), "nothing can be taken in yet");
        let left = desk.finish(Duration::ZERO).await;
        assert_eq!(left.notifications + left.alerts, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn the_walls_clock_is_looked_at_in_a_fleet_that_never_rests() {
        let backend = sinew_connect::connect("memory:desk").await.unwrap();
        let options = WatchOptions::default();
        let watch = Watch::start(&backend.subscriber().unwrap(), options).await.unwrap();
        let config = Config::parse("", Path::new("sinew.toml")).unwrap();
        let output = Output::new(false, Chatter::Quiet);
        let desk = Desk::new(&config, watch.clock(), output, None, Vec::new());
        let wall = desk.lock().wall;
        // Hours here take no time on the wall: as if somebody set its clock back.
        for _ in 0..3600 {
            let _ = tokio::time::timeout(STEP, desk.tend()).await;
            desk.hear(&MonitorEvent::Sighted { at: desk.clock.now(), skipped: 0 });
        }
        let behind = wall.duration_since(desk.lock().wall).unwrap();
        assert!(behind > Duration::from_secs(3600) - LOOK * 2, "{behind:?}");
    }
}
