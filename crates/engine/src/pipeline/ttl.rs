//! Which keys a run of commands may leave without the TTL that a rule requires, so that it must be checked.

use std::collections::HashMap;
use std::sync::Arc;

use super::probe::Probe;
use crate::command::{CommandId, TtlEffect};
use crate::lazy::{Blank, Lazy};
use crate::policy::{Policy, TtlRule};

/// Keys looked at in one run, which has at most half as many commands; of a run that writes more, those behind them are not
/// looked at, which is told.
const KEYS_MAX: usize = 8192;
/// Among so few keys one is found by comparing.
const COMPARED_MAX: usize = 16;

/// What the commands seen so far leave open.
#[derive(Debug, Default)]
pub struct Undecided(Lazy<Open>);

#[derive(Debug, Default)]
struct Open {
    keys: Vec<Key>,
    /// The places of the keys, once there are more than [`COMPARED_MAX`].
    places: Option<HashMap<Arc<[u8]>, usize>>,
    /// Rules that were about keys beyond [`KEYS_MAX`], each once, with the first command.
    beyond: Vec<(Arc<TtlRule>, CommandId)>,
}

impl Blank for Open {
    const BLANK: &'static Open = &Open { keys: Vec::new(), places: None, beyond: Vec::new() };
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
        self.0.keys.is_empty()
    }

    /// Takes what the next command of the run does to one of its keys.
    pub(super) fn note(&mut self, policy: &Policy, command: CommandId, name: &[u8], effect: TtlEffect) {
        match self.0.get_mut().and_then(|open| open.key(name)) {
            Some(key) => key.note(command, effect),
            None if matches!(effect, TtlEffect::Delete) => {}
            None => self.add(policy, command, name, effect),
        }
    }

    fn add(&mut self, policy: &Policy, command: CommandId, name: &[u8], effect: TtlEffect) {
        let Some((index, rule)) = policy.ttl_rule_for(name) else { return };
        let open = self.0.make_mut();
        if open.keys.len() >= KEYS_MAX {
            if !open.beyond.iter().any(|(known, _)| Arc::ptr_eq(known, rule)) {
                open.beyond.push((Arc::clone(rule), command));
            }
            return;
        }
        if rule.sample.take() {
            let drops = matches!(effect, TtlEffect::Drop | TtlEffect::Persist);
            // The key's bytes are kept past the request's buffer: the probe's answer comes later.
            let (name, is_open) = (Arc::<[u8]>::from(name), !is_decided(effect, rule));
            open.push(Key { name, index, rule: Arc::clone(rule), command, open: is_open, drops, gone: false });
        }
    }

    /// The rules of which keys were not looked at, with the first command that wrote one.
    pub(super) fn take_beyond(&mut self) -> Vec<(Arc<TtlRule>, CommandId)> {
        self.0.get_mut().map(|open| std::mem::take(&mut open.beyond)).unwrap_or_default()
    }

    /// What must be asked before the run, to know which TTLs it drops.
    pub fn before(&self) -> impl Iterator<Item = Probe> + '_ {
        self.0.keys.iter().filter(|key| key.open && key.drops).map(|key| key.probe(true))
    }

    /// What must be asked behind the run.
    pub fn after(&self) -> impl Iterator<Item = Probe> + '_ {
        self.0.keys.iter().filter(|key| key.open).map(|key| key.probe(false))
    }

    /// The run has ended.
    pub fn clear(&mut self) {
        if let Some(open) = self.0.get_mut() {
            open.keys.clear();
            open.places.iter_mut().for_each(|places| places.clear());
        }
    }
}

impl Open {
    fn key(&mut self, name: &[u8]) -> Option<&mut Key> {
        if self.keys.len() > COMPARED_MAX {
            let at = *self.places.as_ref()?.get(name)?;
            return self.keys.get_mut(at);
        }
        self.keys.iter_mut().find(|key| *key.name == *name)
    }

    fn push(&mut self, key: Key) {
        self.keys.push(key);
        let len = self.keys.len();
        if len > COMPARED_MAX {
            let places = self.places.get_or_insert_default();
            let first = places.len();
            let new = self.keys[first..].iter().map(|key| Arc::clone(&key.name)).zip(first..len);
            places.extend(new);
        }
    }
}

impl Key {
    /// Takes what the next command does to it.
    fn note(&mut self, command: CommandId, effect: TtlEffect) {
        if matches!(effect, TtlEffect::Delete) {
            (self.open, self.drops, self.gone) = (false, false, true);
            return;
        }
        let decided = is_decided(effect, &self.rule);
        self.command = command;
        // A write that keeps the TTL leaves open only what was open before it.
        self.open = if keeps(effect) && !self.gone { self.open } else { !decided };
        self.drops |= matches!(effect, TtlEffect::Drop | TtlEffect::Persist);
        self.gone = false;
    }

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
