//! What the system knows of processes. Where there is no `/proc`, nothing.
use std::{
    collections::HashMap,
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::common::Result;

/// Now, in ms since 1970, as the page has it.
pub(crate) fn epoch() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1000.0)
}

/// The resident memory of a process in MiB.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// At most so far.
    pub(crate) most: u64,
}

pub(crate) fn memory(id: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
    };
    Some(Memory { now: figure("VmRSS:")?, most: figure("VmHWM:")? })
}

/// How long a process has kept cores busy.
pub(crate) fn busy(id: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Its name, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Hundredths of a second, on all of Linux' platforms that matter.
    Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// The memory of the largest renderer among what we have started: the tab's.
pub(crate) fn renderer() -> Option<Memory> {
    let parents: HashMap<u32, u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, parent(id)?)))
        .collect();
    let is_ours = |id: &u32| {
        let line = std::iter::successors(Some(*id), |id| parents.get(id).copied());
        line.take(16).any(|it| it == std::process::id())
    };
    let is_renderer = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("--type=renderer")
    };
    parents.keys().filter(|it| is_ours(it) && is_renderer(it)).filter_map(|it| memory(*it)).max()
}

fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
