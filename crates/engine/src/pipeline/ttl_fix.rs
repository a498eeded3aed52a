//! Fixes writes that would leave a key without a required TTL: by KEEPTTL, or by an added EXPIRE.

use std::collections::HashMap;
use std::sync::Arc;

use super::plan::{Added, Planner, Step};
use super::reply_checks::ReplyChecks;
use super::slot::Role;
use super::wire::{Injected, TtlFix};
use crate::command::{Spec, TtlEffect, m_set_ex_options, ttl_effects};
use crate::policy::{Member, Mode, TtlAction, TtlRule};
use crate::preflight;
use respguard_resp::encode;
use respguard_resp::request::Args;

/// Keys that one command or group gets a TTL for; what writes more is only verified.
const KEYS_MAX: usize = 4096;

impl<'a> Planner<'a> {
    /// What the command does to the TTLs of its keys, as it goes out.
    pub(super) fn ttl_effects(&self, at: usize, visit: &mut dyn FnMut(&'a [u8], TtlEffect)) {
        let (spec, args) = (self.spec(at), self.args(at));
        if !spec.may_write_keys() {
            return;
        }
        ttl_effects(spec, args, &mut |place, effect| {
            let Some(key) = args.get(place) else { return };
            let kept = effect == TtlEffect::Drop && is_set(spec, args) && self.keeps(key);
            visit(key, if kept { TtlEffect::KeepOrCreate } else { effect });
        });
    }

    /// Whether a SET of this key gets KEEPTTL.
    pub(super) fn keeps(&self, key: &[u8]) -> bool {
        let rule = self.rules.policy.ttl_rule_for(key).map(|(_, rule)| rule);
        rule.is_some_and(|rule| rule.keep && self.rules.policy.mode_of(rule.mode) == Mode::Enforce)
    }

    /// A single write goes out in a transaction with the EXPIRE that it needs; true when that is so.
    ///
    /// Not while the client watches keys, which the EXEC would end, nor where it is a subscriber; nor if a rule does not
    /// let the write pass at all.
    pub(super) fn ttl_fix(&mut self, at: usize) -> bool {
        if !self.rules.policy.has_acting_ttl_rules() || !self.rules.transactions {
            return false;
        }
        if !self.session.transaction.is_idle() || self.session.subscriptions.any() {
            return false;
        }
        let Some((rule, injected)) = self.ttl_fixes(&[at], self.behind(at)) else { return false };
        if self.is_malformed(at) {
            return false;
        }
        if self.refusal(at, self.behind(at)).is_some() {
            return false;
        }
        self.end_run(at);
        self.note_flags(at);
        self.rewrite_ttl(at, self.behind(at));
        self.pack(at);
        let added = Box::new(self.added(&[at], Some((rule, injected))));
        self.plan.roles.push(Role::Member);
        self.ttl_fix_step(at, Step::TtlFix { command: at, added });
        self.skip(at + 1);
        true
    }

    /// Whether the command fails whatever its keys hold: then there is nothing to fix.
    fn is_malformed(&self, at: usize) -> bool {
        let Member { id, args } = self.member(at);
        let examined = preflight::examine(self.rules.table, std::iter::once((id, args)));
        matches!(examined, Err(preflight::Refusal { fault: preflight::Fault::Certain(_), .. }))
    }

    /// The commands of our own that go into the transaction of a group, behind its members.
    pub(super) fn ttl_fix_group(&self, members: &[usize]) -> Added {
        let ttl_fixed = if self.rules.policy.has_acting_ttl_rules() {
            self.ttl_fixes(members, members.last().map_or(0..0, |&last| self.behind(last)))
        } else {
            None
        };
        self.added(members, ttl_fixed)
    }

    fn added(&self, members: &[usize], ttl_fixes: Option<(Arc<TtlRule>, Vec<Injected>)>) -> Added {
        let commands = members.iter().map(|&at| (self.member(at), self.plan.turned_by(at)));
        let checks = ReplyChecks::of(self.rules.policy, self.rules.table, commands);
        let (rule, injected) = ttl_fixes.map_or_else(Default::default, |(rule, injected)| (Some(rule), injected));
        Added { injected, rule, checks }
    }

    /// An EXPIRE for each key that the commands certainly write and leave without a TTL of their own.
    fn ttl_fixes(&self, commands: &[usize], behind: std::ops::Range<usize>) -> Option<(Arc<TtlRule>, Vec<Injected>)> {
        // EXPIRE takes NX from Redis 7.0 on, and says so by its arity.
        let expire = self.rules.table.by_name("expire").map(|id| self.rules.table.spec(id));
        if !self.rules.ttl_fixes || !expire.is_some_and(|spec| spec.present && spec.arity < 0) {
            return None;
        }
        let mut keys: Vec<(&[u8], Arc<TtlRule>, Vec<u32>)> = Vec::new();
        let mut known: HashMap<&[u8], usize> = HashMap::new();
        for (place, &at) in commands.iter().enumerate() {
            let (spec, args) = (self.spec(at), self.args(at));
            if !writes_for_certain(spec, args) {
                continue;
            }
            let mut ahead = self.ahead(commands[place + 1..].iter().copied().chain(behind.clone()));
            self.ttl_effects(at, &mut |key, effect| {
                let Some((_, rule)) = self.rules.policy.ttl_rule_for(key).filter(|_| keys.len() <= KEYS_MAX) else { return };
                let needs = matches!(effect, TtlEffect::Drop | TtlEffect::KeepOrCreate);
                if !needs || !self.enforces(rule, TtlAction::Fix) {
                    return;
                }
                let member = u32::try_from(place).unwrap_or(u32::MAX);
                if let Some(&at) = known.get(key) {
                    keys[at].2.push(member);
                } else if !ahead.may_expire(key) {
                    known.insert(key, keys.len());
                    keys.push((key, Arc::clone(rule), vec![member]));
                }
            });
        }
        let rule = Arc::clone(&keys.first()?.1);
        if keys.len() > KEYS_MAX {
            return None;
        }
        let after = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        let injected = keys.into_iter().filter_map(|(key, rule, members)| {
            let request = expire_request(key, &rule)?;
            Some(Injected { behind: after, request, ttl_fix: Some(TtlFix { key: key.into(), members }) })
        });
        Some((rule, injected.collect()))
    }
}

/// `PEXPIRE key default NX` (<https://redis.io/docs/latest/commands/pexpire/>).
fn expire_request(key: &[u8], rule: &TtlRule) -> Option<Vec<u8>> {
    let default = rule.default?.as_millis().to_string();
    Some(encode::request_frame(&[b"PEXPIRE", key, default.as_bytes(), b"NX"]))
}

pub(super) fn is_set(spec: &Spec, args: Args<'_>) -> bool {
    spec.name() == "set" && spec.arity_fits(args)
}

/// Whether the command, unless it fails, writes whatever is there. Behind one that may not have written, an EXPIRE would
/// give a TTL to what somebody else has written.
pub(super) fn writes_for_certain(spec: &Spec, args: Args<'_>) -> bool {
    let is = |word: &[u8], options: &[&str]| options.iter().any(|option| word.eq_ignore_ascii_case(option.as_bytes()));
    let said = |from: usize, options: &[&str]| args.from(from).iter().any(|word| is(word, options));
    match spec.name() {
        "set" => !said(3, &["NX", "XX", "IFEQ", "IFNE", "IFDEQ", "IFDNE"]),
        "zadd" | "geoadd" => !said(2, &["NX", "XX", "GT", "LT"]),
        "xadd" => !said(2, &["NOMKSTREAM"]),
        // What stands behind FIELDS is the client's own text.
        "hsetex" => {
            let options = args.from(2);
            !options.iter().take_while(|word| !is(word, &["FIELDS"])).any(|word| is(word, &["NX", "XX", "FNX", "FXX"]))
        }
        "msetex" => m_set_ex_options(args).is_some_and(|options| !said(options, &["NX", "XX"])),
        // Any other path may match nothing (<https://redis.io/docs/latest/commands/json.set/>).
        "json.set" | "json.merge" => matches!(args.get(2), Some(b"$" | b".")) && !said(4, &["NX", "XX"]),
        "getset" | "mset" | "incr" | "decr" | "incrby" | "decrby" | "incrbyfloat" | "append" | "setbit" | "hset" | "hmset"
        | "hincrby" | "hincrbyfloat" | "lpush" | "rpush" | "sadd" | "zincrby" | "pfadd" | "vadd" => true,
        _ => false,
    }
}
