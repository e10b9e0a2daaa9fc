//! Which patterns want a name, in a time that does not grow with the number of patterns that do not.
use std::{
    collections::{BTreeMap, HashMap},
    ptr,
};

use bytes::Bytes;
use sinew_core::{Pattern, PatternKind, PatternToken, Subject};

/// A set of patterns, each with the id of who wants it.
///
/// Patterns of tokens live in a trie that is walked as an automaton: the walk holds the set of nodes that the tokens
/// read so far can lead to, so that `#` costs no backtracking. Exact names and prefixes of bytes are looked up by hash,
/// prefixes once per length that occurs.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    root: Node,
    exact: HashMap<Bytes, Vec<u64>>,
    prefixes: BTreeMap<usize, HashMap<Bytes, Vec<u64>>>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Self>,
    /// After `*`.
    one: Option<Box<Self>>,
    /// After `#`: stays on every token.
    any: Option<Box<Self>>,
    /// Patterns that end here.
    ends: Vec<u64>,
    /// Patterns that end here with `>`.
    tails: Vec<u64>,
    /// This node is some node's `any`.
    stays: bool,
}

impl Trie {
    pub(crate) fn insert(&mut self, pattern: &Pattern, id: u64) {
        match pattern.kind() {
            PatternKind::Exact(name) => self.exact.entry(name.clone()).or_default().push(id),
            PatternKind::Prefix(prefix) => self
                .prefixes
                .entry(prefix.len())
                .or_default()
                .entry(prefix.clone())
                .or_default()
                .push(id),
            _ => self.root.insert(tokens(pattern), id),
        }
    }

    /// Undoes one `insert` of the same pattern and id.
    pub(crate) fn remove(&mut self, pattern: &Pattern, id: u64) {
        match pattern.kind() {
            PatternKind::Exact(name) => remove_from(&mut self.exact, name, id),
            PatternKind::Prefix(prefix) => {
                if let Some(names) = self.prefixes.get_mut(&prefix.len()) {
                    remove_from(names, prefix, id);
                    if names.is_empty() {
                        self.prefixes.remove(&prefix.len());
                    }
                }
            }
            _ => self.root.remove(tokens(pattern), id),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_empty() && self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// The ids whose patterns want `subject`, each once, in the order of the ids.
    pub(crate) fn matching(&self, subject: &Subject) -> Vec<u64> {
        let mut ids = Vec::new();
        self.root.collect(subject.tokens(), &mut ids);
        self.collect_prefixes(subject.as_bytes(), &mut ids);
        sorted(ids)
    }

    /// The same for a name that is no subject.
    pub(crate) fn matching_foreign(&self, name: &[u8]) -> Vec<u64> {
        let mut ids = self.exact.get(name).cloned().unwrap_or_default();
        // `#` alone wants all there is.
        ids.extend(self.root.any.iter().flat_map(|any| &any.ends));
        self.collect_prefixes(name, &mut ids);
        sorted(ids)
    }

    fn collect_prefixes(&self, name: &[u8], ids: &mut Vec<u64>) {
        for (length, names) in self.prefixes.range(..=name.len()) {
            let found = name.get(..*length).and_then(|start| names.get(start));
            ids.extend(found.into_iter().flatten());
        }
    }
}

impl Node {
    fn insert<'a>(&mut self, mut tokens: impl Iterator<Item = PatternToken<'a>>, id: u64) {
        let mut node = self;
        loop {
            node = match tokens.next() {
                None => return node.ends.push(id),
                Some(PatternToken::Tail) => return node.tails.push(id),
                Some(PatternToken::One) => node.one.get_or_insert_default(),
                Some(PatternToken::Any) => {
                    let any = node.any.get_or_insert_default();
                    any.stays = true;
                    any
                }
                Some(PatternToken::Literal(token)) => {
                    // Found twice rather than allocating the key each time.
                    if !node.literals.contains_key(token) {
                        node.literals.insert(token.into(), Self::default());
                    }
                    match node.literals.get_mut(token) {
                        Some(next) => next,
                        None => return,
                    }
                }
                // A token of a kind that this version does not know cannot be parsed by it either.
                Some(_) => return,
            };
        }
    }

    /// Recurses once per token: at most 128 deep, for a pattern has at most 255 bytes.
    fn remove<'a>(&mut self, mut tokens: impl Iterator<Item = PatternToken<'a>>, id: u64) {
        match tokens.next() {
            None => forget(&mut self.ends, id),
            Some(PatternToken::Tail) => forget(&mut self.tails, id),
            Some(PatternToken::One) => Self::prune(&mut self.one, tokens, id),
            Some(PatternToken::Any) => Self::prune(&mut self.any, tokens, id),
            Some(PatternToken::Literal(token)) => {
                if let Some(next) = self.literals.get_mut(token) {
                    next.remove(tokens, id);
                    if next.is_empty() {
                        self.literals.remove(token);
                    }
                }
            }
            Some(_) => {}
        }
    }

    fn prune<'a>(
        slot: &mut Option<Box<Self>>,
        tokens: impl Iterator<Item = PatternToken<'a>>,
        id: u64,
    ) {
        if let Some(next) = slot {
            next.remove(tokens, id);
            if next.is_empty() {
                *slot = None;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty()
            && self.one.is_none()
            && self.any.is_none()
            && self.ends.is_empty()
            && self.tails.is_empty()
    }

    fn collect<'a>(&'a self, tokens: impl Iterator<Item = &'a str>, ids: &mut Vec<u64>) {
        let mut here = vec![self];
        let mut next = Vec::new();
        close(&mut here);
        for token in tokens {
            for node in here.drain(..) {
                ids.extend(&node.tails);
                next.extend(node.literals.get(token));
                next.extend(node.one.as_deref());
                next.extend(node.stays.then_some(node));
            }
            std::mem::swap(&mut here, &mut next);
            close(&mut here);
        }
        here.into_iter().for_each(|node| ids.extend(&node.ends));
    }
}

/// A pattern's tokens, runs of `#` taken as the one `#` that they mean: no `#` follows another in the trie.
fn tokens(pattern: &Pattern) -> impl Iterator<Item = PatternToken<'_>> {
    let mut last = None;
    pattern.tokens().filter(move |token| {
        last.replace(*token) != Some(PatternToken::Any) || *token != PatternToken::Any
    })
}

/// Adds what `#` reaches with no token at all, and leaves each node once.
fn close(nodes: &mut Vec<&Node>) {
    for index in 0..nodes.len() {
        let any = nodes.get(index).and_then(|node| node.any.as_deref());
        nodes.extend(any);
    }
    nodes.sort_unstable_by_key(|node| ptr::from_ref(*node).addr());
    nodes.dedup_by(|a, b| ptr::eq(*a, *b));
}

fn forget(ids: &mut Vec<u64>, id: u64) {
    if let Some(index) = ids.iter().position(|known| *known == id) {
        ids.swap_remove(index);
    }
}

fn remove_from(names: &mut HashMap<Bytes, Vec<u64>>, name: &Bytes, id: u64) {
    if let Some(ids) = names.get_mut(name) {
        forget(ids, id);
        if ids.is_empty() {
            names.remove(name);
        }
    }
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sinew_core::Address;

    use super::*;

    fn token() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "ab", "c"])
    }

    fn subject() -> impl Strategy<Value = Subject> {
        prop::collection::vec(token(), 1..6)
            .prop_map(|tokens| Subject::from_tokens(tokens).unwrap())
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let tokens =
            prop::collection::vec(prop_oneof![3 => token(), 1 => Just("*"), 1 => Just("#")], 1..6);
        prop_oneof![
            8 => (tokens, any::<bool>()).prop_map(|(mut tokens, has_tail)| {
                if has_tail {
                    tokens.push(">");
                }
                Pattern::parse(&tokens.join(".")).unwrap()
            }),
            1 => prop::collection::vec(prop::sample::select(b"ab.\0".to_vec()), 0..4)
                .prop_map(Pattern::prefix),
            1 => foreign().prop_map(Pattern::exact),
        ]
    }

    fn foreign() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"ab.\0".to_vec()), 0..4)
            .prop_filter("a subject", |name| {
                std::str::from_utf8(name).is_ok_and(|text| Subject::parse(text).is_err())
            })
    }

    proptest! {
        #[test]
        fn it_finds_what_each_pattern_by_itself_wants(
            patterns in prop::collection::vec(pattern(), 0..40),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            subject in subject(),
            name in foreign(),
        ) {
            let mut trie = Trie::default();
            let mut wanted: BTreeMap<u64, Pattern> = (0..).zip(patterns).collect();
            wanted.iter().for_each(|(id, pattern)| trie.insert(pattern, *id));
            for index in gone {
                if let Some(id) = wanted.keys().nth(index.index(wanted.len().max(1))).copied() {
                    trie.remove(&wanted.remove(&id).unwrap(), id);
                }
            }
            let naive = |address: &Address| -> Vec<u64> {
                let matching = wanted.iter().filter(|(_, it)| it.matches_address(address));
                matching.map(|(id, _)| *id).collect()
            };
            let foreign = Address::Foreign(None, Bytes::from(name.clone()));
            prop_assert_eq!(trie.matching_foreign(&name), naive(&foreign));
            let address = Address::Subject(None, subject.clone());
            prop_assert_eq!(trie.matching(&subject), naive(&address));
            wanted.iter().for_each(|(id, pattern)| trie.remove(pattern, *id));
            prop_assert!(trie.is_empty(), "{:?} is left", trie);
        }
    }

    #[test]
    fn a_pattern_of_many_hashes_is_no_slower_than_its_length() {
        let mut trie = Trie::default();
        let hostile = ["#", "a"].repeat(63).join(".");
        trie.insert(&Pattern::parse(&hostile).unwrap(), 1);
        let subject = Subject::parse(&["a"; 127].join(".")).unwrap();
        assert_eq!(trie.matching(&subject), [1]);
        assert_eq!(trie.matching(&Subject::parse("b").unwrap()), []);
    }
}
