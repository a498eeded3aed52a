//! Decides which commands the rules refuse, and what they are answered.

use std::collections::HashSet;
use std::sync::Arc;

use super::finding::{Finding, Outcome};
use super::named_keys;
use super::packing::too_long;
use super::plan::{Barrier, Planner, Step};
use super::reply_check::ReplyCheck;
use super::slot::Role;
use super::violation::{Kind, Violation};
use crate::command::{ConnectionEffect, Lane, Transaction, TtlEffect, only_changes_ttl};

use crate::policy::{Member, Mode, TtlAction, TtlRule};
use crate::session::lane::LaneChange;
use crate::session::transaction::Transaction as SessionTransaction;
use respguard_resp::encode;
use respguard_resp::request::Args;

/// Goes out in the place of a command that is refused within the client's own MULTI: GET without a key, which every
/// server refuses while it queues, so that EXEC aborts as it does after any command that was refused
/// (<https://redis.io/docs/latest/develop/using-commands/transactions/>).
pub const SPOILER: &[u8] = b"*1\r\n$3\r\nGET\r\n";

/// Behind it replies are no longer one for each request: rules could not be held to what follows.
pub const UNREADABLE: &str =
    "ERR respguard: the command is refused while there are rules: they could not look at what follows it";

/// <https://redis.io/docs/latest/commands/unwatch/>
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";

/// Commands behind a write that may still give its key a TTL are looked for among so many.
const LOOK_AHEAD: usize = 128;

/// Why a command must not pass.
pub(super) struct Refusal {
    /// Of the violation that it is; none is told of compress rules.
    kind: Option<Kind>,
    rule: Arc<str>,
    why: String,
    key_pattern: Option<Arc<str>>,
}

const HIDDEN: &str = "it would look into a value that may be compressed";
const NO_TTL: &str = "it would leave a key without a TTL";
const LONG_TTL: &str = "its TTL is longer than max";

/// The commands behind a write, which may still give its keys a TTL.
pub(super) struct Lookahead<'p, 'a, I> {
    planner: &'p Planner<'a>,
    commands: I,
    /// One key was looked for: most commands have no other.
    asked: bool,
    /// All keys that they may give a TTL or take away, where more are looked for: comparing each with each takes too long.
    expiring: Option<HashSet<&'a [u8]>>,
}

impl<I: Iterator<Item = usize> + Clone> Lookahead<'_, '_, I> {
    /// Whether one of the commands may give the key a TTL, or take it away.
    pub(super) fn may_expire(&mut self, key: &[u8]) -> bool {
        let Lookahead { planner, commands, asked, expiring } = self;
        if !std::mem::replace(asked, true) {
            return commands.clone().any(|at| {
                let mut may = false;
                planner.may_expire(at, &mut |other| may |= other == key);
                may
            });
        }
        let all = expiring.get_or_insert_with(|| {
            let mut keys = HashSet::new();
            commands.clone().for_each(|at| planner.may_expire(at, &mut |key| keys.extend([key])));
            keys
        });
        all.contains(key)
    }
}

impl<'a> Planner<'a> {
    /// Why the command must not pass, if so. `behind` are the commands that go with it or right after it.
    pub(super) fn refusal(&self, at: usize, behind: impl Iterator<Item = usize> + Clone) -> Option<Refusal> {
        let policy = self.rules.policy;
        let command = self.member(at);
        let mut guards = policy.guards_of(self.rules.table, command).filter(|rule| policy.rejects(rule));
        let tripped = guards.find_map(|rule| Some((rule, rule.breach(command, self.rules.table)?)));
        if let Some((rule, breach)) = tripped {
            let (rule, why) = (Arc::clone(&rule.name), breach.to_string());
            return Some(Refusal { kind: Some(Kind::Guard), rule, why, key_pattern: None });
        }
        if let Some(refusal) = self.compress_refusal(command) {
            return Some(refusal);
        }
        if policy.has_acting_ttl_rules() { self.ttl_refusal(at, behind) } else { None }
    }

    fn compress_refusal(&self, command: Member<'_>) -> Option<Refusal> {
        let (policy, table) = (self.rules.policy, self.rules.table);
        if policy.compress_rules().is_empty() {
            return None;
        }
        let hidden = policy.hidden_from(table, command).map(|rule| (rule, HIDDEN.to_owned()));
        let (rule, why) = hidden.or_else(|| {
            let rule = too_long(policy, table, command)?;
            Some((rule, format!("a value is longer than value_bytes_max ({})", rule.value_bytes_max)))
        })?;
        Some(Refusal { kind: None, rule: Arc::clone(&rule.name), why, key_pattern: None })
    }

    fn ttl_refusal(&self, at: usize, behind: impl Iterator<Item = usize> + Clone) -> Option<Refusal> {
        let (mut refusal, mut ahead) = (None, self.ahead(behind));
        self.ttl_effects(at, &mut |key, effect| {
            let Some((_, rule)) = self.rules.policy.ttl_rule_for(key) else { return };
            if refusal.is_some() || !self.enforces(rule, TtlAction::Reject) {
                return;
            }
            let why = match effect {
                TtlEffect::Drop | TtlEffect::Persist | TtlEffect::Create if !ahead.may_expire(key) => NO_TTL,
                // A condition decides whether it is set, not how long it is.
                effect if self.lifetime(effect).is_some_and(|ttl| rule.is_exceeded_by(ttl)) => LONG_TTL,
                _ => return,
            };
            let (why, key_pattern) = (why.to_owned(), rule.pattern_of(key).map(Arc::from));
            refusal = Some(Refusal { kind: Some(Kind::TtlRejected), rule: Arc::clone(&rule.name), why, key_pattern });
        });
        refusal
    }

    /// How long a key lives that the command gives a time to live, from now.
    pub(super) fn lifetime(&self, effect: TtlEffect) -> Option<i64> {
        match effect {
            TtlEffect::Set { milliseconds, .. } => milliseconds,
            TtlEffect::SetAt { milliseconds, .. } => milliseconds?.checked_sub(self.rules.unix_ms),
            _ => None,
        }
    }

    /// Whether the rule acts, and so.
    pub(super) fn enforces(&self, rule: &TtlRule, action: TtlAction) -> bool {
        rule.action == action && self.rules.policy.mode_of(rule.mode) == Mode::Enforce
    }

    /// What may become of the TTLs of keys at these commands, as far as they are looked at.
    pub(super) fn ahead<I: Iterator<Item = usize>>(&self, commands: I) -> Lookahead<'_, 'a, std::iter::Take<I>> {
        Lookahead { planner: self, commands: commands.take(LOOK_AHEAD), asked: false, expiring: None }
    }

    /// The keys that the command may give a TTL, or take away.
    fn may_expire(&self, at: usize, visit: &mut dyn FnMut(&'a [u8])) {
        if only_changes_ttl(self.spec(at), self.args(at)) {
            return;
        }
        self.ttl_effects(at, &mut |key, effect| {
            use TtlEffect::{Delete, Inherit, Set, SetAt, Unknown};
            if matches!(effect, Set { .. } | SetAt { .. } | Delete | Inherit | Unknown) {
                visit(key);
            }
        });
    }

    /// The commands right behind one.
    pub(super) fn behind(&self, at: usize) -> std::ops::Range<usize> {
        at + 1..self.batch.len().min(at + 1 + LOOK_AHEAD)
    }

    /// A command that nothing surrounds goes out as it is, unless a rule refuses it or checks its reply.
    pub(super) fn pass(&mut self, at: usize, role: Role) {
        if self.rules.policy.has_rules_of_commands() {
            return self.pass_by_rules(at, role);
        }
        self.plan.roles.push(role);
    }

    /// A command that does something to its connection is refused before that is thought about; true when it is.
    pub(super) fn refuse_effect(&mut self, at: usize) -> bool {
        if !self.rules.policy.has_rules_of_commands() {
            return false;
        }
        let (spec, args) = (self.spec(at), self.args(at));
        let (effect, queued) = (spec.connection_effect(args), self.session.transaction.is_open());
        let asks = match effect {
            ConnectionEffect::None | ConnectionEffect::Quit | ConnectionEffect::Reset => false,
            ConnectionEffect::Transaction(_) if queued => false,
            // The server refuses all else there.
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) => true,
            _ => !self.session.in_subscribe_mode(),
        };
        let asks = asks && !self.session.transaction.is_lost();
        let Some(refusal) = asks.then(|| self.refusal(at, self.behind(at))).flatten() else { return false };
        match effect {
            ConnectionEffect::Transaction(Transaction::Watch) if spec.arity_fits(args) => self.refuse_watch(at, &refusal),
            ConnectionEffect::Lane(lane) if !queued => {
                self.miss(lane, args);
                self.refuse(at, &refusal, false);
            }
            _ => self.refuse(at, &refusal, queued),
        }
        true
    }

    /// The transaction behind a WATCH must not do without it: it will abort.
    fn refuse_watch(&mut self, at: usize, refusal: &Refusal) {
        let watches = !self.session.transaction.is_idle();
        self.session.transaction = SessionTransaction::Lost { open: false };
        if !watches {
            return self.refuse(at, refusal, false);
        }
        // What is watched already would outlast the transaction.
        self.note_refusal(at, refusal);
        self.plan.rewrites.push((at, UNWATCH.to_vec()));
        self.plan.roles.push(Role::Refused(Box::new(self.error(at, refusal))));
    }

    /// What follows must not run in another database, or as another user, than its author thinks.
    fn miss(&mut self, lane: Lane, args: Args<'_>) {
        let change = LaneChange::read(lane, args).filter(|change| change.db.is_some() || change.login.is_some());
        if let Some(change) = change {
            self.session.missed.miss(&change);
        }
    }

    /// The plan ends before this command, which something else is done about: with it, or before it is planned again.
    pub(super) fn note_barrier(&mut self, at: usize, turn: Barrier) {
        if self.rules.policy.has_rules_of_commands()
            && !matches!(turn, Barrier::Pin(_) | Barrier::Share | Barrier::Wait | Barrier::Hold)
        {
            self.note_flags(at);
        }
    }

    fn pass_by_rules(&mut self, at: usize, role: Role) {
        let in_transaction = role.is_queued();
        if !in_transaction && !role.is_plain() {
            self.note_flags(at);
            return self.plan.roles.push(role);
        }
        let (policy, table, command) = (self.rules.policy, self.rules.table, self.member(at));
        let guarded = policy.guards_of(table, command).next().is_some();
        let compresses = !policy.compress_rules().is_empty();
        let checked = guarded || compresses || policy.expects_of(table, command).next().is_some();
        if (guarded || compresses || policy.has_acting_ttl_rules())
            && let Some(refusal) = self.refusal(at, self.behind(at))
        {
            return self.refuse(at, &refusal, in_transaction);
        }
        if guarded {
            self.note_flags(at);
        }
        self.rewrite_ttl(at, self.behind(at));
        self.pack(at);
        let checked = checked || self.plan.turned_by(at).is_some();
        let role = match (checked, in_transaction) {
            (false, _) => role,
            (true, false) => self.checked(at),
            (true, true) => match self.checked(at) {
                Role::Checked(check) => Role::QueuedChecked(check),
                _ => role,
            },
        };
        self.plan.roles.push(role);
    }

    /// The role of a command that goes out as it is: rules may check its reply.
    pub(super) fn checked(&self, at: usize) -> Role {
        let turned = self.plan.turned_by(at);
        ReplyCheck::of(self.rules.policy, self.rules.table, self.member(at), turned).map_or(Role::Plain, Role::Checked)
    }

    /// The command is answered with an error. Within the client's own MULTI what goes out in its place spoils that.
    pub(super) fn refuse(&mut self, at: usize, refusal: &Refusal, in_transaction: bool) {
        let reply = self.error(at, refusal);
        self.note_refusal(at, refusal);
        if in_transaction {
            self.plan.rewrites.push((at, SPOILER.to_vec()));
            self.plan.roles.push(Role::Refused(Box::new(reply)));
        } else {
            self.end_run(at);
            self.plan.steps.push(Step::Refuse { command: at, reply });
            self.plan.roles.push(Role::ProxyReply);
            self.skip(at + 1);
        }
    }

    fn error(&self, at: usize, refusal: &Refusal) -> Vec<u8> {
        encode::error_reply(&format!("ERR respguard: {} is refused by {}", self.name(at), refusal.text()))
    }

    /// A group of which a command is refused is not sent; true when that is so.
    pub(super) fn refuse_group(&mut self, members: &[usize], group: usize) -> bool {
        if !self.rules.policy.has_rules_of_commands() {
            return false;
        }
        let refused = members
            .iter()
            .enumerate()
            .find_map(|(place, &at)| Some((place, self.refusal(at, members[place + 1..].iter().copied())?)));
        let Some((place, refusal)) = refused else {
            let last = members.last().map_or(0..0, |&last| self.behind(last));
            for (place, &at) in members.iter().enumerate() {
                self.note_flags(at);
                self.rewrite_ttl(at, members[place + 1..].iter().copied().chain(last.clone()));
                self.pack(at);
            }
            return false;
        };
        self.note_refusal(members[place], &refusal);
        let culprit = self.name(members[place]);
        for (other, &at) in members.iter().enumerate() {
            let text = if other == place {
                format!("ERR respguard: {culprit} is refused by {}", refusal.text())
            } else {
                let name = &self.group(group).name;
                format!(
                    "EXECABORT Transaction discarded because of previous errors. respguard: group {name} was not sent: member {} of {} ({culprit}) is refused by {}",
                    place + 1,
                    members.len(),
                    refusal.text()
                )
            };
            let reply = encode::error_reply(&text);
            self.plan.steps.push(Step::Refuse { command: at, reply });
        }
        self.plan.found.push(Finding::Group { index: group, outcome: Outcome::Aborted });
        true
    }

    /// A single command is answered with an error.
    pub(super) fn refuse_alone(&mut self, at: usize, refusal: &Refusal) {
        let reply = self.error(at, refusal);
        self.note_refusal(at, refusal);
        self.plan.steps.push(Step::Refuse { command: at, reply });
    }

    fn note_refusal(&mut self, at: usize, refusal: &Refusal) {
        let Some(kind) = refusal.kind else {
            return self.plan.found.push(Finding::CompressRefused { rule: Arc::clone(&refusal.rule) });
        };
        let violation = named_keys::violation(kind, &refusal.rule, self.rules.policy, self.rules.table, self.member(at));
        // A guard's name says it.
        let reason = Some(refusal.why.clone()).filter(|_| kind != Kind::Guard);
        let violation = Violation { key_pattern: refusal.key_pattern.clone(), ..violation.reason(reason) };
        self.plan.found.push(Finding::Violation(violation));
    }

    /// Tells of the guards that only flag what the command does.
    pub(super) fn note_flags(&mut self, at: usize) {
        let (policy, table, command) = (self.rules.policy, self.rules.table, self.member(at));
        for rule in policy.guards_of(table, command).filter(|rule| rule.breach(command, table).is_some()) {
            let violation = named_keys::violation(Kind::Guard, &rule.name, policy, table, command);
            self.plan.found.push(Finding::Violation(violation));
        }
    }

    fn name(&self, at: usize) -> String {
        self.spec(at).shown()
    }
}

impl Refusal {
    fn text(&self) -> String {
        let sort = match self.kind {
            Some(Kind::Guard) => "guard",
            Some(_) => "ttl rule",
            None => "compress rule",
        };
        format!("{sort} {}: {}", self.rule, self.why)
    }
}
