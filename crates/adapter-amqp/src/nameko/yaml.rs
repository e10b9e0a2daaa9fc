//! YAML, as far as PyYAML's safe loader reads it into what a configuration is made of.
//!
//! Dates and numbers to the base of 60 stay texts. Anchors and merge keys are read, within bounds: each alias counts as
//! what it stands for.
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use sinew_core::Value;

use super::expand;
use crate::error::Cause;

/// How long a text may be, in bytes.
const LONGEST: usize = 1 << 20;
/// How many values it may hold, those that aliases stand for included.
const MOST: usize = 100_000;
/// How deep values may nest.
const DEEPEST: usize = 32;
/// How often a value may turn out to hold variables once those in it are in place.
const TURNS: usize = 4;

pub(super) fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Value, Cause> {
    Reader { variable, left: MOST, turns: TURNS }.document(text)
}

struct Reader<'v> {
    variable: &'v dyn Fn(&str) -> Option<String>,
    left: usize,
    turns: usize,
}

type Events<'t> = Parser<'t, saphyr_parser::StrInput<'t>>;
type Anchors = HashMap<usize, Value>;

impl Reader<'_> {
    fn document(&mut self, text: &str) -> Result<Value, Cause> {
        if text.len() > LONGEST {
            return Err(Cause::options("it is longer than 1 MiB"));
        }
        let mut events = Parser::new_from_str(text);
        let mut anchors = Anchors::new();
        let mut document = None;
        while let Some(event) = events.next() {
            match event.map_err(|err| broken(&err))?.0 {
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
                _ if document.is_some() => return Err(Cause::options("it holds two documents")),
                event => document = Some(self.value(event, &mut events, &mut anchors, DEEPEST)?),
            }
        }
        Ok(document.unwrap_or(Value::Null))
    }

    fn value<'t>(
        &mut self,
        event: Event<'t>,
        events: &mut Events<'t>,
        anchors: &mut Anchors,
        levels: usize,
    ) -> Result<Value, Cause> {
        let levels =
            levels.checked_sub(1).ok_or_else(|| Cause::options("it nests 32 deep at most"))?;
        self.count(1)?;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let value = anchors.get(&anchor).cloned();
                let value = value.ok_or_else(|| Cause::options("an alias of nothing"))?;
                self.count(size(&value))?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref())?, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match next(events)? {
                        Event::SequenceEnd => break,
                        event => list.push(self.value(event, events, anchors, levels)?),
                    }
                }
                (Value::List(list), anchor)
            }
            Event::MappingStart(anchor, _) => {
                (Value::Map(self.mapping(events, anchors, levels)?), anchor)
            }
            _ => return Err(Cause::options("it ends too early")),
        };
        if anchor > 0 {
            anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn mapping<'t>(
        &mut self,
        events: &mut Events<'t>,
        anchors: &mut Anchors,
        levels: usize,
    ) -> Result<Vec<(String, Value)>, Cause> {
        let (mut own, mut merged): (Vec<(String, Value)>, Vec<_>) = Default::default();
        loop {
            let key = match next(events)? {
                Event::MappingEnd => break,
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(Cause::options("a key has to be a text")),
            };
            let event = next(events)?;
            match (self.value(event, events, anchors, levels)?, &*key) {
                (Value::Map(others), "<<") => merged.extend(others),
                (value, _) => {
                    // The last of a repeated key counts, as in Python.
                    own.retain(|(name, _)| *name != key);
                    own.push((key, value));
                }
            }
        }
        for (name, value) in merged {
            if !own.iter().any(|(known, _)| *known == name) {
                own.push((name, value));
            }
        }
        Ok(own)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
    ) -> Result<Value, Cause> {
        let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
        let is_plain = matches!(style, ScalarStyle::Plain);
        match tag.as_deref() {
            Some("!env_var") => self.variables(text, false),
            Some("!raw_env_var") => self.variables(text, true),
            Some("tag:yaml.org,2002:str" | "!") => Ok(Value::from(text)),
            Some(_) => Err(Cause::options("a value has a tag that is not read")),
            None if !is_plain => Ok(Value::from(text)),
            None if expand::is_due(text) => self.variables(text, false),
            None => Ok(plain(text)),
        }
    }

    /// What has its variables in place is YAML again, unless it is to be raw.
    fn variables(&mut self, text: &str, is_raw: bool) -> Result<Value, Cause> {
        let expanded = expand::expand(text, self.variable)?;
        if is_raw || expanded == text {
            return Ok(Value::from(expanded.as_str()));
        }
        self.turns = self
            .turns
            .checked_sub(1)
            .ok_or_else(|| Cause::options("variables hold variables too deep"))?;
        let value = self.document(&expanded);
        self.turns += 1;
        value
    }

    fn count(&mut self, values: usize) -> Result<(), Cause> {
        self.left = self
            .left
            .checked_sub(values)
            .ok_or_else(|| Cause::options("it holds 100,000 values at most"))?;
        Ok(())
    }
}

fn next<'t>(events: &mut Events<'t>) -> Result<Event<'t>, Cause> {
    match events.next() {
        Some(Ok((event, _))) => Ok(event),
        Some(Err(err)) => Err(broken(&err)),
        None => Err(Cause::options("it ends too early")),
    }
}

/// Says where, and nothing of what stands there: it may be a secret.
fn broken(err: &ScanError) -> Cause {
    Cause::options(format!("line {} is no YAML: {}", err.marker().line(), err.info()))
}

fn size(value: &Value) -> usize {
    match value {
        Value::List(list) => list.iter().map(size).fold(1, usize::saturating_add),
        Value::Map(map) => map.iter().map(|(_, it)| size(it)).fold(1, usize::saturating_add),
        _ => 1,
    }
}

/// What an unquoted text is, by the rules of YAML 1.1.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    integer(text).map(Value::Integer).or_else(|| float(text)).unwrap_or_else(|| Value::from(text))
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (base, digits) = match digits.get(..2) {
        Some("0x") => (16, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        Some(_) if digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    if !digits.starts_with(|c: char| c.is_digit(base)) {
        return None;
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

fn float(text: &str) -> Option<Value> {
    let is_one = text.contains('.')
        && text.contains(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E' | '_'));
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    is_one.then(|| digits.parse().ok()).flatten().map(Value::Float)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Value {
        let known = |name: &str| match name {
            "NUMBER" => Some("7".to_owned()),
            "LIST" => Some("[a, 2]".to_owned()),
            "SELF" => Some("${SELF}".to_owned()),
            "AGAIN" => Some("x${NUMBER}".to_owned()),
            _ => None,
        };
        parse(text, &known).unwrap()
    }

    #[test]
    fn an_unquoted_text_is_what_pyyaml_makes_of_it() {
        for (text, value) in [
            ("~", Value::Null),
            ("yes", Value::Bool(true)),
            ("Off", Value::Bool(false)),
            ("12", Value::Integer(12)),
            ("-1_000", Value::Integer(-1000)),
            ("0x1F", Value::Integer(31)),
            ("010", Value::Integer(8)),
            ("0", Value::Integer(0)),
            ("1.5", Value::Float(1.5)),
            ("1e5", Value::from("1e5")),
            ("089", Value::from("089")),
            ("'12'", Value::from("12")),
            ("\"yes\"", Value::from("yes")),
            ("12 apples", Value::from("12 apples")),
            ("1.2.3", Value::from("1.2.3")),
        ] {
            assert_eq!(read(text), value, "{text}");
        }
    }

    #[test]
    fn variables_are_read_as_yaml_where_they_are_not_quoted_and_not_raw() {
        for (text, value) in [
            ("${NUMBER}", Value::Integer(7)),
            ("${NUMBER}px", Value::from("7px")),
            ("'${NUMBER}'", Value::from("${NUMBER}")),
            ("!env_var '${NUMBER}'", Value::Integer(7)),
            ("!raw_env_var '${NUMBER}'", Value::from("7")),
            ("${LIST}", Value::List(vec![Value::from("a"), Value::Integer(2)])),
            ("${AGAIN}", Value::from("x7")),
            ("${UNSET:yes}", Value::Bool(true)),
            ("${UNSET}", Value::Null),
        ] {
            assert_eq!(read(text), value, "{text}");
        }
    }

    #[test]
    fn anchors_and_merges_are_read() {
        let text = "base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\n";
        let Value::Map(map) = read(text) else { panic!("a mapping") };
        let wanted = vec![("y".to_owned(), Value::Integer(3)), ("x".to_owned(), Value::Integer(1))];
        assert_eq!(map[1].1, Value::Map(wanted));
    }

    #[test]
    fn what_grows_or_nests_without_bound_is_an_error() {
        let known = |name: &str| (name == "SELF").then(|| "[${SELF}]".to_owned());
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        for text in [laughs.as_str(), &"[".repeat(10_000), "${SELF}", "a: &a [*a]", "a: b: c"] {
            assert!(parse(text, &known).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n&*!${}:<\\[\\]-]{0,200}") {
            let _ = parse(&text, &|_| Some("${B:x}".to_owned()));
        }
    }
}
