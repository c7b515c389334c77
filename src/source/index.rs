//! Entries of a table found by a hash: some six bytes an entry, since the entries themselves lie in the table.
//!
//! A map of the standard library keeps a copy of each key; with tens of thousands of idle files the copies would be
//! most of the agent's memory. Here a bucket holds nothing but the number of an entry. Each key is there once at most.

/// The number of an entry.
pub type Slot = u32;

/// A bucket that never held anything.
const FREE: Slot = Slot::MAX;
/// A bucket whose entry was removed.
const DEAD: Slot = Slot::MAX - 1;
/// Buckets of an index that is not empty, at least.
const LEAST: usize = 8;

#[derive(Debug, Default)]
pub struct Index {
    buckets: Vec<Slot>,
    len: usize,
    dead: usize,
}

impl Index {
    /// The entry with this hash that is the one meant.
    pub fn find(&self, hash: u64, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let (before, from) = self.buckets.split_at_checked(self.home(hash))?;
        let probed = from.iter().chain(before);
        probed
            .copied()
            .take_while(|slot| *slot != FREE)
            .find(|slot| *slot != DEAD && is(*slot))
    }

    /// Adds an entry that is not there yet. `hash_of` gives the hash of each entry that is.
    pub fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(Slot) -> u64) {
        if (self.len + self.dead + 1) * 5 > self.buckets.len() * 4 {
            self.rebuild(hash_of);
        }
        self.put(hash, slot);
        self.len += 1;
    }

    /// Adds an entry, in the place of the one that has the same key, if there is one.
    pub fn set(&mut self, hash: u64, slot: Slot, same: impl Fn(Slot) -> bool, hash_of: impl Fn(Slot) -> u64) {
        match self.find(hash, same) {
            Some(old) => self.replace(hash, old, slot),
            None => self.insert(hash, slot, hash_of),
        }
    }

    fn put(&mut self, hash: u64, slot: Slot) {
        let home = self.home(hash);
        let (before, from) = self.buckets.split_at_mut(home);
        let free = from.iter_mut().chain(before).find(|b| **b >= DEAD);
        if let Some(bucket) = free {
            self.dead -= usize::from(*bucket == DEAD);
            *bucket = slot;
        }
    }

    /// Removes an entry; whether it was there.
    pub fn remove(&mut self, hash: u64, slot: Slot) -> bool {
        let home = self.home(hash);
        let (before, from) = self.buckets.split_at_mut(home);
        let mut probed = from.iter_mut().chain(before).take_while(|b| **b != FREE);
        let Some(bucket) = probed.find(|b| **b == slot) else {
            return false;
        };
        *bucket = DEAD;
        self.len -= 1;
        self.dead += 1;
        true
    }

    /// Another entry takes the place of this one under the same key.
    pub fn replace(&mut self, hash: u64, old: Slot, new: Slot) {
        let home = self.home(hash);
        let (before, from) = self.buckets.split_at_mut(home);
        let mut probed = from.iter_mut().chain(before).take_while(|b| **b != FREE);
        if let Some(bucket) = probed.find(|b| **b == old) {
            *bucket = new;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.buckets.iter().copied().filter(|b| *b < DEAD)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bucket where the search for a hash begins.
    fn home(&self, hash: u64) -> usize {
        // Plain numbers make good hashes as well, once they are spread over all bits.
        let spread = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((u128::from(spread) * self.buckets.len() as u128) >> 64) as usize
    }

    /// Makes room for more, or less: a quarter more than there are, so that a table that grows is copied seldom and
    /// one that is full wastes little.
    fn rebuild(&mut self, hash_of: impl Fn(Slot) -> u64) {
        let size = ((self.len + 1) * 8 / 5).max(LEAST);
        let old = std::mem::replace(&mut self.buckets, vec![FREE; size]);
        self.dead = 0;
        for slot in old.into_iter().filter(|b| *b < DEAD) {
            self.put(hash_of(slot), slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn hash(key: u64) -> u64 {
        // Few bits, so that keys collide.
        (key % 5) << 61
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_would_find(steps in prop::collection::vec((0u64..40, any::<bool>()), 0..300)) {
            let mut keys: Vec<u64> = Vec::new();
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for (key, add) in steps {
                let found = index.find(hash(key), |s| keys[s as usize] == key);
                prop_assert_eq!(found, model.get(&key).copied());
                match (found, add) {
                    (None, true) => {
                        keys.push(key);
                        let slot = keys.len() as Slot - 1;
                        index.insert(hash(key), slot, |s| hash(keys[s as usize]));
                        model.insert(key, slot);
                    }
                    (Some(slot), true) => {
                        keys.push(key);
                        let new = keys.len() as Slot - 1;
                        index.replace(hash(key), slot, new);
                        model.insert(key, new);
                    }
                    (Some(slot), false) => {
                        prop_assert!(index.remove(hash(key), slot));
                        prop_assert!(!index.remove(hash(key), slot));
                        model.remove(&key);
                    }
                    (None, false) => {}
                }
                let mut all: Vec<Slot> = index.iter().collect();
                all.sort_unstable();
                let mut expected: Vec<Slot> = model.values().copied().collect();
                expected.sort_unstable();
                prop_assert_eq!(&all, &expected);
                prop_assert_eq!(index.len(), all.len());
            }
        }
    }

    #[test]
    fn an_index_through_which_entries_pass_does_not_grow() {
        let mut index = Index::default();
        let mix = |slot: Slot| u64::from(slot).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for slot in 0..100_000 {
            index.insert(mix(slot), slot, mix);
            if slot >= 100 {
                index.remove(mix(slot - 100), slot - 100);
            }
        }
        assert_eq!(index.len(), 100);
        assert!(index.buckets.len() < 300, "{}", index.buckets.len());
    }
}
