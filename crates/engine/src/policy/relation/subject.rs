//! One thing that a relation is about: the questions to the server about it, and what the replies mean.

use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

use super::{LIFETIME_SLACK_MS, NEEDS_MAX, Place, VALUE_BYTES_MAX};
use crate::policy::pattern::{Bindings, Pattern};
use crate::policy::rule::{PlaceKind, TtlBound};

/// A thing that was met, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Which of the relation's walks met it.
    pub walk: usize,
    /// What was met.
    pub source: Target,
    /// What it needs; of a set all its keys, the source among them.
    pub needs: Box<[Target]>,
    /// Of a set: whether the walk of this number meets the same set by its key.
    meets: [bool; NEEDS_MAX],
    is_set: bool,
}

/// A place with its captures filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// What sort of place it is.
    pub kind: PlaceKind,
    /// The key.
    pub key: Box<[u8]>,
    /// The member, field, item or value; `None` for the key itself.
    pub element: Option<Box<[u8]>>,
}

/// What the answers mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it should be.
    Holds,
    /// It is no longer there.
    Gone,
    /// Another key of the same set is met by an earlier walk, which tells.
    Elsewhere,
    /// The needs with these numbers are not there: bit 0 is the first.
    Missing(u16),
    /// All is there, but the lifetime is not as it should be beside that of the need with this number.
    Lifetime(usize),
    /// The server did not answer the question: its error, without the leading `-`.
    Refused(Box<[u8]>),
}

impl Subject {
    pub(super) fn of_set(keys: &[Pattern], walk: usize, key: &[u8]) -> Option<Subject> {
        let needs = set_of(keys, walk, key)?;
        let mut meets = [false; NEEDS_MAX];
        for (other, meets) in meets.iter_mut().enumerate().take(keys.len()) {
            // Where captures touch what they contain, a key can be read in two ways, and be a part of two sets.
            *meets = other == walk || set_of(keys, other, &needs[other].key).as_ref() == Some(&needs);
        }
        Some(Subject { walk, source: target(PlaceKind::Key, key, None), needs, meets, is_set: true })
    }

    pub(super) fn of_reference(from: &Place, needs: &[Place], key: &[u8], element: Option<&[u8]>) -> Option<Subject> {
        let mut bound = Bindings::default();
        if !from.key.matches(key, &mut bound) {
            return None;
        }
        match (&from.element, element) {
            (None, None) => {}
            // An empty value cannot be told from none.
            (Some(pattern), Some(element)) if !element.is_empty() && pattern.matches(element, &mut bound) => {}
            _ => return None,
        }
        let needs: Option<Box<[Target]>> = needs.iter().map(|need| need.build(&bound)).collect();
        Some(Subject {
            walk: 0,
            source: target(from.kind, key, element),
            needs: needs?,
            meets: [false; NEEDS_MAX],
            is_set: false,
        })
    }

    /// Whether it is all or none of a set, and not a reference.
    pub fn is_set(&self) -> bool {
        self.is_set
    }

    /// Every key that the relation is about here.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.source).chain(&self.needs).map(|target| &*target.key)
    }

    /// Bytes that it takes to keep it.
    pub fn bytes(&self) -> usize {
        let of = |target: &Target| 64 + target.key.len() + target.element.as_deref().map_or(0, <[u8]>::len);
        64 + of(&self.source) + self.needs.iter().map(of).sum::<usize>()
    }

    /// Writes everything that is asked about it; so many replies are owed. All of it only reads.
    pub fn questions(&self, ttl: Option<TtlBound>, out: &mut Vec<u8>) -> usize {
        let mut asked = 0;
        if !self.is_set {
            asked += self.source.question(out);
        }
        asked += self.needs.iter().map(|need| need.question(out)).sum::<usize>();
        if ttl.is_some() && !self.is_set {
            for key in self.keys() {
                encode::request(out, &[b"PTTL", key]);
                asked += 1;
            }
        }
        asked
    }

    /// The same as one transaction, so that all answers are about one moment.
    pub fn atomic_questions(&self, ttl: Option<TtlBound>, out: &mut Vec<u8>) -> usize {
        encode::request(out, &[b"MULTI"]);
        let asked = self.questions(ttl, out);
        encode::request(out, &[b"EXEC"]);
        asked + 2
    }

    /// What the replies to [`Self::questions`] mean.
    pub fn judge<'r>(&self, ttl: Option<TtlBound>, replies: impl IntoIterator<Item = &'r [u8]>) -> Verdict {
        let mut replies = replies.into_iter();
        self.verdict(ttl, &mut replies).unwrap_or_else(|error| Verdict::Refused(error.into()))
    }

    /// What the replies to [`Self::atomic_questions`] mean.
    pub fn judge_atomic(&self, ttl: Option<TtlBound>, replies: &[impl AsRef<[u8]>]) -> Verdict {
        let error = replies.iter().map(AsRef::as_ref).find(|reply| value::is_error(reply));
        match (error, replies.last()) {
            (Some(error), _) => Verdict::Refused(value::error_text(error).into()),
            (None, Some(exec)) => self.judge(ttl, elements(exec.as_ref())),
            (None, None) => Verdict::Refused(Box::default()),
        }
    }

    fn verdict<'r>(&self, ttl: Option<TtlBound>, replies: &mut impl Iterator<Item = &'r [u8]>) -> Result<Verdict, &'r [u8]> {
        if !self.is_set && !self.source.is_there(replies)? {
            return Ok(Verdict::Gone);
        }
        let mut absent = 0_u16;
        for (number, need) in self.needs.iter().enumerate() {
            if !need.is_there(replies)? {
                absent |= 1 << number;
            }
        }
        if self.is_set {
            return Ok(self.verdict_of_set(absent));
        }
        if absent != 0 {
            return Ok(Verdict::Missing(absent));
        }
        let Some(bound) = ttl else { return Ok(Verdict::Holds) };
        let own = lifetime(replies)?;
        for number in 0..self.needs.len() {
            let other = lifetime(replies)?;
            // One that ended between the questions says nothing.
            let agrees = own.zip(other).is_none_or(|(own, other)| match bound {
                TtlBound::AtLeast => own.saturating_add(LIFETIME_SLACK_MS) >= other,
                TtlBound::AtMost => own <= other.saturating_add(LIFETIME_SLACK_MS),
            });
            if !agrees {
                return Ok(Verdict::Lifetime(number));
            }
        }
        Ok(Verdict::Holds)
    }

    fn verdict_of_set(&self, absent: u16) -> Verdict {
        let is_absent = |number: usize| absent & (1 << number) != 0;
        if is_absent(self.walk) {
            Verdict::Gone
        } else if absent == 0 {
            Verdict::Holds
        } else if (0..self.walk).any(|earlier| !is_absent(earlier) && self.meets[earlier]) {
            Verdict::Elsewhere
        } else {
            Verdict::Missing(absent)
        }
    }
}

/// The keys of the set that the key belongs to, as the pattern of that number reads it.
fn set_of(keys: &[Pattern], walk: usize, key: &[u8]) -> Option<Box<[Target]>> {
    let mut bound = Bindings::default();
    if !keys.get(walk)?.matches(key, &mut bound) {
        return None;
    }
    let all = keys.iter().map(|pattern| Some(Target { kind: PlaceKind::Key, key: pattern.build(&bound)?, element: None }));
    all.collect()
}

fn target(kind: PlaceKind, key: &[u8], element: Option<&[u8]>) -> Target {
    Target { kind, key: key.into(), element: element.map(Into::into) }
}

impl Place {
    fn build(&self, bound: &Bindings<'_>) -> Option<Target> {
        let element = match &self.element {
            Some(element) => Some(element.build(bound)?),
            None => None,
        };
        Some(Target { kind: self.kind, key: self.key.build(bound)?, element })
    }
}

impl Target {
    fn question(&self, out: &mut Vec<u8>) -> usize {
        let (key, element) = (&*self.key, self.element.as_deref().unwrap_or_default());
        match self.kind {
            PlaceKind::Key => encode::request(out, &[b"EXISTS", key]),
            PlaceKind::Member => {
                // A member of a set, or of a sorted set: one of the two answers with WRONGTYPE.
                encode::request(out, &[b"SISMEMBER", key, element]);
                encode::request(out, &[b"ZSCORE", key, element]);
                return 2;
            }
            PlaceKind::Field => encode::request(out, &[b"HEXISTS", key, element]),
            PlaceKind::Item => encode::request(out, &[b"LPOS", key, element]),
            PlaceKind::Value => {
                encode::request(out, &[b"GETRANGE", key, b"0", VALUE_BYTES_MAX.to_string().as_bytes()]);
            }
        }
        1
    }

    fn is_there<'r>(&self, replies: &mut impl Iterator<Item = &'r [u8]>) -> Result<bool, &'r [u8]> {
        let mut reply = || replies.next().unwrap_or_default();
        match self.kind {
            PlaceKind::Member => {
                let (of_set, of_sorted_set) = (is_positive(reply()), is_positive(reply()));
                Ok(of_set? || of_sorted_set?)
            }
            PlaceKind::Value => {
                let reply = reply();
                if value::is_error(reply) {
                    return is_positive(reply);
                }
                Ok(value::bulk(reply) == self.element.as_deref())
            }
            PlaceKind::Item => {
                let reply = reply();
                // Its place, which may be 0, or null.
                if value::integer(reply).is_some() { Ok(true) } else { is_positive(reply) }
            }
            PlaceKind::Key | PlaceKind::Field => is_positive(reply()),
        }
    }
}

/// A key of another type does not hold what was asked for.
fn is_positive(reply: &[u8]) -> Result<bool, &[u8]> {
    if value::is_error(reply) {
        let error = value::error_text(reply);
        return if error.starts_with(b"WRONGTYPE") { Ok(false) } else { Err(error) };
    }
    match value::integer(reply) {
        Some(number) => Ok(number != 0),
        None => Ok(value::bulk(reply).is_some()),
    }
}

/// In milliseconds, as PTTL answers (<https://redis.io/docs/latest/commands/pttl/>); `None` without a key.
fn lifetime<'r>(replies: &mut impl Iterator<Item = &'r [u8]>) -> Result<Option<i64>, &'r [u8]> {
    let reply = replies.next().unwrap_or_default();
    if value::is_error(reply) {
        return Err(value::error_text(reply));
    }
    Ok(match value::integer(reply) {
        Some(-1) => Some(i64::MAX),
        Some(ttl @ 0..) => Some(ttl),
        _ => None,
    })
}
