#![doc = include_str!("../README.md")]

mod amqp;
mod codec;
mod dispatch;
mod events;
mod headers;
mod names;
mod patterns;
mod wire;

use sinew_core::Value;

/// One parser, and what it is held to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target {
    /// The name of its corpus folder and of its libFuzzer program.
    pub name: &'static str,
    /// Panics when the bytes break a promise.
    pub run: fn(&[u8]),
}

/// Every target there is.
pub const TARGETS: &[Target] = &[
    Target { name: "address", run: names::address },
    Target { name: "amqp_url", run: amqp::amqp_url },
    Target { name: "beat", run: wire::beat },
    Target { name: "cover", run: patterns::cover },
    Target { name: "dispatch", run: dispatch::dispatch },
    Target { name: "events", run: events::events },
    Target { name: "headers", run: headers::headers },
    Target { name: "json", run: codec::json },
    Target { name: "messagepack", run: codec::messagepack },
    Target { name: "name_code", run: names::name_code },
    Target { name: "pattern", run: patterns::pattern },
    Target { name: "snapshot", run: wire::snapshot },
    Target { name: "url", run: wire::url },
];

/// Runs the target called `name`.
///
/// # Panics
///
/// When `data` breaks a promise, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    assert!(target.is_some(), "no target is called {name}");
    if let Some(target) = target {
        (target.run)(data);
    }
}

/// The input as lines of text, for targets that take several; none where it is no text.
fn lines<const COUNT: usize>(data: &[u8]) -> Option<[&str; COUNT]> {
    let mut lines = std::str::from_utf8(data).ok()?.splitn(COUNT, '\n');
    let mut found = [""; COUNT];
    for slot in &mut found {
        *slot = lines.next()?;
    }
    Some(found)
}

/// A header's value in a line: carriages with types have numbers, lists and nothing, too.
fn typed(text: &str) -> Value {
    if text == "null" {
        return Value::Null;
    }
    match (text.strip_prefix('#').map(str::parse::<i64>), text.strip_prefix('[')) {
        (Some(Ok(number)), _) => Value::from(number),
        (_, Some(list)) => list.split(',').collect(),
        _ => Value::from(text),
    }
}
