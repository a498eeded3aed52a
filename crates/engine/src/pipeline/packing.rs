//! Compresses what commands write to keys with a compress rule.

use std::sync::Arc;

use super::batch::Batch;
use super::finding::{Direction, Finding};
use super::packed_value::PackedValue;
use super::plan::Planner;
use crate::command::{CommandId, Table, ValueUse, for_each_value, value_use};
use crate::packed;
use crate::policy::{CompressRule, Member, Mode, Policy};
use respguard_resp::encode;
use respguard_resp::request::{Args, Limits, RequestParser};

/// A value that is to be compressed.
#[derive(Debug)]
pub struct Unpacked {
    /// The number of its command among all of the client.
    pub number: u32,
    /// Its place among the command's arguments, the name being 0.
    pub place: usize,
    /// The value as the client sent it.
    pub value: Vec<u8>,
    /// The rule that has it compressed.
    pub rule: Arc<CompressRule>,
}

impl Unpacked {
    /// Does the work.
    pub fn pack(self) -> PackedValue {
        let stored = stored(&self.value, &self.rule);
        PackedValue { number: self.number, place: self.place, stored }
    }
}

/// The values of so many bytes and more that are to be compressed before the batch is planned.
pub fn long_values(policy: &Policy, table: &Table, batch: &Batch, bytes: &[u8], least: usize) -> Vec<Unpacked> {
    let mut all = Vec::new();
    if policy.compress_rules().is_empty() || batch.whole_bytes() < least {
        return all;
    }
    for at in 0..batch.len() {
        let (number, args) = (batch.number(at), batch.args(bytes, at));
        for_each_value(table.spec(batch.id(at)).name(), args, &mut |key, place| {
            let (Some(key), Some(value)) = (args.get(key), args.get(place)) else { return };
            if value.len() < least || batch.packed(number, place).is_some() {
                return;
            }
            if let Some(rule) = policy.compress_rule_for(key).filter(|rule| rule.write && value.len() >= rule.min_bytes) {
                all.push(Unpacked { number, place, value: value.to_vec(), rule: Arc::clone(rule) });
            }
        });
    }
    all
}

/// What is stored in the value's place; `None` where that is the value itself.
fn stored(value: &[u8], rule: &CompressRule) -> Option<Vec<u8>> {
    let compresses = rule.write && value.len() >= rule.min_bytes && value.len() as u64 <= rule.value_bytes_max;
    packed::pack(value, compresses.then_some(rule.method))
}

/// Which rule a command breaks with a value, or would if it were read whole.
pub(super) fn too_long<'p>(policy: &'p Policy, table: &Table, command: Member<'_>) -> Option<&'p Arc<CompressRule>> {
    let mut found = None;
    for_each_value(table.spec(command.id).name(), command.args, &mut |key, place| {
        let length = command.args.get(place).map_or(0, |value| value.len() as u64);
        let rule = command.args.get(key).and_then(|key| policy.compress_rule_for(key));
        found = found.or_else(|| rule.filter(|rule| length > rule.value_bytes_max && policy.mode_of(rule.mode) == Mode::Enforce));
    });
    found
}

/// The rule about a request that is too long to be read whole: what it would store or see nobody can tell.
pub fn unreadable<'p>(policy: &'p Policy, table: &Table, command: Member<'_>) -> Option<&'p Arc<CompressRule>> {
    value_use(table.spec(command.id).name())?;
    policy.hidden_from(table, command).or_else(|| {
        let is_whole = value_use(table.spec(command.id).name()) == Some(ValueUse::Whole);
        let rule = is_whole.then(|| policy.compress_rule_of(table, command)).flatten();
        rule.filter(|rule| policy.mode_of(rule.mode) == Mode::Enforce)
    })
}

/// Up to which length a request that has begun is read whole, so that its value can be compressed.
pub fn whole_bytes(policy: &Policy, name: &str, args: Args<'_>) -> Option<usize> {
    if policy.compress_rules().is_empty() || value_use(name) != Some(ValueUse::Whole) {
        return None;
    }
    let rule = policy.compress_rule_for(args.get(1)?)?;
    // Beside the value there are names, and other values.
    usize::try_from(rule.value_bytes_max).ok()?.checked_add(AROUND)
}

const AROUND: usize = 64 * 1024;

impl Planner<'_> {
    /// The command goes out with its values as they are stored, where a rule compresses some.
    pub(super) fn pack(&mut self, at: usize) {
        if self.rules.policy.compress_rules().is_empty() {
            return;
        }
        let before = self.plan.rewrites.iter().position(|(rewritten, _)| *rewritten == at);
        let request = match before {
            None => {
                let (batch, bytes) = (self.batch, self.bytes);
                self.packed(at, batch.id(at), batch.args(bytes, at))
            }
            Some(place) => {
                let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
                let request = self.plan.rewrites[place].1.clone();
                batch.parse(&mut parser, self.rules.table, &request, usize::MAX);
                if batch.is_empty() { None } else { self.packed(at, batch.id(0), batch.args(&request, 0)) }
            }
        };
        match (request, before) {
            (None, _) => {}
            (Some(request), None) => self.plan.rewrites.push((at, request)),
            (Some(request), Some(place)) => self.plan.rewrites[place].1 = request,
        }
    }

    fn packed(&mut self, at: usize, id: CommandId, args: Args<'_>) -> Option<Vec<u8>> {
        let Planner { rules, batch, plan, .. } = self;
        let (policy, number) = (rules.policy, batch.number(at));
        let mut places: Vec<(usize, Vec<u8>)> = Vec::new();
        for_each_value(rules.table.spec(id).name(), args, &mut |key, place| {
            let (Some(key), Some(value)) = (args.get(key), args.get(place)) else { return };
            let Some(rule) = policy.compress_rule_for(key) else { return };
            let stored = match batch.packed(number, place) {
                Some(known) => known.stored.clone(),
                None => stored(value, rule),
            };
            if rule.write {
                let bytes = stored.as_ref().map_or(value.len(), Vec::len) as u64;
                let direction = Direction::Write;
                plan.found.push(Finding::Packed {
                    rule: Arc::clone(&rule.name),
                    direction,
                    original: value.len() as u64,
                    stored: bytes,
                });
            }
            // While it only observes, what begins as a header does must still come back as it was.
            let goes_out = policy.mode_of(rule.mode) == Mode::Enforce || packed::is_packed(value);
            places.extend(stored.filter(|_| goes_out).map(|stored| (place, stored)));
        });
        if places.is_empty() {
            return None;
        }
        let mut words: Vec<&[u8]> = args.iter().collect();
        for (place, stored) in &places {
            *words.get_mut(*place)? = stored;
        }
        Some(encode::request_frame(&words))
    }
}
