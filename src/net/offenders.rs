//! Remembers the commands that made, or may have made, the server close a shared connection: they use leased connections from
//! then on, or for a while.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use respguard_engine::command::Table;
use respguard_engine::pipeline::batch::Batch;
use respguard_resp::request::{Args, Limits, RequestParser};

/// Beyond so many the oldest are forgotten.
const KEPT_MAX: usize = 128;
/// So often goes what may have been the reason over a lease.
const SUSPECT_USES: u32 = 16;

/// One worker's.
#[derive(Debug, Default)]
pub struct Offenders {
    /// How often each is yet to go over a lease.
    kept: RefCell<VecDeque<(u64, u32)>>,
    /// None is kept: the rule.
    any: Cell<bool>,
}

impl Offenders {
    /// The server may have ended a connection over this command.
    pub fn suspect(&self, command: u64) {
        self.keep(command, SUSPECT_USES);
    }

    /// It has ended one on which nothing else was under way.
    pub fn convict(&self, command: u64) {
        self.keep(command, u32::MAX);
    }

    fn keep(&self, command: u64, uses: u32) {
        let mut kept = self.kept.borrow_mut();
        match kept.iter_mut().find(|(known, _)| *known == command) {
            Some((_, left)) => *left = uses.max(*left),
            None => kept.push_back((command, uses)),
        }
        while kept.len() > KEPT_MAX {
            kept.pop_front();
        }
        self.any.set(true);
    }

    /// True when none is remembered.
    pub fn is_empty(&self) -> bool {
        !self.any.get()
    }

    /// Whether this command is to go over a lease; where it may have been the reason, once less from now on.
    pub fn use_one(&self, command: u64) -> bool {
        let mut kept = self.kept.borrow_mut();
        let Some(at) = kept.iter().position(|(known, _)| *known == command) else { return false };
        let (_, left) = &mut kept[at];
        if *left < u32::MAX {
            *left -= 1;
            if *left == 0 {
                kept.remove(at);
                self.any.set(!kept.is_empty());
            }
        }
        true
    }

    /// The server is another one now.
    pub fn forget(&self) {
        self.kept.borrow_mut().clear();
        self.any.set(false);
    }
}

/// The commands of a request by which they are known again, a transaction around them not counted; at most so many.
pub fn fingerprints(request: &[u8], table: &Table, most: usize) -> Vec<u64> {
    let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
    batch.parse(&mut parser, table, request, usize::MAX);
    (0..batch.len()).filter_map(|at| fingerprint(batch.args(request, at))).take(most).collect()
}

/// A command is known by its name and its first argument: the key that it reads, or the script that it runs. What has
/// none, like MULTI, is never meant.
pub fn fingerprint(args: Args<'_>) -> Option<u64> {
    let (name, first) = (args.get(0)?, args.get(1)?);
    let mut hasher = DefaultHasher::new();
    name.to_ascii_lowercase().hash(&mut hasher);
    first.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use respguard_resp::encode;

    use super::*;

    fn known(commands: &[&[&str]]) -> Vec<u64> {
        let mut request = Vec::new();
        for words in commands {
            encode::request(&mut request, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        }
        fingerprints(&request, &Table::builtin(), 9)
    }

    #[test]
    fn a_command_is_known_by_its_name_and_its_first_argument() {
        let script = known(&[&["EVAL", "return 1", "0"]]);
        assert_eq!(script, known(&[&["MULTI"], &["eval", "return 1", "1", "k"], &["EXEC"]]));
        assert_ne!(script, known(&[&["EVAL", "return 2", "0"]]));
    }

    #[test]
    fn what_may_have_been_the_reason_is_forgotten_after_a_while_and_what_was_is_not() {
        let offenders = Offenders::default();
        offenders.suspect(1);
        assert!((0..SUSPECT_USES).all(|_| offenders.use_one(1)));
        assert!(!offenders.use_one(1) && offenders.is_empty());
        offenders.convict(2);
        offenders.suspect(2);
        assert!((0..=SUSPECT_USES).all(|_| offenders.use_one(2)));
    }

    #[test]
    fn the_oldest_is_forgotten_for_one_too_many() {
        let offenders = Offenders::default();
        (0..=KEPT_MAX as u64).for_each(|command| offenders.convict(command));
        assert!(!offenders.use_one(0) && offenders.use_one(1));
    }
}
