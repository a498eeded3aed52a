//! Rewrites commands whose keys get another TTL by a rule: KEEPTTL, a default, a maximum.

use std::sync::Arc;

use super::plan::Planner;
use super::ttl_fix::{is_set, writes_for_certain};
use crate::command::{TtlEffect, Unit, lifetime_of, ttl_effects};
use crate::policy::{TtlAction, TtlRule};
use respguard_resp::encode;

impl Planner<'_> {
    /// The command goes out as the rules about its keys say; `behind` are those that go with it or right after it.
    pub(super) fn rewrite_ttl(&mut self, at: usize, behind: impl Iterator<Item = usize> + Clone) {
        if !self.rules.policy.has_acting_ttl_rules() {
            return;
        }
        let kept = self.kept_ttl(at);
        let request = kept.or_else(|| self.shortened(at)).or_else(|| self.with_default(at, behind.clone()));
        if let Some(request) = request {
            self.plan.rewrites.push((at, request));
        } else if let Some((request, rule)) = self.set_for_setnx(at, behind) {
            self.plan.rewrites.push((at, request));
            self.plan.turned.push((at, rule));
        }
    }

    /// SET without a lifetime of its own goes out with KEEPTTL, where a rule says so
    /// (<https://redis.io/docs/latest/commands/set/>).
    fn kept_ttl(&self, at: usize) -> Option<Vec<u8>> {
        let (spec, args) = (self.spec(at), self.args(at));
        if !is_set(spec, args) {
            return None;
        }
        let mut drops = false;
        ttl_effects(spec, args, &mut |_, effect| drops |= effect == TtlEffect::Drop);
        let keeps = drops && args.get(1).is_some_and(|key| self.keeps(key));
        keeps.then(|| self.followed_by(at, &[b"KEEPTTL"]))
    }

    /// A lifetime beyond a rule's maximum becomes that, in the command's own words. A condition stays what it is.
    fn shortened(&self, at: usize) -> Option<Vec<u8>> {
        let (spec, args) = (self.spec(at), self.args(at));
        let (place, unit, is_moment) = lifetime_of(spec, args)?;
        let mut most: Option<i64> = None;
        self.ttl_effects(at, &mut |key, effect| {
            let rule = self.rules.policy.ttl_rule_for(key).map(|(_, rule)| rule);
            let Some(rule) = rule.filter(|rule| self.enforces(rule, TtlAction::Fix)) else { return };
            if self.lifetime(effect).is_some_and(|ttl| rule.is_exceeded_by(ttl)) {
                let max = rule.max.and_then(|max| i64::try_from(max.as_millis()).ok());
                most = most.into_iter().chain(max).min();
            }
        });
        let time = most?.checked_add(if is_moment { self.rules.unix_ms } else { 0 })?;
        let time = match unit {
            Unit::Milliseconds => time,
            Unit::Seconds => time / 1000,
        };
        // A second is the least that some commands can say.
        let time = Some(time).filter(|time| *time > 0)?.to_string();
        let mut words: Vec<&[u8]> = args.iter().collect();
        *words.get_mut(place)? = time.as_bytes();
        Some(encode::request_frame(&words))
    }

    /// SET under a condition and without a lifetime gets the default: where it does not write, nothing happens to what is there.
    fn with_default(&self, at: usize, behind: impl Iterator<Item = usize> + Clone) -> Option<Vec<u8>> {
        let (spec, args) = (self.spec(at), self.args(at));
        let keeps = args.from(3).iter().any(|word| word.eq_ignore_ascii_case(b"KEEPTTL"));
        if !is_set(spec, args) || writes_for_certain(spec, args) || keeps {
            return None;
        }
        let default = default_of(self.lacking(at, behind)?)?;
        Some(self.followed_by(at, &[b"PX", default.as_bytes()]))
    }

    /// SETNX goes out as `SET key value NX PX default`, whose reply is turned back, where the user may SET.
    fn set_for_setnx(&self, at: usize, behind: impl Iterator<Item = usize> + Clone) -> Option<(Vec<u8>, Arc<str>)> {
        let (spec, args) = (self.spec(at), self.args(at));
        if !self.rules.setnx_fixes || spec.name() != "setnx" || !spec.arity_fits(args) {
            return None;
        }
        let rule = self.lacking(at, behind)?;
        let request = encode::request_frame(&[b"SET", args.get(1)?, args.get(2)?, b"NX", b"PX", default_of(rule)?.as_bytes()]);
        Some((request, Arc::clone(&rule.name)))
    }

    /// The rule that fixes the only key of a command which leaves it without a TTL, unless one behind it may give it one.
    fn lacking(&self, at: usize, behind: impl Iterator<Item = usize> + Clone) -> Option<&Arc<TtlRule>> {
        let (mut lacking, mut ahead) = (None, self.ahead(behind));
        self.ttl_effects(at, &mut |key, effect| {
            let lacks = matches!(effect, TtlEffect::Drop | TtlEffect::Create) && !ahead.may_expire(key);
            lacking = self.rules.policy.ttl_rule_for(key).map(|(_, rule)| rule).filter(|_| lacks);
        });
        lacking.filter(|rule| self.enforces(rule, TtlAction::Fix))
    }

    fn followed_by(&self, at: usize, more: &[&[u8]]) -> Vec<u8> {
        let words: Vec<&[u8]> = self.args(at).iter().chain(more.iter().copied()).collect();
        encode::request_frame(&words)
    }
}

fn default_of(rule: &TtlRule) -> Option<String> {
    rule.default.map(|default| default.as_millis().to_string())
}
