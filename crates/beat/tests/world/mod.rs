//! What may happen to processes, to the network between them and the monitor, and to the monitor.
use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use sinew_beat::{Reason, State};

pub(crate) mod happens;

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) members: Vec<Member>,
    /// Of the monitor at its start.
    pub(crate) patience: Figures,
    /// To the monitor: when, and what.
    pub(crate) incidents: Vec<(Duration, Incident)>,
}

impl World {
    /// What each of the process's beats promises.
    pub(crate) fn period(&self, name: &str) -> Duration {
        let member = self.members.iter().find(|member| member.name == name);
        member.map(|member| member.period).unwrap_or_default()
    }
}

/// A process, and its lives one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) period: Duration,
    pub(crate) is_declared: bool,
    pub(crate) lives: Vec<Life>,
}

#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// Before it.
    pub(crate) pause: Duration,
    pub(crate) steps: Vec<Step>,
    /// Or crashes.
    pub(crate) stops: bool,
}

/// What the process does after it waited for `gap` thousandths of its period, and what the network makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) gap: u32,
    pub(crate) degraded: bool,
    pub(crate) fate: Fate,
}

/// Delays are in thousandths of a quarter of the period.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Arrives { delay: u32 },
    Doubled { delay: u32, again: u32 },
    Lost,
    LostAndTold { delay: u32 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Incident {
    /// Its link is down.
    Cut { lasts: Duration },
    /// It does not run.
    Stall { lasts: Duration },
    /// It ends, and another one starts: with what was kept so long before, or with nothing.
    Restart { outage: Duration, kept_before: Option<Duration> },
    /// An operator has it not judge one of the members.
    Pause { nth: usize, lasts: Duration },
    /// It goes on with other patience.
    Reload { patience: Figures },
}

/// The figures of a patience: how many promises make down, and how many beats in a row end that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Figures {
    pub(crate) missed: u32,
    pub(crate) recoveries: u32,
}

fn figures() -> impl Strategy<Value = Figures> {
    // One loss in a row is within the promise, and takes two of three.
    (3..6_u32, 1..4_u32).prop_map(|(missed, recoveries)| Figures { missed, recoveries })
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    let member = (2000..10_000_u64, any::<bool>(), vec(life(), 1..4));
    (vec(member, 1..4), figures(), incidents()).prop_map(|(members, patience, incidents)| {
        let members = ('a'..).zip(members).map(|(name, (period, is_declared, lives))| Member {
            name: name.to_string(),
            period: Duration::from_millis(period),
            is_declared,
            lives,
        });
        World { members: members.collect(), patience, incidents }
    })
}

fn life() -> impl Strategy<Value = Life> {
    let pause = prop_oneof![Just(0), 1..5000_u64, 1..120_000_u64];
    (pause, vec(step(), 0..25), any::<bool>()).prop_map(|(pause, steps, stops)| Life {
        pause: Duration::from_millis(pause),
        steps,
        stops,
    })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        4 => (0..=1000_u32).prop_map(|delay| Fate::Arrives { delay }),
        2 => (0..=1000_u32, 0..=1000_u32).prop_map(|(delay, again)| Fate::Doubled { delay, again }),
        1 => Just(Fate::Lost),
        1 => (0..=1000_u32).prop_map(|delay| Fate::LostAndTold { delay }),
    ];
    (1..=1000_u32, any::<bool>(), fate).prop_map(|(gap, degraded, fate)| Step {
        gap,
        degraded,
        fate,
    })
}

/// One or none in each 60 s, so that they do not overlap.
fn incidents() -> impl Strategy<Value = Vec<(Duration, Incident)>> {
    let up_to = |most: u64| (1..most).prop_map(Duration::from_millis);
    // The watch tells what is longer than 5 s, and who keeps its promise survives 2 s.
    let stall = prop_oneof![5000..30_000_u64, 1..2000_u64].prop_map(Duration::from_millis);
    let incident = prop_oneof![
        up_to(30_000).prop_map(|lasts| Incident::Cut { lasts }),
        stall.prop_map(|lasts| Incident::Stall { lasts }),
        (up_to(30_000), proptest::option::of(up_to(20_000)))
            .prop_map(|(outage, kept_before)| Incident::Restart { outage, kept_before }),
        (0..3_usize, up_to(30_000)).prop_map(|(nth, lasts)| Incident::Pause { nth, lasts }),
        figures().prop_map(|patience| Incident::Reload { patience }),
    ];
    vec(proptest::option::of((0..10_000_u64, incident)), 0..6).prop_map(|incidents| {
        let nth = (0..).zip(incidents);
        let happens = nth.filter_map(|(nth, it)| {
            let (offset, incident) = it?;
            Some((Duration::from_millis(60_000 * nth + 20_000 + offset), incident))
        });
        happens.collect()
    })
}

/// Which reason leads to which state, and from where: from itself none does.
pub(crate) const LEGAL: [(Reason, State, &[Option<State>]); 14] = {
    use State::{Degraded, Down, Expected, Late, Paused, Starting, Stopped, Up};
    const ANY: &[Option<State>] = &[
        None,
        Some(Expected),
        Some(Starting),
        Some(Up),
        Some(Degraded),
        Some(Late),
        Some(Down),
        Some(Stopped),
    ];
    [
        (Reason::Declared, Expected, &[None]),
        (Reason::Start, Starting, ANY),
        (Reason::Beat, Up, ANY),
        (Reason::Degraded, Degraded, ANY),
        (Reason::Stop, Stopped, ANY),
        (Reason::Overdue, Late, &[Some(Starting), Some(Up), Some(Degraded)]),
        (Reason::Silent, Down, &[Some(Late)]),
        (Reason::NeverSeen, Down, &[Some(Expected)]),
        (Reason::Paused, Paused, ANY),
        (Reason::Resumed, Expected, &[Some(Paused)]),
        (Reason::Resumed, Starting, &[Some(Paused)]),
        (Reason::Resumed, Up, &[Some(Paused)]),
        (Reason::Resumed, Degraded, &[Some(Paused)]),
        (Reason::Resumed, Stopped, &[Some(Paused)]),
    ]
};
