//! Ids that nobody else has: UUIDs of version 4.
use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
};

/// A UUID as it is written, with hyphens.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Id(pub(crate) u128);

impl Id {
    /// A random one.
    pub(crate) fn fresh() -> Self {
        // The standard library's hash keys are random: one half from each of two of them.
        let half = |part: u8| u128::from(RandomState::new().hash_one(part));
        let bits = half(0) << 64 | half(1);
        Self(bits & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: each event that is emitted has one.
        let mut text = [b'-'; 36];
        let digits = self.0.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let places = text.iter_mut().enumerate().filter(|(at, _)| !matches!(at, 8 | 13 | 18 | 23));
        for ((_, place), digit) in places.zip(digits) {
            *place = digit + if digit < 10 { b'0' } else { b'a' - 10 };
        }
        f.pad(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}
