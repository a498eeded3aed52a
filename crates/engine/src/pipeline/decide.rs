//! What becomes of one command, by what it is, what the client has said before, and which rules there are.

use super::plan::{Answer, Barrier, Planner, Step};
use super::refuse::{SPOILER, UNREADABLE};
use super::slot::Role;
use crate::command::{ClientCommand, ConnectionEffect, Lane, PinReason, Spec, Transaction};
use crate::policy::{Atomic, Member, Mode, Recognition, StandIn};
use crate::session::affinity::Reason;
use crate::session::lane::LaneChange;
use crate::session::reply_mode::ReplyMode;
use crate::session::transaction::Transaction as SessionTransaction;
use crate::session::{ClientMode, Queue};
use respguard_resp::encode;
use respguard_resp::request::Args;

/// What becomes of the next commands.
pub(super) enum Decision {
    Send(Role),
    /// The client's own whole MULTI .. EXEC, of so many commands.
    Transaction(usize),
    Group {
        group: usize,
        members: usize,
        /// Its members are sent as they came, and it is told.
        bare: bool,
    },
    /// The group that begins here has claimed its members.
    Gathered,
    /// All up to this command has been dealt with.
    Spanned(usize),
    Answer(Answer),
    /// This error, in Redis' own words.
    Fault(Vec<u8>),
    Barrier(Barrier),
}

impl Planner<'_> {
    pub(super) fn args(&self, at: usize) -> Args<'_> {
        self.batch.args(self.bytes, at)
    }

    fn spec(&self, at: usize) -> &Spec {
        self.rules.table.spec(self.batch.id(at))
    }

    pub(super) fn decide(&mut self, at: usize) -> Decision {
        let table = self.rules.table;
        let spec = table.spec(self.batch.id(at));
        let args = self.batch.args(self.bytes, at);
        if spec.connection == ConnectionEffect::Pin(PinReason::Unknown) && is_cross_protocol(args) {
            return Decision::Barrier(Barrier::Close);
        }
        if self.session.transaction.is_open() {
            return self.decide_queued(at, spec, args);
        }
        let effect = spec.connection_effect(args);
        // Behind commands that were sent it would overtake them.
        if self.rules.troubled && (at == 0 || self.session.missed.any()) && self.may_cure(spec, args) {
            return Decision::Barrier(Barrier::Spare);
        }
        if self.session.missed.any() && !self.makes_up(at, effect) {
            return Decision::Answer(Answer::Refuse(self.session.missed.text()));
        }
        if self.session.caching
            && let Some(decision) = self.decide_cached(at, effect)
        {
            return decision;
        }
        if let SessionTransaction::Lost { open } = self.session.transaction
            && let Some(decision) = self.decide_lost(open, effect, spec.arity_fits(args))
        {
            return decision;
        }
        if effect == ConnectionEffect::None {
            return match self.decide_plain(at) {
                Decision::Send(role) => self.degrade(at).unwrap_or(Decision::Send(role)),
                decision => decision,
            };
        }
        if !spec.arity_fits(args) && effect != ConnectionEffect::Pin(PinReason::Unknown) {
            return Decision::Send(Role::Plain);
        }
        if self.session.in_subscribe_mode() {
            return self.decide_subscriber(effect, args);
        }
        self.decide_effect(at, effect, args, spec.present)
    }

    /// Where the commands end that come before a `Host` header: at the request line, which Redis closes on without a word.
    pub(super) fn before_http(&self, at: usize) -> usize {
        let Some(before) = at.checked_sub(1).filter(|before| *before >= self.run) else { return at };
        let args = self.args(before);
        if is_request_line(args) && !self.spec(before).arity_fits(args) { before } else { at }
    }

    /// Whether the command may tell what a server in trouble lacks, or give it.
    fn may_cure(&self, spec: &Spec, args: Args<'_>) -> bool {
        let session = &self.session;
        let is_free = session.transaction.is_idle() && !session.subscriptions.any() && !session.affinity.is_pinned();
        is_free && !session.missed.login() && spec.is_cure() && spec.arity_fits(args)
    }

    /// The command that CLIENT CACHING is about (<https://redis.io/docs/latest/commands/client-caching/>). In a transaction
    /// of ours the flag would be about all members, and in front of one about our own command: a group that begins here is
    /// not wrapped.
    fn decide_cached(&mut self, at: usize, effect: ConnectionEffect) -> Option<Decision> {
        // Those about clients leave the flag to the command behind them.
        if self.spec(at).name().starts_with("client|") {
            return None;
        }
        let plain = effect == ConnectionEffect::None && !self.session.in_subscribe_mode();
        let groups = plain && !self.rules.policy.groups().is_empty();
        let recognised = if groups { self.recognise(at) } else { Recognition::None };
        match recognised {
            Recognition::Whole { open: true, .. } | Recognition::Prefix { .. } if self.more => {
                return Some(Decision::Barrier(Barrier::Wait));
            }
            _ => self.session.caching = false,
        }
        match recognised {
            Recognition::Whole { group, members, .. } if members > 1 => Some(Decision::Group { group, members, bare: true }),
            _ if groups => Some(Decision::Send(Role::Plain)),
            _ => None,
        }
    }

    /// The group that begins at the command.
    pub(super) fn recognise(&self, at: usize) -> Recognition {
        let (batch, bytes) = (self.batch, self.bytes);
        self.rules.policy.recognise(self.rules.table, &mut |i| {
            (at + i < batch.len() && !self.is_claimed(at + i))
                .then(|| Member { id: batch.id(at + i), args: batch.args(bytes, at + i) })
        })
    }

    /// Whether the command may give the client what it misses, or ends that it waits for it.
    fn makes_up(&self, at: usize, effect: ConnectionEffect) -> bool {
        match effect {
            ConnectionEffect::Lane(_) | ConnectionEffect::Quit | ConnectionEffect::Reset => true,
            // Whose rights it would use is not known.
            ConnectionEffect::Spare | ConnectionEffect::Pin(PinReason::Shutdown) => !self.session.missed.login(),
            _ => self.session.missed.is_mode(self.batch.id(at)),
        }
    }

    /// What a rule has the command answered with, while there is no server. A lease has one, and a transaction must
    /// not be answered in part.
    pub(super) fn degrade(&self, at: usize) -> Option<Decision> {
        let has_lease = self.session.affinity.is_pinned() && !self.rules.slots;
        if !self.rules.degraded && !self.is_unserved(at) || has_lease || !self.session.transaction.is_idle() {
            return None;
        }
        match self.rules.policy.degrade(self.rules.table, self.member(at))? {
            StandIn::Blank { rule, blank } => Some(Decision::Answer(Answer::Degraded { rule, blank })),
            StandIn::Error(error) => {
                let mut reply = Vec::new();
                encode::error(&mut reply, &error);
                Some(Decision::Fault(reply))
            }
        }
    }

    fn decide_plain(&mut self, at: usize) -> Decision {
        // The reply to the first member alone could not be left out.
        let is_apart = self.rules.skips && at == 0;
        if is_apart || self.rules.policy.groups().is_empty() || self.session.transaction.is_lost() {
            return Decision::Send(Role::Plain);
        }
        let recognised = self.recognise(at);
        if self.session.in_subscribe_mode() {
            // What may run behind the last UNSUBSCRIBE is planned when that is answered; all else is refused one by one.
            return match recognised {
                Recognition::None => Decision::Send(Role::Plain),
                _ if self.session.subscriptions.is_changing() => Decision::Barrier(Barrier::Pin(Reason::Subscription)),
                _ => Decision::Send(Role::Plain),
            };
        }
        if !self.session.transaction.is_idle() {
            return match recognised {
                Recognition::Whole { group, members, .. } => whole(group, members),
                _ => Decision::Send(Role::Plain),
            };
        }
        let decision = self.decide_member(at, recognised);
        if matches!(decision, Decision::Send(Role::Plain)) {
            self.note_stray(at);
        }
        decision
    }

    /// What becomes of a command that may be in a group, by what begins with it.
    fn decide_member(&mut self, at: usize, recognised: Recognition) -> Decision {
        match recognised {
            Recognition::Whole { group, .. } | Recognition::Prefix { group, .. } if self.must_share(group) => {
                Decision::Barrier(Barrier::Share)
            }
            Recognition::Whole { group, members, open: false } if self.carries(group) => {
                let looks_on = self.rules.policy.groups()[group].may_go_on_behind(members) && self.looks_left >= members;
                let carried = if looks_on { self.carry(at, true) } else { None };
                carried.unwrap_or_else(|| whole(group, members))
            }
            Recognition::Whole { group, members, open: false } if self.gather_trailing(at, group, members) => Decision::Gathered,
            Recognition::Whole { group, members, open } if !(open && self.more) => whole(group, members),
            Recognition::Prefix { group, .. } | Recognition::Whole { group, .. } if self.more && !self.may_be_apart(group) => {
                Decision::Barrier(Barrier::Wait)
            }
            Recognition::None | Recognition::Prefix { hold: false, .. } => Decision::Send(Role::Plain),
            _ if self.begins_group(at).is_some_and(|(group, _)| self.carries(group)) => {
                self.carry(at, false).unwrap_or_else(|| match recognised {
                    Recognition::Whole { group, members, .. } => whole(group, members),
                    _ => Decision::Send(Role::Plain),
                })
            }
            _ if self.gather(at) => match self.claim(at) {
                Some(gathered) if gathered.whole && self.must_share(gathered.group) => Decision::Barrier(Barrier::Share),
                _ => Decision::Gathered,
            },
            Recognition::Whole { group, members, .. } => whole(group, members),
            Recognition::Begun | Recognition::Prefix { .. } => Decision::Send(Role::Plain),
        }
    }

    /// A group that is to be asked about should its connection be lost goes out on a shared one, unless that could be lost
    /// over it.
    pub(super) fn must_share(&self, group: usize) -> bool {
        let leaves = self.session.affinity.is_pinned() && self.session.is_free() && !self.rules.alone;
        let resolves = self.rules.policy.groups()[group].resolve && !self.rules.slots;
        leaves && resolves && self.rules.transactions && !self.is_observed(group)
    }

    pub(super) fn is_observed(&self, group: usize) -> bool {
        let rule = &self.rules.policy.groups()[group];
        rule.atomic == Atomic::Observe || self.rules.policy.mode_of(rule.mode) == Mode::Observe
    }

    fn decide_effect(&mut self, at: usize, effect: ConnectionEffect, args: Args<'_>, present: bool) -> Decision {
        let pinned = self.session.affinity.is_pinned();
        match effect {
            ConnectionEffect::None => Decision::Send(Role::Plain),
            // What the server does not list goes where it would go all the same: Redis before 7.0 does not list QUIT,
            // and a server that was upgraded meanwhile has what the one before it lacked. Only what the proxy would
            // answer by itself is left to the server.
            ConnectionEffect::ClientCommand(_) if !present => Decision::Send(Role::Plain),
            // Libraries ask for it as they connect; a server that does not know it refuses it, and nothing has changed.
            ConnectionEffect::Pin(PinReason::Capability) if !present => Decision::Send(Role::Plain),
            ConnectionEffect::Reset if !present => self.on_lease(Reason::Exclusive),
            // Invalidations come to a connection of the client's own.
            ConnectionEffect::ClientCommand(ClientCommand::ClientTracking) if self.session.affinity.is_passing() => {
                Decision::Barrier(Barrier::Pin(Reason::Exclusive))
            }
            // The server says what is wrong with it.
            ConnectionEffect::ClientCommand(ClientCommand::ClientReply) if ReplyMode::read(args).is_none() => {
                Decision::Send(Role::Plain)
            }
            ConnectionEffect::ClientCommand(command) => Decision::Barrier(Barrier::ClientCommand(command)),
            ConnectionEffect::Lane(lane) => self.decide_lane(lane, args),
            ConnectionEffect::Transaction(what) => self.decide_transaction(at, what),
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) if !pinned => {
                Decision::Barrier(Barrier::Pin(Reason::Subscription))
            }
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) => self.decide_subscriber(effect, args),
            ConnectionEffect::Blocking => self.on_lease(Reason::Blocking),
            ConnectionEffect::Pin(PinReason::Wait) => {
                if pinned {
                    self.end_run(at);
                    self.plan.steps.push(Step::CatchUp);
                }
                self.on_lease(Reason::Blocking)
            }
            ConnectionEffect::Pin(PinReason::Replication) if self.spec(at).name().ends_with("sync") => {
                Decision::Answer(Answer::NoReplica)
            }
            ConnectionEffect::Pin(PinReason::Replication) if !self.rules.policy.is_empty() => {
                Decision::Answer(Answer::Refuse(UNREADABLE))
            }
            ConnectionEffect::Monitor | ConnectionEffect::Pin(PinReason::Replication) => self.on_tunnel(),
            // Who keeps a connection of his own has it already, and may be somebody else on it.
            ConnectionEffect::Spare if !self.session.affinity.is_passing() => Decision::Send(Role::Plain),
            ConnectionEffect::Pin(PinReason::Shutdown) if !self.session.affinity.is_passing() => self.on_tunnel(),
            ConnectionEffect::Pin(PinReason::Shutdown) => Decision::Barrier(Barrier::Spare),
            ConnectionEffect::Pin(PinReason::Tracking) if self.spec(at).name() == "client|caching" => {
                self.session.caching |= pinned;
                self.on_lease(Reason::Exclusive)
            }
            ConnectionEffect::Pin(what @ (PinReason::NoEvict | PinReason::NoTouch)) if pinned => {
                self.session.affinity.pin(Reason::Exclusive);
                let mode = if what == PinReason::NoEvict { ClientMode::NoEvict } else { ClientMode::NoTouch };
                Decision::Send(Role::Mode(mode, args.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"on"))))
            }
            ConnectionEffect::Pin(_) => self.on_lease(Reason::Exclusive),
            ConnectionEffect::Spare => Decision::Barrier(Barrier::Spare),
            ConnectionEffect::Quit => Decision::Barrier(Barrier::Quit),
            ConnectionEffect::Reset => Decision::Barrier(Barrier::Reset),
        }
    }

    fn decide_lane(&mut self, lane: Lane, args: Args<'_>) -> Decision {
        let Some(change) = LaneChange::read(lane, args) else {
            return Decision::Send(Role::Plain);
        };
        // What makes up for a change that was missed is noted once the server has agreed to it.
        if lane == Lane::Hello && change.is_idle(self.session.protocol) && !self.session.missed.any() {
            return Decision::Send(Role::Hello);
        }
        // A lease that cannot be left changes lanes itself, and can serve nobody else afterwards. Without a
        // lease there is nothing to keep: what tied the client to one may be lost.
        if self.session.affinity.is_pinned() && !self.session.is_free() {
            self.session.affinity.pin(Reason::Exclusive);
        }
        Decision::Barrier(Barrier::Lane)
    }

    fn on_lease(&mut self, reason: Reason) -> Decision {
        if !self.session.affinity.is_pinned() {
            return Decision::Barrier(Barrier::Pin(reason));
        }
        self.session.affinity.pin(reason);
        Decision::Send(Role::Plain)
    }

    fn on_tunnel(&self) -> Decision {
        Decision::Barrier(Barrier::Pin(Reason::Tunnel))
    }

    fn decide_transaction(&mut self, at: usize, what: Transaction) -> Decision {
        let pinned = self.session.affinity.is_pinned();
        match what {
            Transaction::Multi if pinned => {
                self.session.transaction.multi();
                self.session.queue = Queue::default();
                Decision::Send(Role::Multi)
            }
            // Each attempt would cost everybody on the shared connection what is in flight.
            Transaction::Multi if !self.rules.transactions => Decision::Barrier(Barrier::Pin(Reason::Transaction)),
            Transaction::Multi => match self.own_transaction(at) {
                OwnTransaction::Whole(commands) => Decision::Transaction(commands),
                OwnTransaction::Unfinished if self.more => Decision::Barrier(Barrier::Wait),
                OwnTransaction::Unfinished | OwnTransaction::Mixed => Decision::Barrier(Barrier::Pin(Reason::Transaction)),
            },
            Transaction::Watch if pinned => {
                self.session.transaction.watch();
                Decision::Send(Role::Plain)
            }
            Transaction::Watch => Decision::Barrier(Barrier::Pin(Reason::Transaction)),
            Transaction::Unwatch => {
                self.session.transaction.unwatch();
                Decision::Send(Role::Plain)
            }
            // Outside of MULTI they are errors without effect.
            Transaction::Exec | Transaction::Discard => Decision::Send(Role::Plain),
        }
    }

    /// Whether the client's MULTI can ride on a shared connection: all of it is there, up to its
    /// EXEC or DISCARD, and nothing in it does anything but to read or write keys.
    fn own_transaction(&self, at: usize) -> OwnTransaction {
        for place in at + 1..self.batch.len() {
            let (spec, args) = (self.spec(place), self.args(place));
            match spec.connection {
                ConnectionEffect::Transaction(Transaction::Exec | Transaction::Discard) if spec.arity_fits(args) => {
                    return OwnTransaction::Whole(place + 1 - at);
                }
                _ if !spec.is_plain_keyed(args) => return OwnTransaction::Mixed,
                _ => {}
            }
        }
        OwnTransaction::Unfinished
    }

    pub(super) fn role_of_end(&self, at: usize) -> Role {
        match self.spec(at).connection {
            ConnectionEffect::Transaction(Transaction::Exec | Transaction::Discard) => Role::Exec,
            _ => Role::Queued,
        }
    }

    /// The connection with the client's WATCH or MULTI is gone: the client keeps its own, and learns
    /// at EXEC that nothing was applied.
    fn decide_lost(&mut self, open: bool, effect: ConnectionEffect, well_formed: bool) -> Option<Decision> {
        match effect {
            ConnectionEffect::Quit => Some(Decision::Barrier(Barrier::Quit)),
            ConnectionEffect::Reset => Some(Decision::Barrier(Barrier::Reset)),
            ConnectionEffect::Transaction(Transaction::Multi) => {
                self.session.transaction = SessionTransaction::Lost { open: true };
                Some(Decision::Answer(Answer::Ok))
            }
            ConnectionEffect::Transaction(Transaction::Exec) if open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::ExecAbort))
            }
            ConnectionEffect::Transaction(Transaction::Discard) if open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::Ok))
            }
            ConnectionEffect::Transaction(Transaction::Unwatch) if !open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::Ok))
            }
            // Nothing will be applied anyway, and a connection that watches would outlast the transaction.
            ConnectionEffect::Transaction(Transaction::Watch) if !open && well_formed => Some(Decision::Answer(Answer::Ok)),
            _ => open.then_some(Decision::Answer(Answer::Queued)),
        }
    }

    /// Within the client's own MULTI, on a lease: everything is passed on.
    fn decide_queued(&mut self, at: usize, spec: &Spec, args: Args<'_>) -> Decision {
        let effect = spec.connection_effect(args);
        // An EXEC with conditions ends the transaction where the server knows them, and where it does not.
        if !spec.arity_fits(args) && effect != ConnectionEffect::Transaction(Transaction::Exec) {
            return Decision::Send(Role::Queued);
        }
        if effect == ConnectionEffect::ClientCommand(ClientCommand::ClientReply) && ReplyMode::read(args).is_some() {
            return Decision::Answer(Answer::Refuse(REPLY_IN_MULTI));
        }
        // The server refuses these two without giving the transaction up, and queues all else.
        if !matches!(effect, ConnectionEffect::Transaction(Transaction::Multi | Transaction::Watch)) {
            self.session.queue.commands = self.session.queue.commands.saturating_add(1);
            self.session.queue.slow |= spec.slow;
        }
        match effect {
            ConnectionEffect::Transaction(Transaction::Exec) => {
                if self.session.queue.answers > 0 {
                    return Decision::Barrier(Barrier::Exec);
                }
                self.session.transaction.end();
                Decision::Send(Role::Exec)
            }
            ConnectionEffect::ClientCommand(command) if spec.present => {
                self.session.queue.answers = self.session.queue.answers.saturating_add(1);
                Decision::Barrier(Barrier::ClientCommand(command))
            }
            ConnectionEffect::Transaction(Transaction::Discard) => {
                self.session.transaction.end();
                self.undecided.clear();
                Decision::Send(Role::Exec)
            }
            ConnectionEffect::Quit => Decision::Barrier(Barrier::Quit),
            ConnectionEffect::Reset => Decision::Barrier(Barrier::Reset),
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) | ConnectionEffect::Pin(PinReason::Replication)
                if !self.rules.policy.is_empty() =>
            {
                self.spoil(at, UNREADABLE_IN_MULTI)
            }
            // Their replies would not be one for each request (redis-semantics: confirmations inside EXEC).
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) | ConnectionEffect::Pin(PinReason::Replication) => {
                self.on_tunnel()
            }
            ConnectionEffect::None
            | ConnectionEffect::Transaction(_)
            | ConnectionEffect::Blocking
            | ConnectionEffect::Spare
            | ConnectionEffect::Monitor => Decision::Send(Role::Queued),
            // The server would take the client's login, which is meant for the proxy, for one of its own.
            ConnectionEffect::Lane(lane) if self.is_login(lane, args) => Decision::Answer(Answer::Refuse(LOGIN_IN_MULTI)),
            // What it changes is known when EXEC has been answered.
            ConnectionEffect::Lane(lane) if spec.present && LaneChange::read(lane, args).is_some() => {
                self.session.affinity.pin(Reason::Exclusive);
                self.session.queue.answers = self.session.queue.answers.saturating_add(1);
                Decision::Barrier(Barrier::Lane)
            }
            ConnectionEffect::ClientCommand(_) | ConnectionEffect::Lane(_) | ConnectionEffect::Pin(_) => {
                self.session.affinity.pin(Reason::Exclusive);
                Decision::Send(Role::Queued)
            }
        }
    }

    /// What aborts the transaction goes out in the command's place.
    fn spoil(&mut self, at: usize, text: &str) -> Decision {
        let mut reply = Vec::new();
        encode::error(&mut reply, text);
        self.plan.rewrites.push((at, SPOILER.to_vec()));
        Decision::Send(Role::Refused(Box::new(reply)))
    }

    /// What a RESP2 client in subscribe mode sends, and every (un)subscribe command.
    fn decide_subscriber(&mut self, effect: ConnectionEffect, args: Args<'_>) -> Decision {
        match effect {
            ConnectionEffect::Subscribe(_) => {
                self.session.subscriptions.sent();
                Decision::Send(Role::Subscription { frames: frames(args), confirmed: 0 })
            }
            ConnectionEffect::Unsubscribe(kind) => {
                self.session.subscriptions.sent();
                let role = if args.len() > 1 {
                    Role::Subscription { frames: frames(args), confirmed: 0 }
                } else {
                    Role::UnsubscribeAll(kind)
                };
                Decision::Send(role)
            }
            ConnectionEffect::Quit => Decision::Barrier(Barrier::Quit),
            ConnectionEffect::Reset => Decision::Barrier(Barrier::Reset),
            // Refused in subscribe mode, but not behind the last UNSUBSCRIBE: planned again when that is answered.
            _ if self.session.subscriptions.is_changing() => Decision::Barrier(Barrier::Pin(Reason::Subscription)),
            _ => Decision::Send(Role::Plain),
        }
    }
}

/// Redis itself would break off in the middle of the array that EXEC answers.
const REPLY_IN_MULTI: &str = "ERR respguard: CLIENT REPLY inside MULTI is not possible; the command was not queued";
const LOGIN_IN_MULTI: &str = "ERR respguard: logging in to the proxy inside MULTI is not possible; the command was not queued";

const UNREADABLE_IN_MULTI: &str =
    "ERR respguard: the command is refused inside MULTI while there are rules: they could not look at what follows it";

/// One command needs no transaction.
pub(super) fn whole(group: usize, members: usize) -> Decision {
    if members > 1 { Decision::Group { group, members, bare: false } } else { Decision::Send(Role::Plain) }
}

enum OwnTransaction {
    Whole(usize),
    Unfinished,
    Mixed,
}

/// The first line or the `Host` header of an HTTP request, which somebody may have talked a browser into sending:
/// Redis closes the connection (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/>).
pub(super) fn is_cross_protocol(args: Args<'_>) -> bool {
    args.get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:"))
}

/// `GET / HTTP/1.1` and its like.
fn is_request_line(args: Args<'_>) -> bool {
    args.len() == 3 && args.get(2).is_some_and(|version| version.starts_with(b"HTTP/"))
}

fn frames(args: Args<'_>) -> u32 {
    u32::try_from(args.len() - 1).unwrap_or(u32::MAX)
}
