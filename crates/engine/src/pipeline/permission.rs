//! What a user must be allowed for the fixes of TTL rules: how the server is asked, and what its answer means.

use std::sync::Arc;

use super::batch::Batch;
use crate::command::{Table, ttl_effects};
use crate::policy::{Mode, Policy, TtlAction, TtlRule};
use respguard_resp::{encode, value};

/// What a user may do or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// PEXPIRE behind a write.
    Expire,
    /// SET in the place of SETNX.
    Set,
}

impl Permission {
    /// The question, where a rule may fix what is in the batch, and that rule.
    pub fn question<'p>(
        self,
        policy: &'p Policy,
        table: &Table,
        batch: &Batch,
        bytes: &[u8],
    ) -> Option<(Vec<u8>, &'p Arc<TtlRule>)> {
        let of_key = |key: &[u8]| {
            let rule = policy.ttl_rule_for(key)?.1;
            let fixes = rule.action == TtlAction::Fix && policy.mode_of(rule.mode) == Mode::Enforce;
            fixes.then(|| (self.question_of(key), rule))
        };
        (0..batch.len()).find_map(|at| {
            let (spec, args) = (table.spec(batch.id(at)), batch.args(bytes, at));
            let mut found = None;
            match self {
                Permission::Expire if spec.is_write() => ttl_effects(spec, args, &mut |place, _| {
                    found = found.take().or_else(|| of_key(args.get(place)?));
                }),
                Permission::Set if spec.name() == "setnx" => found = of_key(args.get(1)?),
                _ => {}
            }
            found
        })
    }

    /// No TTL is longer than the one there is and over at once, and the options of SET contradict each other: nothing is set. A
    /// user who may not is told that before they are looked at (<https://redis.io/docs/latest/commands/pexpire/>,
    /// <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>).
    fn question_of(self, key: &[u8]) -> Vec<u8> {
        match self {
            Permission::Expire => encode::request_frame(&[b"PEXPIRE", key, b"0", b"GT"]),
            Permission::Set => encode::request_frame(&[b"SET", key, b"", b"NX", b"XX"]),
        }
    }

    /// What the answer means; nothing, where it says something of the server only.
    pub fn read(self, reply: &[u8]) -> Option<bool> {
        let is_refused = reply.starts_with(b"-NOPERM ");
        let (able, refused) = match self {
            Permission::Expire => (value::integer(reply).is_some(), is_refused || reply.starts_with(b"-ERR ")),
            Permission::Set => (reply.starts_with(b"-ERR syntax error"), is_refused),
        };
        (able || refused).then_some(able)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_by_name_means_that_a_user_may_not() {
        let replies = ["-NOPERM this user", "-ERR syntax error\r\n", "-LOADING x", "+OK\r\n"];
        assert_eq!(replies.map(|reply| Permission::Set.read(reply.as_bytes())), [Some(false), Some(true), None, None]);
    }
}
