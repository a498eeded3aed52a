//! Reads the compressed values in a reply of known shape.

use std::borrow::Cow;
use std::sync::Arc;

use crate::command::{ReplyShape, Table, reply_shape};
use crate::packed::{self, MAGIC};
use crate::pipeline::finding::{Direction, Finding};
use crate::policy::{CompressRule, Member, Policy};
use respguard_resp::encode;
use respguard_resp::scan::{elements, split_pushes};

/// The length of a string of 512 MiB has nine digits.
const HEAD_BYTES: usize = 12;

/// Where the values stand in a reply, and whose they are.
#[derive(Debug)]
pub(crate) struct Reader {
    shape: Shape,
    rules: Rules,
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

impl Reader {
    /// For the reply to a command; nothing, for most.
    pub(super) fn of(policy: &Policy, table: &Table, command: Member<'_>) -> Option<Reader> {
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
        has_any.then_some(Reader { shape, rules })
    }

    /// For a reply of which nobody knows which part is whose, in place of this.
    pub(super) fn any(&self) -> Option<Reader> {
        let rule = match &self.rules {
            Rules::One(rule) => rule,
            Rules::Each(rules) => rules.iter().flatten().next()?,
        };
        Some(Reader { shape: Shape::Any, rules: Rules::One(Arc::clone(rule)) })
    }

    /// The name of the first rule.
    pub(super) fn rule(&self) -> Option<&Arc<str>> {
        match &self.rules {
            Rules::One(rule) => Some(&rule.name),
            Rules::Each(rules) => rules.iter().flatten().next().map(|rule| &rule.name),
        }
    }

    /// True while a reply that begins so may hold a value behind a header.
    pub(crate) fn may_hold_packed(&self, begun: &[u8]) -> bool {
        self.shape != Shape::Of(ReplyShape::One) || may_begin_packed(begun)
    }

    /// How many bytes its values will have, as their headers say: those that are too long are not read, and not counted.
    pub(crate) fn promised(&self, frame: &[u8]) -> u64 {
        if memchr::memmem::find(frame, &MAGIC).is_none() {
            return 0;
        }
        let mut walk = Walk { reader: self, out: None, found: Vec::new(), promised: 0 };
        walk.reply(frame);
        walk.promised
    }

    /// The reply as its client gets it.
    pub(crate) fn read<'f>(&self, frame: &'f [u8], found: &mut Vec<Finding>) -> Cow<'f, [u8]> {
        if memchr::memmem::find(frame, &MAGIC).is_none() {
            return Cow::Borrowed(frame);
        }
        let mut walk = Walk { reader: self, out: Some(Vec::new()), found: Vec::new(), promised: 0 };
        walk.reply(frame);
        found.append(&mut walk.found);
        walk.out.map_or(Cow::Borrowed(frame), Cow::Owned)
    }
}

/// Goes through a reply once.
struct Walk<'r> {
    reader: &'r Reader,
    /// What the client gets; nothing is read where that is not wanted.
    out: Option<Vec<u8>>,
    found: Vec<Finding>,
    promised: u64,
}

impl Walk<'_> {
    fn reply(&mut self, frame: &[u8]) {
        match self.reader.shape {
            Shape::Of(ReplyShape::One) => self.value(frame, 0),
            Shape::Of(ReplyShape::Each) => self.elements(frame, &mut |walk, at, element| walk.value(element, at)),
            Shape::Of(ReplyShape::Pairs) => self.pairs(frame),
            Shape::Of(ReplyShape::Random) => self.elements(frame, &mut |walk, at, element| {
                if matches!(element.first(), Some(b'*')) { walk.pairs(element) } else { walk.second(element, at) }
            }),
            Shape::Of(ReplyShape::Cursor) => self.elements(frame, &mut |walk, at, element| match at {
                1 => walk.pairs(element),
                _ => walk.copy(element),
            }),
            Shape::Any => self.any(frame),
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        if let Some(out) = &mut self.out {
            out.extend_from_slice(bytes);
        }
    }

    fn pairs(&mut self, frame: &[u8]) {
        self.elements(frame, &mut |walk, at, element| walk.second(element, at));
    }

    fn second(&mut self, element: &[u8], at: usize) {
        if at % 2 == 1 { self.value(element, 0) } else { self.copy(element) }
    }

    fn any(&mut self, frame: &[u8]) {
        match frame.first() {
            Some(b'*' | b'%' | b'~') => self.elements(frame, &mut |walk, _, element| walk.any(element)),
            _ => self.value(frame, 0),
        }
    }

    /// The elements of an aggregate, each as `each` writes it; what is none stays as it is.
    fn elements(&mut self, frame: &[u8], each: &mut dyn FnMut(&mut Self, usize, &[u8])) {
        let mut elements = elements(frame);
        let header = frame.len() - elements.rest().len();
        self.copy(&frame[..header]);
        for (at, element) in elements.by_ref().enumerate() {
            let (pushes, reply) = split_pushes(element);
            self.copy(pushes);
            each(self, at, reply);
        }
        self.copy(elements.rest());
    }

    /// A string, as it was before it was stored; whatever else it is stays as it is.
    fn value(&mut self, frame: &[u8], place: usize) {
        let reader = self.reader;
        let Some((rule, stored)) = reader.rules.at(place).zip(content(frame)) else { return self.copy(frame) };
        let Some(out) = &mut self.out else {
            self.promised = self.promised.saturating_add(packed::promised(stored, rule.value_bytes_max));
            return;
        };
        let (name, bytes) = (Arc::clone(&rule.name), stored.len() as u64);
        match packed::unpack(stored, rule.value_bytes_max) {
            Ok(None) => out.extend_from_slice(frame),
            Ok(Some(value)) => {
                let (direction, original) = (Direction::Read, value.len() as u64);
                self.found.push(Finding::Packed { rule: name, direction, original, stored: bytes });
                encode::bulk(out, &value);
            }
            Err(_) if reader.shape == Shape::Any => out.extend_from_slice(frame),
            Err(why) => {
                self.found.push(Finding::Corrupt { rule: name });
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
