//! Which message a returned one is: matched by its own id, never by the order in which the client hands them out.
//!
//! The client queues what the broker returns, and gives it to whichever confirm completes next. So the message that a
//! confirm brings along says nothing about the message that was confirmed.
use std::collections::HashMap;

/// Messages that the broker could not route, each until its own confirm is there.
#[derive(Debug, Default)]
pub(crate) struct Returns(HashMap<Returned, u32>);

/// Two messages of one id that both wait are told apart by where they were sent; where they were sent to one place,
/// neither could be routed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Returned {
    pub(crate) id: Box<str>,
    pub(crate) key: Box<str>,
}

impl Returns {
    /// The broker has returned it.
    pub(crate) fn note(&mut self, returned: Returned) {
        *self.0.entry(returned).or_default() += 1;
    }

    /// Whether the broker had returned the message that is confirmed now.
    pub(crate) fn take(&mut self, confirmed: &Returned) -> bool {
        let Some(count) = self.0.get_mut(confirmed) else { return false };
        *count -= 1;
        if *count == 0 {
            self.0.remove(confirmed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Returned {
        Returned { id: id.into(), key: "k".into() }
    }

    #[test]
    fn a_return_is_of_the_message_with_its_id_whatever_comes_first() {
        let mut returns = Returns::default();
        returns.note(message("b"));
        assert!(!returns.take(&message("a")));
        assert!(returns.take(&message("b")));
        assert!(!returns.take(&message("b")));
        assert!(returns.0.is_empty());
    }

    #[test]
    fn two_messages_of_one_id_are_both_returned() {
        let mut returns = Returns::default();
        returns.note(message("a"));
        returns.note(message("a"));
        assert!(returns.take(&message("a")) && returns.take(&message("a")));
        assert!(!returns.take(&message("a")));
    }
}
