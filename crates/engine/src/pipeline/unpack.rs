//! Gives clients the values that are stored behind a header of ours.

use std::borrow::Cow;
use std::sync::Arc;

use super::finding::{Direction, Finding};
use super::resolve::Part;
use crate::command::{ReplyShape, Table, reply_shape};
use crate::packed::{self, MAGIC};
use crate::policy::{CompressRule, Member, Policy};
use respguard_resp::encode;
use respguard_resp::scan::{elements, split_pushes};

/// The length of a string of 512 MiB has nine digits.
const HEAD_BYTES: usize = 12;

/// Writes an element, which has this place, as the client gets it.
type Push<'p> = dyn FnMut(usize, &[u8], &mut Vec<u8>) + 'p;

/// What one reply has of values.
#[derive(Debug)]
pub(super) struct Unpack {
    shape: Shape,
    rules: Rules,
    /// What has come of a reply that is needed whole.
    gathered: Vec<u8>,
    /// The rest of it is the client's as it is.
    passes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Of(ReplyShape),
    /// Which reply belongs to which command is not known: every string that can be read is.
    Any,
}

#[derive(Debug)]
enum Rules {
    One(Arc<CompressRule>),
    /// By the places of the reply's elements.
    Each(Box<[Option<Arc<CompressRule>>]>),
}

impl Rules {
    fn at(&self, place: usize) -> Option<&Arc<CompressRule>> {
        match self {
            Rules::One(rule) => Some(rule),
            Rules::Each(rules) => rules.get(place)?.as_ref(),
        }
    }
}

impl Unpack {
    /// For the reply to a command; nothing, for most.
    pub(super) fn of(policy: &Policy, table: &Table, command: Member<'_>) -> Option<Box<Unpack>> {
        if policy.compress_rules().is_empty() {
            return None;
        }
        let (name, args) = (table.spec(command.id).name(), command.args);
        let shape = Shape::Of(reply_shape(name, args)?);
        let rule = |place: usize| args.get(place).and_then(|key| policy.compress_rule_for(key)).map(Arc::clone);
        let rules = match name {
            "mget" => Rules::Each((1..args.len()).map(rule).collect()),
            _ => Rules::One(rule(1)?),
        };
        let has_any = !matches!(&rules, Rules::Each(rules) if rules.iter().all(Option::is_none));
        has_any.then(|| Box::new(Unpack { shape, rules, gathered: Vec::new(), passes: false }))
    }

    /// For a reply of which nobody knows which part is whose, in place of these.
    pub(super) fn any(self) -> Option<Box<Unpack>> {
        let rule = match self.rules {
            Rules::One(rule) => rule,
            Rules::Each(rules) => rules.into_iter().flatten().next()?,
        };
        Some(Box::new(Unpack { shape: Shape::Any, rules: Rules::One(rule), gathered: Vec::new(), passes: false }))
    }

    /// Takes a piece of the reply; gives what the client gets now, if anything.
    pub(super) fn admit<'p>(&mut self, piece: &'p [u8], part: Part, found: &mut Vec<Finding>) -> Option<(Cow<'p, [u8]>, Part)> {
        if part.first {
            // It may come once more, from another connection.
            self.gathered.clear();
            self.passes = false;
        }
        if self.passes {
            return Some((Cow::Borrowed(piece), part));
        }
        if part.first && part.last {
            return Some((self.read(piece, found), part));
        }
        self.gathered.extend_from_slice(piece);
        let first = Part { first: true, ..part };
        if self.shape == Shape::Of(ReplyShape::One) && !may_begin_packed(&self.gathered) {
            self.passes = true;
            return Some((Cow::Owned(std::mem::take(&mut self.gathered)), first));
        }
        if !part.last {
            return None;
        }
        let frame = std::mem::take(&mut self.gathered);
        Some((Cow::Owned(self.read(&frame, found).into_owned()), first))
    }

    fn read<'p>(&self, frame: &'p [u8], found: &mut Vec<Finding>) -> Cow<'p, [u8]> {
        if memchr::memmem::find(frame, &MAGIC).is_none() {
            return Cow::Borrowed(frame);
        }
        let mut out = Vec::with_capacity(frame.len() * 2);
        match self.shape {
            Shape::Of(ReplyShape::One) => self.push_value(frame, 0, &mut out, found),
            Shape::Of(ReplyShape::Each) => self.push_elements(frame, &mut out, &mut |at, element, out| {
                self.push_value(element, at, out, found);
            }),
            Shape::Of(ReplyShape::Pairs) => self.push_pairs(frame, &mut out, found),
            Shape::Of(ReplyShape::Random) => self.push_elements(frame, &mut out, &mut |at, element, out| {
                if matches!(element.first(), Some(b'*')) {
                    self.push_pairs(element, out, found);
                } else {
                    self.push_second(element, at, out, found);
                }
            }),
            Shape::Of(ReplyShape::Cursor) => self.push_elements(frame, &mut out, &mut |at, element, out| match at {
                1 => self.push_pairs(element, out, found),
                _ => out.extend_from_slice(element),
            }),
            Shape::Any => self.push_any(frame, &mut out, found),
        }
        Cow::Owned(out)
    }

    fn push_pairs(&self, frame: &[u8], out: &mut Vec<u8>, found: &mut Vec<Finding>) {
        self.push_elements(frame, out, &mut |at, element, out| self.push_second(element, at, out, found));
    }

    fn push_second(&self, element: &[u8], at: usize, out: &mut Vec<u8>, found: &mut Vec<Finding>) {
        if at % 2 == 1 { self.push_value(element, 0, out, found) } else { out.extend_from_slice(element) }
    }

    fn push_any(&self, frame: &[u8], out: &mut Vec<u8>, found: &mut Vec<Finding>) {
        match frame.first() {
            Some(b'*' | b'%' | b'~') => {
                self.push_elements(frame, out, &mut |_, element, out| self.push_any(element, out, found));
            }
            _ => self.push_value(frame, 0, out, found),
        }
    }

    /// The elements of an aggregate, each as `push` writes it; what is none stays as it is.
    fn push_elements(&self, frame: &[u8], out: &mut Vec<u8>, push: &mut Push<'_>) {
        let mut elements = elements(frame);
        let header = frame.len() - elements.rest().len();
        out.extend_from_slice(&frame[..header]);
        for (at, element) in elements.by_ref().enumerate() {
            let (pushes, reply) = split_pushes(element);
            out.extend_from_slice(pushes);
            push(at, reply, out);
        }
        out.extend_from_slice(elements.rest());
    }

    /// A string, as it was before it was stored; whatever else it is stays as it is.
    fn push_value(&self, frame: &[u8], place: usize, out: &mut Vec<u8>, found: &mut Vec<Finding>) {
        let Some((rule, stored)) = self.rules.at(place).zip(content(frame)) else { return out.extend_from_slice(frame) };
        let (name, bytes) = (Arc::clone(&rule.name), stored.len() as u64);
        match packed::unpack(stored, rule.value_bytes_max) {
            Ok(None) => out.extend_from_slice(frame),
            Ok(Some(value)) => {
                let (direction, original) = (Direction::Read, value.len() as u64);
                found.push(Finding::Packed { rule: name, direction, original, stored: bytes });
                encode::bulk(out, &value);
            }
            Err(_) if self.shape == Shape::Any => out.extend_from_slice(frame),
            Err(why) => {
                found.push(Finding::Corrupt { rule: name });
                let keys = rule.patterns();
                encode::error(
                    out,
                    &format!("ERR respguard: a value cannot be read: {why} (compress rule {}, keys {keys})", rule.name),
                );
            }
        }
    }
}

/// The bytes of a string that is whole.
fn content(frame: &[u8]) -> Option<&[u8]> {
    let head = memchr::memchr(b'\n', frame.get(..HEAD_BYTES.min(frame.len()))?)?;
    (frame.first() == Some(&b'$')).then(|| frame[head + 1..].strip_suffix(b"\r\n")).flatten()
}

/// Whether a string that begins so may be one behind a header.
fn may_begin_packed(begun: &[u8]) -> bool {
    if begun.first() != Some(&b'$') {
        return false;
    }
    let Some(head) = memchr::memchr(b'\n', &begun[..HEAD_BYTES.min(begun.len())]) else { return begun.len() < HEAD_BYTES };
    let stored = &begun[head + 1..];
    stored.starts_with(&MAGIC) || MAGIC.starts_with(stored)
}
