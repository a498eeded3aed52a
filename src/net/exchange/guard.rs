//! Sends groups with a preflight, again if other clients interfered, or answers why they are not sent.

use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Exchange;
use super::marked::RESENT_BYTES_MAX;
use super::send::{Marked, Sending};
use crate::net::clock;
use crate::net::upstream::Recipient;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::finding::{Fault, Finding, Outcome};
use respguard_engine::pipeline::group::WrappedGroup;
use respguard_engine::pipeline::guard::Guard;
use respguard_engine::pipeline::in_doubt::mark;
use respguard_engine::pipeline::plan::Added;
use respguard_engine::pipeline::refusal::Refusal;
use respguard_engine::pipeline::wire::Injected;
use respguard_engine::policy::OnDuplicate;
use respguard_engine::preflight::Ability;
use respguard_engine::preflight::request::assert_guard;

impl Exchange {
    pub(super) fn send_guarded(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        commands: &[usize],
        index: usize,
        mut guard: Box<Guard>,
        Added { injected, rule: ttl_fixed, checks }: Added,
        resolved: Option<Marked>,
    ) {
        let Sending { link, policy, .. } = *sending;
        let timing = sending.timing_of(commands);
        let members = self.count_members(sending, commands);
        let name = self.context.guards.next(&policy.guard_prefix, guard.preflight().key());
        let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        let mark = resolved.as_ref().map(|(marker, _)| mark(marker, timing.request_timeout));
        if let Some((marker, _)) = &resolved {
            guard.keep_too(marker);
        }
        if let Some(marker) = guard.preflight().is_once().map(|once| once.marker().to_vec()) {
            guard.keep_too(&marker);
        }
        let preflight = guard.preflight();
        let own = |behind, request| Injected { behind, request, ttl_fix: None };
        let last = mark.map(|request| own(count, request));
        let finish = preflight.rolls_back().map(|rollback| own(count, rollback.finish(&name)));
        let first = own(0, preflight.rolls_back().map_or_else(|| assert_guard(&name), |rollback| rollback.count(&name)));
        let once = preflight.is_once().map(|once| (once, self.context.guards.id()));
        let once = once.map(|(once, id)| (Injected { behind: 0, request: once.mark(&id), ttl_fix: None }, id));
        let (mark_once, id) = once.unzip();
        let mut all: SmallVec<[Injected; 2]> = SmallVec::new();
        std::iter::once(first).chain(mark_once).chain(injected).chain(last).chain(finish).for_each(|own| all.push(own));
        let parts = sending.transaction(commands, &all);
        let room = preflight.bytes(&name) + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut request = Vec::with_capacity(room);
        preflight.write(&name, &mut request);
        parts.iter().for_each(|part| request.extend_from_slice(part));
        self.follow_ups.set_timeout(timing.request_timeout);
        let mut state = self.state.borrow_mut();
        let (row, rule) = (self.context.metrics.group_row(index), &policy.groups()[index]);
        let expectations = sending.expectations(commands.iter().copied(), rule);
        let mut wrapped = WrappedGroup::new(row, Arc::clone(rule), members);
        wrapped.with_injected(&all).checked(checks).ttl_fixed(ttl_fixed);
        wrapped.expecting(expectations).naming(sending.keys(commands.iter().copied()));
        let replays = rule.once.as_ref().is_some_and(|once| once.on_duplicate == OnDuplicate::Replay);
        guard.send_as(name);
        if let Some(id) = id.filter(|_| replays) {
            guard.keep_answer(id, state.session.protocol);
        }
        if let Some(resolved) = resolved {
            guard.keep_request(if request.len() <= RESENT_BYTES_MAX { request.clone() } else { Vec::new() });
            wrapped.guarded(Some(guard));
            return self.send_marked(sending, &mut state, (commands, wrapped), resolved, request);
        }
        wrapped.guarded(Some(guard));
        let frames = wrapped.frames();
        let seq = state.slots.push_group(sending.places.of_all(commands).as_deref(), wrapped);
        self.send(link, &mut state, &[&request], Owed::request(seq, frames), timing.times());
        if request.len() <= RESENT_BYTES_MAX {
            state.slots.keep_request(seq, request);
        }
    }

    /// Nothing of the group is sent: each member answers why.
    pub(super) fn refuse(self: &Rc<Self>, sending: &Sending<'_>, commands: &[usize], index: usize, refusal: &Refusal) {
        let Sending { table, policy, batch, .. } = *sending;
        let members: Vec<_> = commands.iter().map(|&at| batch.id(at)).collect();
        let name = &policy.groups()[index].name;
        for ((&at, id), reply) in commands.iter().zip(&members).zip(refusal.replies(name, &members, table)) {
            self.context.metrics.command(id.index());
            self.answer_in(sending.places.of(at), reply);
        }
        self.context.metrics.group(self.context.metrics.group_row(index), Outcome::Refused);
        let mut violation = refusal.violation(name, &members, table);
        if let Some(keys) = sending.keys(commands.iter().copied()) {
            keys.name_in(&mut violation);
        }
        self.context.reporter.violation(violation, self.peer());
    }

    /// Sends the group at the head once more, if it is to be: nothing of its client's stands behind it.
    pub(super) fn send_again(&self) {
        let mut state = self.state.borrow_mut();
        let Some((request, owed)) = state.slots.take_again() else { return };
        let Some(who) = self.me.upgrade() else { return };
        let who: Rc<dyn Recipient> = who;
        let now = clock::now();
        if !self.link().send(who, &[request], owed, Times::until(now, self.follow_ups.deadline(now))) {
            self.fault_in(&mut state, owed, Fault::Unavailable);
        }
    }

    pub(super) fn forget_lost_guards(&self, found: &[Finding]) {
        if found.iter().any(|finding| matches!(finding, Finding::GuardLost)) {
            self.link().set_ability(Ability::Unknown);
        }
    }

    /// Sends them behind all that the client has sent; nobody hears the answers.
    pub(super) fn send_follow_ups(&self) {
        if self.follow_ups.are_none() {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        let mut state = self.state.borrow_mut();
        let now = clock::now();
        for (request, frames) in self.follow_ups.take() {
            let owed = state.slots.push_discards(frames);
            me.send(&self.link(), &mut state, &[&request], owed, Times::until(now, self.follow_ups.deadline(now)));
        }
    }
}
