//! Which run of a process a record means, and which bound run makes room for another.
//!
//! Both are asked for every record of a script that binds an id per request, so what they take stands side by side,
//! apart from the runs. Room is made by the clock algorithm: a hand goes round, passes over a run that was used since it
//! came by last, and takes the first that was not. That is nearly the one that was quiet longest, and takes no search.

use super::run::{Kind, Run};

/// In the order of the runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Glances {
    /// Half of the hash of each id.
    hashes: Vec<u32>,
    marks: Vec<Mark>,
    /// How many runs may have to make room.
    yielding: usize,
    hand: usize,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// It may have to make room for another.
    yields: bool,
    /// A record belonged to it since the hand came by, beside the one that opened it.
    used: bool,
    /// No record was noted yet.
    fresh: bool,
}

impl Mark {
    fn of(run: &Run) -> Mark {
        Mark {
            yields: run.kind == Kind::Bound && !run.start_declared,
            used: false,
            fresh: true,
        }
    }
}

impl Glances {
    pub fn of(runs: &[Run]) -> Glances {
        let mut glances = Glances::default();
        runs.iter().for_each(|run| glances.push(run));
        glances
    }

    pub fn push(&mut self, run: &Run) {
        let mark = Mark::of(run);
        self.hashes.push(run.hash as u32);
        self.marks.push(mark);
        self.yielding += usize::from(mark.yields);
    }

    /// Another run stands in this place.
    pub fn replace(&mut self, at: usize, run: &Run) {
        if let Some(hash) = self.hashes.get_mut(at) {
            *hash = run.hash as u32;
        }
        self.set(at, Mark::of(run));
    }

    /// A record was noted for the run, which may have been declared by it.
    pub fn touch(&mut self, at: usize, run: &Run) {
        let fresh = self.marks.get(at).is_some_and(|m| m.fresh);
        let mark = Mark {
            used: !fresh,
            fresh: false,
            ..Mark::of(run)
        };
        self.set(at, mark);
    }

    fn set(&mut self, at: usize, new: Mark) {
        if let Some(mark) = self.marks.get_mut(at) {
            self.yielding = self.yielding + usize::from(new.yields) - usize::from(mark.yields);
            *mark = new;
        }
    }

    pub fn yielding(&self) -> usize {
        self.yielding
    }

    /// Places of runs whose id may have this hash, the newest first.
    pub fn with(&self, hash: u64) -> impl Iterator<Item = usize> {
        let half = hash as u32;
        // Nearly always there is none, which `contains` says many at a time.
        let hashes = if self.hashes.contains(&half) {
            self.hashes.as_slice()
        } else {
            &[]
        };
        let all = hashes.iter().enumerate().rev();
        all.filter(move |(_, h)| **h == half).map(|(at, _)| at)
    }

    /// The place of the run that makes room.
    pub fn make_room(&mut self) -> Option<usize> {
        for _ in 0..2 * self.marks.len() {
            let at = self.hand % self.marks.len();
            self.hand = at + 1;
            let mark = self.marks.get_mut(at)?;
            if mark.yields && !std::mem::take(&mut mark.used) {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u64) -> Run {
        Run::new(Kind::Bound, n.to_string(), n, "s".into(), 0)
    }

    #[test]
    fn a_run_that_is_used_again_and_again_is_passed_over() {
        let runs: Vec<Run> = (0..4).map(run).collect();
        let mut glances = Glances::of(&runs);
        glances.touch(2, &runs[2]);
        for n in 4..40 {
            glances.touch(2, &runs[2]);
            let at = glances.make_room().unwrap();
            assert_ne!(at, 2);
            glances.replace(at, &run(n));
        }
        assert_eq!(glances.yielding(), 4);
        assert_eq!(glances.with(2).collect::<Vec<_>>(), [2]);
        assert_eq!(glances.with(0).count(), 0);
    }

    #[test]
    fn runs_in_the_order_of_their_coming_make_room_where_none_is_used_twice() {
        let mut glances = Glances::of(&(0..3).map(run).collect::<Vec<_>>());
        let order: Vec<_> = (0..6).map(|_| glances.make_room().unwrap()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn where_no_run_may_make_room_none_does() {
        let derived = Run::new(Kind::Derived, "d".into(), 1, "s".into(), 0);
        assert_eq!(Glances::of(&[derived]).make_room(), None);
        assert_eq!(Glances::default().make_room(), None);
    }
}
