//! What of the fleet somebody wants to see, and how it is written as JSON.
use serde::{Deserialize, Serialize};
use sinew_beat::{Process, ProcessStatus, State, Timestamp};

use super::{
    board::{Board, Change, News, Picture},
    uptime::Shares,
};
use crate::{json::Time, output::printable};

/// How many processes are shown at once when nobody says.
pub(super) const PAGE: usize = 200;

/// How many are shown at once at most.
const MOST: usize = 1000;

/// No name is longer, so a longer search finds nothing.
const LONGEST_SEARCH: usize = 256;

/// What is asked for behind the `?` of an address. What it does not know it lets pass, as the web does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    /// Names that hold this, in any case.
    pub(super) q: String,
    /// Those of this state; of any when empty.
    pub(super) state: String,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

/// What is shown: a part of a picture.
#[derive(Clone, Debug)]
pub(super) struct View {
    search: String,
    pub(super) state: Option<State>,
    pub(super) limit: usize,
    pub(super) offset: usize,
}

impl Query {
    /// What it asks for, or what is wrong with it.
    pub(super) fn view(&self) -> Result<View, String> {
        if self.q.len() > LONGEST_SEARCH {
            return Err(format!("q: longer than {LONGEST_SEARCH} bytes"));
        }
        let state = match self.state.as_str() {
            "" => None,
            word => match State::ALL.iter().find(|it| it.as_str() == word) {
                Some(state) => Some(*state),
                None => {
                    let known: Vec<_> = State::ALL.iter().map(|it| it.as_str()).collect();
                    return Err(format!("state: one of {}", known.join(", ")));
                }
            },
        };
        match self.limit {
            Some(0) => return Err("limit: at least 1".to_owned()),
            Some(more) if more > MOST => {
                return Err(format!("limit: at most {MOST}; go on with offset"));
            }
            _ => {}
        }
        Ok(View {
            search: self.q.to_lowercase(),
            state,
            limit: self.limit.unwrap_or(PAGE),
            offset: self.offset,
        })
    }
}

impl View {
    pub(super) fn wants(&self, process: &Process) -> bool {
        self.search.is_empty() || process.as_str().to_lowercase().contains(&self.search)
    }

    /// How many there are of what is asked for, and the part of them to be shown.
    pub(super) fn of<'a>(&self, picture: &'a Picture) -> (usize, Vec<&'a ProcessStatus>) {
        let all = &picture.processes;
        if self.search.is_empty() && self.state.is_none() {
            return (all.len(), all.iter().skip(self.offset).take(self.limit).collect());
        }
        let (mut matched, mut shown) = (0, Vec::new());
        let of_state = |it: &&ProcessStatus| self.state.is_none_or(|state| it.state == state);
        for it in all.iter().filter(of_state).filter(|it| self.wants(&it.process)) {
            if matched >= self.offset && shown.len() < self.limit {
                shown.push(it);
            }
            matched += 1;
        }
        (matched, shown)
    }
}

/// One process.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    process: &'a str,
    /// The name as it is to be shown, where that differs: what could make it read as another is escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<String>,
    state: &'static str,
    since: Time,
    last_seen: Option<Time>,
    deadline: Option<Time>,
    promise: Option<f64>,
    flapping: bool,
    /// Two that beat under the one name at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<[&'a str; 2]>,
    declared: bool,
    uptime_1h: Option<f64>,
    uptime_24h: Option<f64>,
    uptime_7d: Option<f64>,
}

impl<'a> Row<'a> {
    pub(super) fn new(board: &Board, it: &'a ProcessStatus, shares: Shares) -> Self {
        let time = |at: Timestamp| Time(board.clock().wall(at));
        let name = it.process.as_str();
        Self {
            process: name,
            shown: shown(name),
            state: it.state.as_str(),
            since: time(it.since),
            last_seen: it.last_seen.map(time),
            deadline: it.deadline.map(time),
            promise: it.promise.map(|it| it.as_secs_f64()),
            flapping: it.is_flapping,
            conflict: it.conflict.as_ref().map(|it| [it.one.as_str(), it.other.as_str()]),
            declared: it.is_declared,
            uptime_1h: shares.hour.map(rounded),
            uptime_24h: shares.day.map(rounded),
            uptime_7d: shares.week.map(rounded),
        }
    }

    /// All of them.
    pub(super) fn all(board: &Board, shown: &[&'a ProcessStatus], now: Timestamp) -> Vec<Self> {
        let shares = board.shares(shown.iter().copied(), now);
        shown.iter().zip(shares).map(|(it, shares)| Self::new(board, it, shares)).collect()
    }
}

/// One transition.
#[derive(Debug, Serialize)]
pub(super) struct ChangeLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<String>,
    from: Option<&'static str>,
    to: &'static str,
    at: Time,
    reason: &'static str,
}

impl ChangeLine {
    pub(super) fn new(board: &Board, it: &Change) -> Self {
        Self {
            process: None,
            shown: None,
            from: it.from.map(State::as_str),
            to: it.to.as_str(),
            at: Time(board.clock().wall(it.at)),
            reason: it.reason.as_str(),
        }
    }

    pub(super) fn news(board: &Board, it: &News) -> Self {
        let name = it.process.as_str();
        Self { process: Some(name.to_owned()), shown: shown(name), ..Self::new(board, &it.change) }
    }
}

/// The name as it is to be shown, where that differs.
fn shown(name: &str) -> Option<String> {
    Some(printable(name)).filter(|it| it != name)
}

/// Five digits, and all of it only for what was up all the time.
pub(super) fn rounded(share: f64) -> f64 {
    (share * 100_000.0).floor() / 100_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: &str, limit: Option<usize>) -> Result<View, String> {
        Query { state: state.to_owned(), limit, ..Query::default() }.view()
    }

    #[test]
    fn what_makes_no_sense_is_told_and_not_guessed() {
        assert!(view("dwon", None).unwrap_err().contains("down"));
        assert!(view("", Some(0)).is_err());
        assert!(view("", Some(1001)).unwrap_err().contains("offset"));
        assert!(Query { q: "x".repeat(257), ..Query::default() }.view().is_err());
        assert_eq!(view("down", Some(7)).unwrap().limit, 7);
        assert_eq!(view("", None).unwrap().limit, PAGE);
    }

    #[test]
    fn a_search_does_not_mind_the_case() {
        let query = Query { q: "BILL".to_owned(), ..Query::default() };
        let view = query.view().unwrap();
        assert!(view.wants(&Process::parse("eu.Billing").unwrap()));
        assert!(!view.wants(&Process::parse("eu.mail").unwrap()));
    }

    #[test]
    fn almost_all_of_the_time_is_not_all_of_it() {
        assert_eq!(rounded(1.0), 1.0);
        assert_eq!(rounded(0.999_999_9), 0.999_99);
    }
}
