//! Patterns: which names a subscription or a queue wants.
use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

use crate::{Address, Error, ErrorKind, Result, Subject, Wildcards, subject};

/// Which names an intake wants.
///
/// A parsed pattern is a [`Subject`] in which a whole token may be a wildcard:
///
/// | token | matches | from |
/// |---|---|---|
/// | `*` | exactly one token | NATS, AMQP |
/// | `>` | one or more tokens, at the end only | NATS |
/// | `#` | zero or more tokens, anywhere | AMQP: `a.#` also matches `a` |
///
/// Names that are no subject (an empty routing key, a binary ZeroMQ topic) are wanted by [`Pattern::exact`] and
/// [`Pattern::prefix`]. An adapter translates a pattern exactly or refuses it.
///
/// ```
/// use sinew_core::{Pattern, Subject};
///
/// let pattern = Pattern::parse("orders.#")?;
/// assert!(pattern.matches(&Subject::parse("orders")?));
/// assert!(pattern.matches(&Subject::parse("orders.eu.created")?));
/// # Ok::<(), sinew_core::Error>(())
/// ```
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Pattern(Repr);

#[derive(Clone, Eq, Hash, PartialEq)]
enum Repr {
    Tokens { text: Arc<str>, needs: Wildcards },
    Exact(Bytes),
    Prefix(Bytes),
}

/// How a pattern selects names, for adapters that translate it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PatternKind<'a> {
    /// Dotted tokens, wildcards among them; read them with [`Pattern::tokens`].
    Tokens(&'a str),
    /// Exactly this name, whatever its bytes.
    Exact(&'a Bytes),
    /// Every name that starts with these bytes; all names when empty.
    Prefix(&'a Bytes),
}

/// One token of a pattern.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum PatternToken<'a> {
    /// Exactly this token.
    Literal(&'a str),
    /// `*`: exactly one token.
    One,
    /// `>`: one or more tokens, to the end.
    Tail,
    /// `#`: zero or more tokens.
    Any,
}

impl<'a> PatternToken<'a> {
    fn new(token: &'a str) -> Self {
        match token {
            "*" => Self::One,
            ">" => Self::Tail,
            "#" => Self::Any,
            literal => Self::Literal(literal),
        }
    }
}

impl Pattern {
    /// Parses `text`: a subject whose tokens may be `*`, `>` (last only) and `#`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidPattern`] when a token is neither a wildcard nor a subject's token, when `>` is not
    /// last, or when `text` is longer than [`MAX_NAME_LEN`](crate::MAX_NAME_LEN) bytes.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason| {
            Err(Error::new(ErrorKind::InvalidPattern, "parse pattern")
                .with_subject(text)
                .with_detail(reason))
        };
        if text.len() > subject::MAX_NAME_LEN {
            return refuse(subject::TOO_LONG);
        }
        let mut needs = Wildcards::None;
        let mut tokens = text.split('.').map(PatternToken::new).peekable();
        while let Some(token) = tokens.next() {
            let last = tokens.peek().is_none();
            needs = needs.max(match token {
                PatternToken::Literal(literal) => match subject::token_flaw(literal) {
                    Some(reason) => return refuse(reason),
                    None => Wildcards::None,
                },
                PatternToken::Tail if !last => return refuse("`>` must be the last token"),
                PatternToken::Any if !last => Wildcards::Full,
                PatternToken::One | PatternToken::Tail | PatternToken::Any => Wildcards::Tokens,
            });
        }
        Ok(Self(Repr::Tokens { text: Arc::from(text), needs }))
    }

    /// Wants exactly `name`, even where it is no subject.
    #[must_use]
    pub fn exact(name: impl Into<Bytes>) -> Self {
        let name = name.into();
        match Subject::from_wire(&name) {
            Some(subject) => Self::from(subject),
            None => Self(Repr::Exact(name)),
        }
    }

    /// Wants every name that starts with the bytes of `prefix`, as a ZeroMQ subscription does.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        Self(Repr::Prefix(prefix.into()))
    }

    /// How it selects names.
    #[must_use]
    pub fn kind(&self) -> PatternKind<'_> {
        match &self.0 {
            Repr::Tokens { text, .. } => PatternKind::Tokens(text),
            Repr::Exact(name) => PatternKind::Exact(name),
            Repr::Prefix(prefix) => PatternKind::Prefix(prefix),
        }
    }

    /// The tokens of a parsed pattern; none for an exact name or a prefix.
    #[must_use = "iterators are lazy"]
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = PatternToken<'_>> {
        let text = match &self.0 {
            Repr::Tokens { text, .. } => Some(text),
            Repr::Exact(_) | Repr::Prefix(_) => None,
        };
        text.into_iter().flat_map(|text| text.split('.')).map(PatternToken::new)
    }

    /// The least [`Wildcards`] that a backend needs to serve it.
    #[must_use]
    pub fn needs(&self) -> Wildcards {
        match &self.0 {
            Repr::Tokens { needs, .. } => *needs,
            Repr::Exact(_) => Wildcards::None,
            Repr::Prefix(_) => Wildcards::Prefix,
        }
    }

    /// The subject, where the pattern matches that one alone.
    #[must_use]
    pub fn as_subject(&self) -> Option<Subject> {
        match &self.0 {
            Repr::Tokens { text, needs: Wildcards::None } => Subject::parse(text).ok(),
            _ => None,
        }
    }

    /// Whether it wants `subject`.
    #[must_use]
    pub fn matches(&self, subject: &Subject) -> bool {
        match &self.0 {
            Repr::Tokens { text, needs: Wildcards::None } => **text == **subject,
            Repr::Tokens { text, .. } => matches_tokens(text, subject),
            Repr::Exact(name) => name == subject.as_bytes(),
            Repr::Prefix(prefix) => subject.as_bytes().starts_with(prefix),
        }
    }

    /// Whether it wants the name of `address`; a reply address is wanted by none.
    ///
    /// The scope is not looked at: it belongs to the subscription.
    #[must_use]
    pub fn matches_address(&self, address: &Address) -> bool {
        match (address, &self.0) {
            (Address::Subject(_, subject), _) => self.matches(subject),
            (Address::Foreign(_, name), Repr::Exact(wanted)) => name == wanted,
            (Address::Foreign(_, name), Repr::Prefix(prefix)) => name.starts_with(prefix),
            (Address::Foreign(..), Repr::Tokens { .. }) => self.wants_all(),
            (Address::Reply(_) | Address::Queue(_), _) => false,
        }
    }

    /// Whether every name that `other` wants is wanted by this pattern too.
    ///
    /// Exact, unless this pattern has a `#` before its last token: then it may say `false` where the answer is
    /// `true`, never the other way round.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Prefix(wide), Repr::Prefix(narrow) | Repr::Exact(narrow)) => {
                narrow.starts_with(wide)
            }
            (Repr::Prefix(wide), Repr::Tokens { .. }) => other.stem().as_bytes().starts_with(wide),
            (Repr::Tokens { .. }, Repr::Tokens { .. }) => {
                let (wide, narrow) = (normal(self.tokens()), normal(other.tokens()));
                wide == narrow || covers_tokens(&wide, &narrow)
            }
            (Repr::Tokens { .. }, Repr::Prefix(_) | Repr::Exact(_)) => self.wants_all(),
            (Repr::Exact(_), _) => self == other,
        }
    }

    /// Whether it is `#`, however often: that wants all there is, as an AMQP `#` binding does, foreign names included.
    fn wants_all(&self) -> bool {
        let mut tokens = self.tokens().peekable();
        tokens.peek().is_some() && tokens.all(|token| token == PatternToken::Any)
    }

    /// What every name that it wants starts with.
    fn stem(&self) -> String {
        let mut stem = String::new();
        let mut tokens = self.tokens().enumerate();
        while let Some((index, token)) = tokens.next() {
            // Of `#` to the end nothing may be left, nor the dot before it; any other token stands behind a dot.
            let is_there =
                token != PatternToken::Any || tokens.any(|(_, token)| token != PatternToken::Any);
            if index > 0 && is_there {
                stem.push('.');
            }
            let PatternToken::Literal(literal) = token else { break };
            stem.push_str(literal);
        }
        stem
    }
}

/// Glob matching with one backtrack point: the latest `#` is as good as any earlier one, so this is
/// `O(pattern x subject)` at worst, without recursion or allocation.
fn matches_tokens(pattern: &str, subject: &str) -> bool {
    let mut wanted = pattern.split('.').map(PatternToken::new);
    let mut given = subject.split('.');
    let mut retry = None;
    loop {
        let before_given = given.clone();
        let fits = match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(PatternToken::Any), _) => {
                retry = Some((wanted.clone(), before_given.clone()));
                given = before_given;
                continue;
            }
            (Some(PatternToken::Tail), Some(_)) => return true,
            (Some(PatternToken::One), Some(_)) => true,
            (Some(PatternToken::Literal(literal)), Some(token)) => literal == token,
            (_, None) | (None, Some(_)) => false,
        };
        if fits {
            continue;
        }
        // The last `#` takes one more token, and what follows it is tried again.
        let Some((after, mut rest)) = retry.take() else { return false };
        if rest.next().is_none() {
            return false;
        }
        wanted = after.clone();
        given = rest.clone();
        retry = Some((after, rest));
    }
}

/// Writes each run of wildcards as the fewest tokens that it takes, in `*`, and a `#` where it may take more: `>`,
/// `*.#` and `#.*` are all `*.#`.
fn normal<'a>(tokens: impl Iterator<Item = PatternToken<'a>>) -> Vec<PatternToken<'a>> {
    let mut normal = Vec::new();
    let mut is_open = false;
    for token in tokens {
        match token {
            PatternToken::Literal(_) => {
                if std::mem::take(&mut is_open) {
                    normal.push(PatternToken::Any);
                }
                normal.push(token);
            }
            PatternToken::One => normal.push(PatternToken::One),
            PatternToken::Any => is_open = true,
            PatternToken::Tail => {
                normal.push(PatternToken::One);
                is_open = true;
            }
        }
    }
    if is_open {
        normal.push(PatternToken::Any);
    }
    normal
}

/// One pass from the left over normal forms; a `#` of `wide` that is not last ends it with "no".
fn covers_tokens(mut wide: &[PatternToken<'_>], mut narrow: &[PatternToken<'_>]) -> bool {
    use PatternToken::{Any, Literal, One};
    loop {
        match (wide, narrow) {
            ([], []) => return true,
            // Wildcards to the end: all that can fail is a subject too short.
            ([ones @ .., Any], _) if ones.iter().all(|token| *token == One) => {
                return narrow.iter().filter(|token| **token != Any).count() >= ones.len();
            }
            ([One, wide_rest @ ..], [One | Literal(_), narrow_rest @ ..]) => {
                (wide, narrow) = (wide_rest, narrow_rest);
            }
            ([Literal(a), wide_rest @ ..], [Literal(b), narrow_rest @ ..]) if a == b => {
                (wide, narrow) = (wide_rest, narrow_rest);
            }
            _ => return false,
        }
    }
}

impl From<Subject> for Pattern {
    fn from(subject: Subject) -> Self {
        Self::from(&subject)
    }
}

impl From<&Subject> for Pattern {
    fn from(subject: &Subject) -> Self {
        Self(Repr::Tokens { text: Arc::from(subject.as_str()), needs: Wildcards::None })
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Pattern {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Tokens { text, .. } => f.write_str(text),
            Repr::Exact(name) => write!(f, "={}", name.escape_ascii()),
            Repr::Prefix(prefix) => write!(f, "{}…", prefix.escape_ascii()),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, subject: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&Subject::parse(subject).unwrap())
    }

    #[test]
    fn a_hash_matches_zero_tokens_anywhere() {
        assert!(matches("a.#", "a"));
        assert!(matches("#.b", "b"));
        assert!(matches("a.#.b", "a.b"));
        assert!(matches("a.#.b", "a.x.b.y.b"));
        assert!(!matches("a.#.b", "a.x"));
        assert!(matches("#", "a.b.c"));
        assert!(matches("#.#", "a"));
    }

    #[test]
    fn a_tail_wants_at_least_one_token() {
        assert!(!matches("a.>", "a"));
        assert!(matches("a.>", "a.b.c"));
        assert!(matches(">", "a"));
        assert!(matches("#.>", "a"));
    }

    #[test]
    fn a_star_is_exactly_one_token() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*", "a"));
        assert!(!matches("*", "a.b"));
    }

    #[test]
    fn a_wildcard_inside_a_token_is_refused() {
        for text in ["a*", "a.b>", ">.a", "#a", "a..b", "", "a b"] {
            assert_eq!(Pattern::parse(text).unwrap_err().kind(), ErrorKind::InvalidPattern);
        }
    }

    #[test]
    fn a_hash_inside_needs_more_than_one_at_the_end() {
        assert_eq!(Pattern::parse("a.b").unwrap().needs(), Wildcards::None);
        assert_eq!(Pattern::parse("a.#").unwrap().needs(), Wildcards::Tokens);
        assert_eq!(Pattern::parse("a.#.b").unwrap().needs(), Wildcards::Full);
    }

    #[test]
    fn foreign_names_are_wanted_by_name_by_prefix_and_by_a_lone_hash() {
        let empty = Address::Foreign(None, Bytes::new());
        assert!(Pattern::exact("").matches_address(&empty));
        assert!(Pattern::prefix("").matches_address(&empty));
        assert!(Pattern::parse("#").unwrap().matches_address(&empty));
        assert!(!Pattern::parse(">").unwrap().matches_address(&empty));
    }

    #[test]
    fn an_exact_name_that_is_a_subject_is_a_plain_pattern() {
        assert_eq!(Pattern::exact("a.b"), Pattern::parse("a.b").unwrap());
    }

    #[test]
    fn prefixes_and_whole_names_cover_as_tokens_do() {
        let tokens = |text| Pattern::parse(text).unwrap();
        assert!(Pattern::prefix("a.").covers(&tokens("a.b.>")));
        assert!(Pattern::prefix("a.").covers(&tokens("a.>")));
        assert!(!Pattern::prefix("a.").covers(&tokens("a.#")));
        assert!(Pattern::prefix("a").covers(&tokens("a.#")));
        assert!(Pattern::prefix("a.").covers(&tokens("a.#.b")));
        assert!(!Pattern::prefix("a.").covers(&tokens("a.#.#")));
        assert!(Pattern::prefix("").covers(&Pattern::exact("a..b")));
        assert!(tokens("#").covers(&Pattern::prefix("")));
        assert!(!tokens(">").covers(&Pattern::exact("")));
    }

    #[test]
    fn covering_is_exact_unless_a_hash_stands_inside() {
        for (wide, narrow, covers) in [
            ("a.>", "a.*", true),
            ("a.*", "a.>", false),
            ("a.#", "a", true),
            ("a.#", "a.>", true),
            ("a.>", "a.#", false),
            (">", "#", false),
            ("#", ">", true),
            ("*.b", "a.*", false),
            ("a.*", "a.b", true),
            ("*.#", ">", true),
            (">", "#.b", true),
            ("*.*.#", "#.b", false),
            ("a.#.b", "a.#.b", true),
        ] {
            let (wide, narrow) = (Pattern::parse(wide).unwrap(), Pattern::parse(narrow).unwrap());
            assert_eq!(wide.covers(&narrow), covers, "{wide} covers {narrow}");
        }
    }
}
