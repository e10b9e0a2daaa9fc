//! What the audience remembers: each service's states over time, and what happened against what the monitor saw.
use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use sinew_beat::{State, Transition};

use super::cast::{CAST, Fate};

/// How many samples of a service's state are kept: as many as fit a line.
pub(super) const STRIP: usize = 40;

/// How often a state is sampled: the strip then shows the last twenty seconds.
pub(super) const SAMPLE: Duration = Duration::from_millis(500);

/// One service as the audience remembers it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) strip: VecDeque<Option<State>>,
    pub(super) chapters: Vec<Chapter>,
}

/// Something that happened, and what the monitor made of it.
#[derive(Debug)]
pub(super) struct Chapter {
    pub(super) what: Fate,
    pub(super) at: SystemTime,
    /// The states that the monitor called after it, each with how long after it that state began.
    pub(super) seen: Vec<(State, Duration)>,
}

/// The whole fleet.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) services: [Memory; CAST.len()],
    pub(super) transitions: u64,
}

impl Story {
    pub(super) fn new() -> Self {
        Self { services: std::array::from_fn(|_| Memory::default()), transitions: 0 }
    }

    /// Remembers what really happened.
    pub(super) fn happened(&mut self, whom: usize, what: Fate, at: SystemTime) {
        if let Some(service) = self.services.get_mut(whom) {
            service.chapters.push(Chapter { what, at, seen: Vec::new() });
        }
    }

    /// Remembers what the monitor said, under the last thing that happened to the service.
    pub(super) fn told(&mut self, it: &Transition, at: SystemTime) {
        self.transitions += 1;
        let whom = CAST.iter().position(|role| role.name == it.process.as_str());
        let service = whom.and_then(|whom| self.services.get_mut(whom));
        if let Some(chapter) = service.and_then(|service| service.chapters.last_mut()) {
            chapter.seen.push((it.to, at.duration_since(chapter.at).unwrap_or_default()));
        }
    }

    /// Samples everyone's state.
    pub(super) fn sample(&mut self, state: impl Fn(&str) -> Option<State>) {
        for (service, role) in self.services.iter_mut().zip(&CAST) {
            if service.strip.len() == STRIP {
                service.strip.pop_front();
            }
            service.strip.push_back(state(role.name));
        }
    }
}

/// A state as a bar: the lower, the worse.
pub(super) const fn bar(state: Option<State>, unicode: bool) -> char {
    match (state, unicode) {
        (Some(State::Up), true) => '\u{2588}',
        (Some(State::Degraded), true) => '\u{2586}',
        (Some(State::Starting), true) => '\u{2584}',
        (Some(State::Late), true) => '\u{2582}',
        (Some(State::Down), true) => '\u{2581}',
        (Some(State::Expected | State::Stopped | State::Paused), true) => '\u{b7}',
        (Some(State::Up), false) => '#',
        (Some(State::Degraded), false) => '=',
        (Some(State::Starting), false) => '+',
        (Some(State::Late), false) => '-',
        (Some(State::Down), false) => '_',
        (Some(State::Expected | State::Stopped | State::Paused), false) => '.',
        _ => ' ',
    }
}

/// How one chapter reads: `is killed; late after 2.0 s, down after 4.0 s`.
pub(super) fn sentence(chapter: &Chapter) -> String {
    let seen: Vec<_> = chapter
        .seen
        .iter()
        .map(|(state, after)| format!("{state} after {:.1} s", after.as_secs_f64()))
        .collect();
    let seen = if seen.is_empty() { "nothing to see yet".to_owned() } else { seen.join(", ") };
    format!("{}: {seen}", chapter.what.describe())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_is_bounded() {
        let mut story = Story::new();
        (0..100).for_each(|_| story.sample(|name| (name == "auth").then_some(State::Up)));
        assert!(story.services.iter().all(|service| service.strip.len() == STRIP));
        assert_eq!(story.services[0].strip[0], Some(State::Up));
    }

    #[test]
    fn a_chapter_reads_as_a_sentence() {
        let chapter = Chapter {
            what: Fate::Kill,
            at: SystemTime::UNIX_EPOCH,
            seen: vec![
                (State::Late, Duration::from_millis(1960)),
                (State::Down, Duration::from_secs(4)),
            ],
        };
        assert_eq!(sentence(&chapter), "is killed: late after 2.0 s, down after 4.0 s");
    }
}
