//! Uptimes as bytes, for a monitor that goes on where another one ended.
//!
//! Little-endian. The version (1 byte), when they were taken and since when they are kept (8 each, milliseconds since
//! 1970), and the uptimes until the end. An uptime: length of the name (1), name, verdict (1), since (8) and, where the
//! verdict says so, the three rings. A ring: its newest bucket (8), and its buckets as runs of equal ones: how many (1),
//! up and down (2 each).
use std::collections::HashMap;

use sinew_beat::Process;

use super::{BUCKET, LATEST, Past, Ring, Uptime, Verdict};

const VERSION: u8 = 1;

/// Added to the verdict of one that has a past.
const HAS_PAST: u8 = 4;

const VERDICTS: [Verdict; 3] = [Verdict::Up, Verdict::Down, Verdict::Unjudged];

/// What an earlier run kept.
#[derive(Debug)]
pub(in super::super) struct Kept {
    /// When the earlier run kept it last: it judged nobody from then on.
    pub(in super::super) taken: u64,
    /// Since when uptimes are kept.
    pub(in super::super) started: u64,
    pub(in super::super) uptimes: HashMap<String, Uptime>,
}

/// The bytes of all uptimes at `taken`; of those that say nothing there are none.
pub(in super::super) fn encode<'a>(
    taken: u64,
    started: u64,
    uptimes: impl Iterator<Item = (&'a Process, &'a Uptime)>,
) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for moment in [taken, started.min(taken)] {
        bytes.extend_from_slice(&moment.to_le_bytes());
    }
    for (process, Uptime { verdict, since, past }) in uptimes {
        let name = process.as_str().as_bytes();
        let (Ok(len), Some(code)) = (u8::try_from(name.len()), code(*verdict)) else { continue };
        if *verdict == Verdict::Unjudged && past.is_none() {
            continue;
        }
        bytes.push(len);
        bytes.extend_from_slice(name);
        bytes.push(code + if past.is_some() { HAS_PAST } else { 0 });
        bytes.extend_from_slice(&since.min(&taken).to_le_bytes());
        if let Some(past) = past {
            put(&mut bytes, &past.hour);
            put(&mut bytes, &past.day);
            put(&mut bytes, &past.week);
        }
    }
    bytes
}

/// What [`encode`] gave; none where it makes no sense.
pub(in super::super) fn decode(bytes: &[u8]) -> Option<Kept> {
    let mut reader = Reader(bytes);
    if reader.byte()? != VERSION {
        return None;
    }
    let (taken, started) = (reader.u64()?, reader.u64()?);
    let mut uptimes = HashMap::new();
    while !reader.0.is_empty() {
        let len = reader.byte()?;
        let name = std::str::from_utf8(reader.bytes(len.into())?).ok()?.to_owned();
        let code = reader.byte()?;
        let (verdict, since) = (*VERDICTS.get(usize::from(code % HAS_PAST))?, reader.u64()?);
        let past = match code / HAS_PAST {
            0 => None,
            1 => Some(Box::new(Past {
                hour: reader.ring(taken)?,
                day: reader.ring(taken)?,
                week: reader.ring(taken)?,
            })),
            _ => return None,
        };
        if since > taken {
            return None;
        }
        uptimes.insert(name, Uptime { verdict, since, past });
    }
    (started <= taken && taken <= LATEST).then_some(Kept { taken, started, uptimes })
}

fn code(verdict: Verdict) -> Option<u8> {
    u8::try_from(VERDICTS.iter().position(|it| *it == verdict)?).ok()
}

fn put<const N: usize, const UNIT: u64>(bytes: &mut Vec<u8>, ring: &Ring<N, UNIT>) {
    bytes.extend_from_slice(&ring.newest.to_le_bytes());
    let buckets: Vec<_> = ring.up.iter().zip(&ring.down).collect();
    for run in buckets.chunk_by(|one, other| one == other) {
        // No ring has more than 61.
        bytes.push(u8::try_from(run.len()).unwrap_or(u8::MAX));
        for (up, down) in run.iter().take(1) {
            bytes.extend_from_slice(&up.to_le_bytes());
            bytes.extend_from_slice(&down.to_le_bytes());
        }
    }
}

/// Takes one thing after the other, as long as there is enough.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn ring<const N: usize, const UNIT: u64>(&mut self, taken: u64) -> Option<Ring<N, UNIT>> {
        let mut ring = Ring { newest: self.u64()?, ..Ring::new() };
        let mut buckets = ring.up.iter_mut().zip(&mut ring.down);
        while buckets.len() > 0 {
            let (count, up, down) = (self.byte()?, self.u16()?, self.u16()?);
            if count == 0 {
                return None;
            }
            for _ in 0..count {
                let (here, there) = buckets.next()?;
                (*here, *there) = (up, down);
            }
        }
        (ring.newest <= taken / UNIT / BUCKET).then_some(ring)
    }

    fn byte(&mut self) -> Option<u8> {
        self.chunk().map(|[byte]| *byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.chunk().map(|it| u16::from_le_bytes(*it))
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(|it| u64::from_le_bytes(*it))
    }

    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(chunk)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn one(uptime: &Uptime, taken: u64) -> Vec<u8> {
        let process = Process::parse("eu.a").unwrap();
        encode(taken, 0, std::iter::once((&process, uptime)))
    }

    #[test]
    fn the_time_in_which_nobody_looked_counts_for_nobody() {
        let mut uptime = Uptime::new(Verdict::Up, 0);
        uptime.change(Verdict::Down, 30 * HOUR);
        uptime.change(Verdict::Up, 31 * HOUR);
        let bytes = one(&uptime, 40 * HOUR);
        assert!(bytes.len() < 200, "runs of equal buckets: {}", bytes.len());
        let mut kept = decode(&bytes).unwrap();
        assert_eq!((kept.taken, kept.started), (40 * HOUR, 0));
        let mut restored = kept.uptimes.remove("eu.a").unwrap();
        assert_eq!(restored.shares(40 * HOUR), uptime.shares(40 * HOUR));
        restored.resume(40 * HOUR, Verdict::Up, 50 * HOUR);
        let week = restored.shares(60 * HOUR).week.unwrap();
        assert!((week - 49.0 / 50.0).abs() < 1e-6, "{week}");
    }

    proptest! {
        #[test]
        fn what_was_kept_comes_back(
            changes in prop::collection::vec((0..3_usize, 0..4 * HOUR), 0..60),
            start in 0..1000 * HOUR,
        ) {
            let mut uptime = Uptime::new(Verdict::Up, start);
            let mut now = start;
            for (verdict, wait) in changes {
                now += wait;
                uptime.change(VERDICTS[verdict], now);
            }
            let kept = decode(&one(&uptime, now)).unwrap();
            match kept.uptimes.get("eu.a") {
                Some(restored) => prop_assert_eq!(restored.shares(now), uptime.shares(now)),
                None => prop_assert_eq!(uptime.shares(now), super::super::Shares::default()),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), tail in 0..40_u64) {
            let _ = decode(&bytes);
            // Nor do those that begin well, nor what they are taken for.
            let mut uptime = Uptime::new(Verdict::Down, HOUR);
            uptime.change(Verdict::Up, 2 * HOUR);
            let mut bent = one(&uptime, 3 * HOUR);
            let at = bent.len() - 1 - usize::try_from(tail).unwrap();
            bent[at] ^= bytes.first().copied().unwrap_or(1);
            if let Some(mut kept) = decode(&bent)
                && let Some(mut it) = kept.uptimes.remove("eu.a")
            {
                it.resume(kept.taken, Verdict::Down, LATEST);
                let _ = it.shares(LATEST);
            }
        }
    }
}
