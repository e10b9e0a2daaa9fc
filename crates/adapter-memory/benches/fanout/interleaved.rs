//! Side by side: one round of each contender after the other, over and over, so that what the machine does meanwhile
//! hits them all; ratios of paired rounds, and their median.
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
    /// Of the first contender to this one; the first has none.
    pub(crate) ratio: Option<Ratio>,
}

pub(crate) struct Ratio {
    pub(crate) median: f64,
    low: f64,
    high: f64,
}

/// Runs rounds for as long as `budget`, and compares the first contender to each of the others.
pub(crate) fn compare(
    contenders: &mut [Box<dyn Contender>],
    budget: Duration,
    mut round: impl FnMut(&mut dyn Contender),
) -> Comparison {
    let mut times = vec![Vec::new(); contenders.len()];
    let (started, mut rounds) = (Instant::now(), 0);
    while rounds < WARM_UP + 3 || started.elapsed() < budget {
        // Each round another one starts, so that nobody always follows the same neighbour.
        for turn in 0..contenders.len() {
            let index = (turn + rounds) % contenders.len();
            let before = Instant::now();
            round(&mut *contenders[index]);
            if rounds >= WARM_UP {
                times[index].push(before.elapsed());
            }
        }
        rounds += 1;
    }
    let first = times[0].clone();
    let measured = contenders.iter().zip(times).enumerate().map(|(index, (contender, times))| {
        let mut ratios: Vec<_> =
            first.iter().zip(&times).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let mut times = times;
        times.sort_unstable();
        let at = |part: f64| ratios[(ratios.len() as f64 * part) as usize];
        Measured {
            name: contender.name(),
            median: times[times.len() / 2],
            ratio: (index > 0).then(|| Ratio { median: at(0.5), low: at(0.25), high: at(0.75) }),
        }
    });
    Comparison { rounds: rounds - WARM_UP, contenders: measured.collect() }
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
