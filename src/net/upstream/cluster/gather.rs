//! Requests that several nodes answer: split or sent to all, with their replies merged.

use super::core::Core;
use super::entry::{Entry, Kind, Lease};
use super::intake::Request;
use super::retry::Retry;
use super::settings::NodeName;
use super::state::State;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::route::merge::Merge;
use respguard_engine::route::place::Split;
use respguard_engine::route::slots::key_slot;
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

const TOO_LONG: &str = "its replies are longer than what may be kept ([listen] buffered_bytes_max)";
/// Bits of a cursor that say which node is at hand.
const CURSOR_BITS: u32 = 12;

/// The parts of a request, and what becomes of their replies.
pub(super) struct Gather {
    pub(super) parts: Vec<Part>,
    how: MergeMode,
    name: String,
    writes: bool,
    /// A part was given up that its node may still run.
    pub(super) is_late: bool,
}

enum MergeMode {
    /// Each key's element, by the part that has it: of this part the next one.
    Elements(Vec<usize>),
    Sum,
    AllOk,
    Merged(Merge),
    Scan {
        node: usize,
    },
}

/// Where a part goes.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Slot(u16),
    /// Every primary there is when it is sent: the part stands for all of them until then.
    Every,
    /// Any.
    Home,
    /// The one with this number in the order of their ids.
    Nth(usize),
    At(NodeName),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    Sent,
    Replied,
    Failed(Fault),
    /// Its reply is longer than what may be kept.
    TooLong,
}

pub(super) struct Part {
    pub(super) request: Vec<u8>,
    pub(super) target: Target,
    pub(super) progress: Progress,
    pub(super) reply: Vec<u8>,
    /// To this node, behind ASKING.
    pub(super) asks: Option<NodeName>,
    pub(super) skip: u32,
    pub(super) retry: Retry,
    pub(super) sent_to: Option<NodeName>,
    /// It waits at its node, on a connection of its own.
    pub(super) waits: bool,
    pub(super) lease: Option<Lease>,
}

impl Part {
    fn new(request: Vec<u8>, target: Target) -> Part {
        let (progress, reply) = (Progress::Waiting, Vec::new());
        let (asks, retry, sent_to, lease) = Default::default();
        Part { request, target, progress, reply, asks, skip: 0, retry, sent_to, waits: false, lease }
    }

    pub(super) fn again(&self, target: Target) -> Part {
        Part { waits: self.waits, ..Part::new(self.request.clone(), target) }
    }

    pub(super) fn slot(&self) -> Option<u16> {
        match self.target {
            Target::Slot(slot) => Some(slot),
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Replied | Progress::Failed(_) | Progress::TooLong)
    }
}

fn gather(entry: &mut Entry, parts: Vec<Part>, how: MergeMode, name: String, writes: bool) {
    entry.is_fence = true;
    entry.kind = Kind::Gather(Box::new(Gather { parts, how, name, writes, is_late: false }));
}

/// A part for each slot.
pub(super) fn split(core: &Core, request: &Request<'_>, split: Split, entry: &mut Entry) {
    let args = request.args;
    let is_counted = split == Split::CountedPairs;
    let count = args.get(1).filter(|_| is_counted).and_then(|count| std::str::from_utf8(count).ok()?.parse::<usize>().ok());
    let end = count.map_or(args.len(), |count| count.saturating_mul(2).saturating_add(2).min(args.len()));
    let (first, step) = match split {
        Split::Elements | Split::Count => (1, 1),
        Split::Pairs => (1, 2),
        Split::CountedPairs => (2, 2),
    };
    let for_all: Vec<&[u8]> = args.iter().skip(end).collect();
    // What holds only where all keys, or none, are there is not known in several places at once.
    let is_condition = |word: &&[u8]| word.eq_ignore_ascii_case(b"nx") || word.eq_ignore_ascii_case(b"xx");
    let is_refused = step == 2 && !core.nodes.splits_writes() || for_all.iter().any(is_condition);
    if is_refused || is_counted && count.is_none() {
        encode::error(&mut entry.reply, super::intake::CROSSSLOT);
        entry.kind = Kind::ProxyReply;
        return;
    }
    let mut slots: Vec<(u16, Vec<&[u8]>)> = Vec::new();
    let mut order = Vec::new();
    let mut at = first;
    while let Some(key) = args.get(at).filter(|_| at < end) {
        let slot = key_slot(key);
        let place = slots.iter().position(|(known, _)| *known == slot).unwrap_or_else(|| {
            slots.push((slot, vec![args.get(0).unwrap_or_default()]));
            slots.len() - 1
        });
        (at..at + step).filter_map(|word| args.get(word)).for_each(|word| slots[place].1.push(word));
        order.push(place);
        at += step;
    }
    let part = |(slot, words): &(u16, Vec<&[u8]>)| {
        let (mut bytes, count) = (Vec::new(), ((words.len() - 1) / 2).to_string());
        let (name, pairs) = words.split_at(1);
        match split {
            Split::CountedPairs => encode::request(&mut bytes, &[name, &[count.as_bytes()], pairs, &for_all].concat()),
            _ => encode::request(&mut bytes, words),
        }
        Part::new(bytes, Target::Slot(*slot))
    };
    let parts = slots.iter().map(part).collect();
    let how = match split {
        Split::Elements => MergeMode::Elements(order),
        Split::Count => MergeMode::Sum,
        Split::Pairs | Split::CountedPairs => MergeMode::AllOk,
    };
    gather(entry, parts, how, request.name(), request.spec.may_write());
}

pub(super) fn every(name: String, written: &[u8], merge: Merge, entry: &mut Entry) {
    gather(entry, vec![Part::new(written.to_vec(), Target::Every)], MergeMode::Merged(merge), name, true);
}

pub(super) fn one(written: &[u8], merge: Merge, entry: &mut Entry) {
    gather(entry, vec![Part::new(written.to_vec(), Target::Home)], MergeMode::Merged(merge), String::new(), false);
}

/// Each primary that the client has written to waits for its replicas; without any, one has nothing to wait for.
pub(super) fn wait(core: &Core, state: &State, name: String, written: &[u8], entry: &mut Entry) {
    let primaries = core.nodes.primaries();
    let is_known = state.wrote.iter().all(|node| primaries.contains(node));
    let nodes: &[NodeName] = if is_known { &state.wrote } else { &primaries };
    let targets: Vec<Target> = nodes.iter().map(|node| Target::At(NodeName::clone(node))).collect();
    let targets = if targets.is_empty() { vec![Target::Home] } else { targets };
    let part = |target| Part { waits: true, ..Part::new(written.to_vec(), target) };
    gather(entry, targets.into_iter().map(part).collect(), MergeMode::Merged(Merge::Min), name, false);
}

/// Asked of the node of this slot, although it names no key.
pub(super) fn of_slot(written: &[u8], slot: u16, entry: &mut Entry) {
    gather(
        entry,
        vec![Part::new(written.to_vec(), Target::Slot(slot))],
        MergeMode::Merged(Merge::AllSucceed),
        String::new(),
        false,
    );
}

/// One step of a walk: the cursor says on which node it is and how far.
pub(super) fn scan(core: &Core, request: &Request<'_>, entry: &mut Entry) {
    let args = request.args;
    let cursor = args.get(1).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    // A node says what is wrong.
    let Some(cursor) = cursor else { return };
    // Of a cursor that nobody was given, or when there were more nodes, the last one goes on.
    let last = core.nodes.primaries().len().saturating_sub(1);
    let node = ((cursor & ((1 << CURSOR_BITS) - 1)) as usize).min(last);
    let own = (cursor >> CURSOR_BITS).to_string();
    let words: Vec<&[u8]> = args.iter().enumerate().map(|(at, word)| if at == 1 { own.as_bytes() } else { word }).collect();
    let mut bytes = Vec::new();
    encode::request(&mut bytes, &words);
    gather(entry, vec![Part::new(bytes, Target::Nth(node))], MergeMode::Scan { node }, request.name(), false);
}

impl Gather {
    /// A part for each of these in the place of the one that stands for all.
    pub(super) fn spread(&mut self, nodes: &[NodeName]) {
        if matches!(self.parts.first(), Some(Part { target: Target::Every, .. })) && !nodes.is_empty() {
            self.parts = nodes.iter().map(|node| self.parts[0].again(Target::At(NodeName::clone(node)))).collect();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.parts.iter().all(Part::is_over)
    }

    /// Why a part was not answered.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.parts.iter().find_map(|part| match part.progress {
            Progress::Failed(fault) => Some(fault),
            _ => None,
        })
    }

    /// All parts were sent.
    pub(super) fn is_answered(&self) -> bool {
        self.parts.iter().all(|part| part.progress != Progress::Failed(Fault::Unavailable))
    }

    /// The reply; `nodes` is how many there are to walk over.
    pub(super) fn reply(&self, nodes: usize, random: usize) -> Vec<u8> {
        if let Some(error) = self.failure() {
            let mut out = Vec::new();
            encode::error(&mut out, &error);
            return out;
        }
        let replies: Vec<&[u8]> = self.parts.iter().map(|part| &*part.reply).collect();
        let same = replies.windows(2).all(|pair| pair[0] == pair[1]);
        let errors = replies.iter().filter(|reply| value::is_error(reply)).count();
        if errors > 0 && !matches!(self.how, MergeMode::Merged(Merge::OneSucceeds)) && !(same && errors == replies.len()) {
            return self.partly(&replies, errors);
        }
        let first = replies.first().copied().unwrap_or_default();
        match &self.how {
            _ if errors > 0 && same => first.to_vec(),
            MergeMode::Merged(merge) => merge.merge(&replies, random),
            MergeMode::Sum => Merge::Sum.merge(&replies, random),
            MergeMode::AllOk => first.to_vec(),
            MergeMode::Elements(order) => {
                let mut parts: Vec<_> = replies.iter().map(|reply| elements(reply)).collect();
                let mut out = Vec::new();
                encode::array_header(&mut out, order.len());
                for part in order {
                    match parts[*part].next() {
                        Some(element) => out.extend_from_slice(element),
                        None => return b"-ERR respguard: a node has answered with fewer values than keys\r\n".to_vec(),
                    }
                }
                out
            }
            MergeMode::Scan { node } => scanned(first, *node, nodes),
        }
    }

    /// What is said where some parts were not answered.
    fn failure(&self) -> Option<String> {
        if self.parts.iter().any(|part| part.progress == Progress::TooLong) {
            let name = if self.name.is_empty() { "the request" } else { &self.name };
            return Some(format!("ERR respguard: {name} is not answered: {TOO_LONG}"));
        }
        let failed = |part: &&Part| matches!(part.progress, Progress::Failed(_));
        let count = self.parts.iter().filter(failed).count();
        let first = self.parts.iter().find(failed)?;
        let Progress::Failed(fault) = first.progress else { return None };
        let all = self.parts.len();
        let whom = match &first.target {
            Target::Slot(slot) => format!("slot {slot}"),
            Target::At(address) => format!("node {address}"),
            _ => "a node".to_owned(),
        };
        let name = if self.name.is_empty() { "the request" } else { &self.name };
        let is_unknown = |part: &Part| matches!(part.progress, Progress::Failed(Fault::Lost | Fault::Timeout));
        if self.writes && self.parts.iter().any(is_unknown) {
            return Some(format!(
                "TIMEOUT respguard: outcome of {name} unknown on {count} of {all} parts: {whom}: {}",
                fault.reason()
            ));
        }
        if self.writes && count < all {
            return Some(format!("PARTIAL respguard: {name} was done on {} of {all} parts: {whom} is not served", all - count));
        }
        Some(format!("ERR respguard: {name} is not answered: of {all} parts {count} failed: {whom} is not served in time"))
    }

    /// What is said where some nodes have refused their part.
    fn partly(&self, replies: &[&[u8]], errors: usize) -> Vec<u8> {
        let all = replies.len();
        let error = replies.iter().find(|reply| value::is_error(reply)).map(|reply| value::error_text(reply)).unwrap_or_default();
        let error = String::from_utf8_lossy(&error[..error.len().min(200)]).into_owned();
        let name = if self.name.is_empty() { "the request" } else { &self.name };
        let mut out = Vec::new();
        let done = all - errors;
        if self.writes && done > 0 {
            encode::error(
                &mut out,
                &format!("PARTIAL respguard: {name} was done on {done} of {all} parts, the others answered {error}"),
            );
        } else {
            encode::error(&mut out, &format!("ERR respguard: {name} is not answered: {errors} of {all} parts answered {error}"));
        }
        out
    }
}

/// A node's answer to SCAN, with the node in its cursor.
fn scanned(reply: &[u8], node: usize, nodes: usize) -> Vec<u8> {
    let mut parts = elements(reply);
    let cursor = parts.next().and_then(value::bulk).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    let (Some(cursor), Some(keys)) = (cursor, parts.next()) else { return reply.to_vec() };
    if cursor >> (64 - CURSOR_BITS) != 0 || nodes >= 1 << CURSOR_BITS {
        return b"-ERR respguard: the node's cursor is too large to be told apart from others\r\n".to_vec();
    }
    let next = match cursor {
        0 if node + 1 >= nodes => 0,
        0 => node as u64 + 1,
        cursor => cursor << CURSOR_BITS | node as u64,
    };
    let mut out = Vec::with_capacity(reply.len() + 8);
    encode::array_header(&mut out, 2);
    encode::bulk(&mut out, next.to_string().as_bytes());
    out.extend_from_slice(keys);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_from_node_to_node_until_the_last_is_done() {
        let reply = |cursor: u64| format!("*2\r\n${}\r\n{cursor}\r\n*1\r\n$1\r\nk\r\n", cursor.to_string().len()).into_bytes();
        let next = |cursor, node| {
            let reply = scanned(&reply(cursor), node, 3);
            let cursor = elements(&reply).next().and_then(value::bulk).map(|text| String::from_utf8_lossy(text).into_owned());
            cursor.and_then(|cursor| cursor.parse::<u64>().ok()).unwrap_or_default()
        };
        assert_eq!([next(0, 0), next(0, 1), next(0, 2)], [1, 2, 0]);
        assert_eq!(next(5, 2), 5 << CURSOR_BITS | 2);
        assert!(scanned(&reply(1 << 60), 0, 3).starts_with(b"-ERR "));
    }
}
