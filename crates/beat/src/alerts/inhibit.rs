//! Inhibition: who is down holds back what is told of those behind it.
use std::collections::{BTreeSet, HashMap};

use sinew_core::{Address, Error, ErrorKind, Pattern, PatternKind, PatternToken, Result, Subject};

use crate::{Process, Timestamp};

/// While a source is down, nothing is told of its targets.
///
/// The target is a pattern in which a token `{n}` stands for the nth token of the source's name, counted from 1:
///
/// | source | target | |
/// |---|---|---|
/// | `db` | `eu.>` | the one process `db` holds back everything under `eu` |
/// | `*` | `{1}.>` | `host` holds back everything under `host` |
/// | `*.gateway` | `{1}.>` | `host.gateway` holds back everything under `host` but itself |
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InhibitionRule {
    source: Pattern,
    target: Box<str>,
}

impl InhibitionRule {
    /// Makes a rule.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidPattern`] when `source` is not one of tokens, when `target` is no pattern, or when it has a
    /// `{n}` that no source has a token for.
    pub fn new(source: Pattern, target: &str) -> Result<Self> {
        let refuse = |detail| {
            let error = Error::new(ErrorKind::InvalidPattern, "make inhibition rule");
            Err(error.with_subject(target).with_detail(detail))
        };
        let PatternKind::Tokens(text) = source.kind() else {
            return refuse("the source of a rule is a pattern of tokens");
        };
        let has_tail =
            source.tokens().any(|it| matches!(it, PatternToken::Tail | PatternToken::Any));
        let most = if has_tail { usize::MAX } else { text.split('.').count() };
        for token in target.split('.') {
            if token.contains(['{', '}']) && nth(token).is_none_or(|n| n > most) {
                return refuse("`{n}` stands for a whole token of the source, counted from 1");
            }
        }
        fill(target, |_| Some("x"))?;
        Ok(Self { source, target: target.into() })
    }

    /// Who is mute while `source` is down; none if it is no source, or too short a name.
    fn targets(&self, source: &Subject) -> Option<Pattern> {
        if !self.source.matches(source) {
            return None;
        }
        fill(&self.target, |n| source.tokens().nth(n - 1)).ok()
    }
}

/// The n of `{n}`.
fn nth(token: &str) -> Option<usize> {
    token.strip_prefix('{')?.strip_suffix('}')?.parse().ok().filter(|n| *n > 0)
}

fn fill<'a>(target: &'a str, token: impl Fn(usize) -> Option<&'a str>) -> Result<Pattern> {
    let filled = target.split('.').map(|it| nth(it).map_or(Some(it), &token));
    // An empty text is no pattern, so that a token which is missing makes an error.
    Pattern::parse(&filled.collect::<Option<Vec<_>>>().unwrap_or_default().join("."))
}

/// Who holds back whom now.
#[derive(Debug, Default)]
pub(super) struct Inhibitions {
    rules: Vec<InhibitionRule>,
    /// By the first token of the targets, where it is a plain one: a fleet of hosts looks at its own host's only.
    active: HashMap<Option<Box<str>>, Vec<Active>>,
    /// Sources that are back, and until when they hold on.
    ending: BTreeSet<(Timestamp, Process)>,
}

#[derive(Debug)]
struct Active {
    source: Process,
    rule: usize,
    targets: Pattern,
    until: Option<Timestamp>,
}

impl Inhibitions {
    pub(super) fn new(rules: Vec<InhibitionRule>) -> Self {
        Self { rules, ..Self::default() }
    }

    pub(super) fn rules(&self) -> &[InhibitionRule] {
        &self.rules
    }

    /// Starts, or goes on with, what `source` holds back by being down.
    pub(super) fn start(&mut self, source: &Process, address: &Address) {
        let Some(subject) = address.subject() else { return };
        for (rule, targets) in self.targets(subject) {
            let active = self.active.entry(first_token(&targets)).or_default();
            match active.iter_mut().find(|it| it.rule == rule && it.source == *source) {
                Some(it) => {
                    if let Some(until) = it.until.take() {
                        self.ending.remove(&(until, source.clone()));
                    }
                }
                None => {
                    active.push(Active { source: source.clone(), rule, targets, until: None });
                }
            }
        }
    }

    /// Ends at `until` what `source` holds back, if anything.
    pub(super) fn end(&mut self, source: &Process, address: &Address, until: Timestamp) {
        let Some(subject) = address.subject() else { return };
        for (rule, targets) in self.targets(subject) {
            let active = self.active.get_mut(&first_token(&targets)).into_iter().flatten();
            for it in active.filter(|it| it.rule == rule && it.source == *source) {
                if it.until.is_none() {
                    it.until = Some(until);
                    self.ending.insert((until, source.clone()));
                }
            }
        }
    }

    /// Drops what has ended by `now`; whether there was any.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        while self.ending.first().is_some_and(|(until, _)| *until <= now)
            && let Some((until, source)) = self.ending.pop_first()
        {
            any = true;
            let Ok(subject) = Subject::parse(source.as_str()) else { continue };
            for (_, targets) in self.targets(&subject) {
                let key = first_token(&targets);
                if let Some(active) = self.active.get_mut(&key) {
                    active.retain(|it| it.source != source || it.until != Some(until));
                    if active.is_empty() {
                        self.active.remove(&key);
                    }
                }
            }
        }
        any
    }

    /// When the next one ends, of those that are about to.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ending.first().map(|(until, _)| *until)
    }

    /// Whether anything holds back what is told of the process at `address`.
    pub(super) fn holds(&self, address: &Address) -> bool {
        let Some(subject) = address.subject().filter(|_| !self.active.is_empty()) else {
            return false;
        };
        // The source of a rule is no target of it, nor of a later one.
        let first = self.rules.iter().position(|rule| rule.source.matches(subject));
        let limit = first.unwrap_or(self.rules.len());
        let own = subject.tokens().next().map(Box::from);
        [own, None]
            .iter()
            .filter_map(|key| self.active.get(key))
            .flatten()
            .any(|it| it.rule < limit && it.targets.matches(subject))
    }

    fn targets(&self, source: &Subject) -> Vec<(usize, Pattern)> {
        let rules = self.rules.iter().enumerate();
        rules.filter_map(|(index, rule)| Some((index, rule.targets(source)?))).collect()
    }
}

/// The token that every name starts with which `pattern` matches, if there is one.
pub(super) fn first_token(pattern: &Pattern) -> Option<Box<str>> {
    match pattern.tokens().next() {
        Some(PatternToken::Literal(token)) => Some(token.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rule(source: &str, target: &str) -> Result<InhibitionRule> {
        InhibitionRule::new(Pattern::parse(source).unwrap(), target)
    }

    fn address(name: &str) -> Address {
        Address::from_wire(None, name.to_owned())
    }

    fn down(inhibitions: &mut Inhibitions, name: &str) {
        inhibitions.start(&Process::parse(name).unwrap(), &address(name));
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_template_takes_tokens_of_its_source() {
        let rules = vec![rule("*", "{1}.>").unwrap(), rule("*.gateway", "{1}.>").unwrap()];
        let mut inhibitions = Inhibitions::new(rules);
        down(&mut inhibitions, "alpha");
        down(&mut inhibitions, "beta.gateway");
        let held = ["alpha.x", "alpha.gateway", "beta.x.y"];
        let not = ["alpha", "beta", "beta.gateway", "gamma.x", "no subject", "beta..x"];
        assert!(held.iter().all(|name| inhibitions.holds(&address(name))));
        assert!(!not.iter().any(|name| inhibitions.holds(&address(name))));
    }

    #[test]
    fn no_circle_holds_back_everybody() {
        let rules = vec![rule("a", "b").unwrap(), rule("b", "c").unwrap(), rule("c", "a").unwrap()];
        let mut inhibitions = Inhibitions::new(rules);
        for name in ["a", "b", "c"] {
            down(&mut inhibitions, name);
        }
        let held = ["a", "b", "c"].map(|name| inhibitions.holds(&address(name)));
        assert_eq!(held, [false, true, true]);
        let mut all = Inhibitions::new(vec![rule("#", "#").unwrap()]);
        down(&mut all, "a");
        assert!(!all.holds(&address("b")));
    }

    #[test]
    fn an_inhibition_ends_when_its_source_has_been_back_for_the_grace() {
        let mut inhibitions = Inhibitions::new(vec![rule("*", "{1}.>").unwrap()]);
        let host = Process::parse("host").unwrap();
        let holds = |it: &Inhibitions| it.holds(&address("host.x"));
        down(&mut inhibitions, "host");
        inhibitions.end(&host, &address("host"), at(30));
        assert!(!inhibitions.expire(at(29)) && holds(&inhibitions));
        // Down again within the grace: it goes on.
        down(&mut inhibitions, "host");
        assert_eq!(inhibitions.next_end(), None);
        assert!(!inhibitions.expire(at(100)) && holds(&inhibitions));
        inhibitions.end(&host, &address("host"), at(130));
        assert_eq!(inhibitions.next_end(), Some(at(130)));
        assert!(inhibitions.expire(at(130)) && !holds(&inhibitions));
        assert!(inhibitions.active.is_empty());
    }

    #[test]
    fn a_rule_that_cannot_hold_is_refused() {
        for (source, target) in [
            ("*", "{2}.>"),
            ("*", "{0}"),
            ("*", "x{1}"),
            ("*", ">.a"),
            ("*", ""),
            ("*", "{1"),
            ("*", "{-1}"),
        ] {
            assert_eq!(
                rule(source, target).unwrap_err().kind(),
                ErrorKind::InvalidPattern,
                "{target}"
            );
        }
        assert!(rule(">", "{7}.>").is_ok());
        let foreign = InhibitionRule::new(Pattern::prefix("a"), "b");
        assert_eq!(foreign.unwrap_err().kind(), ErrorKind::InvalidPattern);
    }
}
