//! The services of the demo, and what befalls them.
use std::time::Duration;

/// What befalls a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It is started, and warms up.
    Start,
    /// It goes on working, but not well.
    Degrade,
    /// It works well again; one that hung does so again at all.
    Recover,
    /// Its work loop hangs: it lives, and does not beat.
    Hang,
    /// It is killed: no stop, no word.
    Kill,
    /// It is stopped on purpose, and says so.
    Stop,
}

impl Fate {
    /// What happens, to stand behind the service's name.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Start => "starts",
            Self::Degrade => "slows down, and says so",
            Self::Recover => "recovers",
            Self::Hang => "hangs, and says nothing",
            Self::Kill => "is killed",
            Self::Stop => "is stopped on purpose",
        }
    }
}

/// One service: its name, how long it warms up, and its fates with the tenths of a second at which they befall it.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: &'static str,
    warmup_tenths: u64,
    fates: &'static [(u64, Fate)],
}

impl Role {
    pub(super) const fn warmup(&self) -> Duration {
        Duration::from_millis(self.warmup_tenths * 100)
    }
}

const fn role(name: &'static str, warmup_tenths: u64, fates: &'static [(u64, Fate)]) -> Role {
    Role { name, warmup_tenths, fates }
}

/// A dozen services. `shipping` is expected from the first moment on, and comes late.
pub(super) const CAST: [Role; 12] = [
    role("auth", 5, &[(0, Fate::Start)]),
    role("billing", 8, &[(1, Fate::Start), (40, Fate::Degrade), (90, Fate::Recover)]),
    role("catalog", 5, &[(2, Fate::Start)]),
    role("checkout", 8, &[(3, Fate::Start), (50, Fate::Hang), (77, Fate::Recover)]),
    role("email", 5, &[(4, Fate::Start), (110, Fate::Stop), (140, Fate::Start)]),
    role("gateway", 5, &[(0, Fate::Start)]),
    role("inventory", 8, &[(2, Fate::Start), (30, Fate::Kill), (120, Fate::Start)]),
    role("ledger", 45, &[(1, Fate::Start)]),
    role("payments", 8, &[(3, Fate::Start), (70, Fate::Degrade), (95, Fate::Kill)]),
    role("search", 8, &[(1, Fate::Start), (60, Fate::Hang), (130, Fate::Recover)]),
    role("sessions", 5, &[(4, Fate::Start), (155, Fate::Stop)]),
    role("shipping", 8, &[(150, Fate::Start)]),
];

/// How long the play is; longer demos play it again, with whoever is dead started anew.
pub(super) const LENGTH: Duration = Duration::from_secs(20);

/// Everything that happens in one play, in order: when, to whom (an index into [`CAST`]), what.
pub(super) fn script() -> Vec<(Duration, usize, Fate)> {
    let mut script: Vec<_> = CAST
        .iter()
        .enumerate()
        .flat_map(|(index, role)| {
            role.fates
                .iter()
                .map(move |(tenths, fate)| (Duration::from_millis(tenths * 100), index, *fate))
        })
        .collect();
    script.sort_by_key(|(at, index, _)| (*at, *index));
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_started_before_anything_else_befalls_them() {
        for (index, role) in CAST.iter().enumerate() {
            let first = script().into_iter().find(|(_, whom, _)| *whom == index);
            assert_eq!(first.unwrap().2, Fate::Start, "{}", role.name);
        }
    }

    #[test]
    fn the_play_has_a_dozen_services_and_every_fate() {
        let script = script();
        assert_eq!(CAST.len(), 12);
        assert!(script.iter().all(|(at, ..)| *at < LENGTH));
        for fate in [Fate::Start, Fate::Degrade, Fate::Recover, Fate::Hang, Fate::Kill, Fate::Stop]
        {
            assert!(script.iter().any(|(.., it)| *it == fate), "{fate:?}");
        }
    }
}
