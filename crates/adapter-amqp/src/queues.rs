//! What the queues are called that nobody gave a name.
use std::{
    fmt::Write as _,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use lapin::types::ShortString;
use sinew_core::{ErrorKind, Queue};

use crate::error::Cause;

/// The longest name that the protocol carries.
const LONGEST: usize = 255;

/// A queue as it was named: nobody else, a Python service least of all, would know it by a code.
pub(crate) fn named(queue: &Queue) -> Result<ShortString, Cause> {
    if queue.as_str().starts_with("amq.") {
        return Err(Cause::plain(
            ErrorKind::InvalidName,
            "the names that begin with `amq.` are the broker's own",
        ));
    }
    ShortString::try_new(queue.as_str()).map_err(|_| too_long())
}

/// The queue of one subscription on one connection.
pub(crate) fn subscription() -> Result<ShortString, Cause> {
    ShortString::try_new(format!("sinew.subscription.{}", random())).map_err(|_| too_long())
}

/// The queue that the members of a group share: those that ask for the same of the same exchange. Its bindings are what
/// any member asks for, so members that ask for other things need a queue of their own.
pub(crate) fn group(
    group: &Queue,
    exchange: &ShortString,
    bindings: &[ShortString],
) -> Result<ShortString, Cause> {
    let mut asked = Fnv::default();
    for text in [exchange].into_iter().chain(bindings) {
        asked.write(text.as_str());
    }
    fitting(&format!("sinew.group.{:016x}.", asked.0), group.as_str())
}

/// The queue where what goes back to `queue` waits for `wait`.
pub(crate) fn parking(queue: &ShortString, wait: Duration) -> Result<ShortString, Cause> {
    fitting(&format!("sinew.delay.{}.", wait.as_millis()), queue.as_str())
}

/// 128 bits that nobody else has, in hexadecimal digits.
pub(crate) fn random() -> String {
    let mut digits = String::with_capacity(32);
    for half in 0..2 {
        // A text takes whatever is written to it.
        let _ = write!(digits, "{:016x}", RandomState::new().hash_one(half));
    }
    digits
}

/// A name that begins with `kind`, and ends with `name` or, where that is too long, with its digest.
fn fitting(kind: &str, name: &str) -> Result<ShortString, Cause> {
    let name = if kind.len() + name.len() <= LONGEST {
        format!("{kind}{name}")
    } else {
        let mut digest = Fnv::default();
        digest.write(name);
        format!("{kind}{:016x}", digest.0)
    };
    ShortString::try_new(name).map_err(|_| too_long())
}

fn too_long() -> Cause {
    Cause::plain(ErrorKind::InvalidName, "longer than the 255 bytes that AMQP carries")
}

/// FNV-1a: the same on every machine and in every version, as a name must be that several services make.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Takes in a text and its end.
    fn write(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> ShortString {
        ShortString::try_new(text).unwrap()
    }

    #[test]
    fn a_group_has_one_queue_for_each_thing_that_is_asked_for() {
        let queue = Queue::parse("workers").unwrap();
        let name = |exchange: &str, keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|key| short(key)).collect();
            group(&queue, &short(exchange), &keys).unwrap()
        };
        // Fixed for ever: members of other versions share it.
        assert_eq!(name("amq.topic", &["a.*"]).as_str(), "sinew.group.0bdec9fab82e5500.workers");
        let names = [
            name("amq.topic", &["a.*"]),
            name("amq.topic", &["a.b"]),
            name("amq.topic", &["a", "b"]),
            name("amq.topic", &["ab"]),
            name("amq.topica", &["b"]),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name:?}");
        }
    }

    #[test]
    fn the_longest_name_fits_and_stays_itself() {
        let long = |end: &str| Queue::parse(&format!("{}{end}", "x".repeat(254))).unwrap();
        let names: Vec<_> =
            ["a", "b"].map(|end| group(&long(end), &short("x"), &[]).unwrap()).into();
        assert_ne!(names[0], names[1]);
        let parked = parking(&named(&long("a")).unwrap(), Duration::from_secs(4_000_000)).unwrap();
        assert!(parked.as_str().starts_with("sinew.delay.4000000000."));
    }

    #[test]
    fn the_brokers_own_names_are_refused() {
        assert!(named(&Queue::parse("amq.gen-x").unwrap()).is_err());
    }

    #[test]
    fn no_two_subscriptions_share_a_queue() {
        assert_ne!(subscription().unwrap(), subscription().unwrap());
    }
}
