//! The preflight of a transaction that holds guarded groups.

use super::{Before, Refused};
use crate::pipeline::plan::{Note, Planner, SpanGroup};
use crate::pipeline::refusal::Refusal;
use crate::policy::OnUnsupported;
use crate::preflight::{self, Ability, Carried, Fault, Preflight, Unsupported};

impl Planner<'_> {
    /// The preflight of the groups that have one, if one of them needs it.
    pub(super) fn guard_span(
        &mut self,
        commands: &[usize],
        groups: &mut [SpanGroup],
        before: Before,
    ) -> Result<Option<Preflight>, Refused> {
        if !groups.iter().any(|group| group.guarded) {
            return Ok(None);
        }
        match self.rules.ability {
            Ability::Able => {}
            Ability::Lacking(lack) => {
                for place in 0..groups.len() {
                    self.degrade_or_refuse(place, groups, before, lack)?;
                }
                return Ok(None);
            }
            Ability::Unknown | Ability::Silent => {
                let place = groups.iter().position(|group| group.guarded).unwrap_or(0);
                return Err(Refused { gathered: before.gathered + place, refusal: Refusal::Silent });
            }
        }
        loop {
            match self.examine_span(commands, groups) {
                Ok(preflight) => return Ok(preflight),
                Err(refusal) => {
                    let culprit = u32::try_from(refusal.member).unwrap_or(u32::MAX);
                    let found = groups.iter().position(|group| group.guarded && group.places.contains(&culprit));
                    let place = found.unwrap_or(0);
                    if refusal.fault == Fault::Undecided(preflight::UNPREDICTABLE)
                        && self.rules.policy.groups()[groups[place].group].on_unsupported == OnUnsupported::Transaction
                    {
                        self.degrade_or_refuse(place, groups, before, Unsupported::Between)?;
                        continue;
                    }
                    let member = groups[place].places.iter().position(|at| *at == culprit).unwrap_or(0);
                    let refusal = Refusal::Member(preflight::Refusal { member, ..refusal });
                    return Err(Refused { gathered: before.gathered + place, refusal });
                }
            }
        }
    }

    /// A guarded group goes as a transaction, where its rule says so.
    fn degrade_or_refuse(
        &mut self,
        place: usize,
        groups: &mut [SpanGroup],
        before: Before,
        lack: Unsupported,
    ) -> Result<(), Refused> {
        let gathered = self.plan.gathered[before.gathered + place].clone();
        if !groups[place].guarded {
            return Ok(());
        }
        if self.group(gathered.group).on_unsupported != OnUnsupported::Transaction {
            return Err(Refused { gathered: before.gathered + place, refusal: Refusal::Lacking(lack) });
        }
        groups[place].guarded = false;
        let members = gathered.members.clone();
        self.plan.notes.push(Note::Degraded { group: gathered.group, members, lack });
        Ok(())
    }

    fn examine_span(&self, commands: &[usize], groups: &[SpanGroup]) -> Result<Option<Preflight>, preflight::Refusal> {
        let (table, policy) = (self.rules.table, self.rules.policy);
        let mut carried: Vec<_> = commands
            .iter()
            .map(|&at| Carried { id: self.batch.id(at), args: self.args(at), part: None, required: None })
            .collect();
        let mut once = None;
        for (number, group) in groups.iter().enumerate().filter(|(_, group)| group.guarded) {
            let members: Vec<usize> = group.places.iter().map(|&place| commands[place as usize]).collect();
            let rule = &policy.groups()[group.group];
            let required = rule.requirements(table, &mut |i| members.get(i).map(|&at| self.member(at)));
            let mut required = required.into_iter();
            for &place in &group.places {
                carried[place as usize].part = Some(number);
                carried[place as usize].required = required.next().flatten();
            }
            once = once.or_else(|| self.once(&members, group.group));
        }
        let checks = preflight::examine_carried(table, &carried)?;
        Ok(Preflight::of(&checks, once))
    }
}
