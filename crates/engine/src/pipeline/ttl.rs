//! Which keys a run of commands may leave without the TTL that a rule wants, so that they must be asked about.

use std::sync::Arc;

use super::slot::Probe;
use crate::command::{CommandId, TtlEffect};
use crate::policy::{Policy, TtlRule};

/// Keys looked at in one run; a run that writes more is looked at in part.
const KEYS_MAX: usize = 256;

/// What the commands seen so far leave open.
#[derive(Debug, Default)]
pub struct Undecided {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    name: Box<[u8]>,
    index: usize,
    rule: Arc<TtlRule>,
    /// The last command that touched it.
    command: CommandId,
    /// The commands do not tell which TTL it has at the end.
    open: bool,
    /// A command drops the TTL that it may have had before.
    drops: bool,
}

impl Undecided {
    /// True when no key needs to be asked about.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes what the next command of the run does to one of its keys.
    pub(super) fn note(&mut self, policy: &Policy, command: CommandId, name: &[u8], effect: TtlEffect) {
        if matches!(effect, TtlEffect::Delete) {
            self.keys.retain(|key| *key.name != *name);
            return;
        }
        let at = self.keys.iter().position(|key| *key.name == *name);
        let (index, rule) = match at {
            Some(at) => (self.keys[at].index, Arc::clone(&self.keys[at].rule)),
            None => match policy.ttl_rule_for(name) {
                Some((index, rule)) if self.keys.len() < KEYS_MAX && rule.sample.take() => (index, Arc::clone(rule)),
                _ => return,
            },
        };
        let decided = is_decided(effect, &rule);
        let drops = matches!(effect, TtlEffect::Drop | TtlEffect::Persist);
        match at {
            Some(at) => {
                let key = &mut self.keys[at];
                key.command = command;
                // A write that keeps the TTL leaves open only what was open before it.
                key.open = if keeps(effect) { key.open } else { !decided };
                key.drops |= drops;
            }
            // The key's bytes are kept past the request's buffer: the probe's answer comes later.
            None => self.keys.push(Key { name: name.into(), index, rule, command, open: !decided, drops }),
        }
    }

    /// What must be asked before the run, to know which TTLs it drops.
    pub fn before(&self) -> impl Iterator<Item = Probe> + '_ {
        self.keys.iter().filter(|key| key.open && key.drops).map(|key| key.probe(true))
    }

    /// What must be asked behind the run.
    pub fn after(&self) -> impl Iterator<Item = Probe> + '_ {
        self.keys.iter().filter(|key| key.open).map(|key| key.probe(false))
    }

    /// The run has ended.
    pub fn clear(&mut self) {
        self.keys.clear();
    }
}

impl Key {
    fn probe(&self, before: bool) -> Probe {
        Probe { index: self.index, rule: Arc::clone(&self.rule), key: self.name.clone(), command: self.command, before }
    }
}

fn keeps(effect: TtlEffect) -> bool {
    matches!(effect, TtlEffect::Keep | TtlEffect::KeepOrCreate)
}

/// True when the command, if it succeeds, leaves the key with a TTL that the rule allows.
fn is_decided(effect: TtlEffect, rule: &TtlRule) -> bool {
    match effect {
        TtlEffect::Set { milliseconds: Some(ttl), conditional: false } => {
            rule.max.is_none_or(|max| i128::from(ttl) <= max.as_millis() as i128)
        }
        TtlEffect::Set { milliseconds: None, conditional: false } => false,
        _ => false,
    }
}
