//! Names of asks, and the frames of answers to them.
use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher as _, Hash, Hasher},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use sinew_core::{Error, ErrorKind, Result};

use crate::AgentId;

/// The longest payload that is framed.
const MAX_FRAMED: usize = 4096;

/// The name of one ask: 1 to 64 bytes of visible ASCII without `/`, unlike any other's. Cloning it shares the text.
#[derive(Clone, Eq, PartialEq)]
pub struct AskId {
    /// Of its text, once for as often as it is looked up; by a key of this process, so that no peer can choose it.
    hash: u64,
    text: Arc<str>,
}

/// What names are hashed with.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl AskId {
    pub(crate) const MAX_LEN: usize = 64;
    /// In no name: it stands between that and what else an ask says of itself.
    pub(crate) const SEPARATOR: char = '/';

    /// Takes `text` for one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] when it is empty, too long, not visible ASCII, or holds a `/`.
    pub fn parse(text: &str) -> Result<Self> {
        let is_part = |byte: u8| byte.is_ascii_graphic() && char::from(byte) != Self::SEPARATOR;
        match (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(is_part) {
            true => Ok(Self { hash: HASHES.hash_one(text), text: text.into() }),
            false => Err(Error::new(ErrorKind::InvalidName, "parse ask id").with_subject(text)),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A good answer of `agent` that takes no header: the ask's name, a space, the agent's, a line feed, the payload.
    /// `None` where it is so long that a header is cheaper than a copy.
    #[must_use]
    pub fn frame(&self, agent: &AgentId, payload: &[u8]) -> Option<Bytes> {
        let parts = [self.as_str().as_bytes(), b" ", agent.as_str().as_bytes(), b"\n", payload];
        (payload.len() <= MAX_FRAMED).then(|| parts.concat().into())
    }

    /// Who says what in a frame of this ask. `None` where it is none: whoever was not told the ask's name cannot come upon
    /// it.
    #[must_use]
    pub fn unframe(&self, payload: &Bytes) -> Option<(AgentId, Bytes)> {
        let said = payload.strip_prefix(self.as_str().as_bytes())?.strip_prefix(b" ")?;
        let end = said.iter().take(AgentId::MAX_LEN + 1).position(|byte| *byte == b'\n')?;
        let (agent, answer) = said.split_at_checked(end)?;
        let agent = AgentId::parse(std::str::from_utf8(agent).ok()?).ok()?;
        Some((agent, payload.slice(payload.len() - answer.len() + 1..)))
    }
}

impl Hash for AskId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for AskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AskId").field(&self.text).finish()
    }
}

impl fmt::Display for AskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Takes the hash that an [`AskId`] brings for what it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HashOfId(u64);

impl Hasher for HashOfId {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_stands_in_a_frame_arrives(
            id in "[!-.0-~]{1,64}", agent in "[a-z]{1,128}", payload: Vec<u8>,
        ) {
            let (id, agent) = (AskId::parse(&id).unwrap(), AgentId::parse(&agent).unwrap());
            let framed = id.frame(&agent, &payload).unwrap();
            prop_assert_eq!(id.unframe(&framed), Some((agent, Bytes::from(payload))));
        }

        #[test]
        fn what_is_near_to_a_frame_is_none_or_names_an_agent(
            payload in "x[ .]?[a-z. *]{0,140}\n?[a-z]{0,9}",
        ) {
            let (id, payload) = (AskId::parse("x").unwrap(), Bytes::from(payload));
            if let Some((agent, said)) = id.unframe(&payload) {
                prop_assert_eq!(id.frame(&agent, &said), Some(payload));
            }
        }
    }

    #[test]
    fn what_is_long_is_not_framed_and_another_asks_frame_is_none() {
        let (id, agent) = (AskId::parse("x.1").unwrap(), AgentId::parse("a").unwrap());
        assert!(id.frame(&agent, &[0; MAX_FRAMED]).is_some());
        assert_eq!(id.frame(&agent, &[0; MAX_FRAMED + 1]), None);
        let framed = id.frame(&agent, b"well").unwrap();
        assert_eq!(AskId::parse("x.2").unwrap().unframe(&framed), None);
        assert_eq!(AskId::parse("x").unwrap().unframe(&framed), None);
    }
}
