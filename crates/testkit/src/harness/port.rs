//! Free ports that stay free while their server is down.
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Below the ports that the system hands to clients: a client that reconnects to a dead server on loopback may be
/// given the server's own port, connect to itself, and so keep the server from coming back.
const PORTS: Range<u16> = 20_000..32_000;
const TRIES: u64 = 100;

/// A port of loopback on which nobody listens now.
pub(super) fn free() -> io::Result<u16> {
    let random = RandomState::new();
    for turn in 0..TRIES {
        let mut hasher = random.build_hasher();
        hasher.write_u64(turn);
        let width = u64::from(PORTS.end - PORTS.start);
        let offset = u16::try_from(hasher.finish() % width).unwrap_or_default();
        let port = PORTS.start + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port was found on loopback"))
}
