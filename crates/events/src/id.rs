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
        let bits = self.0;
        let (a, b, c) = (bits >> 96, bits >> 80 & 0xffff, bits >> 64 & 0xffff);
        let (d, e) = (bits >> 48 & 0xffff, bits & 0xffff_ffff_ffff);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}
