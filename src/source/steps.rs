//! The numbers of a stream's lines: how many other streams had the same content before.
//!
//! Where a stream's content is its alone the number is 0, and nothing is kept. Only a beginning that others have too has
//! other numbers; lines of one number follow one another, so that a few steps say it all.

/// Numbers of lines, by the offset at which a line begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps(Vec<Step>);

/// Lines that begin below `to`, and not below the step before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub to: u64,
    pub number: u32,
}

impl Steps {
    /// Of steps as they were kept; they rise.
    #[must_use]
    pub fn of(mut steps: Vec<Step>) -> Steps {
        steps.sort_by_key(|s| s.to);
        Steps(steps)
    }

    /// The number of the line that begins at `offset`.
    #[must_use]
    pub fn at(&self, offset: u64) -> u32 {
        let step = self.0.partition_point(|s| s.to <= offset);
        self.0.get(step).map_or(0, |s| s.number)
    }

    /// Whether all lines have the number 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives a number to the line that begins at `offset`, behind all lines that have one.
    pub fn push(&mut self, offset: u64, number: u32) {
        let to = offset + 1;
        match self.0.last_mut() {
            Some(last) if last.to >= to => {}
            Some(last) if last.number == number => last.to = to,
            None if number == 0 => {}
            last => {
                let before = last.map_or(0, |l| l.to);
                // Lines that were passed over in between have the number 0.
                if before < offset && number > 0 && self.0.last().is_some_and(|l| l.number > 0) {
                    self.0.push(Step { to: offset, number: 0 });
                }
                if number > 0 && self.0.is_empty() && offset > 0 {
                    self.0.push(Step { to: offset, number: 0 });
                }
                self.0.push(Step { to, number });
            }
        }
    }

    /// These numbers for lines that begin below `at`, and those of `further` for the others.
    #[must_use]
    pub fn and_then(&self, at: u64, further: &Steps) -> Steps {
        let mut steps: Vec<Step> = self.0.iter().copied().take_while(|s| s.to < at).collect();
        let number = self.0.iter().find(|s| s.to >= at).map_or(0, |s| s.number);
        if at > 0 && (number > 0 || further.0.iter().any(|s| s.to > at)) {
            steps.push(Step { to: at, number });
        }
        steps.extend(further.0.iter().copied().filter(|s| s.to > at));
        Steps(steps)
    }

    /// The steps, rising.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Step> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_number_that_it_was_given_and_0_without() {
        let mut steps = Steps::default();
        let given = [(0, 0), (10, 0), (20, 3), (30, 3), (40, 1), (50, 0), (60, 0), (70, 2)];
        given.iter().for_each(|(offset, number)| steps.push(*offset, *number));
        for (offset, number) in given {
            assert_eq!(steps.at(offset), number, "{steps:?} at {offset}");
        }
        assert_eq!(steps.at(1000), 0);
        assert_eq!(Steps::of(steps.iter().collect()), steps);
    }

    #[test]
    fn numbers_of_further_lines_leave_those_before_as_they_are() {
        let numbered = |given: &[(u64, u32)]| {
            let mut steps = Steps::default();
            given.iter().for_each(|(offset, number)| steps.push(*offset, *number));
            steps
        };
        let (old, new) = (
            numbered(&[(0, 4), (10, 2)]),
            numbered(&[(0, 9), (10, 9), (20, 9), (30, 1)]),
        );
        let joined = old.and_then(20, &new);
        assert_eq!([0, 10, 20, 30, 40].map(|o| joined.at(o)), [4, 2, 9, 1, 0]);
        let joined = Steps::default().and_then(20, &new);
        assert_eq!([0, 10, 20, 30, 40].map(|o| joined.at(o)), [0, 0, 9, 1, 0]);
        assert_eq!(old.and_then(20, &Steps::default()).at(20), 0);
    }

    #[test]
    fn lines_of_the_number_0_need_no_step() {
        let mut steps = Steps::default();
        (0..1000).for_each(|n| steps.push(n * 10, 0));
        assert!(steps.is_empty());
    }
}
