//! Which keys a run of commands may leave without the TTL that a rule requires, so that it must be checked.

use std::collections::HashMap;
use std::sync::Arc;

use super::probe::Probe;
use crate::command::{CommandId, TtlEffect};
use crate::policy::{Policy, TtlRule};

/// Keys looked at in one run, which has at most half as many commands; of a run that writes more, those behind them are not
/// looked at, which is told.
const KEYS_MAX: usize = 8192;
/// Among so few keys one is found by comparing.
const COMPARED_MAX: usize = 16;

/// What the commands seen so far leave open.
#[derive(Debug, Default)]
pub struct Undecided {
    keys: Vec<Key>,
    /// The places of the keys, once there are more than [`COMPARED_MAX`].
    places: HashMap<Arc<[u8]>, usize>,
    /// Rules that were about keys beyond [`KEYS_MAX`], each once, with the first command.
    beyond: Vec<(Arc<TtlRule>, CommandId)>,
}

#[derive(Debug)]
struct Key {
    name: Arc<[u8]>,
    index: usize,
    rule: Arc<TtlRule>,
    /// The last command that touched it.
    command: CommandId,
    /// The commands do not tell which TTL it has at the end.
    open: bool,
    /// A command drops the TTL that it may have had before.
    drops: bool,
    /// A command has deleted it.
    gone: bool,
}

impl Undecided {
    /// True when no key needs to be asked about.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes what the next command of the run does to one of its keys.
    pub(super) fn note(&mut self, policy: &Policy, command: CommandId, name: &[u8], effect: TtlEffect) {
        let at = self.place(name);
        if matches!(effect, TtlEffect::Delete) {
            if let Some(at) = at {
                (self.keys[at].open, self.keys[at].drops) = (false, false);
                self.keys[at].gone = true;
            }
            return;
        }
        let Some(at) = at else {
            return self.add(policy, command, name, effect);
        };
        let key = &mut self.keys[at];
        let decided = is_decided(effect, &key.rule);
        key.command = command;
        // A write that keeps the TTL leaves open only what was open before it.
        key.open = if keeps(effect) && !key.gone { key.open } else { !decided };
        key.drops |= matches!(effect, TtlEffect::Drop | TtlEffect::Persist);
        key.gone = false;
    }

    fn add(&mut self, policy: &Policy, command: CommandId, name: &[u8], effect: TtlEffect) {
        let Some((index, rule)) = policy.ttl_rule_for(name) else { return };
        if self.keys.len() >= KEYS_MAX {
            if !self.beyond.iter().any(|(known, _)| Arc::ptr_eq(known, rule)) {
                self.beyond.push((Arc::clone(rule), command));
            }
            return;
        }
        if !rule.sample.take() {
            return;
        }
        let drops = matches!(effect, TtlEffect::Drop | TtlEffect::Persist);
        // The key's bytes are kept past the request's buffer: the probe's answer comes later.
        let (name, open) = (Arc::<[u8]>::from(name), !is_decided(effect, rule));
        self.keys.push(Key { name, index, rule: Arc::clone(rule), command, open, drops, gone: false });
        match self.keys.len() {
            ..=COMPARED_MAX => {}
            len => {
                let first = self.places.len();
                let new = self.keys[first..].iter().map(|key| Arc::clone(&key.name)).zip(first..len);
                self.places.extend(new);
            }
        }
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        if self.keys.len() > COMPARED_MAX {
            return self.places.get(name).copied();
        }
        self.keys.iter().position(|key| *key.name == *name)
    }

    /// The rules of which keys were not looked at, with the first command that wrote one.
    pub(super) fn take_beyond(&mut self) -> Vec<(Arc<TtlRule>, CommandId)> {
        std::mem::take(&mut self.beyond)
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
        self.places.clear();
    }
}

impl Key {
    fn probe(&self, before: bool) -> Probe {
        Probe { index: self.index, rule: Arc::clone(&self.rule), key: Arc::clone(&self.name), command: self.command, before }
    }
}

fn keeps(effect: TtlEffect) -> bool {
    matches!(effect, TtlEffect::Keep | TtlEffect::KeepOrCreate | TtlEffect::Create)
}

/// True when the command, if it succeeds, leaves the key with a TTL that the rule allows.
fn is_decided(effect: TtlEffect, rule: &TtlRule) -> bool {
    match effect {
        TtlEffect::Set { milliseconds: Some(ttl), conditional: false } => !rule.is_exceeded_by(ttl),
        // How far away that is, the server's clock tells.
        TtlEffect::SetAt { milliseconds: Some(_), conditional: false } => rule.max.is_none(),
        _ => false,
    }
}
