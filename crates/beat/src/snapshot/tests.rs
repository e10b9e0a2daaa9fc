//! What was saved comes back; what was not is refused.
use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proptest::prelude::*;
use sinew_core::ErrorKind;

use super::{Saved, Snapshot};
use crate::{Instance, InstancePair, Process, State};

fn moment() -> impl Strategy<Value = SystemTime> {
    (0..u64::MAX / 2_000).prop_map(|micros| UNIX_EPOCH + Duration::from_micros(micros))
}

fn saved() -> impl Strategy<Value = Saved> {
    let state = || proptest::sample::select(State::ALL);
    let name = "[^\\p{Cc}]{1,40}".prop_map(|name| Process::parse(&name).unwrap());
    let times = (moment(), proptest::option::of(moment()), any::<u64>());
    let rest = (any::<u32>(), any::<bool>(), any::<bool>(), any::<u32>());
    let states = (state(), state(), proptest::option::of(state()));
    let instance = || "[!-~]{1,128}".prop_map(|text| Instance::parse(&text).unwrap());
    let pair = (instance(), instance()).prop_map(|(one, other)| InstancePair { one, other });
    let conflict = proptest::option::of(pair);
    (name, states, times, rest, conflict).prop_map(|(process, states, times, rest, conflict)| {
        Saved {
            process,
            state: states.0,
            said: states.1,
            found: states.2,
            since: times.0,
            last_seen: times.1,
            promise: Duration::from_nanos(times.2),
            recovered: rest.0,
            is_declared: rest.1,
            is_flapping: rest.2,
            changes: rest.3,
            conflict,
        }
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let attached = proptest::collection::vec(any::<u8>(), 0..20);
    (moment(), proptest::collection::vec(saved(), 0..8), attached)
        .prop_map(|(taken, processes, attached)| Snapshot { taken, processes, attached })
}

/// What passes the checksum.
fn forged(version: u8, bytes: &[u8]) -> Vec<u8> {
    let mut forged = [b"SINEWBTS".as_slice(), &[version, 0, 0, 0], bytes].concat();
    forged.extend(crc32fast::hash(&forged).to_le_bytes());
    forged
}

proptest! {
    #[test]
    fn what_was_saved_comes_back(snapshot in snapshot()) {
        prop_assert_eq!(Snapshot::decode(&snapshot.encode()).unwrap(), snapshot);
    }

    #[test]
    fn a_torn_one_is_refused(snapshot in snapshot(), kept in any::<prop::sample::Index>()) {
        let bytes = snapshot.encode();
        let err = Snapshot::decode(&bytes[..kept.index(bytes.len())]).unwrap_err();
        prop_assert_eq!(err.kind(), ErrorKind::InvalidPayload);
    }

    #[test]
    fn a_flipped_bit_is_found(snapshot in snapshot(), place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = snapshot.encode();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(Snapshot::decode(&bytes).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Snapshot::decode(&bytes).is_err());
        // Nor do those that pass the checksum.
        for version in [1, 2] {
            let _ = Snapshot::decode(&forged(version, &bytes));
        }
    }
}

#[test]
fn one_of_a_later_version_is_unsupported() {
    let mut bytes = Snapshot::new(UNIX_EPOCH, Vec::new()).encode();
    bytes[8] = 3;
    assert_eq!(Snapshot::decode(&bytes).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn one_of_the_first_version_is_read_and_has_nothing_attached() {
    let second = Snapshot::new(UNIX_EPOCH + Duration::from_secs(7), Vec::new());
    // Taken, and how many.
    let first = [7_000_000_u64.to_le_bytes().as_slice(), &[0; 4]].concat();
    assert_eq!(Snapshot::decode(&forged(1, &first)).unwrap(), second);
    let odd = Snapshot::decode(&forged(1, &[&first[..], b"x"].concat())).unwrap_err();
    assert_eq!(odd.kind(), ErrorKind::InvalidPayload);
    let attached = Snapshot::decode(&forged(2, &[&first[..], b"x"].concat())).unwrap();
    assert_eq!(attached, second.with_attached(b"x".to_vec()));
}

#[test]
fn a_state_is_saved_as_its_place_which_therefore_stays() {
    let states: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
    let wanted = ["expected", "starting", "up", "degraded", "late", "down", "stopped", "paused"];
    assert_eq!(states, wanted);
}

#[test]
fn a_file_is_replaced_whole_and_what_is_no_snapshot_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitor");
    assert_eq!(Snapshot::load(&path).unwrap_err().kind(), ErrorKind::NotFound);
    let empty = Snapshot::new(UNIX_EPOCH, Vec::new());
    let later = Snapshot::new(UNIX_EPOCH + Duration::from_secs(1), Vec::new());
    for snapshot in [empty, later] {
        snapshot.save(&path).unwrap();
        assert_eq!(Snapshot::load(&path).unwrap(), snapshot);
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    fs::write(&path, "something else").unwrap();
    let err = Snapshot::load(&path).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidPayload);
    assert!(err.to_string().contains("monitor"), "{err}");
    assert!(Snapshot::load(folder.path()).is_err());
}
