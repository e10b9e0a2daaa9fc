//! A guard over what the broker sends: no table in it nests deeper than a header may.
//!
//! The client reads tables by recursion, on a thread whose stack is 2 MiB, and does not count. A header of 5 KiB, nested
//! a thousand deep, ends the process, and anyone who may publish can send it; the broker then delivers it again. So
//! we look first: a list or a table too deep becomes bytes, by one byte changed where it stands, for both
//! say their length in the same way. What holds it is left out later, as any header too deep is.
use sinew_core::Headers;

/// What follows the frame's stream from its first byte on, however it is cut.
#[derive(Debug)]
pub(crate) struct Guard {
    /// How many bytes of the frame are read, and how many there are, as far as is known.
    at: u64,
    end: u64,
    /// Bytes that say nothing.
    skip: u64,
    /// Bytes that say something once all are there, and what.
    read: [u8; LONGEST],
    have: usize,
    want: usize,
    then: Then,
    /// Short strings before the headers.
    texts: u8,
    /// The tables and lists around the place, from the outermost.
    levels: Vec<Level>,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Frame,
    Method,
    Content,
    Text,
    Length(Holds),
    Name,
    Type,
}

/// What a length is the length of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holds {
    Bytes,
    List,
    Table,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    end: u64,
    holds: Holds,
}

/// A content frame's class, weight, body size and flags.
const LONGEST: usize = 14;

impl Default for Guard {
    fn default() -> Self {
        Self {
            at: 0,
            end: u64::MAX,
            skip: 0,
            read: [0; LONGEST],
            have: 0,
            want: 7,
            then: Then::Frame,
            texts: 0,
            levels: Vec::new(),
        }
    }
}

impl Guard {
    /// Looks at the next bytes, and flattens what nests too deep in them.
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            // As a confirm comes, and most else.
            if let Some(length) = self.plain(bytes) {
                bytes = bytes.get_mut(length..).unwrap_or_default();
                continue;
            }
            let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(self.end - self.at);
            let passed = if self.skip > 0 { here.min(self.skip) } else { here.min(self.wanted()) };
            let Some((now, rest)) =
                usize::try_from(passed).ok().and_then(|passed| bytes.split_at_mut_checked(passed))
            else {
                return;
            };
            if self.skip > 0 {
                self.skip -= passed;
                self.at += passed;
            } else {
                self.take(now);
            }
            if self.at >= self.end {
                self.turn();
            }
            bytes = rest;
        }
    }

    /// How long the frame here is, if it is whole in `bytes` and has no table.
    fn plain(&self, bytes: &[u8]) -> Option<usize> {
        let [kind, _, _, size @ .., a, b, c, d] = bytes.first_chunk::<11>()?;
        let length = usize::try_from(u32::from_be_bytes(*size)).ok()?.checked_add(8)?;
        let has_table = *kind == 2 || (kind, [a, b, c, d]) == (&1, [&0, &10, &0, &10]);
        let is_here = self.at == 0 && self.have == 0;
        (is_here && !has_table && length <= bytes.len()).then_some(length)
    }

    /// The next frame begins. Keeps the room for levels.
    fn turn(&mut self) {
        let mut levels = std::mem::take(&mut self.levels);
        levels.clear();
        *self = Self { levels, ..Self::default() };
    }

    /// How many bytes are missing of those that say something: one at least.
    fn wanted(&self) -> u64 {
        self.want.saturating_sub(self.have).max(1) as u64
    }

    /// Takes the next bytes in, not more than are [`wanted`](Self::wanted). The place is on the last of them meanwhile.
    fn take(&mut self, bytes: &mut [u8]) {
        let have = self.have + bytes.len();
        if let Some(slots) = self.read.get_mut(self.have..have) {
            slots.copy_from_slice(bytes);
        }
        self.have = have;
        self.at += bytes.len() as u64;
        let Some(last) = bytes.last_mut().filter(|_| have >= self.want) else { return };
        self.at -= 1;
        self.look(last);
        self.at += 1;
    }

    /// Looks at what is read, which is whole by `byte`.
    fn look(&mut self, byte: &mut u8) {
        match self.then {
            Then::Frame => self.frame(),
            // The only table that a broker sends in a method: what it is, as a connection starts.
            Then::Method if self.read.starts_with(&[0, 10, 0, 10]) => {
                self.expect(4, Then::Length(Holds::Table));
            }
            Then::Method => self.rest(),
            Then::Content => self.content(),
            Then::Text => {
                self.texts -= 1;
                self.skip = self.read[0].into();
                self.text();
            }
            Then::Length(holds) => self.length(holds),
            Then::Name => {
                self.skip = self.read[0].into();
                self.expect(1, Then::Type);
            }
            Then::Type => self.value(byte),
        }
    }

    fn expect(&mut self, want: usize, then: Then) {
        (self.have, self.want, self.then) = (0, want, then);
    }

    /// There is nothing to look at in the rest of the frame.
    fn rest(&mut self) {
        self.skip = u64::MAX;
    }

    fn frame(&mut self) {
        let [kind, _, _, size @ .., _, _, _, _, _, _, _] = self.read;
        // Its head, and the octet that ends it.
        self.end = u64::from(u32::from_be_bytes(size)) + 8;
        match kind {
            1 => self.expect(6, Then::Method),
            2 => self.expect(LONGEST, Then::Content),
            _ => self.rest(),
        }
    }

    fn content(&mut self) {
        let [.., flags, _] = self.read;
        self.texts = (flags >> 7) + (flags >> 6 & 1);
        match flags >> 5 & 1 {
            0 => self.rest(),
            _ => self.text(),
        }
    }

    fn text(&mut self) {
        match self.texts {
            0 => self.expect(4, Then::Length(Holds::Table)),
            _ => self.expect(1, Then::Text),
        }
    }

    fn length(&mut self, holds: Holds) {
        let [a, b, c, d, ..] = self.read;
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        match holds {
            Holds::Bytes => self.skip = length,
            _ => self.levels.push(Level { end: self.at + 1 + length, holds }),
        }
        self.next();
    }

    fn value(&mut self, tag: &mut u8) {
        self.skip = match *tag {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            b'S' | b'x' => return self.expect(4, Then::Length(Holds::Bytes)),
            b'A' | b'F' if self.levels.len() > Headers::MAX_DEPTH => {
                *tag = b'x';
                return self.expect(4, Then::Length(Holds::Bytes));
            }
            b'A' => return self.expect(4, Then::Length(Holds::List)),
            b'F' => return self.expect(4, Then::Length(Holds::Table)),
            // The client ends the connection here.
            _ => return self.rest(),
        };
        self.next();
    }

    /// A value ends behind this byte and those that are skipped.
    fn next(&mut self) {
        let at = self.at.saturating_add(1).saturating_add(self.skip);
        while self.levels.pop_if(|level| level.end <= at).is_some() {}
        match self.levels.last() {
            None => self.rest(),
            Some(Level { holds: Holds::Table, .. }) => self.expect(1, Then::Name),
            Some(_) => self.expect(1, Then::Type),
        }
    }
}

#[cfg(test)]
mod tests;
