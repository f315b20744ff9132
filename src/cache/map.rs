//! The map under the facts cache: bounded in bytes, a lock for each part of it, and little beside what
//! it holds.
//!
//! A general cache keeps some 320 bytes for each entry (lists of use, expiry, a counted key), more than the
//! facts of most people. Here are a key, a pointer and a mark of use in a table that grows by
//! quarters: 31 to 40 bytes. What is evicted is what was not used since it was last looked at (the
//! clock algorithm), so that people who are asked about once, as by a campaign, make room before those
//! who are asked about again.
//!
//! Every change is a comparison under the lock of the key's part; there is no other way to write. It
//! does not know when an entry may be used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Entry;

/// A keyed hash: as good as random, so that its own bits say where it lies.
type Key = [u8; 16];

/// Bytes of one place in the table.
const PLACE: usize = size_of::<Option<(Key, Arc<Entry>)>>() + size_of::<AtomicBool>();

/// At most so many parts, each with a lock of its own.
const PARTS: u64 = 256;
/// Parts are no smaller than this, in bytes, so that one large entry does not empty its part.
const SMALLEST: u64 = 128 << 10;

/// What becomes of an entry.
#[derive(Debug)]
pub(super) enum Change {
    Keep,
    Put(Arc<Entry>),
    Remove,
}

/// Entries by their key, in at most so many bytes.
#[derive(Debug)]
pub(super) struct Map {
    /// As many as a power of two.
    parts: Box<[RwLock<Part>]>,
    /// Bytes of one part.
    bytes: usize,
}

impl Map {
    pub(super) fn new(bytes: u64) -> Self {
        let parts = (bytes / SMALLEST).clamp(1, PARTS);
        // Down to a power of two.
        let parts = 1_u64 << parts.ilog2();
        let each = usize::try_from(bytes / parts).unwrap_or(usize::MAX);
        Self {
            parts: (0..parts).map(|_| RwLock::default()).collect(),
            bytes: each,
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let part = self.read(self.part(key));
        let place = part.find(key).ok()?;
        let used = &part.used[place];
        // Read first: what many ask for is not written by each of them.
        if !used.load(Ordering::Relaxed) {
            used.store(true, Ordering::Relaxed);
        }
        part.places[place]
            .as_ref()
            .map(|(_, entry)| Arc::clone(entry))
    }

    /// Does what `change` says, under the key's lock. Returns how many others had to go for it.
    pub(super) fn compute(
        &self,
        key: &Key,
        change: impl FnOnce(Option<&Arc<Entry>>) -> Change,
    ) -> u64 {
        let mut gone = Vec::new();
        let mut part = self.write(self.part(key));
        let found = part.find(key);
        let known = found.ok().and_then(|place| part.places[place].as_ref());
        match (change(known.map(|(_, entry)| entry)), found) {
            (Change::Keep, _) | (Change::Remove, Err(_)) => return 0,
            (Change::Remove, Ok(place)) => {
                let removed = part.remove(place);
                drop(part);
                drop(removed);
                return 0;
            }
            (Change::Put(entry), found) => {
                let replaced = found.ok().and_then(|place| part.remove(place));
                if part.make_room(entry.weight(), self.bytes, &mut gone) {
                    part.add(*key, entry);
                }
                drop(part);
                drop(replaced);
            }
        }
        u64::try_from(gone.len()).unwrap_or(u64::MAX)
    }

    /// Forgets everything, a part at a time.
    pub(super) fn clear(&self) {
        for part in &self.parts {
            let old = std::mem::take(&mut *Self::lock(part));
            drop(old);
        }
    }

    /// How many entries there are, and how many bytes they and the table take.
    pub(super) fn fill(&self) -> (u64, u64) {
        let parts = self.parts.iter().map(|part| {
            let part = part.read().expect("no holder of this lock panics");
            (part.count, part.bytes)
        });
        let (count, bytes) = parts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let wide = |number| u64::try_from(number).unwrap_or(u64::MAX);
        (wide(count), wide(bytes))
    }

    fn part(&self, key: &Key) -> usize {
        // From other bits than the place in the part.
        (usize::from(key[0]) << 8 | usize::from(key[1])) & (self.parts.len() - 1)
    }

    fn read(&self, part: usize) -> RwLockReadGuard<'_, Part> {
        let part = self.parts[part].read();
        part.expect("no holder of this lock panics")
    }

    fn write(&self, part: usize) -> RwLockWriteGuard<'_, Part> {
        Self::lock(&self.parts[part])
    }

    fn lock(part: &RwLock<Part>) -> RwLockWriteGuard<'_, Part> {
        part.write().expect("no holder of this lock panics")
    }
}

/// A table with open addressing. Keys lie at or behind their home, without a gap between.
#[derive(Debug, Default)]
struct Part {
    places: Vec<Option<(Key, Arc<Entry>)>>,
    /// Whether an entry was used since the hand passed.
    used: Vec<AtomicBool>,
    count: usize,
    /// Of the entries and of the table.
    bytes: usize,
    /// Where an entry to evict is looked for next.
    hand: usize,
}

impl Part {
    /// Where a key begins to be looked for among so many places.
    fn home(key: &Key, places: usize) -> usize {
        let [.., a, b, c, d, e, f, g, h] = *key;
        let random = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let places = u128::try_from(places).unwrap_or_default();
        usize::try_from((u128::from(random) * places) >> 64).unwrap_or_default()
    }

    /// Where the key is, or else the free place at which it would be put. The table is not empty of
    /// free places, unless it has no places.
    fn find(&self, key: &Key) -> Result<usize, usize> {
        let count = self.places.len();
        let mut place = Self::home(key, count);
        while let Some(Some((known, _))) = self.places.get(place) {
            if known == key {
                return Ok(place);
            }
            place = self.next(place);
        }
        Err(place)
    }

    fn next(&self, place: usize) -> usize {
        match place + 1 {
            next if next == self.places.len() => 0,
            next => next,
        }
    }

    /// Makes room for one entry more, of so many bytes; false if there cannot be any.
    fn make_room(&mut self, entry: usize, most: usize, gone: &mut Vec<Arc<Entry>>) -> bool {
        loop {
            // Four of five places are taken at most: then a key is found within three on average.
            let full = (self.count + 1) * 5 > self.places.len() * 4;
            let larger = self.places.len() + self.places.len() / 4 + 8;
            let table = if full {
                (larger - self.places.len()) * PLACE
            } else {
                0
            };
            if self.bytes + entry + table <= most {
                if full {
                    self.grow(larger);
                }
                return true;
            }
            match self.evict() {
                Some(evicted) => gone.push(evicted),
                None => return false,
            }
        }
    }

    fn grow(&mut self, places: usize) {
        let old = std::mem::take(&mut self.places);
        let used = std::mem::take(&mut self.used);
        self.bytes += (places - old.len()) * PLACE;
        self.places.reserve_exact(places);
        self.places.resize_with(places, || None);
        self.used.reserve_exact(places);
        self.used.resize_with(places, AtomicBool::default);
        self.hand = 0;
        for (entry, used) in old.into_iter().zip(used) {
            if let Some((key, entry)) = entry
                && let Err(place) = self.find(&key)
            {
                self.places[place] = Some((key, entry));
                self.used[place] = used;
            }
        }
    }

    /// Of a key that is not there; room was made for it.
    fn add(&mut self, key: Key, entry: Arc<Entry>) {
        if let Err(place) = self.find(&key) {
            self.bytes += entry.weight();
            self.count += 1;
            self.places[place] = Some((key, entry));
            *self.used[place].get_mut() = false;
        }
    }

    /// Takes the next one that was not used since the hand passed it.
    fn evict(&mut self) -> Option<Arc<Entry>> {
        if self.count == 0 {
            return None;
        }
        loop {
            let hand = self.hand;
            let unused = !std::mem::take(self.used[hand].get_mut());
            if self.places[hand].is_some() && unused {
                // The one that moves up into this place is looked at next.
                return self.remove(hand);
            }
            self.hand = self.next(hand);
        }
    }

    /// Takes an entry out, and moves those up that had to give way to it.
    fn remove(&mut self, place: usize) -> Option<Arc<Entry>> {
        let (_, entry) = self.places[place].take()?;
        self.count -= 1;
        self.bytes -= entry.weight();
        let (count, mut free, mut next) = (self.places.len(), place, self.next(place));
        while let Some((key, _)) = &self.places[next] {
            let home = Self::home(key, count);
            // How far from its home it lies, and how far the free place does, around the end.
            let is = (next + count - home) % count;
            let could = (free + count - home) % count;
            if could < is {
                self.places.swap(free, next);
                self.used.swap(free, next);
                free = next;
            }
            next = self.next(next);
        }
        *self.used[free].get_mut() = false;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::domain::facts::Facts;
    use crate::ledger::{Epoch, Offset, Partition, Version};

    fn entry(number: i64) -> Arc<Entry> {
        Arc::new(Entry {
            subject_id: None,
            version: Version(number),
            facts: Facts::default(),
            partition: Partition(1),
            as_of: Offset(number),
            epoch: Epoch::ONLY.generation(),
        })
    }

    /// Numbers without order.
    fn mixed(number: u64) -> u64 {
        let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 31)
    }

    fn key(number: u64) -> Key {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&mixed(number).to_le_bytes());
        key[8..].copy_from_slice(&mixed(!number).to_le_bytes());
        key
    }

    fn put(map: &Map, number: u64, value: i64) -> u64 {
        map.compute(&key(number), |_| Change::Put(entry(value)))
    }

    #[test]
    fn it_holds_what_a_simple_map_holds_whatever_is_put_and_removed() {
        let map = Map::new(1 << 20);
        let mut model = HashMap::new();
        for step in 0..20_000_u64 {
            let number = mixed(step) % 700;
            let value = i64::try_from(step).unwrap();
            let seen = map.compute(&key(number), |known| {
                assert_eq!(
                    known.map(|entry| entry.version.0),
                    model.get(&number).copied()
                );
                match mixed(step + 1_000_000) % 3 {
                    0 => Change::Remove,
                    1 => Change::Keep,
                    _ => Change::Put(entry(value)),
                }
            });
            assert_eq!(seen, 0, "there is room");
            match mixed(step + 1_000_000) % 3 {
                0 => drop(model.remove(&number)),
                1 => {}
                _ => drop(model.insert(number, value)),
            }
        }
        for number in 0..700 {
            let found = map.get(&key(number)).map(|entry| entry.version.0);
            assert_eq!(found, model.get(&number).copied());
        }
        assert_eq!(map.fill().0, u64::try_from(model.len()).unwrap());
        map.clear();
        assert_eq!(map.fill(), (0, 0));
        assert!(map.get(&key(1)).is_none());
    }

    #[test]
    fn keys_that_begin_at_one_place_are_all_found_when_some_go() {
        let map = Map::new(1 << 17);
        // Of one part, and of one home near the end of the table, so that they go around it.
        let same = |number: u8| {
            let mut key = [0xff; 16];
            key[2] = number;
            key
        };
        for number in 0..40 {
            map.compute(&same(number), |_| Change::Put(entry(number.into())));
        }
        for number in (0..40).step_by(3) {
            map.compute(&same(number), |_| Change::Remove);
        }
        for number in 0..40 {
            let found = map.get(&same(number)).map(|entry| entry.version.0);
            assert_eq!(found, (number % 3 != 0).then_some(number.into()));
        }
    }

    #[test]
    fn it_never_weighs_more_than_it_may_and_counts_who_had_to_go() {
        let bytes = 1 << 20;
        let map = Map::new(bytes);
        let mut evicted = 0;
        for number in 0..20_000 {
            evicted += put(&map, number, 1);
            assert!(map.fill().1 <= bytes);
        }
        let (count, weight) = map.fill();
        assert_eq!(count + evicted, 20_000);
        assert!(weight > bytes * 9 / 10, "{weight}");
    }

    #[test]
    fn who_is_asked_about_again_stays_while_others_pass() {
        let map = Map::new(1 << 20);
        for number in 0..100 {
            put(&map, number, 7);
        }
        for number in 100..50_000 {
            if number % 500 == 0 {
                for regular in 0..100 {
                    map.get(&key(regular));
                }
            }
            put(&map, number, 1);
        }
        let kept = (0..100).filter(|number| map.get(&key(*number)).is_some());
        assert_eq!(kept.count(), 100);
    }

    #[test]
    fn what_is_larger_than_its_part_is_not_kept_and_replaces_what_it_was() {
        let map = Map::new(0);
        assert_eq!(put(&map, 1, 1), 0);
        assert!(map.get(&key(1)).is_none());
    }
}
