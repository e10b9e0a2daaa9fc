//! Free ports that stay free while their server is down.
use std::{
    collections::BTreeSet,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Below the ports that the system hands to clients: a client that reconnects to a dead server on loopback may be
/// given the server's own port, connect to itself, and so keep the server from coming back.
const PORTS: Range<u16> = 20_000..32_000;
const TRIES: u64 = 100;

/// What this process has been given. Two servers that meet at a port that neither listens on yet would take each other
/// for themselves.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of loopback on which nobody listens now, and which this process was never given before.
pub(super) fn free() -> io::Result<u16> {
    let random = RandomState::new();
    for turn in 0..TRIES {
        let mut hasher = random.build_hasher();
        hasher.write_u64(turn);
        let width = u64::from(PORTS.end - PORTS.start);
        let offset = u16::try_from(hasher.finish() % width).unwrap_or_default();
        let port = PORTS.start + offset;
        let new = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        if new && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port was found on loopback"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_servers_of_a_process_are_given_one_port() {
        // By chance alone they would, forty times.
        let ports: BTreeSet<_> = (0..1000).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 1000);
    }
}
