//! WATCH, MULTI and EXEC: a transaction goes to the node of its slot in one piece, or not at all.
//!
//! One whose end is not there yet waits for it here. Of each of its commands the node is asked meanwhile whether it would
//! queue it, for a client is to hear at once of what is wrong.

use std::rc::Rc;

use super::core::Core;
use super::entry::{Atomic, Entry, Kind, Portion, VisibleFrames};
use super::intake::{CROSSSLOT, Request};
use super::scripts::ScriptNeeds;
use super::state::{Multi, State};
use respguard_engine::command::{RetryClass, Table};
use respguard_engine::route::place::{Route, Slots, Verb};
use respguard_resp::encode;
use respguard_resp::request::{Args, Limits, Parsed, RequestParser};

pub(super) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
pub(super) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
/// Redis' own texts.
const NESTED: &str = "ERR MULTI calls can not be nested";
const WATCH_INSIDE: &str = "ERR WATCH inside MULTI is not allowed";
pub(super) const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
/// Bytes of a transaction that comes in pieces: more is not kept.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// True for the command with which a group begins that may be rolled back: all of it is owed together.
pub(super) fn sets_guard(core: &Core, request: &Request<'_>) -> bool {
    // SET guard 1 PX life
    let may_be = request.args.len() == 5 && request.spec.name() == "set";
    may_be && is_guard(request, core.nodes.context.policy().guard_prefix.as_bytes())
}

/// The first key is one of the proxy's own.
fn is_guard(request: &Request<'_>, guard_prefix: &[u8]) -> bool {
    request.args.get(1).is_some_and(|key| key.starts_with(guard_prefix))
}

/// Takes a transaction that is there as a whole, from its WATCH, MULTI or guard to its EXEC; how many bytes it has. `None` where
/// its end has not come, or it is one that cannot go in one piece.
pub(super) fn take_whole(core: &Core, state: &mut State, table: &Table, rest: &[u8], start: u64) -> Option<usize> {
    let mut reading = Whole::default();
    let mut parser = RequestParser::new(Limits::default());
    let (mut spans, mut arena, mut at) = (Vec::new(), Vec::new(), 0);
    let mut first = None;
    let guard_prefix = core.nodes.context.policy().guard_prefix.clone();
    while !reading.is_ended {
        let request = match parser.parse(&rest[at..], &mut spans, &mut arena, usize::MAX) {
            Parsed::Request { bytes, inline } => {
                let args = if inline { Args::new(&arena, &spans) } else { Args::new(&rest[at..at + bytes], &spans) };
                at += bytes;
                Request::read(core, table, args)
            }
            _ => return None,
        };
        if !reading.take(&request, at, guard_prefix.as_bytes()) {
            return None;
        }
        if first.is_none() {
            first = Some(core.entry(&request, start..start));
        }
        spans.clear();
        arena.clear();
    }
    let mut entry = first?;
    entry.bytes = start..start + at as u64;
    entry.frames = reading.frames;
    entry.slot = reading.slot;
    entry.is_read = false;
    entry.holds_slot = true;
    if reading.is_slow {
        let settings = &core.nodes.settings;
        entry.deadline = Some(State::now() + settings.slow_timeout.max(settings.request_timeout));
    }
    if reading.errors.is_empty() {
        let (outer, frames, needs) = (reading.outer, reading.frames, reading.needs);
        let (request, own, orphan) = (None, None, None);
        let (is_asked, passes, ends, portion) = Default::default();
        let shows = VisibleFrames::All;
        let atomic = Atomic { request, frames, outer, shows, own, is_asked, needs, ends, passes, orphan, portion };
        entry.kind = Kind::Atomic(Box::new(atomic));
    } else {
        reading.refuse(&mut entry.reply);
        entry.kind = Kind::ProxyReply;
    }
    state.put(entry);
    Some(at)
}

/// What has been read of a transaction.
#[derive(Default)]
struct Whole {
    frames: u32,
    slot: Option<u16>,
    outer: Vec<usize>,
    is_within: bool,
    is_ended: bool,
    is_slow: bool,
    /// It begins with a WATCH, or a guard, of our own.
    is_guarded: bool,
    needs: ScriptNeeds,
    /// Whose place each error takes.
    errors: Vec<(u32, String)>,
}

impl Whole {
    /// False where it cannot go in one piece.
    fn take(&mut self, request: &Request<'_>, end: usize, guard_prefix: &[u8]) -> bool {
        if matches!(request.route, Route::Transaction(_)) && request.malformed().is_some() {
            return false;
        }
        let place = self.frames;
        self.frames += 1;
        self.is_slow |= request.spec.slow;
        self.needs.note(request.spec, request.args);
        let verb = match request.route {
            Route::Transaction(verb) => Some(verb),
            _ => None,
        };
        if !self.is_within {
            self.outer.push(end);
            match verb {
                Some(Verb::Multi) => self.is_within = true,
                Some(Verb::Watch) if place == 0 && is_guard(request, guard_prefix) => self.is_guarded = true,
                // A client's own has to be known to hold before anything runs that relies on it: the key may be elsewhere.
                Some(Verb::Watch) if !self.is_guarded => return false,
                Some(Verb::Watch) => {}
                Some(_) => return false,
                None if place == 0 && request.spec.name() == "set" && is_guard(request, guard_prefix) => self.is_guarded = true,
                // It may be sent once more.
                None if request.spec.retry != RetryClass::Read && !self.is_guarded => return false,
                None if request.refusal(true).is_some() || request.spec.is_blocking(request.args) => return false,
                None => {}
            }
            return self.agree(request);
        }
        match verb {
            Some(Verb::Exec) => {
                self.is_ended = true;
                return true;
            }
            Some(Verb::Discard | Verb::Multi | Verb::Watch) => return false,
            None if request.without_effect().is_some() => return false,
            Some(Verb::Unwatch) | None => {}
        }
        if let Some(text) = request.refusal(true) {
            self.errors.push((place, text));
        } else if !self.agree(request) {
            self.errors.push((place, CROSSSLOT.to_owned()));
        }
        true
    }

    /// False where it is about another slot.
    fn agree(&mut self, request: &Request<'_>) -> bool {
        match request.slots {
            Slots::None => true,
            Slots::Several => false,
            Slots::One { slot, .. } => *self.slot.get_or_insert(slot) == slot,
        }
    }

    /// Nothing is sent: what a server would answer that queues what it can.
    fn refuse(&self, out: &mut Vec<u8>) {
        for place in 0..self.frames {
            let outer = self.outer.len() as u32;
            match self.errors.iter().find(|(at, _)| *at == place) {
                Some((_, text)) => encode::error(out, text),
                None if place < outer => encode::simple(out, "OK"),
                None if place + 1 == self.frames => encode::error(out, ABORTED),
                None => encode::simple(out, "QUEUED"),
            }
        }
    }
}

/// A command of a transaction that comes in pieces.
pub(super) fn take(state: &mut State, verb: Verb, entry: &mut Entry) {
    match verb {
        Verb::Multi => {
            state.multi =
                Some(Multi { own: Rc::default(), request: MULTI.to_vec(), frames: 1, slot: None, needs: ScriptNeeds::default() });
            encode::simple(&mut entry.reply, "OK");
            entry.kind = Kind::ProxyReply;
        }
        Verb::Watch => {
            let known = state.watched_slot.filter(|_| state.watches);
            (state.watches, state.watched_slot) = (true, known.or(entry.slot));
            entry.kind = Kind::Watch;
            entry.is_fence = true;
        }
        Verb::Unwatch => {
            state.watches = false;
            entry.kind = Kind::Unwatch;
            entry.is_fence = true;
        }
        // Without MULTI: a node says so.
        Verb::Exec | Verb::Discard => {}
    }
}

/// A command behind the client's MULTI.
pub(super) fn take_queued(core: &Core, state: &mut State, request: &Request<'_>, written: &[u8], start: u64) {
    let mut entry = core.entry(request, start..start + written.len() as u64);
    entry.is_read = false;
    let watched = state.watched_slot.filter(|_| state.watches);
    let Some(multi) = &mut state.multi else { return };
    let verb = match request.route {
        Route::Transaction(verb) => Some(verb),
        _ => None,
    };
    let own = Rc::clone(&multi.own);
    if let Some(text) = request.malformed() {
        own.is_aborted.set(true);
        if verb != Some(Verb::Exec) {
            refuse(&mut entry, &text);
            return state.put(entry);
        }
        encode::error(&mut entry.reply, &text);
    }
    match verb {
        Some(Verb::Exec) => {
            let Some(multi) = state.multi.take() else { return };
            state.watches = false;
            let (request, frames) = ([&multi.request, EXEC].concat(), multi.frames + 1);
            let needs = multi.needs;
            entry.slot = multi.slot;
            entry.is_fence = true;
            entry.kind = atomic(request, frames, VisibleFrames::Last, own, needs);
        }
        Some(Verb::Discard) => {
            (state.multi, state.watches) = (None, false);
            entry.kind = Kind::Unwatch;
            entry.is_fence = true;
        }
        Some(Verb::Multi) => refuse(&mut entry, NESTED),
        Some(Verb::Watch) => refuse(&mut entry, WATCH_INSIDE),
        Some(Verb::Unwatch) | None => {
            let written = request.without_effect().unwrap_or(written);
            let slot = request.slot();
            // What is watched is so on a connection to its own node.
            let known = multi.slot.or(watched);
            let is_crossed = slot.is_some() && known.is_some() && slot != known;
            let is_long = multi.request.len() + written.len() > REQUEST_BYTES_MAX;
            let refusal = request.refusal(true).or_else(|| is_crossed.then(|| CROSSSLOT.to_owned()));
            let refusal = refusal.or_else(|| is_long.then(|| "ERR respguard: the transaction is too long".to_owned()));
            if let Some(text) = refusal {
                own.is_aborted.set(true);
                refuse(&mut entry, &text);
            } else {
                multi.slot = multi.slot.or(slot);
                multi.needs.note(request.spec, request.args);
                multi.request.extend_from_slice(written);
                multi.frames += 1;
                entry.slot = multi.slot;
                entry.holds_slot = true;
                entry.kind = atomic([MULTI, written, DISCARD].concat(), 3, VisibleFrames::Second, own, ScriptNeeds::default());
            }
        }
    }
    state.put(entry);
}

fn refuse(entry: &mut Entry, text: &str) {
    encode::error(&mut entry.reply, text);
    entry.kind = Kind::ProxyReply;
}

fn atomic(
    request: Vec<u8>,
    frames: u32,
    shows: VisibleFrames,
    own: Rc<super::entry::OpenTransaction>,
    needs: ScriptNeeds,
) -> Kind {
    let outer = vec![MULTI.len()];
    Kind::Atomic(Box::new(Atomic {
        request: Some(request),
        frames,
        outer,
        shows,
        own: Some(own),
        is_asked: false,
        needs,
        ends: Vec::new(),
        passes: false,
        orphan: None,
        portion: Portion::Whole,
    }))
}
