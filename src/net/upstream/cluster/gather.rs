//! Requests that several nodes answer: split or sent to all, with their replies merged.

use super::core::Core;
use super::entry::{Entry, Kind, Lease};
use super::intake::Request;
use super::retry::Retry;
use super::settings::NodeName;
use super::walk::Step;
use crate::net::address::Address;
use crate::net::topology::cluster::SlotMap;
use respguard_engine::command::RetryClass;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::route::info;
use respguard_engine::route::merge::Merge;
use respguard_engine::route::place::Split;
use respguard_engine::route::slots::key_slot;
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

const TOO_LONG: &str = "its replies are longer than what may be kept ([listen] buffered_bytes_max)";

/// The parts of a request, and what becomes of their replies.
pub(super) struct Gather {
    pub(super) parts: Vec<Part>,
    how: MergeMode,
    name: String,
    writes: bool,
    /// A part was given up that its node may still run.
    pub(super) is_late: bool,
    /// Nodes that were not asked, for they do not answer.
    left_out: usize,
}

enum MergeMode {
    /// Each key's element, by the part that has it: of this part the next one.
    Elements(Vec<usize>),
    Sum,
    AllOk,
    Merged(Merge),
    Scan(Step),
}

/// Where a part goes.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Slot(u16),
    /// Every primary there is when it is sent: the part stands for all of them until then.
    Every,
    /// Any.
    Home,
    /// The primary of this slot, although it is about no key.
    Shard(u16),
    /// Every primary that its client has written to by the time it is sent.
    Written,
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
    pub(super) connection: PartConnection,
    pub(super) lease: Option<Lease>,
}

/// Over which connection a part goes to its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartConnection {
    /// The one that all share.
    Shared,
    /// One of its own, on which it waits at its node.
    Waits,
    /// One of its own, past what keeps its node from answering: it is about that, or ends it.
    PastTrouble,
}

impl Part {
    fn new(request: Vec<u8>, target: Target) -> Part {
        let (progress, reply, connection) = (Progress::Waiting, Vec::new(), PartConnection::Shared);
        let (asks, retry, sent_to, lease) = Default::default();
        Part { request, target, progress, reply, asks, skip: 0, retry, sent_to, connection, lease }
    }

    pub(super) fn again(&self, target: Target) -> Part {
        Part { connection: self.connection, ..Part::new(self.request.clone(), target) }
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
    entry.kind = Kind::Gather(Box::new(Gather { parts, how, name, writes, is_late: false, left_out: 0 }));
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

pub(super) fn every(request: &Request<'_>, written: &[u8], merge: Merge, entry: &mut Entry) {
    let changes = request.spec.retry != RetryClass::Read;
    let connection = if matches!(merge, Merge::OneSucceeds | Merge::FunctionStats) {
        PartConnection::PastTrouble
    } else {
        PartConnection::Shared
    };
    let part = Part { connection, ..Part::new(written.to_vec(), Target::Every) };
    gather(entry, vec![part], MergeMode::Merged(merge), request.name(), changes);
}

pub(super) fn one(written: &[u8], merge: Merge, entry: &mut Entry) {
    gather(entry, vec![Part::new(written.to_vec(), Target::Home)], MergeMode::Merged(merge), String::new(), false);
}

/// Each primary that the client has written to waits for its replicas; without any, one has nothing to wait for.
pub(super) fn wait(name: String, written: &[u8], entry: &mut Entry) {
    let part = Part { connection: PartConnection::Waits, ..Part::new(written.to_vec(), Target::Written) };
    gather(entry, vec![part], MergeMode::Merged(Merge::Min), name, false);
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

/// One step of a walk.
pub(super) fn scan(core: &Core, request: &Request<'_>, entry: &mut Entry) {
    let args = request.args;
    let cursor = args.get(1).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    // A node says what is wrong.
    let Some(cursor) = cursor else { return };
    let step = Step::of(cursor, &core.nodes.map.borrow());
    let own = step.own.to_string();
    let words: Vec<&[u8]> = args.iter().enumerate().map(|(at, word)| if at == 1 { own.as_bytes() } else { word }).collect();
    let mut bytes = Vec::new();
    encode::request(&mut bytes, &words);
    gather(entry, vec![Part::new(bytes, Target::Shard(step.slot))], MergeMode::Scan(step), request.name(), false);
}

impl Gather {
    /// What its first part stands for, until it is known which nodes there are.
    pub(super) fn first_target(&self) -> Option<&Target> {
        self.parts.first().map(|part| &part.target)
    }

    /// A part for each of these in the place of the one that stands for all.
    pub(super) fn spread(&mut self, targets: impl Iterator<Item = Target>) {
        let parts: Vec<_> = targets.map(|target| self.parts[0].again(target)).collect();
        if !parts.is_empty() {
            self.parts = parts;
        }
    }

    /// The same for all shards, of which those are left out that do not answer if they may be.
    pub(super) fn spread_over(&mut self, shards: impl Iterator<Item = u16>, is_silent: impl Fn(u16) -> bool) {
        let (left_out, asked): (Vec<_>, Vec<_>) = shards.partition(|slot| self.may_miss_nodes() && is_silent(*slot));
        self.left_out = left_out.len();
        self.spread(asked.into_iter().map(Target::Shard));
    }

    /// What the others say is answered where some nodes do not, and that these are missing.
    pub(super) fn may_miss_nodes(&self) -> bool {
        matches!(self.how, MergeMode::Merged(Merge::Info))
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

    /// The reply.
    pub(super) fn reply(&self, map: &SlotMap, random: usize) -> Vec<u8> {
        if let Some(reply) = self.only_success() {
            return reply.to_vec();
        }
        if let Some(reply) = self.info(random) {
            return reply;
        }
        if let Some(error) = self.failure() {
            let mut out = Vec::new();
            encode::error(&mut out, &error);
            return out;
        }
        let replies: Vec<&[u8]> = self.parts.iter().map(|part| &*part.reply).collect();
        let same = replies.windows(2).all(|pair| pair[0] == pair[1]);
        let errors = replies.iter().filter(|reply| value::is_error(reply)).count();
        let takes_errors = matches!(self.how, MergeMode::Merged(merge) if merge.takes_errors());
        if errors > 0 && !takes_errors && !(same && errors == replies.len()) {
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
            MergeMode::Scan(step) => {
                let node = self.parts.first().and_then(|part| part.sent_to.as_deref());
                node.and_then(|node| scanned(first, *step, node, map)).unwrap_or_else(|| first.to_vec())
            }
        }
    }

    /// What the nodes that have answered say together.
    fn info(&self, random: usize) -> Option<Vec<u8>> {
        let replied = self.parts.iter().filter(|part| part.progress == Progress::Replied);
        let replies: Vec<&[u8]> = replied.map(|part| &*part.reply).collect();
        let told = replies.iter().filter(|reply| !value::is_error(reply)).count();
        (self.may_miss_nodes() && !replies.is_empty()).then(|| {
            let mut out = Vec::new();
            info::merge(&replies, random, self.left_out + self.parts.len() - told, &mut out);
            out
        })
    }

    /// Where one part is to be done, and was.
    fn only_success(&self) -> Option<&[u8]> {
        let is_done = |part: &&Part| part.progress == Progress::Replied && !value::is_error(&part.reply);
        let parts = self.parts.iter().filter(|_| self.is_for_one());
        parts.filter(is_done).map(|part| &*part.reply).next()
    }

    /// The others have nothing to do.
    fn is_for_one(&self) -> bool {
        matches!(self.how, MergeMode::Merged(Merge::OneSucceeds))
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
            Target::Shard(slot) => format!("the node of slot {slot}"),
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
        if self.writes && count < all && !self.is_for_one() {
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

/// A node's answer to SCAN, with the cursor of the whole walk; `None` where it is none.
fn scanned(reply: &[u8], step: Step, node: &Address, map: &SlotMap) -> Option<Vec<u8>> {
    let mut parts = elements(reply);
    let own = std::str::from_utf8(value::bulk(parts.next()?)?).ok()?.parse::<u64>().ok()?;
    let keys = parts.next()?;
    let Ok(next) = step.next(node, own, map) else {
        return Some(b"-ERR respguard: the node's cursor is too large to be told apart from others\r\n".to_vec());
    };
    let mut out = Vec::with_capacity(reply.len() + 8);
    encode::array_header(&mut out, 2);
    encode::bulk(&mut out, next.to_string().as_bytes());
    out.extend_from_slice(keys);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_scan_keeps_its_keys_and_gets_the_cursor_of_the_walk() {
        let (map, node) = (SlotMap::default(), Address::Tcp { host: "h".to_owned(), port: 1 });
        let reply = |cursor: u64| format!("*2\r\n${}\r\n{cursor}\r\n*1\r\n$1\r\nk\r\n", cursor.to_string().len()).into_bytes();
        let scanned = |reply: &[u8]| scanned(reply, Step::of(0, &map), &node, &map);
        let told = scanned(&reply(5)).expect("an answer");
        assert!(told.starts_with(b"*2\r\n$") && told.ends_with(b"\r\n*1\r\n$1\r\nk\r\n"));
        assert!(scanned(&reply(1 << 60)).is_some_and(|told| told.starts_with(b"-ERR ")));
        assert_eq!(scanned(b"-ERR syntax error\r\n"), None);
    }
}
