//! The bytes of a snapshot.
//!
//! Little-endian. `SINEWBTS`, version (2 bytes), reserved (2), taken (8), count (4), the processes, from version 2 on what
//! is attached, and the CRC-32 of all that (4). A process: length of its name (2), name, state, said, flags, found (1 each), since (8), last seen (8), promise
//! in nanoseconds (8), changes (4), recovered (4) and, where a flag says so, the two instances of a conflict, each with its
//! length before it (1). Moments are microseconds since 1970; a state is its place in
//! [`State::ALL`].
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sinew_core::{Error, ErrorKind, Result};

use super::{Saved, Snapshot};
use crate::{Instance, InstancePair, Process, State};

const MAGIC: &[u8; 8] = b"SINEWBTS";
const VERSION: u16 = 2;
const DECLARED: u8 = 1;
const FLAPPING: u8 = 2;
const SEEN: u8 = 4;
const FOUND: u8 = 8;
const CONFLICT: u8 = 16;
const CHECKSUM: usize = 4;

impl Snapshot {
    /// Its bytes: some 50 a process, and its name, and what is [attached](Snapshot::with_attached).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + 96 * self.processes.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&micros(self.taken).to_le_bytes());
        let count = u32::try_from(self.processes.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        for saved in self.processes.iter().take(count as usize) {
            put(&mut bytes, saved);
        }
        bytes.extend_from_slice(&self.attached);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads what [`Snapshot::encode`] gave.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidPayload`] for what is no snapshot, is cut short, or was changed; [`ErrorKind::Unsupported`]
    /// for one of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(invalid("it is no snapshot of a monitor"));
        };
        let version = rest.first_chunk().map_or(0, |it| u16::from_le_bytes(*it));
        if version > VERSION {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION)
                .with_detail("a later version wrote it; start without it, or with that version"));
        }
        let checked = bytes.split_last_chunk::<CHECKSUM>();
        let whole =
            checked.filter(|(rest, sum)| crc32fast::hash(rest) == u32::from_le_bytes(**sum));
        let Some((whole, _)) = whole else {
            return Err(invalid("it is cut short or was changed: its checksum is another"));
        };
        let mut reader = Reader(whole.get(MAGIC.len() + 4..).unwrap_or_default());
        reader.snapshot(version).ok_or_else(|| invalid("its checksum holds, but it makes no sense"))
    }
}

const OPERATION: &str = "read snapshot";

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidPayload, OPERATION).with_detail(detail)
}

fn put(bytes: &mut Vec<u8>, saved: &Saved) {
    let name = saved.process.as_str().as_bytes();
    // A name has 245 bytes at most.
    let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(name);
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    let flags = flag(saved.is_declared, DECLARED)
        | flag(saved.is_flapping, FLAPPING)
        | flag(saved.last_seen.is_some(), SEEN)
        | flag(saved.found.is_some(), FOUND)
        | flag(saved.conflict.is_some(), CONFLICT);
    let found = saved.found.map_or(0, code);
    bytes.extend_from_slice(&[code(saved.state), code(saved.said), flags, found]);
    bytes.extend_from_slice(&micros(saved.since).to_le_bytes());
    bytes.extend_from_slice(&saved.last_seen.map_or(0, micros).to_le_bytes());
    let promise = u64::try_from(saved.promise.as_nanos()).unwrap_or(u64::MAX);
    bytes.extend_from_slice(&promise.to_le_bytes());
    bytes.extend_from_slice(&saved.changes.to_le_bytes());
    bytes.extend_from_slice(&saved.recovered.to_le_bytes());
    for instance in saved.conflict.iter().flat_map(|it| [&it.one, &it.other]) {
        let text = instance.as_str().as_bytes();
        // It has 128 bytes at most.
        bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(text);
    }
}

fn code(state: State) -> u8 {
    let place = State::ALL.iter().position(|it| *it == state);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

/// Moments before 1970 count as its first.
fn micros(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Takes one thing after the other, as long as there is enough.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn snapshot(&mut self, version: u16) -> Option<Snapshot> {
        let taken = self.moment()?;
        let count = self.u32()?;
        // Nothing is set aside for a count that may be false.
        let mut processes = Vec::new();
        for _ in 0..count {
            processes.push(self.saved()?);
        }
        let attached = std::mem::take(&mut self.0).to_vec();
        let is_sound = version > 1 || attached.is_empty();
        is_sound.then_some(Snapshot { taken, processes, attached })
    }

    fn saved(&mut self) -> Option<Saved> {
        let len = u16::from_le_bytes(*self.chunk()?);
        let name = std::str::from_utf8(self.bytes(usize::from(len))?).ok()?;
        let process = Process::parse(name).ok()?;
        let [state, said, flags, found] = *self.chunk()?;
        let (since, last_seen) = (self.moment()?, self.moment()?);
        Some(Saved {
            process,
            state: state_of(state)?,
            said: state_of(said)?,
            since,
            last_seen: (flags & SEEN != 0).then_some(last_seen),
            promise: Duration::from_nanos(self.u64()?),
            is_declared: flags & DECLARED != 0,
            is_flapping: flags & FLAPPING != 0,
            found: if flags & FOUND != 0 { Some(state_of(found)?) } else { None },
            changes: self.u32()?,
            recovered: self.u32()?,
            conflict: match flags & CONFLICT {
                0 => None,
                _ => Some(InstancePair { one: self.instance()?, other: self.instance()? }),
            },
        })
    }

    fn instance(&mut self) -> Option<Instance> {
        let [len] = *self.chunk()?;
        Instance::parse(std::str::from_utf8(self.bytes(len.into())?).ok()?).ok()
    }

    fn moment(&mut self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_micros(self.u64()?))
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(|it| u64::from_le_bytes(*it))
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(|it| u32::from_le_bytes(*it))
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

fn state_of(code: u8) -> Option<State> {
    State::ALL.get(usize::from(code)).copied()
}
