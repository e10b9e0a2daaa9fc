//! Side by side: one round of each contender after the other, over and over, so that what the machine does meanwhile
//! hits them all; ratios of paired rounds, and their quartiles.
use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::contenders::Contender;

pub(crate) struct Comparison {
    pub(crate) rounds: usize,
    pub(crate) contenders: Vec<Measured>,
}

pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) median: Duration,
    /// Of the first contender to this one.
    pub(crate) ratio: Ratio,
}

/// Quartiles of the ratios of rounds that followed each other.
pub(crate) struct Ratio {
    low: f64,
    pub(crate) median: f64,
    high: f64,
}

struct Lane<'a> {
    contender: &'a mut dyn Contender,
    times: Vec<Duration>,
}

/// Runs rounds for as long as `budget`, and compares the first contender to each.
pub(crate) fn compare(
    contenders: &mut [Box<dyn Contender>],
    budget: Duration,
    mut round: impl FnMut(&mut dyn Contender),
) -> Comparison {
    let mut lanes: Vec<_> = contenders
        .iter_mut()
        .map(|contender| Lane { contender: contender.as_mut(), times: Vec::new() })
        .collect();
    let (started, mut rounds) = (Instant::now(), 0);
    while rounds < WARM_UP + 3 || started.elapsed() < budget {
        // Each round another one starts, so that nobody always goes first.
        let turn = rounds % lanes.len().max(1);
        let (later, sooner) = lanes.split_at_mut(turn);
        for lane in sooner.iter_mut().chain(later) {
            let before = Instant::now();
            round(lane.contender);
            lane.times.push(before.elapsed());
        }
        rounds += 1;
    }
    lanes.iter_mut().for_each(|lane| drop(lane.times.drain(..WARM_UP)));
    let first = lanes.first().map(|lane| lane.times.clone()).unwrap_or_default();
    let contenders = lanes.iter_mut().map(|lane| Measured {
        name: lane.contender.name(),
        ratio: Ratio::of(&first, &lane.times),
        median: {
            lane.times.sort_unstable();
            lane.times.get(lane.times.len() / 2).copied().unwrap_or_default()
        },
    });
    Comparison { rounds: rounds - WARM_UP, contenders: contenders.collect() }
}

impl Ratio {
    fn of(first: &[Duration], other: &[Duration]) -> Self {
        let pairs = first.iter().zip(other);
        let mut ratios: Vec<_> = pairs.map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let quartile = |index| ratios.get(ratios.len() * index / 4).copied().unwrap_or(f64::NAN);
        Self { low: quartile(1), median: quartile(2), high: quartile(3) }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} [{:.2} {:.2}]", self.median, self.low, self.high)?;
        if self.low <= 1.0 && self.high >= 1.0 {
            f.write_str(" indistinguishable")?;
        }
        Ok(())
    }
}

const WARM_UP: usize = 20;
