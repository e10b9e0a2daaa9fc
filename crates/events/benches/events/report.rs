//! Turns, medians, ratios.
use std::time::Duration;

/// At most this is the target, of the time that lapin takes.
pub(crate) const TARGET: f64 = 1.05;

/// Who does it, and what a message took in each round.
pub(crate) struct Lane<Who> {
    pub(crate) who: Who,
    pub(crate) times: Vec<Duration>,
}

impl<Who: Copy> Lane<Who> {
    pub(crate) fn of(contenders: &[Who]) -> Vec<Self> {
        contenders.iter().map(|who| Self { who: *who, times: Vec::new() }).collect()
    }
}

/// Which round it is, and whose turn of so many. Each round another one starts, so that nobody always goes first.
pub(crate) fn turns(rounds: usize, contenders: usize) -> impl Iterator<Item = (usize, usize)> {
    let turns = move |round| (0..contenders).map(move |turn| (round, (round + turn) % contenders));
    (0..=rounds).flat_map(turns)
}

/// The one at `part` of `whole`, in microseconds.
pub(crate) fn quantile(times: &[Duration], part: usize, whole: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * part / whole).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, Duration::as_secs_f64) * 1e6
}

/// Quartiles of the ratios of rounds that followed each other, and whether the middle one is within `target`.
pub(crate) fn ratio(own: &[Duration], other: &[Duration], target: Option<f64>) -> String {
    let mut ratios: Vec<f64> =
        own.iter().zip(other).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let quartile = |part| ratios.get(ratios.len() * part / 4).copied().unwrap_or(f64::NAN);
    let (low, middle, high) = (quartile(1), quartile(2), quartile(3));
    let verdict = match target {
        Some(_) if low <= 1.0 && high >= 1.0 => " indistinguishable",
        Some(target) if middle <= target => " within the target",
        Some(_) => " misses the target",
        None => "",
    };
    format!("{middle:.2} [{low:.2} {high:.2}]{verdict}")
}
