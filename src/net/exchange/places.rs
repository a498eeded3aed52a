//! The positions of a plan's commands among the client's requests.

use std::ops::Range;

use respguard_engine::link::owed::Seq;

/// The place of each planned command.
#[derive(Debug, PartialEq, Eq)]
pub enum Places {
    /// The next ones, in the order in which the commands were read.
    Next,
    /// One that is kept for each, by the command's index: some go out before others that were read earlier.
    Kept(Vec<Seq>),
}

impl Places {
    /// None is kept.
    pub fn are_next(&self) -> bool {
        matches!(self, Places::Next)
    }

    /// The place that is kept for the command; `None` for the next.
    ///
    /// # Panics
    /// The command is not planned.
    pub fn of(&self, command: usize) -> Option<Seq> {
        match self {
            Places::Next => None,
            Places::Kept(seqs) => Some(seqs[command]),
        }
    }

    /// The places that are kept for these commands; `None` for the next ones.
    ///
    /// # Panics
    /// One of the commands is not planned.
    pub fn of_all(&self, commands: &[usize]) -> Option<Vec<Seq>> {
        match self {
            Places::Next => None,
            Places::Kept(seqs) => Some(commands.iter().map(|&at| seqs[at]).collect()),
        }
    }

    /// The place of a command that waits for the rest of its group.
    ///
    /// # Panics
    /// No place is kept for it.
    pub fn of_held(&self, command: usize) -> Seq {
        self.of(command).expect("a place is kept for what is held")
    }

    /// The first command behind `start`, before `end`, whose place is not right behind that of the one before it.
    pub fn end_of_run(&self, commands: Range<usize>) -> usize {
        let Places::Kept(seqs) = self else { return commands.end };
        let mut behind = commands.start + 1..commands.end;
        behind.find(|&at| seqs[at] != seqs[at - 1].plus(1)).unwrap_or(commands.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(places: &[usize]) -> Places {
        Places::Kept(places.iter().map(|&place| Seq::default().plus(place)).collect())
    }

    #[test]
    fn a_command_has_the_place_that_is_kept_for_it() {
        let places = kept(&[7, 3]);
        assert_eq!(places.of(1), Some(Seq::default().plus(3)));
        assert_eq!(places.of_all(&[1, 0]), Some(vec![Seq::default().plus(3), Seq::default().plus(7)]));
        assert_eq!(places.of_held(0), Seq::default().plus(7));
        assert_eq!((Places::Next.of(0), Places::Next.of_all(&[0])), (None, None));
    }

    #[test]
    fn a_run_ends_where_the_next_place_is_another() {
        let places = kept(&[4, 5, 9, 10, 6]);
        assert_eq!(places.end_of_run(0..5), 2);
        assert_eq!(places.end_of_run(2..5), 4);
        assert_eq!(places.end_of_run(4..5), 5);
        assert_eq!(Places::Next.end_of_run(1..9), 9);
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_command_without_a_place_takes_no_other_ones() {
        kept(&[1]).of(1);
    }

    #[test]
    #[should_panic(expected = "a place is kept for what is held")]
    fn what_is_held_never_takes_the_next_place() {
        Places::Next.of_held(0);
    }
}
