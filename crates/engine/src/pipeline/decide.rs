//! Decides what happens to one command, from the command, the client's session, and the rules.

use super::plan::{Answer, Barrier, Planner};
use super::slot::Role;
use crate::command::{ConnectionEffect, PinReason, Spec};
use crate::policy::{Atomic, Fallback, Mode, Recognition};
use crate::session::affinity::Reason;
use crate::session::transaction::Transaction as SessionTransaction;
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
    pub(super) fn decide(&mut self, at: usize) -> Decision {
        let (spec, args) = (self.spec(at), self.args(at));
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
        self.rules.policy.recognise(self.rules.table, &mut |i| {
            (at + i < self.batch.len() && !self.is_claimed(at + i)).then(|| self.member(at + i))
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
            Fallback::Blank { rule, blank } => Some(Decision::Answer(Answer::Degraded { rule, blank })),
            Fallback::Error(error) => Some(Decision::Fault(encode::error_reply(&error))),
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
                let looks_on = self.group(group).may_go_on_behind(members) && self.looks_left >= members;
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
        let resolves = self.group(group).resolve && !self.rules.slots;
        leaves && resolves && self.rules.transactions && !self.is_observed(group)
    }

    pub(super) fn is_observed(&self, group: usize) -> bool {
        let rule = self.group(group);
        rule.atomic == Atomic::Observe || self.rules.policy.mode_of(rule.mode) == Mode::Observe
    }
}

/// One command needs no transaction.
pub(super) fn whole(group: usize, members: usize) -> Decision {
    if members > 1 { Decision::Group { group, members, bare: false } } else { Decision::Send(Role::Plain) }
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

mod connection;
mod transaction;
