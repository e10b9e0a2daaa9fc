//! Names: exchanges, routing keys and binding keys, and what they are to the contracts.
use bytes::Bytes;
use lapin::types::ShortString;
use sinew_core::{
    Address, ErrorKind, Pattern, PatternKind, PatternToken, Queue, ReplyTo, Scope, Subject,
};

use crate::{error::Cause, policy::ExchangeKind};

/// Between the correlation id and the queue of a [`ReplyTo`]. No queue of AMQP has it in its name.
const REPLY_SEPARATOR: u8 = 0;

/// Where a message goes.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
    /// Of the question, where the message is an answer.
    pub(crate) correlation_id: Option<ShortString>,
}

/// Where a message to `address` goes; a name without a scope goes to `default_exchange`.
pub(crate) fn route(address: &Address, default_exchange: &str) -> Result<Route, Cause> {
    let key = match address {
        Address::Subject(_, subject) => text_key(subject.as_str())?,
        Address::Foreign(_, name) => key(name)?,
        Address::Reply(reply_to) => {
            let (correlation_id, queue) = reply_parts(reply_to)?;
            return Ok(Route { exchange: ShortString::default(), key: queue, correlation_id });
        }
        // The default exchange binds each queue by its name.
        Address::Queue(queue) => {
            let key = text_key(queue.as_str())?;
            return Ok(Route { exchange: ShortString::default(), key, correlation_id: None });
        }
        _ => return Err(Cause::plain(ErrorKind::Unsupported, "AMQP knows no such address")),
    };
    let exchange = exchange(address.scope(), default_exchange)?;
    Ok(Route { exchange, key, correlation_id: None })
}

/// The exchange that stands for `scope`.
///
/// A scope called like the default exchange is refused: messages in it and messages in none would be the same ones.
pub(crate) fn exchange(
    scope: Option<&Scope>,
    default_exchange: &str,
) -> Result<ShortString, Cause> {
    let name = match scope {
        Some(scope) if scope.as_str() == default_exchange => {
            return Err(Cause::plain(
                ErrorKind::InvalidName,
                "this scope is the exchange of names without a scope; leave the scope out",
            ));
        }
        Some(scope) => scope.as_str(),
        None => default_exchange,
    };
    short(name).ok_or(Cause::plain(ErrorKind::InvalidName, "longer than 255 bytes"))
}

/// The binding keys that want what `patterns` want, on an exchange of that kind.
///
/// They are exact for every subject. The broker lets wildcards match empty words and words that no subject has, too,
/// so that a name which is no subject may arrive by `*` or `>`: it is delivered, not dropped.
pub(crate) fn bindings(
    patterns: &[Pattern],
    kind: ExchangeKind,
) -> Result<Vec<ShortString>, Cause> {
    patterns
        .iter()
        .map(|pattern| match kind {
            ExchangeKind::Topic => topic(pattern),
            ExchangeKind::Direct => direct(pattern),
            ExchangeKind::Fanout | ExchangeKind::Headers => everything(pattern),
        })
        .collect()
}

/// What the exchange and the routing key of a message say about where it was published.
///
/// The broker's own default exchange (``) leads straight to a queue, and takes its name for a key. No scope has what
/// came by the default exchange of ours, or by one whose name is no scope.
pub(crate) fn inbound(exchange: &str, key: &str, default_exchange: &str) -> Address {
    let scope = match exchange {
        "" => {
            if let Ok(queue) = Queue::parse(key) {
                return Address::Queue(queue);
            }
            None
        }
        name if name == default_exchange => None,
        name => Scope::parse(name).ok(),
    };
    match Subject::parse(key) {
        Ok(subject) => Address::Subject(scope, subject),
        Err(_) => Address::Foreign(scope, Bytes::copy_from_slice(key.as_bytes())),
    }
}

/// Where the answer to a message goes, of which these are two properties; `None` where nobody asked.
pub(crate) fn reply_to(correlation_id: Option<&str>, queue: &str) -> Option<ReplyTo> {
    if queue.is_empty() || queue.as_bytes().contains(&REPLY_SEPARATOR) {
        return None;
    }
    let id = correlation_id.unwrap_or_default().as_bytes();
    Some(ReplyTo::new([id, &[REPLY_SEPARATOR], queue.as_bytes()].concat()))
}

/// The correlation id, if any, and the queue of a reply address.
pub(crate) fn reply_parts(reply_to: &ReplyTo) -> Result<(Option<ShortString>, ShortString), Cause> {
    let parts = || {
        let native = reply_to.native();
        let at = native.iter().rposition(|byte| *byte == REPLY_SEPARATOR)?;
        let (id, queue) = (native.get(..at)?, native.get(at + 1..)?);
        let text = |bytes| short(std::str::from_utf8(bytes).ok()?);
        let id = if id.is_empty() { None } else { Some(text(id)?) };
        let queue = text(queue)?;
        (!queue.as_str().is_empty()).then_some((id, queue))
    };
    parts().ok_or(Cause::plain(ErrorKind::InvalidSubject, "the reply address is not one of AMQP"))
}

fn topic(pattern: &Pattern) -> Result<ShortString, Cause> {
    if let PatternKind::Exact(name) = pattern.kind() {
        let is_wildcard = |word: &[u8]| matches!(word, b"*" | b"#");
        if name.split(|byte| *byte == b'.').any(is_wildcard) {
            return Err(Cause::plain(
                ErrorKind::Unsupported,
                "a topic exchange takes a word `*` or `#` for a wildcard, so it cannot want this name alone",
            ));
        }
        return key(name);
    }
    let mut words = Vec::new();
    for token in pattern.tokens() {
        words.push(match token {
            PatternToken::Literal(word) => word,
            PatternToken::One => "*",
            PatternToken::Any => "#",
            PatternToken::Tail => "*.#",
            _ => return Err(unknown_pattern()),
        });
    }
    if words.is_empty() {
        return Err(unknown_pattern());
    }
    short(&words.join(".")).ok_or(Cause::plain(
        ErrorKind::InvalidPattern,
        "longer than 255 bytes as a binding key, in which `>` is `*.#`",
    ))
}

fn direct(pattern: &Pattern) -> Result<ShortString, Cause> {
    match (pattern.kind(), pattern.as_subject()) {
        (PatternKind::Exact(name), _) => key(name),
        (_, Some(subject)) => key(subject.as_bytes()),
        _ => Err(Cause::plain(
            ErrorKind::Unsupported,
            "a direct exchange has no wildcards; name the subjects",
        )),
    }
}

/// What takes no notice of keys gives all there is, which is what few patterns want.
fn everything(pattern: &Pattern) -> Result<ShortString, Cause> {
    let is_tail = |mut tokens: Vec<PatternToken<'_>>| {
        tokens.retain(|token| *token != PatternToken::Any);
        matches!(*tokens, [] | [PatternToken::One | PatternToken::Tail])
    };
    let tokens: Vec<_> = pattern.tokens().collect();
    let is_open = tokens.iter().any(|it| matches!(it, PatternToken::Any | PatternToken::Tail));
    if is_open && is_tail(tokens) {
        return topic(pattern);
    }
    Err(Cause::plain(
        ErrorKind::Unsupported,
        "an exchange of this kind gives everything to everyone; want `>` or `#`",
    ))
}

fn key(name: &[u8]) -> Result<ShortString, Cause> {
    let text = std::str::from_utf8(name)
        .map_err(|_| Cause::plain(ErrorKind::InvalidSubject, "a routing key is text here"))?;
    text_key(text)
}

fn text_key(text: &str) -> Result<ShortString, Cause> {
    short(text).ok_or(Cause::plain(ErrorKind::InvalidSubject, "a routing key is 255 bytes at most"))
}

/// The text as AMQP's short string, which the client would panic at if it were too long.
fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

const fn unknown_pattern() -> Cause {
    Cause::plain(ErrorKind::Unsupported, "AMQP knows whole names, and `*`, `>` and `#`")
}

#[cfg(test)]
mod tests;
