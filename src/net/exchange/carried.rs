//! Sends groups and carried commands in one transaction, and returns what has to be sent again.

use std::rc::Rc;
use std::sync::Arc;

use super::Exchange;
use super::marked::RESENT_BYTES_MAX;
use super::send::{Marked, Sending};
use respguard_engine::link::owed::Owed;
use respguard_engine::pipeline::failure_tracker::{FailureTracker, Scope};
use respguard_engine::pipeline::group::{CarriedGroup, Members, WrappedGroup};
use respguard_engine::pipeline::in_doubt::mark;
use respguard_engine::pipeline::plan::{Added, Span, SpanGroup};
use respguard_engine::pipeline::wire::Injected;
use respguard_engine::policy::OnDuplicate;
use respguard_engine::preflight::request::assert_guard;
use respguard_resp::encode;

impl Exchange {
    /// A marker for the transaction, if one of its groups takes one.
    pub(super) fn marker_of_span(&self, sending: &Sending<'_>, commands: &[usize], span: &Span) -> Option<Vec<u8>> {
        span.groups.iter().find_map(|group| {
            let members: Vec<usize> = members(group, commands).collect();
            self.marker(sending, &members, &sending.policy.groups()[group.group])
        })
    }

    pub(super) fn send_span(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        commands: &[usize],
        Span { groups, observed, mut guard, added, .. }: Span,
        resolved: Option<Marked>,
    ) {
        let Sending { link, policy, batch, .. } = *sending;
        let timing = sending.timing_of(commands);
        let ids: Vec<_> = commands.iter().map(|&at| batch.id(at)).collect();
        ids.iter().for_each(|id| self.context.metrics.command(id.index()));
        let Added { injected, rule: ttl_fixed, checks } = added;
        let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        let own = |behind, request| Injected { behind, request, ttl_fix: None };
        let mark = resolved.as_ref().map(|(marker, _)| own(count, mark(marker, timing.request_timeout)));
        let preflight = guard.as_ref().map(|guard| guard.preflight());
        let named = preflight.map(|preflight| (self.context.guards.next(&policy.guard_prefix, preflight.key()), preflight));
        let first = named.as_ref().map(|(name, _)| own(0, assert_guard(name)));
        let once = named.as_ref().and_then(|(_, preflight)| preflight.is_once());
        let once = once.map(|once| (once, self.context.guards.id()));
        let once = once.map(|(once, id)| (own(0, once.mark(&id)), id));
        let (mark_once, id) = once.unzip();
        let injected: Vec<_> = first.into_iter().chain(mark_once).chain(injected).chain(mark).collect();
        let mut request = Vec::with_capacity(1024);
        if let Some((name, preflight)) = &named {
            preflight.write(name, &mut request);
        }
        let name = named.map(|(name, _)| name);
        sending.transaction(commands, &injected).iter().for_each(|part| request.extend_from_slice(part));
        self.follow_ups.set_timeout(timing.request_timeout);
        let mut wrapped = self.wrap_span(sending, commands, (&groups, &observed), ids);
        wrapped.with_injected(&injected).checked(checks).ttl_fixed(ttl_fixed);
        let mut state = self.state.borrow_mut();
        if let Some((guard, name)) = guard.as_mut().zip(name) {
            guard.send_as(name);
            guard.keep_request(if request.len() <= RESENT_BYTES_MAX { request.clone() } else { Vec::new() });
            let replays = |group: &SpanGroup| {
                let once = policy.groups()[group.group].once.as_ref();
                group.guarded && once.is_some_and(|once| once.on_duplicate == OnDuplicate::Replay)
            };
            if let Some(id) = id.filter(|_| groups.iter().any(replays)) {
                guard.keep_answer(id, state.session.protocol);
            }
        }
        wrapped.guarded(guard);
        if let Some(resolved) = resolved {
            return self.send_marked(sending, &mut state, (commands, wrapped), resolved, request);
        }
        let frames = wrapped.frames();
        let seq = state.slots.push_group(sending.places.of_all(commands).as_deref(), wrapped);
        self.send(link, &mut state, &[&request], Owed::request(seq, frames), timing.times());
    }

    fn wrap_span(
        &self,
        sending: &Sending<'_>,
        commands: &[usize],
        (groups, observed): (&[SpanGroup], &[SpanGroup]),
        ids: Vec<respguard_engine::command::CommandId>,
    ) -> WrappedGroup {
        let Sending { policy, batch, bytes, .. } = *sending;
        let carried: Vec<CarriedGroup> = groups
            .iter()
            .map(|group| {
                let (rule, row) = (&policy.groups()[group.group], self.context.metrics.group_row(group.group));
                let members = members(group, commands);
                let ids: Members = members.clone().map(|at| batch.id(at)).collect();
                let mut wrapped = WrappedGroup::new(row, Arc::clone(rule), ids);
                wrapped.naming(sending.keys(members.clone())).expecting(sending.expectations(members, rule));
                CarriedGroup::new(wrapped, group.places.clone(), group.guarded)
            })
            .collect();
        let observed = observed.iter().map(|group| {
            let (rule, index) = (&policy.groups()[group.group], self.context.metrics.group_row(group.group));
            let expectations = sending.expectations(members(group, commands), rule);
            let scope = Scope::Group { index, rule: Arc::clone(rule), unwrapped: None };
            let count = u32::try_from(group.places.len()).unwrap_or(u32::MAX);
            (group.places.clone(), FailureTracker::new(scope, count).expecting(expectations))
        });
        let requests = commands.iter().map(|&at| {
            let args: Vec<&[u8]> = batch.args(bytes, at).iter().collect();
            encode::request_frame(&args)
        });
        let first = groups.first().map_or(0, |group| group.group);
        WrappedGroup::new(self.context.metrics.group_row(first), Arc::clone(&policy.groups()[first]), ids).carrying(
            carried,
            observed.collect(),
            requests.collect(),
        )
    }
}

/// The members of one of the groups, by their index.
fn members<'a>(group: &'a SpanGroup, commands: &'a [usize]) -> impl Iterator<Item = usize> + Clone + 'a {
    group.places.iter().map(|&place| commands[place as usize])
}
