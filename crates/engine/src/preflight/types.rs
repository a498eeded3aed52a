//! The possible types of a key, given its type before the group.

/// A set of the types that a key can have, with its absence as one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types(u8);

/// How many types are told apart.
const COUNT: usize = 8;

impl Types {
    /// The key is not there.
    pub const NONE: Types = Types(1);
    /// A string.
    pub const STRING: Types = Types(2);
    /// A list.
    pub const LIST: Types = Types(4);
    /// A set.
    pub const SET: Types = Types(8);
    /// A sorted set.
    pub const ZSET: Types = Types(16);
    /// A hash.
    pub const HASH: Types = Types(32);
    /// A stream.
    pub const STREAM: Types = Types(64);
    /// Those of modules, and whatever the future brings.
    pub const OTHER: Types = Types(128);
    /// Any of them, or none.
    pub const ALL: Types = Types(255);

    /// Those of either.
    pub const fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    /// Those that are not among the others.
    pub const fn without(self, other: Types) -> Types {
        Types(self.0 & !other.0)
    }

    /// True when there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True when some are among the others.
    pub const fn has(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }

    /// Each type by itself.
    pub fn each(self) -> impl Iterator<Item = Types> {
        (0..COUNT).map(|bit| Types(1 << bit)).filter(move |one| self.has(*one))
    }

    /// The word that TYPE answers (<https://redis.io/docs/latest/commands/type/>); modules have words of their own.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Types::NONE => Some("none"),
            Types::STRING => Some("string"),
            Types::LIST => Some("list"),
            Types::SET => Some("set"),
            Types::ZSET => Some("zset"),
            Types::HASH => Some("hash"),
            Types::STREAM => Some("stream"),
            _ => None,
        }
    }

    fn place(self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

/// One key's history in the group, for each type that it may have had before.
#[derive(Clone, Debug)]
pub(super) struct TypeHistory {
    /// Types at the start with which no member so far fails.
    alive: Types,
    /// By the type at the start: what the key can be now.
    now: [Types; COUNT],
}

/// The types at the start with which a member fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TypeErrors {
    pub(super) certain: Types,
    /// Whether it fails depends on more than the type.
    pub(super) perhaps: Types,
}

impl TypeErrors {
    pub(super) const NONE: TypeErrors = TypeErrors { certain: Types(0), perhaps: Types(0) };
}

impl TypeHistory {
    /// A key of which nothing is known.
    pub(super) fn new() -> TypeHistory {
        TypeHistory { alive: Types::ALL, now: std::array::from_fn(|place| Types(1 << place)) }
    }

    /// A key that came to be within the group.
    pub(super) fn made(types: Types) -> TypeHistory {
        let mut history = TypeHistory { alive: Types::NONE, now: [Types::NONE; COUNT] };
        history.becomes(types);
        history
    }

    /// Everything that the key can be now.
    pub(super) fn types(&self) -> Types {
        self.alive.each().fold(Types(0), |all, start| all.or(self.now[start.place()]))
    }

    /// A member fails where the key is none of `allowed`: those starts are dead from here on.
    pub(super) fn require(&mut self, allowed: Types) -> TypeErrors {
        // One bit for each start, without a branch.
        let (mut some, mut others) = (0, 0);
        for (place, now) in self.now.iter().enumerate() {
            some |= u8::from(now.has(allowed)) << place;
            others |= u8::from(!now.without(allowed).is_empty()) << place;
        }
        let certain = self.alive.without(Types(some));
        let perhaps = Types(self.alive.0 & some & others);
        let type_errors = TypeErrors { certain, perhaps };
        self.alive = self.alive.without(type_errors.certain).without(type_errors.perhaps);
        type_errors
    }

    /// Nothing is left with which the group could go well.
    pub(super) fn is_dead(&self) -> bool {
        self.alive.is_empty()
    }

    /// Whatever it was, it is now one of these.
    pub(super) fn becomes(&mut self, types: Types) {
        self.now = [types; COUNT];
    }

    /// What is of type `from` is now one of `to`.
    pub(super) fn turn(&mut self, from: Types, to: Types) {
        for now in &mut self.now {
            if now.has(from) {
                *now = now.without(from).or(to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST_OR_NONE: Types = Types::LIST.or(Types::NONE);

    #[test]
    fn a_push_fails_on_every_other_type_and_makes_a_list() {
        let mut history = TypeHistory::new();
        let type_errors = history.require(LIST_OR_NONE);
        assert_eq!(type_errors.certain, Types::ALL.without(LIST_OR_NONE));
        history.turn(Types::NONE, Types::LIST);
        assert_eq!(history.types(), Types::LIST);
        assert!(history.require(Types::LIST).certain.is_empty());
    }

    #[test]
    fn what_overwrites_makes_the_past_forgotten() {
        let mut history = TypeHistory::new();
        history.becomes(Types::STRING);
        assert_eq!(history.require(Types::STRING.or(Types::NONE)), TypeErrors { certain: Types(0), perhaps: Types(0) });
        history.require(LIST_OR_NONE);
        assert!(history.is_dead());
    }

    #[test]
    fn what_may_have_gone_fails_perhaps_where_it_must_be_there() {
        let mut history = TypeHistory::new();
        history.require(LIST_OR_NONE);
        history.turn(Types::LIST, LIST_OR_NONE);
        let type_errors = history.require(Types::LIST);
        assert_eq!((type_errors.certain, type_errors.perhaps), (Types::NONE, Types::LIST));
    }

    #[test]
    fn a_condition_leaves_each_start_its_own_history() {
        let mut history = TypeHistory::new();
        history.turn(Types::NONE, Types::STRING);
        let type_errors = history.require(Types::STRING);
        assert_eq!(type_errors.certain, Types::ALL.without(Types::STRING.or(Types::NONE)));
        assert!(type_errors.perhaps.is_empty());
    }
}
