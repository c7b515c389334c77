//! Entries under small numbers, which are given out again once free.
//!
//! It grows piece by piece: no copy of all that is there, no half of it empty.

use super::index::Slot;

/// Entries of one piece.
const PIECE: usize = 128;

#[derive(Debug)]
pub struct Slab<T> {
    pieces: Vec<Vec<Option<T>>>,
    free: Vec<Slot>,
    /// Numbers given out so far.
    slots: Slot,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab {
            pieces: Vec::new(),
            free: Vec::new(),
            slots: 0,
        }
    }
}

impl<T> Slab<T> {
    pub fn add(&mut self, entry: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            if let Some(place) = self.place(slot) {
                *place = Some(entry);
            }
            return slot;
        }
        let slot = self.slots;
        self.slots += 1;
        match self.pieces.last_mut().filter(|p| p.len() < PIECE) {
            Some(piece) => piece.push(Some(entry)),
            None => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(Some(entry));
                self.pieces.push(piece);
            }
        }
        slot
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<T>> {
        self.pieces
            .get_mut(slot as usize / PIECE)?
            .get_mut(slot as usize % PIECE)
    }

    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self.place(slot)?.take()?;
        self.free.push(slot);
        Some(entry)
    }

    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.pieces
            .get(slot as usize / PIECE)?
            .get(slot as usize % PIECE)?
            .as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.place(slot)?.as_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let all = self.pieces.iter().flatten().enumerate();
        all.filter_map(|(slot, entry)| Some((slot as Slot, entry.as_ref()?)))
    }

    /// One more than the largest number ever given out.
    #[must_use]
    pub fn slots(&self) -> Slot {
        self.slots
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.slots as usize - self.free.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_out_again_and_lead_to_their_entries() {
        let mut slab = Slab::default();
        let slots: Vec<Slot> = (0..1000).map(|n| slab.add(n)).collect();
        assert!(slots.iter().zip(0..1000).all(|(slot, n)| slab.get(*slot) == Some(&n)));
        for slot in slots.iter().step_by(2) {
            assert_eq!(slab.remove(*slot), Some(*slot));
            assert_eq!(slab.remove(*slot), None);
        }
        assert_eq!((slab.len(), slab.iter().count()), (500, 500));
        for n in 0..500 {
            assert!(slab.add(n + 5000) < 1000);
        }
        assert_eq!((slab.len(), slab.slots()), (1000, 1000));
        assert!(slab.iter().all(|(slot, n)| slab.get(slot) == Some(n)));
    }
}
