//! Splits what a client's link has written into requests, and decides where each goes.

use std::time::Instant;

use super::core::Core;
use super::entry::{Entry, Kind, Phase};
use super::messages::ABORTED_BY;
use super::state::{Parsing, State};
use super::subscriptions::Change;
use super::times::Times;
use super::{gather, inquiry, login, proxy_reply, transaction};
use respguard_engine::command::{BlockFor, CommandId, ConnectionEffect, Lane, RetryClass, Spec, Table, Timeout};
use respguard_engine::route::place::{Route, Slots, Verb, slots};
use respguard_resp::encode;
use respguard_resp::request::{Args, Limits, Parsed, RequestParser};

/// Redis' own text.
pub(super) const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// To a request before a cluster that is longer than what is left.
const TOO_LONG: &str = "was not sent: it is longer than what may be held for a node ([listen] buffered_bytes_max)";

/// One request as it was read.
pub(super) struct Request<'a> {
    pub(super) id: CommandId,
    pub(super) spec: &'a Spec,
    pub(super) args: Args<'a>,
    pub(super) route: Route,
    pub(super) slots: Slots,
}

impl<'a> Request<'a> {
    pub(super) fn read(core: &Core, table: &'a Table, args: Args<'a>) -> Request<'a> {
        let id = table.lookup(args);
        Request::of(core.nodes.route(table, id), table, id, args)
    }

    /// The same where it is known what it is, and how such a command is routed.
    #[inline]
    pub(super) fn of(route: Route, table: &'a Table, id: CommandId, args: Args<'a>) -> Request<'a> {
        let spec = table.spec(id);
        Request { id, spec, args, route, slots: slots(spec, args) }
    }

    /// Its name, as errors say it.
    pub(super) fn name(&self) -> String {
        let known = self.spec.name();
        if self.id == CommandId::UNKNOWN {
            return String::from_utf8_lossy(self.args.get(0).unwrap_or_default()).to_uppercase();
        }
        known.replace('|', " ").to_uppercase()
    }

    /// The error that it gets, if it cannot be done, also within a transaction.
    pub(super) fn refusal(&self, in_multi: bool) -> Option<String> {
        if let Some(text) = self.malformed() {
            return Some(text);
        }
        match self.route {
            Route::Refused(why) => Some(format!("ERR respguard: {} {why}", self.name())),
            Route::Login(Lane::Select) if self.args.get(1) == Some(b"0") => None,
            Route::Login(_) | Route::Quit if in_multi => {
                Some(format!("ERR respguard: {} inside MULTI is not possible on a cluster", self.name()))
            }
            Route::Every(_) | Route::Scan | Route::Subscribe | Route::Cluster(_) if in_multi => {
                Some(format!("ERR respguard: {} is about all nodes of a cluster: not possible inside MULTI", self.name()))
            }
            Route::Keys | Route::Split(_) if self.slots == Slots::Several && (in_multi || self.route == Route::Keys) => {
                Some(CROSSSLOT.to_owned())
            }
            Route::Transaction(Verb::Watch) if self.slots == Slots::Several => Some(CROSSSLOT.to_owned()),
            _ => None,
        }
    }

    /// Redis' own text about the number of its words, where nothing of the request reaches a node that would say it.
    pub(super) fn malformed(&self) -> Option<String> {
        let reaches_none = matches!(self.route, Route::Refused(_) | Route::Transaction(_) | Route::Accepted);
        let is_malformed = reaches_none && self.spec.present && !self.spec.arity_fits(self.args);
        let begin = if self.route == Route::Transaction(Verb::Exec) { ABORTED_BY } else { "ERR" };
        is_malformed.then(|| format!("{begin} wrong number of arguments for '{}' command", self.spec.name()))
    }

    /// Whether a node would take it.
    fn is_taken(&self) -> bool {
        let is_switch = |word: &[u8]| word.eq_ignore_ascii_case(b"on") || word.eq_ignore_ascii_case(b"off");
        let takes = match self.spec.name() {
            "client|no-evict" | "client|no-touch" => self.args.get(2).is_some_and(is_switch),
            _ => true,
        };
        takes && self.spec.present
    }

    /// What a node that clients share is sent in its place inside a transaction, where its effect on the connection would be
    /// everybody's: it is queued and answered alike.
    pub(super) fn without_effect(&self) -> Option<&'static [u8]> {
        let is_on = || self.args.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"on"));
        match self.spec.name() {
            "readonly" | "asking" if self.spec.arity_fits(self.args) => Some(&b"*1\r\n$9\r\nREADWRITE\r\n"[..]),
            "client|no-evict" if is_on() => Some(b"*3\r\n$6\r\nCLIENT\r\n$8\r\nNO-EVICT\r\n$3\r\nOFF\r\n"),
            "client|no-touch" if is_on() => Some(b"*3\r\n$6\r\nCLIENT\r\n$8\r\nNO-TOUCH\r\n$3\r\nOFF\r\n"),
            _ => None,
        }
    }

    /// It runs a script or function that its node has to have.
    pub(super) fn runs_what_was_loaded(&self) -> bool {
        matches!(self.spec.name(), "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro")
    }

    pub(super) fn slot(&self) -> Option<u16> {
        match self.slots {
            Slots::One { slot, .. } => Some(slot),
            Slots::None | Slots::Several => None,
        }
    }
}

impl Core {
    /// Takes what was written.
    pub(super) fn take_in(&self, bytes: &[u8]) {
        let state = &mut *self.state.borrow_mut();
        state.queue_simple();
        state.input.extend_from_slice(bytes);
        let table = self.nodes.context.table();
        let Some(mut parser) = state.parsing.parser.take() else { return };
        // Taken out, so that the rest of the state can change while a request is looked at.
        let input = std::mem::take(&mut state.input);
        let Parsing { mut spans, mut arena, mut is_refused, .. } = std::mem::take(&mut state.parsing);
        let most = self.longest_request(input.len());
        let mut has_waited = state.room_wanted.take();
        loop {
            let rest = &input[state.parsed..];
            if is_refused {
                match parser.stream(rest) {
                    Ok(passed) => (state.parsed, is_refused) = (state.parsed + passed.bytes, !passed.end),
                    Err(_) => state.is_closed = true,
                }
                if is_refused || state.is_closed {
                    break;
                }
                continue;
            }
            match parser.parse(rest, &mut spans, &mut arena, most) {
                Parsed::Request { bytes, inline } => {
                    let start = state.input_start + state.parsed as u64;
                    let args = if inline { Args::new(&arena, &spans) } else { Args::new(&rest[..bytes], &spans) };
                    let request = Request::read(self, &table, args);
                    let taken = self.take_request(state, &table, &request, rest, start, bytes);
                    state.parsed += taken;
                    spans.clear();
                    arena.clear();
                }
                Parsed::Nothing { bytes } => {
                    state.parsed += bytes;
                    spans.clear();
                    arena.clear();
                }
                Parsed::Incomplete => break,
                Parsed::Large if self.waits_for_room(state, parser.known_bytes(), has_waited.take()) => break,
                Parsed::Large => {
                    let passed = parser.parsed_bytes();
                    let start = state.input_start + state.parsed as u64;
                    let request = Request::read(self, &table, Args::new(rest, &spans));
                    self.refuse_large(state, &request, start..start + passed as u64);
                    (state.parsed, is_refused) = (state.parsed + passed, true);
                    parser.begin_stream();
                    spans.clear();
                    arena.clear();
                }
                // The proxy has read them before: it does not write such.
                Parsed::Error(_) => {
                    state.is_closed = true;
                    parser = RequestParser::new(Limits::default());
                    break;
                }
            }
        }
        state.input = input;
        state.parsing = Parsing { parser: Some(parser), spans, arena, is_refused };
        drop(table);
        state.advance();
    }

    /// It is answered so instead of being held.
    fn refuse_large(&self, state: &mut State, request: &Request<'_>, bytes: std::ops::Range<u64>) {
        let mut entry = self.entry(request, bytes);
        encode::error(&mut entry.reply, &format!("ERR respguard: {} {TOO_LONG}", request.name()));
        entry.kind = Kind::ProxyReply;
        if let Some(multi) = &state.multi {
            multi.own.is_aborted.set(true);
        }
        state.put(entry);
    }

    /// Takes the request that `rest` begins with; returns how many bytes it, and what belongs to it, have.
    pub(super) fn take_request(
        &self,
        state: &mut State,
        table: &Table,
        request: &Request<'_>,
        rest: &[u8],
        start: u64,
        bytes: usize,
    ) -> usize {
        if request.route == Route::Quit {
            let mut entry = self.entry(request, start..start + bytes as u64);
            encode::simple(&mut entry.reply, "OK");
            entry.kind = Kind::ProxyReply;
            state.put(entry);
            state.is_closed = true;
            return bytes;
        }
        if state.multi.is_none()
            && let Some(reply) = self.refusal_while_subscribed(state, request.spec, request.args)
        {
            let mut entry = self.entry(request, start..start + bytes as u64);
            (entry.reply, entry.kind) = (reply, Kind::ProxyReply);
            state.put(entry);
            return bytes;
        }
        if state.multi.is_some() {
            transaction::take_queued(self, state, request, &rest[..bytes], start);
            return bytes;
        }
        if (matches!(request.route, Route::Transaction(Verb::Multi | Verb::Watch)) || transaction::sets_guard(self, request))
            && !state.watches
            && let Some(taken) = transaction::take_whole(self, state, table, rest, start)
        {
            return taken;
        }
        if let Some(taken) = inquiry::take(self, state, table, request, rest, start, bytes) {
            return taken;
        }
        let range = start..start + bytes as u64;
        let mut entry = self.entry(request, range);
        if let Some(text) = request.refusal(false) {
            encode::error(&mut entry.reply, &text);
            entry.kind = Kind::ProxyReply;
        } else {
            match request.route {
                Route::Keys if request.spec.is_blocking(request.args) => {
                    // It waits on a connection of its own; what is behind it must not overtake it, nor it what is before.
                    entry.kind = Kind::Blocking(None);
                    entry.is_fence = true;
                }
                Route::Keys if request.runs_what_was_loaded() => self.note_needs(&mut entry, request),
                Route::Keys => {}
                Route::Refused(_) | Route::Quit => {}
                Route::Login(lane) => login::take(self, request, lane, &mut entry),
                Route::Split(split) if request.slots == Slots::Several => {
                    gather::split(self, request, split, &mut entry);
                }
                Route::Split(_) => {}
                Route::Every(merge) => {
                    self.nodes.scripts().note(request.spec, request.args);
                    gather::every(request, &rest[..bytes], merge, &mut entry);
                }
                Route::Scan => gather::scan(self, request, &mut entry),
                Route::Subscribe => subscribe(request, &mut entry),
                // A node says what is wrong with it.
                Route::Accepted if !request.is_taken() => {}
                Route::Accepted => {
                    encode::simple(&mut entry.reply, "OK");
                    entry.kind = Kind::ProxyReply;
                }
                Route::Cluster(command) => proxy_reply::answer(self, request, command, &rest[..bytes], &mut entry),
                Route::Wait => gather::wait(request.name(), &rest[..bytes], &mut entry),
                Route::Transaction(verb) => transaction::take(state, verb, &mut entry),
            }
        }
        state.put(entry);
        bytes
    }

    /// A request that goes to one node as it is.
    pub(super) fn entry(&self, request: &Request<'_>, bytes: std::ops::Range<u64>) -> Entry {
        self.entry_at(self.times(), request, bytes)
    }

    /// The same for one that was read at this time.
    #[inline(always)]
    pub(super) fn entry_at(&self, times: Times, request: &Request<'_>, bytes: std::ops::Range<u64>) -> Entry {
        let is_common = !request.spec.slow && request.spec.timeout == Timeout::Never;
        let deadline = if is_common { Some(times.deadline) } else { self.own_deadline(request, times.now) };
        Entry {
            slot: request.slot(),
            deadline,
            holds_slot: matches!(request.slots, Slots::One { keys: 2.., .. }),
            ..Entry::single(times, request.id, bytes, 0, request.spec.retry == RetryClass::Read)
        }
    }
}

impl Entry {
    /// A request about one key, in this slot, that was read at this time and is neither long by nature nor waits at its node.
    pub(super) fn single(times: Times, command: CommandId, bytes: std::ops::Range<u64>, slot: u16, is_read: bool) -> Entry {
        Entry {
            kind: Kind::Single,
            command,
            bytes,
            slot: Some(slot),
            frames: 1,
            phase: Phase::Waiting,
            deadline: Some(times.deadline),
            since: times.now,
            skip: 0,
            reply: Vec::new(),
            begun: false,
            is_read,
            holds_slot: false,
            is_fence: false,
            blocks_others: false,
            is_listed: false,
            stream: None,
            sent_to: None,
            again: None,
        }
    }
}

impl Core {
    /// Until when what is read now is waited for.
    pub(super) fn times(&self) -> Times {
        let now = State::now();
        if let Some(known) = self.nodes.times.get().filter(|known| known.now == now) {
            return known;
        }
        let times = Times::at(now, self.nodes.settings.request_timeout);
        self.nodes.times.set(Some(times));
        times
    }

    /// The same for what is long by nature, or may wait at its node.
    fn own_deadline(&self, request: &Request<'_>, now: Instant) -> Option<Instant> {
        let settings = &self.nodes.settings;
        let longest =
            if request.spec.slow { settings.slow_timeout.max(settings.request_timeout) } else { settings.request_timeout };
        match request.spec.is_blocking(request.args).then(|| request.spec.blocking_timeout(request.args)) {
            Some(Some(BlockFor::Forever)) => None,
            Some(Some(BlockFor::AtMost(timeout))) => (now + longest).checked_add(timeout),
            Some(None) | None => Some(now + longest),
        }
    }
}

/// Its form is looked at here, for it is not sent on as it is.
fn subscribe(request: &Request<'_>, entry: &mut Entry) {
    let (kind, on) = match request.spec.connection {
        ConnectionEffect::Subscribe(kind) => (kind, true),
        ConnectionEffect::Unsubscribe(kind) => (kind, false),
        _ => return,
    };
    // A node says what is wrong.
    if !request.spec.arity_fits(request.args) {
        return;
    }
    let names = request.args.iter().skip(1).map(Box::from).collect();
    entry.is_fence = true;
    entry.kind = Kind::Subscribe(Box::new(Change { kind, on, names, is_begun: false }));
}

impl State {
    /// The next request.
    pub(super) fn put(&mut self, mut entry: Entry) {
        if matches!(entry.kind, Kind::ProxyReply) {
            entry.phase = Phase::Done;
        }
        self.queue.push_back(entry);
        let place = self.queue.len() - 1;
        let entry = &self.queue[place];
        if entry.is_fence || entry.holds_slot {
            self.block_others(place);
        }
        if place == 0 && self.queue[0].is_over() {
            self.advance();
        }
    }
}
