//! Which number a name has: a table that a look-up waits for once.

/// Numbers by the hash of what they stand for, each beside 32 bits of that hash: a look-up reads one line of the cache,
/// nearly always, and looks at nobody else's name.
///
/// Open addressing, from place to place; what is taken out leaves no gap. A table that grows needs no hash anew.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// None, or as many as a power of two.
    slots: Vec<Slot>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The hash's upper half; where it would stand if nobody else did.
    tag: u32,
    /// [`VACANT`] for none.
    id: u32,
}

/// No number.
const VACANT: u32 = u32::MAX;

const EMPTY: Slot = Slot { tag: 0, id: VACANT };

/// How many slots the smallest table has.
const LEAST: usize = 16;

impl Index {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number with that hash that `is_it` says yes to.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        self.probe(tag)
            .map(|(_, slot)| slot)
            .find(|it| it.tag == tag && is_it(it.id))
            .map(|it| it.id)
    }

    /// Puts a number in that is not there yet; it is below [`u32::MAX`].
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        // Three of four at most: then two or three places are looked at, of eight in a line.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            let larger = vec![EMPTY; (self.slots.len() * 2).max(LEAST)];
            for slot in std::mem::replace(&mut self.slots, larger) {
                if slot.id != VACANT {
                    self.put(slot);
                }
            }
        }
        self.put(Slot { tag: tag(hash), id });
        self.len += 1;
    }

    /// Takes a number out, if it is there with that hash.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let found = self.probe(tag(hash)).find(|(_, it)| it.id == id);
        let Some((mut gap, _)) = found else { return };
        self.len -= 1;
        // Who stands behind it moves up, unless that would be before where it belongs.
        let mut place = gap;
        loop {
            place = self.next(place);
            let slot = self.slots.get(place).copied().unwrap_or(EMPTY);
            if slot.id == VACANT {
                break;
            }
            let distance = |from: usize| place.wrapping_sub(from) & (self.slots.len() - 1);
            if distance(self.home(slot.tag)) >= distance(gap) {
                self.set(gap, slot);
                gap = place;
            }
        }
        self.set(gap, EMPTY);
    }

    /// From where a tag belongs on, up to the first vacancy.
    fn probe(&self, tag: u32) -> impl Iterator<Item = (usize, Slot)> {
        let mut place = self.home(tag);
        std::iter::from_fn(move || {
            let slot = self.slots.get(place).copied().filter(|slot| slot.id != VACANT)?;
            let here = place;
            place = self.next(place);
            Some((here, slot))
        })
    }

    fn put(&mut self, slot: Slot) {
        let last = self.probe(slot.tag).last();
        let place = last.map_or_else(|| self.home(slot.tag), |(place, _)| self.next(place));
        self.set(place, slot);
    }

    fn set(&mut self, place: usize, slot: Slot) {
        if let Some(it) = self.slots.get_mut(place) {
            *it = slot;
        }
    }

    fn home(&self, tag: u32) -> usize {
        tag as usize & self.slots.len().wrapping_sub(1)
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & self.slots.len().wrapping_sub(1)
    }
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_one_finds_nothing() {
        assert_eq!(Index::default().find(0, |_| true), None);
        Index::default().remove(0, 0);
    }

    proptest! {
        /// Few hashes, so that many stand where others belong, around the end of the table too.
        #[test]
        fn it_finds_what_a_map_finds(
            turns in proptest::collection::vec((any::<bool>(), 0..60_u32, 0..24_u64), 1..400)
        ) {
            let (mut index, mut map) = (Index::default(), HashMap::new());
            for (is_insert, id, hash) in turns {
                let hash = hash << 32;
                match map.get(&id) {
                    None if is_insert => {
                        index.insert(hash, id);
                        map.insert(id, hash);
                    }
                    Some(known) if !is_insert => {
                        index.remove(*known, id);
                        map.remove(&id);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len(), map.len());
                for id in 0..60 {
                    let hash = map.get(&id).copied();
                    prop_assert_eq!(hash.and_then(|it| index.find(it, |it| it == id)), hash.map(|_| id));
                }
                prop_assert!((0..24).all(|it| index.find(it << 32, |id| !map.contains_key(&id)).is_none()));
            }
        }
    }
}
