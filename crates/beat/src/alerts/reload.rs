//! Other options for alerts that are told already.
use super::{
    AlertOptions, Alerts, Condition, Notification,
    incident::{Id, Seen},
    inhibit::Inhibitions,
};
use crate::{State, Timestamp};

impl Alerts {
    /// Goes on with other options, as after a file was read anew.
    ///
    /// What was told stays told, under the key that it has. Of a state that is no longer told, the incident is told to
    /// be over: whoever has it open closes it. A state that is newly told is told from the next transition on, and of
    /// those who are in it already by [`Alerts::catch_up`]. What waits for its group waits no longer than it would have, nor than the new
    /// delay. Where rules of inhibition differ, the grace of sources that are back is over.
    pub fn reconfigure(
        &mut self,
        mut options: AlertOptions,
        now: Timestamp,
        out: &mut impl Extend<Notification>,
    ) {
        self.advance(now, out);
        let rules = std::mem::take(&mut options.inhibitions);
        let renotify = options.renotify != self.options.renotify;
        self.options = options;
        self.monitor = super::named(&self.options);
        for incident in self.incidents.values_mut() {
            if let Some(Condition::State(state)) = incident.seen.condition
                && self.options.condition(state).is_none()
            {
                // What is over is that it is told: the process may be in that state still.
                incident.seen = Seen::plain(None, self.now);
            }
        }
        if rules != self.inhibitions.rules() {
            self.inhibitions = Inhibitions::new(rules);
            for (id, incident) in &self.incidents {
                if let (Id::State(process), Some(Condition::State(State::Down))) =
                    (id, incident.seen.condition)
                {
                    self.inhibitions.start(process, &incident.address);
                }
            }
        }
        if renotify {
            self.renotify.clear();
            let again = self.options.renotify.map(|interval| self.now.after(interval));
            for (id, incident) in &mut self.incidents {
                incident.renotify_at = again.filter(|_| incident.told.is_some());
                self.renotify.extend(incident.renotify_at.map(|at| (at, id.clone())));
            }
        }
        for (due, id) in std::mem::take(&mut self.groups).into_waiting() {
            let due = due.min(self.now.after(self.options.delay));
            self.groups.add(self.group(id.process()), id, due);
        }
        let mut batch = Vec::new();
        let all: Vec<_> = self.incidents.keys().cloned().collect();
        all.iter().for_each(|id| self.examine(id, &mut batch));
        self.send(batch, out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use sinew_core::Pattern;

    use super::*;
    use crate::{InhibitionRule, MonitorEvent, Process, Reason, Transition};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_start(Duration::from_secs(seconds))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    struct Scene {
        alerts: Alerts,
        sent: Vec<Notification>,
    }

    impl Scene {
        fn new(options: AlertOptions) -> Self {
            Self { alerts: Alerts::new(options, UNIX_EPOCH), sent: Vec::new() }
        }

        fn became(&mut self, name: &str, to: State, second: u64) {
            let event = MonitorEvent::Transition(Transition {
                process: Process::parse(name).unwrap(),
                from: None,
                to,
                at: at(second),
                reason: Reason::Beat,
                skipped: 0,
            });
            self.alerts.handle(&event, at(second), &mut self.sent);
        }

        fn reconfigure(&mut self, options: AlertOptions, second: u64) {
            self.alerts.reconfigure(options, at(second), &mut self.sent);
        }

        fn advance(&mut self, second: u64) {
            self.alerts.advance(at(second), &mut self.sent);
        }

        /// What was sent since this was asked last.
        fn told(&mut self) -> Vec<String> {
            let sent = self.sent.drain(..).flat_map(|it| it.alerts);
            sent.map(|it| format!("{} {}", it.kind, it.key)).collect()
        }
    }

    const NONE: [&str; 0] = [];

    fn with(states: &[State]) -> AlertOptions {
        AlertOptions::default().with_states(states.iter().copied())
    }

    fn holding(source: &str, target: &str) -> AlertOptions {
        let rule = InhibitionRule::new(Pattern::parse(source).unwrap(), target).unwrap();
        AlertOptions::default().with_inhibition(rule)
    }

    #[test]
    fn what_was_told_stays_told_and_is_told_to_be_over_once() {
        let mut scene = Scene::new(AlertOptions::default());
        scene.became("a", State::Down, 1);
        for second in 2..9 {
            scene.reconfigure(AlertOptions::default().with_monitor("other"), second);
        }
        assert_eq!(scene.told(), ["firing a/down/0"]);
        scene.became("a", State::Up, 9);
        assert_eq!(scene.told(), ["resolved a/down/0"]);
        assert_eq!(scene.alerts.open(), 0);
    }

    #[test]
    fn a_state_that_is_told_no_more_closes_its_incidents_and_opens_none() {
        let mut scene = Scene::new(with(&[State::Degraded]));
        scene.became("a", State::Degraded, 1);
        scene.reconfigure(with(&[]), 2);
        assert_eq!(scene.told(), ["firing a/degraded/0", "resolved a/degraded/0"]);
        scene.became("b", State::Degraded, 3);
        scene.reconfigure(with(&[State::Degraded]), 4);
        assert_eq!(scene.told(), NONE);
        scene.became("b", State::Up, 5);
        scene.became("b", State::Degraded, 6);
        assert_eq!(scene.told(), ["firing b/degraded/0"]);
    }

    #[test]
    fn the_end_of_a_state_that_is_told_no_more_says_how_long_it_was_told() {
        let mut scene = Scene::new(with(&[State::Late]));
        scene.became("a", State::Late, 1);
        scene.reconfigure(with(&[]), 91);
        let lines: Vec<_> =
            scene.sent.iter().flat_map(|it| &it.alerts).map(ToString::to_string).collect();
        assert_eq!(lines, ["a is late: beat", "a is no longer late, was late for 1m30s"]);
    }

    #[test]
    fn telling_again_begins_and_ends_with_the_options() {
        let mut scene = Scene::new(AlertOptions::default());
        scene.became("a", State::Down, 1);
        scene.reconfigure(AlertOptions::default().with_renotify(seconds(60)), 10);
        assert_eq!(scene.alerts.next_deadline(), Some(at(70)));
        // The same interval once more does not put it off.
        scene.reconfigure(AlertOptions::default().with_renotify(seconds(60)), 60);
        scene.advance(70);
        assert_eq!(scene.told(), ["firing a/down/0", "renotify a/down/0"]);
        scene.reconfigure(AlertOptions::default(), 80);
        assert_eq!(scene.alerts.next_deadline(), None);
    }

    #[test]
    fn what_waits_for_its_group_waits_no_longer_than_either_delay() {
        let waiting = |delay| AlertOptions::default().with_delay(seconds(delay)).with_grouping(1);
        let mut scene = Scene::new(waiting(30));
        scene.became("eu.a", State::Down, 0);
        scene.became("us.a", State::Down, 10);
        scene.reconfigure(waiting(600), 15);
        scene.advance(30);
        assert_eq!(scene.told(), ["firing eu.a/down/0"]);
        scene.reconfigure(waiting(1), 31);
        scene.advance(32);
        assert_eq!(scene.told(), ["firing us.a/down/0"]);
    }

    #[test]
    fn who_is_down_holds_back_by_the_new_rules_and_not_by_the_old() {
        let mut scene = Scene::new(AlertOptions::default());
        scene.became("host", State::Down, 0);
        scene.reconfigure(holding("*", "{1}.>"), 1);
        scene.became("host.x", State::Down, 2);
        assert_eq!(scene.told(), ["firing host/down/0"]);
        scene.reconfigure(AlertOptions::default(), 3);
        assert_eq!(scene.told(), ["firing host.x/down/0"]);
    }

    #[test]
    fn the_same_rules_keep_the_grace_of_a_source_that_is_back() {
        let mut scene = Scene::new(holding("*", "{1}.>"));
        scene.became("host", State::Down, 0);
        scene.became("host.x", State::Down, 1);
        scene.became("host", State::Up, 2);
        scene.reconfigure(holding("*", "{1}.>").with_max_alerts(7), 3);
        scene.became("host.x", State::Up, 4);
        scene.advance(100);
        assert_eq!(scene.told(), ["firing host/down/0", "resolved host/down/0"]);
    }
}
