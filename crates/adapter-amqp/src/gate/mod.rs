//! A gate for what the client sends: behind the end of a channel it lets nothing of that channel pass.
//!
//! The client says the end of a channel before what it has in line, and then goes on with that. To the broker these are
//! frames of a channel that is not there, for which it ends the connection, and all the channels beside. Whoever
//! published them is told all the same that they are lost: the client fails them with their channel.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::io::AsyncWrite;

/// A frame's type, channel and size; of a method, its class and number, too.
const PLAIN: usize = 7;
const METHOD: usize = 11;
/// How many bytes a connection begins with that are no frame.
const PROTOCOL: u64 = 8;

/// What the client sends, from the first byte of a connection on, however it is cut.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    frames: Frames,
    ended: Ended,
    /// The frame at hand does not pass.
    is_shut: bool,
    /// The head of a frame that passes, which is not written yet.
    held: Vec<u8>,
}

/// The channels that have ended, and have not begun again: a bit for each that there may be, as every frame asks.
#[derive(Debug, Default)]
struct Ended(Vec<u64>);

/// A place in a stream of frames.
#[derive(Clone, Copy, Debug)]
struct Frames {
    head: [u8; METHOD],
    have: usize,
    /// How many bytes of the frame come behind its head.
    left: u64,
}

/// The beginning of a frame.
struct Head {
    says: Says,
    bytes: [u8; METHOD],
    length: usize,
}

/// Bytes that pass together, and the place behind them.
struct Run<'a> {
    bytes: &'a [u8],
    behind: Frames,
    /// What it ends with, where that begins or ends a channel.
    turns: Option<Says>,
}

/// What matters of a frame, and its channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Says {
    Begin(u16),
    End(u16),
    Other(u16),
}

impl Default for Frames {
    fn default() -> Self {
        Self { head: [0; METHOD], have: 0, left: PROTOCOL }
    }
}

impl Ended {
    const fn place(channel: u16) -> (usize, u64) {
        (channel as usize / 64, 1 << (channel % 64))
    }

    fn insert(&mut self, channel: u16) {
        let (word, bit) = Self::place(channel);
        self.0.resize(self.0.len().max(word + 1), 0);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    fn remove(&mut self, channel: u16) {
        let (word, bit) = Self::place(channel);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    fn contains(&self, channel: u16) -> bool {
        let (word, bit) = Self::place(channel);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

impl Frames {
    /// Goes on to the end of a head or of what is behind one, or of `bytes`. By how many bytes, and which head is whole
    /// by that.
    fn step(&mut self, bytes: &[u8]) -> (usize, Option<Head>) {
        if self.left > 0 {
            let count =
                usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.left -= count as u64;
            return (count, None);
        }
        for (before, byte) in bytes.iter().enumerate() {
            if let Some(slot) = self.head.get_mut(self.have) {
                *slot = *byte;
            }
            self.have += 1;
            if self.have == self.wanted() {
                return (before + 1, Some(self.whole()));
            }
        }
        (bytes.len(), None)
    }

    /// The frame here that is whole in `bytes` and no method of a channel's life: of which channel, and how long it is.
    fn whole_other(&self, bytes: &[u8]) -> Option<(u16, usize)> {
        let [kind, high, low, size @ .., class_high, class_low] = bytes.first_chunk::<9>()?;
        let length = usize::try_from(u32::from_be_bytes(*size)).ok()?.checked_add(PLAIN + 1)?;
        let is_life = (kind, class_high, class_low) == (&1, &0, &20);
        let is_here = self.have == 0 && self.left == 0;
        (is_here && !is_life && length <= bytes.len())
            .then_some((u16::from_be_bytes([*high, *low]), length))
    }

    /// How long the head is, as far as is known.
    fn wanted(&self) -> usize {
        let [kind, _, _, size @ .., _, _, _, _] = self.head;
        let is_method = self.have >= PLAIN && kind == 1 && u32::from_be_bytes(size) >= 4;
        if is_method { METHOD } else { PLAIN }
    }

    fn whole(&mut self) -> Head {
        let bytes = self.head;
        let [_, high, low, size @ .., a, b, c, d] = bytes;
        let length = std::mem::take(&mut self.have);
        // With the octet that ends the frame.
        self.left = PLAIN as u64 + u64::from(u32::from_be_bytes(size)) + 1 - length as u64;
        let channel = u16::from_be_bytes([high, low]);
        let says = match [a, b, c, d] {
            // channel.open, channel.close, channel.close-ok
            [0, 20, 0, 10] if length == METHOD => Says::Begin(channel),
            [0, 20, 0, 40 | 41] if length == METHOD => Says::End(channel),
            _ => Says::Other(channel),
        };
        Head { says, bytes, length }
    }
}

impl Gate {
    /// As [`AsyncWrite::poll_write`]; what may not pass counts as written, and so does what is held.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_held(cx, to))?;
        let Run { bytes: run, behind, turns } = self.passing(bytes);
        if run.is_empty() {
            return Poll::Ready(Ok(self.take(bytes)));
        }
        let mut written = ready!(Pin::new(to).poll_write(cx, run))?;
        if written == run.len() {
            (self.frames, self.is_shut) = (behind, false);
            self.turn(turns);
            return Poll::Ready(Ok(written));
        }
        self.follow(run.get(..written).unwrap_or(run));
        let cut = self.frames.have;
        if cut > 0 {
            // A head that has begun to pass passes: the rest of it is held.
            written += self.take(run.get(written..).unwrap_or_default());
            self.held.drain(..cut.min(self.held.len()));
        }
        Poll::Ready(Ok(written))
    }

    /// Writes what is held. To be called before a flush, too.
    pub(crate) fn poll_held(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// As much of `bytes` as passes together: all of it, as a rule.
    fn passing<'a>(&self, bytes: &'a [u8]) -> Run<'a> {
        let (mut behind, mut at, mut turns) = (self.frames, 0, None);
        let stays = behind.have > 0 || self.is_shut && behind.left > 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty() && !stays) {
            // As it nearly always comes.
            if let Some((channel, length)) = behind.whole_other(rest)
                && !self.ended.contains(channel)
            {
                at += length;
                continue;
            }
            let mut ahead = behind;
            let (count, head) = ahead.step(rest);
            let says = head.map(|head| head.says);
            // A head says only as a whole whether it passes.
            if ahead.have > 0 || says.is_some_and(|says| !self.passes(says)) {
                break;
            }
            (behind, at) = (ahead, at + count);
            turns = says.filter(|says| !matches!(says, Says::Other(_)));
            if turns.is_some() {
                // What comes behind it is another matter.
                break;
            }
        }
        Run { bytes: bytes.get(..at).unwrap_or(bytes), behind, turns }
    }

    /// Goes on by one step, with nothing written: the head of a frame is held if that passes. By how many bytes.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let (count, head) = self.frames.step(bytes);
        if let Some(head) = head {
            self.heed(head.says);
            if !self.is_shut {
                self.held.extend(head.bytes.into_iter().take(head.length));
            }
        }
        count
    }

    /// These have been written.
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (count, head) = self.frames.step(bytes);
            if let Some(head) = head {
                self.heed(head.says);
            }
            bytes = bytes.get(count..).unwrap_or_default();
        }
    }

    fn passes(&self, says: Says) -> bool {
        !matches!(says, Says::Other(channel) if self.ended.contains(channel))
    }

    fn heed(&mut self, says: Says) {
        self.is_shut = !self.passes(says);
        self.turn(Some(says));
    }

    fn turn(&mut self, says: Option<Says>) {
        match says {
            Some(Says::Begin(channel)) => self.ended.remove(channel),
            Some(Says::End(channel)) => self.ended.insert(channel),
            Some(Says::Other(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests;
